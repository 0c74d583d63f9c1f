//! The configurations of runs: as lists of names and values, in groups of runs that differ only in the seed, and
//! the differences between groups.

use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Entries of a configuration that do not choose how a network learns.
const NO_CHOICE: [&str; 8] = [
    "program",
    "seed",
    "device",
    "version",
    "command",
    "environment",
    "class_names",
    "fingerprint",
];

/// Returns every choice in a configuration with its path, such as `preset.training.epochs`.
pub(crate) fn choices(config: &Value) -> Vec<(String, String)> {
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

/// Returns the place of the first choice that differs between two configurations, of those that `wanted` has, and its
/// values there.
pub(crate) fn first_difference(found: &Value, wanted: &Value) -> Option<(String, [String; 2])> {
    // Written and read back as `found` was, because some numbers change on the way.
    let wanted: Value = serde_json::from_str(&wanted.to_string()).ok()?;
    let entries = wanted.as_object()?.keys().map(|name| (name.clone(), found[name].clone()));
    let found = Value::Object(entries.collect());
    let [found, wanted] =
        [&found, &wanted].map(|config| choices(config).into_iter().collect::<BTreeMap<_, _>>());
    let places: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    places.into_iter().find(|place| found.get(*place) != wanted.get(*place)).map(|place| {
        let value =
            |all: &BTreeMap<String, String>| all.get(place).cloned().unwrap_or("none".to_string());
        (place.clone(), [value(&found), value(&wanted)])
    })
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
        Value::Null | Value::Object(_) => {}
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

/// Groups runs with these configurations, in their order, and returns the groups and what differs between them. No two
/// runs of a group have the same seed: a run and its copy are no sample.
pub(crate) fn groups(configs: &[&Value]) -> (Vec<Group>, Vec<Difference>) {
    let mut kinds: Vec<(BTreeMap<String, String>, Vec<usize>)> = Vec::new();
    for (at, config) in configs.iter().enumerate() {
        let choices: BTreeMap<String, String> = choices(config).into_iter().collect();
        let other_seeds =
            |runs: &[usize]| runs.iter().all(|&run| configs[run]["seed"] != config["seed"]);
        match kinds.iter_mut().find(|(known, runs)| *known == choices && other_seeds(runs)) {
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
        let others = others.collect::<Vec<_>>().join(", ");
        // Without others, these are the same settings again.
        match presets || kinds.len() == 1 || others.is_empty() {
            true => preset,
            false => others,
        }
    };
    let mut named: Vec<Group> = Vec::new();
    for (at, (choices, runs)) in kinds.iter().enumerate() {
        let name = name(at, choices);
        let same = kinds[..at].iter().filter(|(earlier, _)| earlier == choices).count();
        let name = if same > 0 { format!("{name}, again {same}") } else { name };
        named.push(Group { name, runs: runs.clone() });
    }
    (named, differences)
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
        // A copy of a run, and a run that starts from other weights, are in groups of their own.
        let loaded = Value::Object(
            all[0]
                .as_object()
                .unwrap()
                .clone()
                .into_iter()
                .chain([("load".into(), json!("a"))])
                .collect(),
        );
        let (found, _) = groups(&[&all[0], &all[2], &all[0], &loaded]);
        let runs: Vec<&[usize]> = found.iter().map(|group| &group.runs[..]).collect();
        assert_eq!(runs, [&[0, 1][..], &[2], &[3]]);
        assert_ne!(found[0].name, found[1].name);
        // Where nothing differs, a copy has the name of the preset.
        let (copies, _) = groups(&[&all[0], &all[0]]);
        assert_eq!(copies, [group("a", &[0]), group("a, again 1", &[1])]);
        // Only what is asked for is compared.
        let wanted = json!({ "options": { "preset": { "protocol": "urfb" } }, "load": null });
        let place = first_difference(
            &json!({ "options": { "preset": { "protocol": "bp" } }, "x": 1 }),
            &wanted,
        );
        let values = ["bp", "urfb"].map(String::from);
        assert_eq!(place, Some(("preset.protocol".to_string(), values)));
        assert_eq!(first_difference(&wanted, &wanted), None);
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
