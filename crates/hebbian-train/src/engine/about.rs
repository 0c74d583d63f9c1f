use candle_hebbian::matmul_precision;
use hebbian_data::transforms::{InputConfig, Pipeline};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

use super::RunOptions;

/// What determines the numbers of a run, except for the weights that it starts from.
#[derive(Debug, Clone)]
pub struct About {
    /// The method's name in files: `softhebb`.
    pub method: &'static str,
    /// The preset's name.
    pub preset: String,
    /// The preset with overrides applied, and the method's other options.
    pub options: Value,
    /// The data set's name.
    pub dataset: String,
    /// Channels, height and width of an image, before transforms.
    pub image: (usize, usize, usize),
    /// The transforms and augmentation of the images, as the preset gives them.
    pub input: InputConfig,
    /// The transforms with what was fitted to training images; they are a part of the model.
    pub transforms: Pipeline,
    /// The name of each class.
    pub class_names: Vec<String>,
    /// How many images each part of the data set has.
    pub counts: Counts,
    /// The splits of the data set that hold the images for training and for testing, as
    /// [`Method::parts`](super::Method::parts) says.
    pub parts: [&'static str; 2],
    /// The [fingerprint](hebbian_data::Dataset::fingerprint) of the data set; `None` if the run makes its own data.
    pub fingerprint: Option<String>,
    /// Places in the options (such as `/preset/training/epochs`) at which a run that continues may
    /// have a larger number than it was started with.
    pub may_grow: &'static [&'static str],
}

/// How many images each part of a data set has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// For training.
    pub train: usize,
    /// For training without labels, in addition.
    pub unlabelled: usize,
    /// For validation.
    pub validation: usize,
    /// For testing.
    pub test: usize,
}

impl Counts {
    /// How many different images the network sees.
    pub fn seen(&self) -> usize {
        self.train + self.unlabelled
    }
}

impl About {
    /// The content of `config.json`.
    pub(super) fn config(&self, run: &RunOptions) -> Value {
        let load = run.load.as_ref().map(|path| path.display().to_string());
        json!({
            "method": self.method,
            "options": self.options,
            "dataset": self.dataset,
            "image": self.image,
            "class_names": self.class_names,
            "train_images": self.counts.train,
            // `null` if there are none, which compares equal to the missing field in files of
            // earlier versions.
            "unlabelled_images": Some(self.counts.unlabelled).filter(|&count| count > 0),
            "labelled": run.labelled,
            "validation_images": self.counts.validation,
            "test_images": self.counts.test,
            "fingerprint": self.fingerprint,
            "validation": run.validation,
            "images": run.images,
            "seed": run.seed,
            "device": run.device,
            "load": load,
            "command": Some(&run.command).filter(|command| !command.is_empty()),
            "environment": environment(),
            "version": if run.version.is_empty() { env!("CARGO_PKG_VERSION") } else { &run.version },
        })
    }
}

/// The environment that the run is computed in.
fn environment() -> Value {
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_string())
    });
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "processor": processor,
        "threads": candle::utils::get_num_threads(),
        "matmul_precision": matmul_precision().name(),
        // In seconds, to the millisecond.
        "started": started.as_millis() as f64 / 1e3,
    })
}
