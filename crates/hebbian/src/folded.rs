//! Lists that fit the terminal.

use terminal_size::{Width, terminal_size_of};
use textwrap::Options;

/// Folds the lines of a list at the width of the terminal. Where stdout is none, as in a pipe, each entry stays one
/// line.
pub(crate) fn folded(list: String) -> String {
    match terminal_size_of(std::io::stdout()) {
        Some((Width(width), _)) => fold(&list, width.into()),
        None => list,
    }
}

/// Folds the lines of a list at `width` columns, and indents what follows two columns beyond the start of the text: the
/// text of an entry is after its name and two spaces.
fn fold(list: &str, width: usize) -> String {
    let mut folded = String::new();
    for line in list.lines() {
        let entry = line.trim_start();
        let margin = line.len() - entry.len();
        let name = entry.find("  ").map_or(0, |end| entry.len() - entry[end..].trim_start().len());
        // In a terminal that is hardly wider than the names, the text begins below them.
        let indent = " ".repeat((margin + name + 2).min(width / 2));
        for part in textwrap::wrap(line, Options::new(width).subsequent_indent(&indent)) {
            folded += &part;
            folded.push('\n');
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn text_is_continued_below_its_start() {
        let list = "networks, for --preset\n\n  small        digits: one layer of units\n               \
                    digits: 97.5 ± 0.5 %; 3 s\n";
        assert_eq!(fold(list, 80), list);
        let folded = "networks, for --preset\n\n  small        digits: one layer of\n                 \
                      units\n               digits: 97.5 ± 0.5 %;\n                 3 s\n";
        assert_eq!(fold(list, 36), folded);
        // Half of a narrow terminal is for text.
        assert_eq!(
            fold("  small        one two three", 24),
            "  small        one two\n            three\n"
        );
    }
}
