use hebbian_train::{Error, Result};
use hebbian_train::{Results, peak_memory_bytes};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a run needs beside its network and its data, whatever it trains.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RunOptions {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// The device, as `cpu`, `cuda` or `metal`.
    pub device: String,
    /// Start from these weights, or evaluate them.
    pub load: Option<PathBuf>,
    /// Go on with the interrupted run in the folder.
    pub resume: bool,
    /// Write the final weights here too.
    pub save: Option<PathBuf>,
    /// No progress.
    pub quiet: bool,
}

impl RunOptions {
    /// The checkpoint to evaluate.
    pub(crate) fn checkpoint(&self) -> Result<&Path> {
        let missing = || Error::Argument("--eval-only needs --load CHECKPOINT".to_string());
        self.load.as_deref().ok_or_else(missing)
    }

    /// What the results of every run hold, of one that `started` then.
    pub(crate) fn results(&self, preset: &str, dataset: &str, started: Instant) -> Results {
        Results {
            total_seconds: started.elapsed().as_secs_f64(),
            peak_memory_bytes: peak_memory_bytes(),
            seed: self.seed,
            device: self.device.clone(),
            preset: preset.to_string(),
            dataset: dataset.to_string(),
            ..Results::default()
        }
    }
}

/// How many samples are shown in `epochs` epochs of `count`.
pub(crate) fn shown(count: usize, epochs: usize) -> Result<usize> {
    /// More would take centuries, and not be counted rightly everywhere.
    const MOST: usize = 1 << 48;
    count.checked_mul(epochs).filter(|&shown| shown <= MOST).ok_or_else(|| {
        Error::Argument(format!(
            "{epochs} epochs of {count} are too many to count: give fewer epochs"
        ))
    })
}
