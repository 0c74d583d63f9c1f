//! What computed a run or an experiment.

use candle_hebbian::matmul_precision;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::{self, Display};
use std::io::Write as _;

/// What computed a run or an experiment. Another version, device or precision may give other numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    /// The version of the program.
    pub version: String,
    /// The device, as `cpu`, `cuda` or `metal`.
    pub device: String,
    /// The name of the precision of matrix products.
    pub matmul_precision: String,
}

impl MadeBy {
    /// What computes here: this version, on this device, with the precision that is set.
    pub fn here(version: &str, device: &str) -> Self {
        let matmul_precision = matmul_precision().name().to_string();
        Self { version: version.to_string(), device: device.to_string(), matmul_precision }
    }

    /// Reads it from the configuration of a run, with `unknown` for what that does not say.
    pub fn of_config(config: &Value) -> Self {
        let text = |place: &str| {
            let value = config.pointer(place).and_then(Value::as_str);
            value.unwrap_or("unknown").to_string()
        };
        Self {
            version: text("/version"),
            device: text("/device"),
            matmul_precision: text("/environment/matmul_precision"),
        }
    }

    /// Tells the user on stderr that `what`, which `found` began, goes on in another way here, if it does.
    pub(crate) fn tell_of_others(&self, what: &str, found: &Self) {
        if self != found {
            let _ = writeln!(
                std::io::stderr(),
                "{what} was begun by {found} and goes on with {self}: its numbers may be those of neither"
            );
        }
    }
}

impl Display for MadeBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, device, matmul_precision } = self;
        write!(f, "version {version} on {device} with precision {matmul_precision}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_configuration_says_what_computed_it() {
        let config = json!({
            "version": "1.2.3", "device": "cuda", "environment": { "matmul_precision": "high" },
        });
        let found = MadeBy::of_config(&config);
        assert_eq!(found.to_string(), "version 1.2.3 on cuda with precision high");
        // Another type, or another place, says nothing.
        let found = MadeBy::of_config(&json!({ "device": 3, "matmul_precision": "high" }));
        assert_eq!(found.to_string(), "version unknown on unknown with precision unknown");
        let MadeBy { version, device, .. } = MadeBy::here("1.2.3", "cuda");
        assert_eq!((version.as_str(), device.as_str()), ("1.2.3", "cuda"));
    }
}
