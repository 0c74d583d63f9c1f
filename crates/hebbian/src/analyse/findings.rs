//! What an analysis is given, and what it finds.

use super::opened::Opened;
use super::settings::Settings;
use anyhow::{Result, bail};
use candle::Device;
use hebbian_train::{Picture, Table};
use serde_json::Value;

/// How analyses are run.
pub(super) struct How {
    pub settings: Settings,
    pub device: Device,
    pub quiet: bool,
}

/// The results of an analysis.
pub(super) struct Findings {
    pub picture: Picture,
    pub table: Table,
    /// All values, run by run.
    pub figures: Value,
    /// What is left out, and why.
    pub notes: Vec<String>,
}

/// Applies `of` to each run, and returns the results with the indices of the runs. Runs for which it fails are noted.
///
/// # Errors
/// If it fails for every run, with the reason of each.
pub(super) fn each<T>(
    runs: &[Opened],
    notes: &mut Vec<String>,
    mut of: impl FnMut(&Opened) -> Result<T>,
) -> Result<Vec<(usize, T)>> {
    let mut all = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        match of(run) {
            Ok(one) => all.push((at, one)),
            Err(error) => notes.push(format!("{}: {error:#}", run.name)),
        }
    }
    match all.is_empty() {
        true => bail!("{}", notes.join("; ")),
        false => Ok(all),
    }
}
