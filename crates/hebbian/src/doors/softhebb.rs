//! The flags of SoftHebb.

use crate::{Asked, CommonArgs, Door};
use anyhow::{Result, bail};
use hebbian_models::softhebb::{
    self, Experiment, HeadConfig, HeadLayers, Learner, Learning, Mode, Options, Preset, Softhebb,
};
use hebbian_train::Run;
use std::path::Path;

/// Flags of a single run, which an experiment sets itself.
const SINGLE: [&str; 11] = [
    "preset",
    "mode",
    "head_epochs",
    "head_layers",
    "head_mirrored",
    "augmented_copies",
    "batch_size",
    "baselines",
    "load",
    "save",
    "eval_only",
];

/// Flags of SoftHebb.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Compare networks: a name from --list
    #[arg(long, value_name = "NAME", conflicts_with_all = SINGLE)]
    experiment: Option<Experiment>,
    /// How many seeds an experiment trains each network with, from --seed on [default: 3]
    #[arg(long, value_name = "N", requires = "experiment")]
    seeds: Option<usize>,
    /// Order of learning: successive, consecutive, simultaneous; or a control: random-calibrated,
    /// random-identity; back-propagation has none
    #[arg(long)]
    mode: Option<Mode>,
    /// Unsupervised epochs; back-propagation has none, see --head-epochs [default: the preset's]
    #[arg(long)]
    epochs: Option<usize>,
    /// Epochs of the head (of the whole network for back-propagation presets)
    #[arg(long)]
    head_epochs: Option<usize>,
    /// Layers that the head reads: last, all [default: the preset's]
    #[arg(long, value_name = "LAYERS")]
    head_layers: Option<HeadLayers>,
    /// Let the head read the mean of the features of an image and of its mirror image [default: as the preset says]
    #[arg(long)]
    head_mirrored: bool,
    /// Augmented copies of the training images that the head learns from in turn, computed once [default: a new one for
    /// each epoch]
    #[arg(long, value_name = "COUNT")]
    augmented_copies: Option<usize>,
    /// Images per unsupervised step; back-propagation has none
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
        if preset.blocks.iter().any(|block| block.learning == Learning::Backprop) {
            self.check_backprop(name)?;
        }
        let is_plain = match &common.transforms.augment {
            Some(list) => list.is_empty(),
            None => preset.input.augmentation.is_empty(),
        };
        if let (Some(count @ 1..), true) = (self.augmented_copies, is_plain) {
            bail!(
                "--augmented-copies {count}: nothing augments the images, choose what with --augment"
            );
        }
        let training = &mut preset.training;
        training.mode = self.mode.unwrap_or(training.mode);
        training.epochs = self.epochs.unwrap_or(training.epochs);
        training.head_epochs = self.head_epochs.unwrap_or(training.head_epochs);
        training.batch_size = self.batch_size.unwrap_or(training.batch_size);
        training.augmented_copies = self.augmented_copies.or(training.augmented_copies);
        match (&mut preset.head, self.head_layers, self.head_mirrored) {
            (HeadConfig::Linear { layers, mirrored, .. }, asked, mirror) => {
                *layers = asked.unwrap_or(*layers);
                *mirrored |= mirror;
            }
            (_, None, false) => {}
            (_, Some(_), _) => bail!("--head-layers: the head of '{name}' is not linear"),
            (_, None, true) => bail!("--head-mirrored: the head of '{name}' is not linear"),
        }
        Ok(preset)
    }

    /// Refuses what does nothing in the back-propagation of the preset `name`.
    fn check_backprop(&self, name: &str) -> Result<()> {
        if self.mode.is_some() {
            bail!(
                "--mode: '{name}' learns by back-propagation, all layers at once: the modes are for layers that learn \
                 without labels"
            );
        }
        if let Some(count) = self.augmented_copies {
            bail!(
                "--augmented-copies {count}: '{name}' learns by back-propagation, from a new copy of the images in each \
                 epoch"
            );
        }
        let unsupervised = [("--epochs", self.epochs), ("--batch-size", self.batch_size)];
        let mut given = unsupervised.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        if let Some((flag, value)) = given.next() {
            bail!(
                "{flag} {value}: '{name}' learns by back-propagation, which has no unsupervised steps: its epochs are \
                 --head-epochs, and its batches have the \"head_batch_size\" of the preset"
            );
        }
        Ok(())
    }
}

impl Door for Softhebb {
    const ABOUT: &'static str = "SoftHebb: deep soft winner-take-all networks that learn without feedback, targets or errors";
    const NEXT: &'static str =
        "--list for more networks, --dataset mnist or cifar10, --mode random-calibrated";
    const EXPERIMENTS: &'static [(&'static str, &'static str)] = Experiment::LIST;
    const NUMBERS: &'static [&'static str] = &[
        "loss",
        "mean_radius",
        "winner_entropy",
        "silent_units",
        "left_start",
        "features",
        "head",
        "head on raw pixels",
        "head on random networks",
        "few labels",
        "ridge",
        "nearest class mean",
        "label assignment",
    ];
    const BESIDE_PRESET: &'static [&'static str] = &["--baselines"];
    type Flags = Flags;

    fn study(_common: &CommonArgs, flags: &Flags) -> Result<Option<Asked>> {
        let Some(experiment) = flags.experiment else { return Ok(None) };
        let how = (flags.epochs, flags.seeds);
        Ok(Some(Asked::on_images(experiment.name(), how, move |study, data| {
            Ok(experiment.run(study, data)?)
        })))
    }

    fn options(common: &CommonArgs, flags: &Flags, run: Option<&Options>) -> Result<Options> {
        let preset = flags.preset(common)?;
        let digits = common.dataset.as_deref().unwrap_or(&preset.dataset) == "digits"
            && common.data_dir.is_none();
        let baselines = flags.baselines || run.map_or(digits, |run| run.baselines);
        Ok(Options { baselines, preset })
    }

    fn report(run: &Run<Learner>, out: &Path) -> Result<String> {
        Ok(softhebb::report(run, out)?)
    }
}
