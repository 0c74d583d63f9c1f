use serde::Serialize;
use std::path::PathBuf;

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
