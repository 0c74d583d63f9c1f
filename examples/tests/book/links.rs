//! Links lead somewhere, every page is in the table of contents, and every page with Rust is compiled.

use super::{Page, guide, readmes, root};
use std::fs;
use std::path::Path;

/// Files of the repository that are not part of the book are linked to by their address.
const REPOSITORY: [&str; 2] = [
    "https://github.com/candle-hebbian/candle-hebbian/blob/main/",
    "https://github.com/candle-hebbian/candle-hebbian/tree/main/",
];

/// The targets of `[text](target)` and `![text](target)` outside code; the text may be code.
fn targets(page: &Page) -> Vec<&str> {
    let prose = page.lines().into_iter().filter(|(language, _)| language.is_none());
    let mut targets = Vec::new();
    for (_, line) in prose {
        for (at, part) in line.split('`').enumerate() {
            if at % 2 == 0 {
                let opened = part.split("](").skip(1);
                targets.extend(opened.filter_map(|rest| Some(rest.split_once(')')?.0)));
            }
        }
    }
    targets
}

/// The anchor that mdBook and GitHub give to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn headings(page: &Page) -> Vec<String> {
    let prose = page.lines().into_iter().filter(|(language, _)| language.is_none());
    let headings =
        prose.filter_map(|(_, line)| Some(line.strip_prefix('#')?.trim_start_matches('#')));
    headings.map(anchor).collect()
}

/// What is wrong with a link; `None` if nothing is.
fn problem(page: &Page, target: &str) -> Option<String> {
    let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
    let file = match REPOSITORY.iter().find_map(|address| path.strip_prefix(address)) {
        Some(path) => root().join(path),
        None if path.contains("://") || path.starts_with("mailto:") => return None,
        None if path.is_empty() => page.path.clone(),
        None => page.path.parent().unwrap().join(path),
    };
    if !file.exists() {
        return Some(format!("{target}: there is no {}", file.display()));
    }
    if page.path.starts_with(root().join("docs/src")) && !path.contains("://") {
        let file = fs::canonicalize(&file).unwrap();
        if !file.starts_with(fs::canonicalize(root().join("docs/src")).unwrap()) {
            return Some(format!(
                "{target}: not a part of the book; link to its address in the repository"
            ));
        }
    }
    let is_markdown = file.extension().is_some_and(|extension| extension == "md");
    if is_markdown
        && !fragment.is_empty()
        && !headings(&Page::read(file)).contains(&fragment.to_string())
    {
        return Some(format!("{target}: there is no such heading"));
    }
    None
}

#[test]
fn every_link_leads_somewhere() {
    let mut problems = Vec::new();
    let mut count = 0;
    for page in guide().iter().chain(&readmes()) {
        for target in targets(page) {
            count += 1;
            problems
                .extend(problem(page, target).map(|problem| format!("{}: {problem}", page.name())));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > 100, "only {count} links were found");
}

#[test]
fn a_broken_link_is_found() {
    let path = root().join("docs/src/page.md");
    let text = "[a](none.md) [b](images/none.png) [`c`](glossary.md#none)\n`[not](a-link.md)`\n[d](glossary.md)\n\
                ```text\n[not](this.md)\n```\n";
    let page = Page { path, text: text.to_string() };
    assert_eq!(targets(&page), ["none.md", "images/none.png", "glossary.md#none", "glossary.md"]);
    let problems: Vec<bool> =
        targets(&page).iter().map(|target| problem(&page, target).is_some()).collect();
    assert_eq!(problems, [true, true, true, false]);
}

/// Every page is in the table of contents once, every picture on a page, and every page with Rust among the doctests.
#[test]
fn every_page_is_listed() {
    let summary = fs::read_to_string(root().join("docs/src/SUMMARY.md")).unwrap();
    let doctests = fs::read_to_string(root().join("examples/lib.rs")).unwrap();
    let pages = guide();
    for page in &pages {
        let name = page.path.file_name().unwrap().to_string_lossy();
        if name == "SUMMARY.md" {
            continue;
        }
        assert_eq!(summary.matches(&format!("({name})")).count(), 1, "{name} in SUMMARY.md");
        let has_rust = page
            .lines()
            .iter()
            .any(|(language, _)| language.is_some_and(|l| l.starts_with("rust")));
        let is_tested = doctests.contains(&format!("\"../docs/src/{name}\""));
        assert_eq!(has_rust, is_tested, "{name} in examples/lib.rs");
    }
    for entry in fs::read_dir(root().join("docs/src/images")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        let is_shown = |page: &Page| page.text.contains(&format!("images/{name})"));
        assert!(pages.iter().chain(&readmes()).any(is_shown), "{name} is on no page");
        assert!(fs::metadata(&path).unwrap().len() < 60_000, "{name} has 60 kB or more");
    }
}

/// A block without a language would be compiled as Rust, and one marked `ignore` or `no_run` would not be run.
#[test]
fn every_block_has_a_language() {
    const KNOWN: [&str; 8] = ["rust", "text", "console", "json", "toml", "python", "sh", "bash"];
    for page in guide().iter().chain([&Page::read(root().join("README.md"))]) {
        for (at, line) in page.text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            let opens = page.lines().get(at + 1).is_some_and(|(language, _)| language.is_some());
            if let (Some(language), true) = (fence, opens) {
                assert!(KNOWN.contains(&language), "{}:{}: {language:?}", page.name(), at + 1);
            }
        }
    }
}

/// At most 140 characters a line, tables and addresses aside.
#[test]
fn lines_are_not_too_long() {
    for page in &guide() {
        for (at, (language, line)) in page.lines().into_iter().enumerate() {
            let long = line.chars().count() > 140 && language.is_none();
            // Tables, marks of what is generated, and links.
            let starts = ["|", "<!--"].iter().any(|start| line.starts_with(start));
            let excused = starts || line.contains("://") || line.contains("](");
            assert!(
                !long || excused,
                "{}:{}: {} characters",
                page.name(),
                at + 1,
                line.chars().count()
            );
        }
    }
    assert!(Path::new(&root().join("docs/book.toml")).is_file());
}
