//! The final figures of a run.

use std::collections::BTreeMap;
use std::time::Instant;

use candle::Tensor;
use hebbian_data::transforms::InputConfig;
use serde::{Deserialize, Serialize};

use crate::{ConfusionMatrix, Readout, Result};

/// What a run ends with: the content of `results.json`, which means the same for every method. Fields that
/// earlier versions did not write are read as empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The method, as `softhebb`.
    #[serde(default)]
    pub method: String,
    /// The preset.
    pub preset: String,
    /// The data set.
    pub dataset: String,
    /// The seed all random numbers came from.
    pub seed: u64,
    /// The device, as the user named it.
    pub device: String,
    /// The share of training images that was held out and stands in for the test images in all figures;
    /// none where they are of test images.
    #[serde(default)]
    pub validation: Option<f64>,
    /// How many training images kept their labels, drawn by the seed; none where all did.
    #[serde(default)]
    pub labelled: Option<usize>,
    /// What was done to images before the network saw them.
    #[serde(default, skip_serializing_if = "InputConfig::is_empty")]
    pub input: InputConfig,
    /// Share of the test set that was classified correctly, 0 to 1, at the end: by the first of the
    /// read-outs, or by the network itself where there are none.
    pub test_accuracy: f64,
    /// How the test images of each class were classified by the same, `counts[label][predicted]`.
    #[serde(default)]
    pub confusion: Option<ConfusionMatrix>,
    /// How many different images with labels were trained on.
    pub train_images: usize,
    /// How many without labels, beside those.
    #[serde(default)]
    pub unlabelled_images: usize,
    /// Whether the network itself learned with labels.
    #[serde(default)]
    pub trained_with_labels: bool,
    /// Batches that the network learned from.
    #[serde(default)]
    pub training_steps: u64,
    /// Images that it was shown, each as often as it was.
    #[serde(default)]
    pub training_images: u64,
    /// How often it was shown each.
    #[serde(default)]
    pub training_epochs: f64,
    /// Wall-clock time of that, without what was measured in between.
    #[serde(default)]
    pub training_seconds: f64,
    /// The same where it learned without labels, else 0.
    pub unsupervised_seconds: f64,
    /// Images shown during that time, per second.
    pub unsupervised_images_per_second: f64,
    /// What was read out of its features.
    #[serde(default)]
    pub readouts: Vec<ReadoutResult>,
    /// Wall-clock time of the first read-out, its features included.
    pub head_seconds: f64,
    /// Wall-clock time from start to end; of a resumed run, with the time before.
    pub total_seconds: f64,
    /// The process's peak of resident memory on the host, where the system tells it.
    pub peak_memory_bytes: Option<u64>,
    /// Whatever else the method reports, written beside the others.
    #[serde(flatten)]
    pub extras: BTreeMap<String, serde_json::Value>,
}

impl Results {
    /// What its images to test with are: `test` or `validation`.
    pub fn part(&self) -> &'static str {
        if self.validation.is_some() { "validation" } else { "test" }
    }
}

/// How well classes were read out of features.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadoutResult {
    /// Which read-out, of what: `head`, `ridge`, `head on raw pixels`.
    pub name: String,
    /// Share of the test set that was classified correctly, 0 to 1.
    pub test_accuracy: f64,
    /// Wall-clock time of its training, its features included where they were not there already.
    pub seconds: f64,
    /// Features that it reads.
    pub features: usize,
    /// How the test images of each class were classified, `counts[label][predicted]`.
    pub confusion: Option<ConfusionMatrix>,
}

impl ReadoutResult {
    /// What a read-out whose training began at `started` makes of test `features (N, F)`, with a label of
    /// so many `classes` each.
    ///
    /// # Errors
    /// Features that it does not read; labels that do not fit.
    pub fn judge(
        name: &str,
        started: Instant,
        readout: &dyn Readout,
        features: &Tensor,
        labels: &[u32],
        classes: usize,
    ) -> Result<Self> {
        let seconds = started.elapsed().as_secs_f64();
        let predicted = readout.predict(features)?.to_vec1::<u32>()?;
        let confusion = ConfusionMatrix::new(labels, &predicted, classes)?;
        Ok(Self {
            name: name.to_string(),
            test_accuracy: confusion.accuracy(),
            seconds,
            features: features.dim(1)?,
            confusion: Some(confusion),
        })
    }
}

/// The most memory that this process has held at once, in bytes; `None` where the system does not
/// say (it is known on Linux).
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
