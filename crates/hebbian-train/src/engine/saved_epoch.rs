//! Where in an epoch a learner stopped.

use super::{State, Sums};
use crate::{Error, Result};
use candle_hebbian::Rng;
use hebbian_data::Batches;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a learner that shuffles each epoch again, and draws masks in it, needs to continue: the rest follows from the seed
/// and the number of the epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedEpoch {
    /// Epochs done.
    pub epoch: usize,
    /// What was summed up since the last measurement.
    pub sums: Sums,
    /// Where the epoch under way was.
    place: Option<Place>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// Batches left.
    left: usize,
    /// The position of what masks are drawn from.
    masks: String,
}

impl SavedEpoch {
    /// After `epoch` epochs, with the batches and masks of the one under way.
    pub fn new(epoch: usize, under_way: Option<(&Batches, &Rng)>, sums: Sums) -> Self {
        let place = under_way.map(|(batches, masks)| Place {
            left: batches.len(),
            masks: masks.position().to_string(),
        });
        Self { epoch, sums, place }
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
        self.place.is_some()
    }

    /// Moves fresh `batches` and `masks` of the epoch under way to where they were.
    ///
    /// # Errors
    /// More batches left than an epoch has, or a position that is no number.
    pub fn move_to(&self, batches: &mut Batches, masks: &mut Rng) -> Result<()> {
        let Some(Place { left, masks: position }) = &self.place else { return Ok(()) };
        let Some(done) = batches.len().checked_sub(*left) else {
            return Err(wrong("more batches are left than an epoch has", left));
        };
        batches.pass(done);
        let position = position.parse().map_err(|_| wrong("no position of the masks", position))?;
        *masks = masks.clone().at(position);
        Ok(())
    }
}

fn wrong(what: &str, found: &dyn std::fmt::Display) -> Error {
    Error::Argument(format!("the state to continue from: {what}: {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of an epoch of four batches one was taken, and two numbers were drawn: what comes next is the same.
    #[test]
    fn an_epoch_goes_on_where_it_was() -> Result<()> {
        let begin = || -> Result<(Batches, Rng)> {
            Ok((Batches::shuffled(10, 3, &mut Rng::new(1))?, Rng::new(2)))
        };
        let (mut batches, mut masks) = begin()?;
        batches.next();
        let _: [usize; 2] = [1000, 1000].map(|most| masks.below(most));
        let saved = SavedEpoch::new(5, Some((&batches, &masks)), Sums::default());
        let saved = SavedEpoch::of(&saved.state()?.values)?;
        assert!(saved.is_under_way() && saved.epoch == 5);
        let (mut again, mut drawn) = begin()?;
        saved.move_to(&mut again, &mut drawn)?;
        assert_eq!(again.collect::<Vec<_>>(), batches.collect::<Vec<_>>());
        assert_eq!(drawn.below(1000), masks.below(1000));

        assert!(!SavedEpoch::new(5, None, Sums::default()).is_under_way());
        // Four batches are left, of an epoch that has two.
        let (long, masks) = begin()?;
        let saved = SavedEpoch::new(0, Some((&long, &masks)), Sums::default());
        let mut short = Batches::shuffled(5, 3, &mut Rng::new(1))?;
        let error = saved.move_to(&mut short, &mut Rng::new(2)).unwrap_err().to_string();
        assert!(error.contains("more batches are left than an epoch has: 4"), "{error}");
        Ok(())
    }
}
