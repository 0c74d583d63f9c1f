use std::path::PathBuf;

use serde_json::Value;

use super::Stop;
use crate::{Error, Result};

/// The options of a run, whatever it trains.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// The device, as `cpu`, `cuda` or `metal`.
    pub device: String,
    /// The weights to start from.
    pub load: Option<PathBuf>,
    /// Whether to continue the interrupted run in the folder, or a complete one for longer.
    pub resume: bool,
    /// Where to write the final weights too.
    pub save: Option<PathBuf>,
    /// The command that started the run, quoted for a shell, so that the run can be repeated; may be empty.
    pub command: String,
    /// The version of the program that computes the run; this library's if it is empty.
    pub version: String,
    /// Whether to show no progress.
    pub quiet: bool,
    /// The heading of the progress display; the preset's name if `None`.
    pub label: Option<String>,
    /// The share of training images that was held out, if these images replace the test images in all
    /// measurements.
    pub validation: Option<f64>,
    /// How many training images kept their labels, if not all did.
    pub labelled: Option<usize>,
    /// How the images were chosen apart from that, for loading the same ones: null, or an object for
    /// `config.json`.
    pub images: Value,
    /// The handle that asks the run to stop.
    pub stop: Stop,
}

/// How many samples are shown in `epochs` epochs of `count` samples.
///
/// # Errors
/// If the samples are too many to count.
pub fn shown(count: usize, epochs: usize) -> Result<usize> {
    /// More would take centuries, and could not be represented exactly everywhere.
    const MOST: usize = 1 << 48;
    count.checked_mul(epochs).filter(|&shown| shown <= MOST).ok_or_else(|| {
        Error::Argument(format!(
            "{epochs} epochs of {count} are too many to count: give fewer epochs"
        ))
    })
}

/// Returns the first lines of a report, which say that it was measured on validation images instead of test images, or
/// that only some labels were used; empty if neither is the case.
pub fn measured_on(validation: Option<f64>, labelled: Option<usize>) -> String {
    let share = validation.map(|share| {
        format!(
            "what is called test here is --validation {share}: images of the training set that were not learned from\n\n"
        )
    });
    let labelled = labelled.map(|count| {
        format!(
            "--labelled {count}: {count} training images keep their labels; the others are used only by what learns \
             without labels\n\n"
        )
    });
    [share, labelled].into_iter().flatten().collect()
}
