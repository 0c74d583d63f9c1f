//! The flags of k-means on whitened patches.

use crate::{CommonArgs, Door};
use anyhow::Result;
use hebbian_models::k_means::{KMeans, Learner, Options, Preset, Start};
use hebbian_train::{Preset as _, Run, choose, find_preset};
use std::path::Path;

/// Flags of k-means on whitened patches.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Number of centroids [default: the preset's]
    #[arg(long, value_name = "N")]
    units: Option<usize>,
    /// Iterations of k-means; 0 for centroids as they start [default: the preset's]
    #[arg(long, value_name = "COUNT")]
    iterations: Option<usize>,
    /// What centroids start as: gaussian or patches [default: the preset's]
    #[arg(long)]
    start: Option<String>,
}

impl Door for KMeans {
    const ABOUT: &'static str =
        "Coates et al. 2011: k-means on whitened patches, a control without plasticity";
    const STEPS: bool = false;
    const NUMBERS: &'static [&'static str] = &["features", "ridge", "ridge on raw pixels"];
    type Flags = Flags;

    fn options(common: &CommonArgs, flags: &Flags, _: Option<&Options>) -> Result<Options> {
        let own = if common.on_digits() { "k-means-digits" } else { "k-means-cifar" };
        let mut preset: Preset = find_preset(common.preset.as_deref().unwrap_or(own))?;
        preset.units = flags.units.unwrap_or(preset.units);
        preset.iterations = flags.iterations.unwrap_or(preset.iterations);
        if let Some(start) = &flags.start {
            let all = [("gaussian", Start::Gaussian), ("patches", Start::Patches)];
            preset.start = choose("start", start, &all)?;
        }
        preset.validate()?;
        Ok(Options { preset })
    }

    fn report(run: &Run<Learner>, out: &Path) -> Result<String> {
        Ok(super::read_outs(&run.results, out))
    }
}
