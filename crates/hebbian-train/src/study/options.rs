//! How a study is run.

use crate::engine::Stop;
use serde_json::Value;

/// How a study is run.
#[derive(Debug, Clone)]
pub struct StudyOptions {
    /// Epochs of each arm; `None` for those of the preset or, on the digits, for a number that takes minutes.
    pub epochs: Option<usize>,
    /// How many seeds each arm is trained with.
    pub seeds: usize,
    /// The first seed.
    pub seed: u64,
    /// The device, as `cpu`, `cuda` or `metal`.
    pub device: String,
    /// The version of the program that computes the study.
    pub version: String,
    /// Whether to read back the complete runs and continue the interrupted one.
    pub resume: bool,
    /// Whether a complete experiment with other settings in the same folder may be replaced. It may have taken hours,
    /// and the default folder is the same for all settings.
    pub replace: bool,
    /// Whether to show no progress.
    pub quiet: bool,
    /// The share of training images that was held out, if these images replace the test images in all measurements.
    pub validation: Option<f64>,
    /// How many training images kept their labels, if not all did.
    pub labelled: Option<usize>,
    /// As [`RunOptions::images`](crate::RunOptions).
    pub images: Value,
    /// How many networks learn at the same time. It does not change the results, except for times and speeds. Small
    /// networks use one core each; memory is needed for all of them.
    pub parallel: usize,
    /// The handle that asks the study to stop.
    pub stop: Stop,
}

/// One seed on the CPU, with the epochs of the preset and one network at a time.
impl Default for StudyOptions {
    fn default() -> Self {
        Self {
            epochs: None,
            seeds: 1,
            seed: 0,
            device: "cpu".to_string(),
            version: String::new(),
            resume: false,
            replace: false,
            quiet: false,
            validation: None,
            labelled: None,
            images: Value::Null,
            parallel: 1,
            stop: Stop::default(),
        }
    }
}

impl StudyOptions {
    /// The seeds of its runs.
    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        (0..self.seeds as u64).map(|i| self.seed.wrapping_add(i))
    }

    /// Says how numbers are averaged over the seeds, for a chart's title.
    pub fn averaged(&self) -> String {
        match self.seeds {
            1 => format!("seed {}", self.seed),
            seeds => format!("mean ± sd of {seeds} seeds"),
        }
    }
}
