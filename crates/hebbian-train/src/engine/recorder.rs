use std::collections::BTreeMap;

use candle::{Device, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::same_run::RESUMED;
use super::{Clock, RunOptions};
use crate::{
    Checkpoint, ConfusionMatrix, Error, Moment, Picture, Progress, ReadoutResult, Result,
    RunFolder, check_finite,
};

/// The result of a run, as its learner reports it.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// The share of the test images that was classified correctly, 0 to 1.
    pub test_accuracy: f64,
    /// The counts for each pair of classes.
    pub confusion: Option<ConfusionMatrix>,
    /// The read-outs of features; `test_accuracy` is that of the first.
    pub readouts: Vec<ReadoutResult>,
    /// Further numbers.
    pub extras: BTreeMap<String, Value>,
}

/// The recorder that a trained learner reports to while it trains read-outs.
#[derive(Debug)]
pub struct Recorder<'a> {
    pub(super) folder: &'a mut RunFolder,
    pub(super) options: &'a RunOptions,
    pub(super) device: &'a Device,
    pub(super) clock: Clock,
}

impl Recorder<'_> {
    /// Logs what was measured after `epoch` epochs of the read-out called `readout`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn log(&mut self, readout: &str, epoch: usize, values: &[(&str, f64)]) -> Result<()> {
        let (readout, epoch) = (readout.to_string(), epoch as u64);
        self.folder.log(Moment::Readout { readout, epoch }, values)
    }

    /// Returns what a learner [kept](Self::keep) of a read-out before the run was interrupted, with the checkpoint that
    /// holds its tensors; `None` if the read-out has not finished. Drop the checkpoint before the next read-out is kept,
    /// which replaces the file.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else of this read-out.
    pub fn kept<T: DeserializeOwned>(&self, readout: &str) -> Result<Option<(T, Checkpoint)>> {
        self.folder.kept(readout, self.device)
    }

    /// Keeps what the read-out called `readout` gave now that it has finished, so that it is not trained again when the
    /// run is interrupted later and continues; its lines in the [log](Self::log) have the same name. The tensors of all
    /// read-outs have different names. A run that continues for longer trains all of its read-outs again.
    ///
    /// # Errors
    /// When the result has no JSON form, or the file cannot be written.
    pub fn keep(
        &mut self,
        readout: &str,
        result: &impl Serialize,
        tensors: &[(String, Tensor)],
    ) -> Result<()> {
        self.folder.keep(readout, result, tensors)
    }

    /// Saves a picture as `NAME.png`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn picture(&mut self, name: &str, picture: &Picture) -> Result<()> {
        self.folder.picture(name, self.clock.steps, picture)
    }

    /// Returns the progress display of a loop over `total` images.
    pub fn progress(&self, total: usize, label: &str) -> Progress {
        Progress::new(total as u64, label, self.options.quiet)
    }

    /// Whether no progress is to be shown.
    pub fn is_quiet(&self) -> bool {
        self.options.quiet
    }

    /// Returns an error if the run is to stop: call it now and then, between two pieces of work.
    ///
    /// # Errors
    /// When the run was asked to stop. What was learned is saved; a read-out that was not [kept](Self::keep) starts
    /// again when the run continues.
    pub fn go_on(&self) -> Result<()> {
        match self.options.stop.asked() {
            Some(signal) => Err(Error::Stopped {
                at: "after learning, before all was read out".to_string(),
                path: self.folder.path().to_path_buf(),
                next: RESUMED,
                signal,
            }),
            None => Ok(()),
        }
    }

    /// Checks that tensors are finite; `stage` and `epoch` say in the error message what was
    /// trained, and for how long.
    ///
    /// # Errors
    /// If a tensor is not finite.
    pub fn check(&self, stage: &str, epoch: usize, tensors: &[(String, Tensor)]) -> Result<()> {
        for (name, tensor) in tensors {
            check_finite(name, epoch as u64, tensor)
                .map_err(|error| self.diverged(error, stage))?;
        }
        Ok(())
    }

    /// Adds to an error about NaN or infinity where it arose and which file holds the last good
    /// weights.
    pub fn diverged(&self, error: Error, stage: &str) -> Error {
        error.while_training(stage, Some(self.folder.state()), None)
    }
}
