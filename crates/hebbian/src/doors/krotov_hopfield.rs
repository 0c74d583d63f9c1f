//! The flags of Krotov & Hopfield 2019.

use crate::{CommonArgs, Door};
use anyhow::Result;
use hebbian_models::krotov_hopfield::{KrotovHopfield, Learner, Options, Preset};
use hebbian_train::{Preset as _, Run, find_preset};
use std::path::Path;

/// Flags of Krotov & Hopfield 2019.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Hidden units [default: the preset's]
    #[arg(long, value_name = "K")]
    units: Option<usize>,
    /// Rank of the unit that moves away from an image [default: the preset's]
    #[arg(long, value_name = "RANK")]
    rank: Option<usize>,
    /// Unsupervised epochs; 0 reads out random weights [default: the preset's]
    #[arg(long)]
    epochs: Option<usize>,
    /// Epochs of the head [default: the preset's]
    #[arg(long)]
    head_epochs: Option<usize>,
}

impl Door for KrotovHopfield {
    const ABOUT: &'static str =
        "Krotov & Hopfield 2019: unsupervised learning by competing hidden units";
    const NUMBERS: &'static [&'static str] = &["mean_norm", "features", "head"];
    type Flags = Flags;

    fn options(common: &CommonArgs, flags: &Flags, _: Option<&Options>) -> Result<Options> {
        let own = ["krotov-hopfield-mnist-100", "krotov-hopfield-digits"];
        let own = own[usize::from(common.on_digits())];
        let mut preset: Preset = find_preset(common.preset.as_deref().unwrap_or(own))?;
        preset.units = flags.units.unwrap_or(preset.units);
        preset.competition.k = flags.rank.unwrap_or(preset.competition.k);
        preset.epochs = flags.epochs.unwrap_or(preset.epochs);
        preset.head.epochs = flags.head_epochs.unwrap_or(preset.head.epochs);
        preset.validate()?;
        Ok(Options { preset })
    }

    fn report(Run { results, .. }: &Run<Learner>, out: &Path) -> Result<String> {
        let (accuracy, seconds) = (100.0 * results.test_accuracy, results.unsupervised_seconds);
        let (head, out) = (results.head_seconds, out.display());
        Ok(format!(
            "test accuracy {accuracy:.2} %\nunsupervised {seconds:.1} s, head {head:.1} s\nwrote {out}\n"
        ))
    }
}
