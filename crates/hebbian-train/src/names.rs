//! Names of presets and experiments, and of choices on the command line.

use crate::{Error, Result};

/// Returns the entry of `all` called `name`; `what` says in the error message what kind of entry it is.
///
/// # Errors
/// If no entry has that name.
pub fn choose<T: Copy>(what: &str, name: &str, all: &[(&str, T)]) -> Result<T> {
    match all.iter().find(|(known, _)| *known == name) {
        Some(&(_, choice)) => Ok(choice),
        None => {
            let known: Vec<_> = all.iter().map(|(known, _)| *known).collect();
            let (known, name) = (nearest(name, &known), name.escape_debug());
            Err(Error::Argument(format!("there is no {what} '{name}'; {known}")))
        }
    }
}

/// If there are at most this many names, a message lists them all; otherwise it lists this many.
const FEW: usize = 5;
/// The number of letters of a wrong name that are compared.
const LONGEST: usize = 100;

/// Describes what a wrong `name` may have meant: all names if they are few, else the nearest ones,
/// nearest first.
///
/// The nearest are those with the smallest edit distance (insertions, deletions, substitutions, and
/// transpositions of two letters; case is ignored) from `name` to the known name or to a start of it of
/// the same length, so that typing the start of a name finds the whole name.
pub(crate) fn nearest(name: &str, known: &[&str]) -> String {
    if known.len() <= FEW {
        return format!("expected one of: {}", known.join(", "));
    }
    let name: String = name.to_lowercase().chars().take(LONGEST).collect();
    let length = name.chars().count();
    let mut nearest = known.to_vec();
    nearest.sort_by_cached_key(|known| {
        let known = known.to_lowercase();
        let start: String = known.chars().take(length).collect();
        let [whole, start] = [known, start].map(|known| strsim::damerau_levenshtein(&name, &known));
        (whole.min(start), whole)
    });
    nearest.truncate(FEW);
    format!("the nearest are: {}; --list shows all", nearest.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRUIT: [&str; 7] = ["apple", "cherry", "lemon", "melon", "olive", "peach", "plum"];

    #[test]
    fn the_nearest_come_first_and_five_at_most() {
        // By hand: "meoln" is melon with two letters swapped, at distance 1; lemon is at 3, the others at
        // 4 and more.
        let told = nearest("Meoln", &FRUIT);
        assert!(told.starts_with("the nearest are: melon, lemon, "), "{told}");
        assert!(told.ends_with("; --list shows all"), "{told}");
        assert_eq!(told.matches(',').count(), 4, "{told}");
        assert!(nearest("peache", &FRUIT).starts_with("the nearest are: peach, "));
        // "che" lacks 3 letters of "cherry", but none of its start; it differs from "plum" in 3 letters.
        assert!(nearest("che", &FRUIT).starts_with("the nearest are: cherry, "));
        assert_eq!(nearest("x", &FRUIT[..2]), "expected one of: apple, cherry");
    }

    #[test]
    fn a_long_wrong_name_costs_little() {
        assert!(nearest(&"x".repeat(100_000), &FRUIT).contains("apple"));
    }

    #[test]
    fn what_is_there_is_chosen() {
        let fruit: Vec<_> = FRUIT.iter().map(|&name| (name, name.len())).collect();
        assert_eq!(choose("fruit", "plum", &fruit).unwrap(), 4);
        let error = choose("fruit", "\u{1b}plum", &fruit).unwrap_err().to_string();
        assert!(
            error.starts_with("there is no fruit '\\u{1b}plum'; the nearest are: plum, "),
            "{error}"
        );
    }
}
