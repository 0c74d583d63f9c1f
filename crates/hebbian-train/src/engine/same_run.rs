//! Checks that the run in a folder is the one to continue.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// Fields of a configuration that do not change the numbers, or that say where a run came from.
const NO_MATTER: [&str; 6] = ["program", "device", "load", "version", "command", "environment"];

/// How a run is to be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Same {
    /// As it was started.
    AsStarted,
    /// For longer.
    Longer,
}

/// Refuses to continue unless `found` is the configuration of the run `wanted`, with the same network,
/// recipe, seed and data. Only at the places in the options listed in `may_grow` may `wanted` have larger
/// numbers.
pub(super) fn same_run(
    found: &Value,
    wanted: &Value,
    may_grow: &[&str],
    config: &Path,
) -> Result<Same> {
    // Written and read back as `found` was, because some numbers change on the way.
    let wanted: Value = serde_json::from_str(&wanted.to_string()).unwrap_or_default();
    let (mut found, wanted) = (comparable(found), comparable(&wanted));
    let mut same = Same::AsStarted;
    for place in may_grow {
        let place = format!("/options{place}");
        if let (Some(found), Some(wanted)) = (found.pointer_mut(&place), wanted.pointer(&place))
            && let (Some(before), Some(now)) = (found.as_f64(), wanted.as_f64())
            && before < now
        {
            *found = wanted.clone();
            same = Same::Longer;
        }
    }
    match told(&found, &wanted) {
        Some(told) => Err(Error::Argument(format!(
            "{} belongs to another run: {told}; {RESUME}",
            config.display(),
        ))),
        None => Ok(same),
    }
}

fn comparable(config: &Value) -> Value {
    let all = config.as_object().cloned().unwrap_or_default();
    let kept: Map<String, Value> =
        all.into_iter().filter(|(key, _)| !NO_MATTER.contains(&key.as_str())).collect();
    Value::Object(kept)
}

/// How to continue a run that was stopped.
pub(super) const RESUMED: &str = "continue with --resume";

/// What to do if the run or the experiment in a folder is not the one to continue.
pub(crate) const RESUME: &str =
    "resume with the flags and the images it was started with, or start again without --resume";

/// What distinguishes the configuration of a run or an experiment from the one wanted; `None` if they are the same.
pub(crate) fn told(found: &Value, wanted: &Value) -> Option<String> {
    // The fingerprint says least, so it is compared last.
    const FINGERPRINT: &str = "fingerprint";
    let without = |config: &Value| {
        let mut config = config.clone();
        config.as_object_mut().map(|config| config.remove(FINGERPRINT));
        config
    };
    match difference(String::new(), &without(found), &without(wanted)) {
        Some((at, found, wanted)) => {
            Some(format!("{} is {found} there, {wanted} here", at.trim_start_matches('/')))
        }
        None if found.get(FINGERPRINT) != wanted.get(FINGERPRINT) => {
            Some("as many images of the same size, but others, or with other labels".to_string())
        }
        None => None,
    }
}

/// The first place at which two values differ, with what each has there; `null` if one has nothing there.
fn difference(at: String, found: &Value, wanted: &Value) -> Option<(String, Value, Value)> {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            let keys: std::collections::BTreeSet<&String> =
                found.keys().chain(wanted.keys()).collect();
            let part =
                |object: &Map<String, Value>, key| object.get(key).cloned().unwrap_or_default();
            keys.into_iter().find_map(|key| {
                difference(format!("{at}/{key}"), &part(found, key), &part(wanted, key))
            })
        }
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            let pairs = found.iter().zip(wanted).enumerate();
            pairs.into_iter().find_map(|(i, (f, w))| difference(format!("{at}/{i}"), f, w))
        }
        _ => (found != wanted).then(|| (at, found.clone(), wanted.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_may_differ() {
        let config = |options: Value, seed: u64, device: &str| json!({"options": options, "seed": seed, "device": device});
        let same = |found: &Value, wanted: &Value| {
            same_run(found, wanted, &["/epochs"], Path::new("config.json"))
                .map_err(|error| error.to_string())
        };
        let five = config(json!({"epochs": 5, "rate": 0.1}), 0, "cpu");
        assert_eq!(
            same(&five, &config(json!({"epochs": 5, "rate": 0.1}), 0, "cuda")),
            Ok(Same::AsStarted)
        );
        assert_eq!(
            same(&five, &config(json!({"epochs": 6, "rate": 0.1}), 0, "cpu")),
            Ok(Same::Longer)
        );
        for (wanted, says) in [
            (
                config(json!({"epochs": 4, "rate": 0.1}), 0, "cpu"),
                "options/epochs is 5 there, 4 here",
            ),
            (
                config(json!({"epochs": 6, "rate": 0.2}), 0, "cpu"),
                "options/rate is 0.1 there, 0.2 here",
            ),
            (config(json!({"epochs": 5, "rate": 0.1}), 1, "cpu"), "seed is 0 there, 1 here"),
            (
                config(json!({"epochs": 5, "rate": 0.1, "more": true}), 0, "cpu"),
                "options/more is null there, true here",
            ),
        ] {
            let error = same(&five, &wanted).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
