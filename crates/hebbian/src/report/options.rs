//! The configurations of runs: as lists of names and values, in groups of runs that differ only in the seed, and
//! the differences between groups.

use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Entries of a configuration that do not choose how a network learns.
const NO_CHOICE: [&str; 9] = [
    "program",
    "seed",
    "device",
    "load",
    "version",
    "command",
    "environment",
    "class_names",
    "fingerprint",
];

/// Returns every choice in a configuration with its path, such as `preset.training.epochs`.
pub(super) fn choices(config: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    if let Value::Object(config) = config {
        for (name, value) in config.iter().filter(|(name, _)| !NO_CHOICE.contains(&name.as_str())) {
            // The options of the method matter most, so their paths have no prefix.
            let place = if name == "options" { "" } else { name };
            flatten(place, value, &mut all);
        }
    }
    all
}

fn flatten(place: &str, value: &Value, all: &mut Vec<(String, String)>) {
    let below = |name: &str| match place {
        "" => name.to_string(),
        place => format!("{place}.{name}"),
    };
    let is_plain = |value: &Value| !value.is_object() && !value.is_array();
    match value {
        Value::Object(values) if !values.is_empty() => {
            values.iter().for_each(|(name, value)| flatten(&below(name), value, all));
        }
        Value::Array(values) if !values.iter().all(is_plain) => {
            let values = values.iter().enumerate();
            values.for_each(|(at, value)| flatten(&below(&at.to_string()), value, all));
        }
        Value::String(text) => all.push((place.to_string(), text.clone())),
        Value::Null => {}
        other => all.push((place.to_string(), other.to_string())),
    }
}

/// Runs that differ only in the seed.
#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct Group {
    /// What distinguishes it from the other groups.
    pub name: String,
    /// Indices of its runs.
    pub runs: Vec<usize>,
}

/// A choice that is not the same in all groups.
#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct Difference {
    place: String,
    /// Its value in each group; `None` if the group has no such choice.
    values: Vec<Option<String>>,
}

/// The most choices that a group is named after.
const NAMED_AFTER: usize = 2;

/// Groups runs with these configurations, in their order, and returns the groups and what differs between them.
pub(super) fn groups(configs: &[&Value]) -> (Vec<Group>, Vec<Difference>) {
    let mut kinds: Vec<(BTreeMap<String, String>, Vec<usize>)> = Vec::new();
    for (at, config) in configs.iter().enumerate() {
        let choices: BTreeMap<String, String> = choices(config).into_iter().collect();
        match kinds.iter_mut().find(|(known, _)| *known == choices) {
            Some((_, runs)) => runs.push(at),
            None => kinds.push((choices, vec![at])),
        }
    }
    let places: BTreeSet<&String> = kinds.iter().flat_map(|(choices, _)| choices.keys()).collect();
    let differences = places.into_iter().filter_map(|place| {
        let values: Vec<Option<String>> =
            kinds.iter().map(|(choices, _)| choices.get(place).cloned()).collect();
        let same = values.windows(2).all(|pair| pair[0] == pair[1]);
        (!same).then(|| Difference { place: place.clone(), values })
    });
    let differences: Vec<Difference> = differences.collect();
    let name = |at: usize, choices: &BTreeMap<String, String>| {
        let preset = choices.get("preset.name").cloned().unwrap_or_default();
        let presets = differences.iter().any(|one| one.place == "preset.name");
        // Names and descriptions say less than the values that they stand for.
        let told = |one: &&Difference| {
            !one.place.ends_with(".name") && !one.place.ends_with("description")
        };
        let others = differences.iter().filter(told).take(NAMED_AFTER).map(|one| {
            let last = one.place.rsplit('.').next().unwrap_or_default();
            format!("{last} {}", one.values[at].as_deref().unwrap_or("–"))
        });
        match presets || kinds.len() == 1 {
            true => preset,
            false => others.collect::<Vec<_>>().join(", "),
        }
    };
    let named = kinds
        .iter()
        .enumerate()
        .map(|(at, (choices, runs))| Group { name: name(at, choices), runs: runs.clone() });
    (named.collect(), differences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn groups_differ_by_more_than_the_seed() {
        let config = |protocol: &str, seed: u64| {
            json!({
                "method": "amit", "seed": seed, "command": format!("--seed {seed}"),
                "options": { "preset": {
                    "name": "a", "protocol": protocol, "sizes": [1, 2], "layers": [{ "k": 3 }]
                } },
            })
        };
        let all = [config("bp", 0), config("urfb", 0), config("bp", 1)];
        let (found, differences) = groups(&all.iter().collect::<Vec<_>>());
        let group = |name: &str, runs: &[usize]| Group { name: name.into(), runs: runs.to_vec() };
        assert_eq!(found, [group("protocol bp", &[0, 2]), group("protocol urfb", &[1])]);
        let values = vec![Some("bp".to_string()), Some("urfb".to_string())];
        assert_eq!(differences, [Difference { place: "preset.protocol".into(), values }]);
        assert_eq!(
            choices(&all[0]),
            [
                ("method", "amit"),
                ("preset.layers.0.k", "3"),
                ("preset.name", "a"),
                ("preset.protocol", "bp"),
                ("preset.sizes", "[1,2]"),
            ]
            .map(|(place, value)| (place.to_string(), value.to_string()))
        );
    }
}
