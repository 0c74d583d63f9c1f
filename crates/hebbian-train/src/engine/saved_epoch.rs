//! Where in an epoch a learner stopped.

use super::State;
use crate::{Error, Result};
use candle_hebbian::Rng;
use hebbian_data::Batches;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a learner that shuffles each epoch anew, and draws masks in it, needs to continue: the rest follows from the seed
/// and the number of the epoch. `S` is what it has summed up since the last measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedEpoch<S> {
    /// Epochs done.
    pub epoch: usize,
    /// Since the last measurement.
    pub sums: S,
    /// Batches left of the epoch under way.
    left: Option<usize>,
    /// The position of what its masks are drawn from.
    masks: Option<String>,
}

impl<S: Serialize + DeserializeOwned> SavedEpoch<S> {
    /// After `epoch` epochs, with the batches and masks of the one under way.
    pub fn new(epoch: usize, under_way: Option<(&Batches, &Rng)>, sums: S) -> Self {
        let left = under_way.map(|(batches, _)| batches.len());
        let masks = under_way.map(|(_, masks)| masks.position().to_string());
        Self { epoch, sums, left, masks }
    }

    /// As the values of a state without tensors.
    ///
    /// # Errors
    /// Sums that JSON does not have.
    pub fn state(&self) -> Result<State> {
        let values = serde_json::to_value(self)
            .map_err(|source| Error::Json { what: "the state".to_string(), source })?;
        Ok(State { tensors: Vec::new(), values })
    }

    /// Of the values of a state.
    ///
    /// # Errors
    /// Those of another learner.
    pub fn of(values: &Value) -> Result<Self> {
        serde_json::from_value(values.clone()).map_err(|error| wrong(&error.to_string(), values))
    }

    /// Whether an epoch was under way.
    pub fn is_under_way(&self) -> bool {
        self.left.is_some() && self.masks.is_some()
    }

    /// Moves fresh `batches` and `masks` of the epoch under way to where they were.
    ///
    /// # Errors
    /// A position that is no number.
    pub fn move_to(&self, batches: &mut Batches, masks: &mut Rng) -> Result<()> {
        if let (Some(left), Some(position)) = (self.left, &self.masks) {
            batches.pass(batches.len().saturating_sub(left));
            let position =
                position.parse().map_err(|_| wrong("no position of the masks", position))?;
            *masks = masks.clone().at(position);
        }
        Ok(())
    }
}

fn wrong(what: &str, found: &dyn std::fmt::Display) -> Error {
    Error::Argument(format!("the state to continue from: {what}: {found}"))
}
