//! The results of a run.

use std::collections::BTreeMap;
use std::time::Instant;

use candle::Tensor;
use hebbian_data::transforms::InputConfig;
use serde::{Deserialize, Serialize};

use crate::{ConfusionMatrix, Readout, Result};

/// The results of a run: the content of `results.json`, which means the same for every method. Fields that
/// earlier versions did not write are read as empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The method, such as `softhebb`.
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
    /// `None` if the figures are of test images.
    #[serde(default)]
    pub validation: Option<f64>,
    /// How many training images kept their labels, drawn by the seed; `None` if all did.
    #[serde(default)]
    pub labelled: Option<usize>,
    /// How images were transformed before the network saw them.
    #[serde(default, skip_serializing_if = "InputConfig::is_empty")]
    pub input: InputConfig,
    /// Share of the test set that was classified correctly, 0 to 1, at the end: by the first of the
    /// read-outs, or by the network itself if there are none.
    pub test_accuracy: f64,
    /// How this read-out or network classified the test images of each class, `counts[label][predicted]`.
    #[serde(default)]
    pub confusion: Option<ConfusionMatrix>,
    /// How many different images with labels were trained on.
    pub train_images: usize,
    /// How many different images without labels were trained on in addition.
    #[serde(default)]
    pub unlabelled_images: usize,
    /// Whether the network itself learned with labels.
    #[serde(default)]
    pub trained_with_labels: bool,
    /// How many batches the network learned from.
    #[serde(default)]
    pub training_steps: u64,
    /// How many images the network was shown, counting repetitions.
    #[serde(default)]
    pub training_images: u64,
    /// How often the network was shown each image.
    #[serde(default)]
    pub training_epochs: f64,
    /// Wall-clock time of this training, without the measurements in between.
    #[serde(default)]
    pub training_seconds: f64,
    /// The same time if the network learned without labels, else 0.
    pub unsupervised_seconds: f64,
    /// Images shown during that time, per second.
    pub unsupervised_images_per_second: f64,
    /// The results of the read-outs of its features.
    #[serde(default)]
    pub readouts: Vec<ReadoutResult>,
    /// The [`seconds`](ReadoutResult::seconds) of the first read-out.
    pub head_seconds: f64,
    /// Wall-clock time from start to end; for a resumed run, including the time before it was resumed.
    pub total_seconds: f64,
    /// The process's peak of resident memory on the host, if the system reports it.
    pub peak_memory_bytes: Option<u64>,
    /// Further results that the method reports, written beside the fields above.
    #[serde(flatten)]
    pub extras: BTreeMap<String, serde_json::Value>,
}

/// Which images measure a run whose share of held-out training images is `validation`: `validation` if there is such a
/// share, else `test`.
pub fn part(validation: Option<f64>) -> &'static str {
    if validation.is_some() { "validation" } else { "test" }
}

impl Results {
    /// Returns the accuracies of the read-outs by name, in the order of their names' first appearance. A control that
    /// was tested on several networks with random weights has as many.
    pub fn readout_accuracies(&self) -> Vec<(&str, Vec<f64>)> {
        let mut all: Vec<(&str, Vec<f64>)> = Vec::new();
        for ReadoutResult { name, test_accuracy, .. } in &self.readouts {
            match all.iter_mut().find(|(known, _)| known == name) {
                Some((_, accuracies)) => accuracies.push(*test_accuracy),
                None => all.push((name, vec![*test_accuracy])),
            }
        }
        all
    }
}

/// How well classes were read out of features.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadoutResult {
    /// The read-out, and what it reads if not the network's features: `head`, `ridge`, `head on raw pixels`. If one is
    /// tested on several networks with random weights, the results have the same name.
    pub name: String,
    /// Share of the test set that was classified correctly, 0 to 1.
    pub test_accuracy: f64,
    /// Wall-clock time of its training, including the measurements in between, and the features of the training and
    /// test images if they were not computed before.
    pub seconds: f64,
    /// How many features it reads.
    pub features: usize,
    /// How the test images of each class were classified, `counts[label][predicted]`.
    pub confusion: Option<ConfusionMatrix>,
}

impl ReadoutResult {
    /// Tests a read-out, whose training began at `started`, on `features (N, F)`, each row with a label
    /// below `classes`. Its training ends once the device of the features has nothing left to compute.
    ///
    /// # Errors
    /// When the features do not fit the read-out, or the labels do not fit the features or classes.
    pub fn judge(
        name: &str,
        started: Instant,
        readout: &dyn Readout,
        features: &Tensor,
        labels: &[u32],
        classes: usize,
    ) -> Result<Self> {
        features.device().synchronize()?;
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

/// The most memory that this process has held at once, in bytes; `None` if the system does not
/// report it (Linux does).
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
