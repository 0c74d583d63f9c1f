//! What a learner saves besides its tensors, as JSON. Positions of generators are text, because they are longer than
//! the numbers of JSON.

use hebbian_train::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(super) fn to_values(saved: &impl Serialize) -> Result<Value> {
    let what = || "the state of the learner".to_string();
    serde_json::to_value(saved).map_err(|source| Error::Json { what: what(), source })
}

pub(super) fn from_values<T: DeserializeOwned>(values: &Value) -> Result<T> {
    T::deserialize(values).map_err(of_another)
}

pub(super) fn position(text: &str) -> Result<u128> {
    text.parse().map_err(|_| of_another(format!("a generator's position {text:?}")))
}

/// The error for a state that belongs to another learner; `problem` says what does not fit.
pub(super) fn of_another(problem: impl std::fmt::Display) -> Error {
    Error::Argument(format!(
        "the saved state does not fit this network and mode: {problem}; start again without --resume"
    ))
}
