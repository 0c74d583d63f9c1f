//! The final figures of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a run ends with: the content of `results.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Share of the test set that was classified correctly, 0 to 1, after the last epoch.
    pub test_accuracy: f64,
    /// How many different images were trained on.
    pub train_images: usize,
    /// Wall-clock time of the training without labels.
    pub unsupervised_seconds: f64,
    /// Images presented during that time, per second.
    pub unsupervised_images_per_second: f64,
    /// Wall-clock time of the read-out's training, its features included.
    pub head_seconds: f64,
    /// Wall-clock time from start to end.
    pub total_seconds: f64,
    /// The process's peak of resident memory on the host, where the system tells it.
    pub peak_memory_bytes: Option<u64>,
    /// The seed all random numbers came from.
    pub seed: u64,
    /// The device, as the user named it.
    pub device: String,
    /// The preset.
    pub preset: String,
    /// The data set.
    pub dataset: String,
    /// Whatever else the recipe reports, written beside the others.
    #[serde(flatten)]
    pub extras: BTreeMap<String, serde_json::Value>,
}

/// The most memory that this process has held at once, in bytes; `None` where the system does not
/// say (it is known on Linux).
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
