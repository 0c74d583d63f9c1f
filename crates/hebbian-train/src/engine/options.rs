use std::path::PathBuf;

use serde_json::Value;

use super::Stop;
use crate::{Error, Result};

/// How a run goes, whatever it trains.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// The device, as `cpu`, `cuda` or `metal`.
    pub device: String,
    /// Start from these weights.
    pub load: Option<PathBuf>,
    /// Continue the interrupted run in the folder, or a complete one for longer.
    pub resume: bool,
    /// Write the final weights here too.
    pub save: Option<PathBuf>,
    /// The command that started it, as a shell takes it, for who wants to repeat it; may be empty.
    pub command: String,
    /// No progress.
    pub quiet: bool,
    /// What the progress is headed with; the preset's name unless given.
    pub label: Option<String>,
    /// The share of training images that was held out, if it stands in for the test images in all that is
    /// measured.
    pub validation: Option<f64>,
    /// How many training images kept their labels, if not all did.
    pub labelled: Option<usize>,
    /// How else the images were chosen, for who wants to load the same: null, or an object for `config.json`.
    pub images: Value,
    /// What asks the run to stop.
    pub stop: Stop,
}

/// How many samples are shown in `epochs` epochs of `count`.
///
/// # Errors
/// More than can be counted.
pub fn shown(count: usize, epochs: usize) -> Result<usize> {
    /// More would take centuries, and not be counted rightly everywhere.
    const MOST: usize = 1 << 48;
    count.checked_mul(epochs).filter(|&shown| shown <= MOST).ok_or_else(|| {
        Error::Argument(format!(
            "{epochs} epochs of {count} are too many to count: give fewer epochs"
        ))
    })
}
