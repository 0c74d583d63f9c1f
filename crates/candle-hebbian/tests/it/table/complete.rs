//! The table contains everything that is public.

use super::entries::{
    COMPETITIONS, GEOMETRIES, OPS, REFUSED, REFUSED_COMPETITIONS, REFUSED_GEOMETRIES,
    REFUSED_RULES, RULES, Refused,
};
use std::collections::BTreeSet;
use std::path::Path;

/// The names that `ops` exports and that are not ops, with what they are.
const NO_OPS: [(&str, &str); 8] = [
    ("reflect", "of numbers"),
    ("composed", "of functions"),
    ("has_kernels", "of devices"),
    ("numbers", "of a count"),
    ("Edge", "an argument of max_pool2d_same"),
    ("Pass", "an argument of what custom_vjp is given"),
    ("Ties", "an argument of max_pool2d"),
    ("Value", "a result of what custom_vjp is given"),
];

type Names = BTreeSet<String>;

fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names that the lines `pub use …;` of a module export, those of its inner modules with their path.
fn public(file: &str) -> Names {
    let text = source(file);
    let mut names = Names::new();
    let mut inside = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (bare, indented) = (line.trim_start(), line.starts_with(' '));
        if let Some(module) = line.strip_prefix("pub mod ").and_then(|line| line.strip_suffix(" {"))
        {
            inside = format!("{module}::");
        } else if let Some(path) = bare.strip_prefix("pub use ") {
            let mut path = path.to_string();
            while !path.ends_with(';') {
                path += lines.next().expect("the end of a use").trim();
            }
            let path = path.trim_end_matches([';', '}']);
            let at = path.find('{').or_else(|| path.rfind(':')).expect("a path");
            let listed = path[at + 1..].split(',').map(str::trim).filter(|name| !name.is_empty());
            let inside = if indented { inside.as_str() } else { "" };
            names.extend(listed.map(|name| format!("{inside}{name}")));
        }
    }
    names
}

/// The variants of a public enum.
fn variants(file: &str, name: &str) -> Names {
    let text = source(file);
    let (_, body) = text.split_once(&format!("pub enum {name} {{")).expect("the enum");
    let (body, _) = body.split_once("\n}").expect("its end");
    let variant = |line: &str| -> Option<String> {
        let line = line.strip_prefix("    ")?;
        line.starts_with(char::is_uppercase)
            .then(|| line.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().into())
    };
    body.lines().filter_map(variant).collect()
}

fn first_words<'a>(names: impl IntoIterator<Item = &'a str>) -> Names {
    names.into_iter().map(|name| name.split(',').next().unwrap_or_default().to_string()).collect()
}

fn refusals(entries: &[Refused]) -> Names {
    first_words(entries.iter().map(|entry| entry.name))
}

/// Checks that `tried` and `refused` are the same as `public`.
fn complete(what: &str, public: &Names, tried: &Names, refused: &Names) {
    for (kind, found) in [("", tried), (" to refuse", refused)] {
        let missing: Vec<_> = public.difference(found).collect();
        assert!(
            missing.is_empty(),
            "{what} without an entry{kind} in tests/it/table/entries.rs: {missing:?}"
        );
        let unknown: Vec<_> = found.difference(public).collect();
        assert!(unknown.is_empty(), "entries{kind} of {what} that are not public: {unknown:?}");
    }
}

#[test]
fn every_op_has_entries() {
    let mut ops = public("ops/mod.rs");
    assert!(ops.contains("ramp") && ops.contains("channels_last::avg_pool2d"), "{ops:?}");
    for (name, _) in NO_OPS {
        assert!(ops.remove(name), "{name} is listed as no op, and is not exported at all");
    }
    // The only type in the crate's root that is a function of a response.
    ops.insert("AdaptiveThreshold".to_string());
    complete("ops", &ops, &first_words(OPS.iter().map(|op| op.name)), &refusals(REFUSED));
}

#[test]
fn every_competition_has_entries() {
    let public = public("competition/mod.rs");
    assert!(public.contains("HardWta"), "{public:?}");
    let tried = first_words(COMPETITIONS.iter().map(|entry| entry.name));
    complete("competitions", &public, &tried, &refusals(REFUSED_COMPETITIONS));
}

#[test]
fn every_rule_has_entries() {
    let public = public("rules/mod.rs");
    assert!(public.contains("Oja"), "{public:?}");
    let tried = first_words(RULES.iter().map(|entry| entry.name));
    complete("rules", &public, &tried, &refusals(REFUSED_RULES));
}

#[test]
fn every_geometry_has_entries() {
    let public = variants("geometry.rs", "Geometry");
    assert!(public.contains("Dense") && public.len() > 2, "{public:?}");
    let tried = first_words(GEOMETRIES.iter().map(|entry| entry.name));
    complete("geometries", &public, &tried, &refusals(REFUSED_GEOMETRIES));
}
