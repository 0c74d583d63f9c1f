//! The flags of SoftHebb.

use crate::{CommonArgs, Door};
use anyhow::{Result, bail};
use hebbian_models::softhebb::{self, Learner, Mode, Options, Preset, Softhebb};
use hebbian_train::Run;
use std::path::Path;

/// Flags of SoftHebb.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Order of learning: successive, consecutive, simultaneous; or a control: random-calibrated,
    /// random-identity
    #[arg(long)]
    mode: Option<String>,
    /// Unsupervised epochs
    #[arg(long)]
    epochs: Option<usize>,
    /// Epochs of the head (of the whole network for back-propagation presets)
    #[arg(long)]
    head_epochs: Option<usize>,
    /// Images per unsupervised step
    #[arg(long)]
    batch_size: Option<usize>,
    /// Train the same head on raw pixels and on random features too [default: only on the digits]
    #[arg(long)]
    baselines: bool,
}

impl Flags {
    fn preset(&self, common: &CommonArgs) -> Result<Preset> {
        let name = common.preset.as_deref().unwrap_or(match common.dataset.as_deref() {
            Some("mnist" | "fashion-mnist") => "softhebb-cnn-mnist",
            Some("cifar10" | "cifar100") => "softhebb-cnn3-cifar",
            Some("digits") => "softhebb-mlp-digits",
            None if common.data_dir.is_none() => "softhebb-mlp-digits",
            _ => "softhebb-cnn-digits",
        });
        let mut preset = softhebb::preset(name)?;
        let training = &mut preset.training;
        if let Some(mode) = &self.mode {
            training.mode = match Mode::ALL.iter().find(|(name, _)| name == mode) {
                Some((_, mode)) => *mode,
                None => {
                    let known: Vec<&str> = Mode::ALL.iter().map(|(name, _)| *name).collect();
                    bail!("there is no mode '{mode}'; modes are: {}", known.join(", "))
                }
            };
        }
        training.epochs = self.epochs.unwrap_or(training.epochs);
        training.head_epochs = self.head_epochs.unwrap_or(training.head_epochs);
        training.batch_size = self.batch_size.unwrap_or(training.batch_size);
        Ok(preset)
    }
}

impl Door for Softhebb {
    const ABOUT: &'static str = "SoftHebb: deep soft winner-take-all networks that learn without feedback, targets or errors";
    const NEXT: &'static str =
        "--list for more networks, --dataset mnist or cifar10, --mode random-calibrated";
    type Flags = Flags;

    fn options(common: &CommonArgs, flags: &Flags) -> Result<Options> {
        let preset = flags.preset(common)?;
        let digits = common.dataset.as_deref().unwrap_or(&preset.dataset) == "digits";
        Ok(Options { baselines: flags.baselines || digits, preset })
    }

    fn report(run: &Run<Learner>, out: &Path) -> Result<String> {
        Ok(softhebb::report(run, out)?)
    }
}
