//! The flags of GHL.

use crate::{Asked, CommonArgs, Door};
use anyhow::{Result, bail};
use hebbian_models::ghl::{Experiment, Ghl, Learner, Learning, Options, Preset};
use hebbian_train::{Preset as _, Run, choose, find_preset};
use std::fmt::Write;
use std::mem::discriminant;
use std::path::Path;

/// Flags of a single run, which an experiment sets itself.
const SINGLE: [&str; 10] = [
    "preset",
    "learning",
    "conv_learning_rate",
    "learning_rate",
    "weight_decay",
    "size",
    "batch_size",
    "load",
    "save",
    "eval_only",
];

/// Flags of GHL.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Compare networks: a name from --list
    #[arg(long, value_name = "NAME", conflicts_with_all = SINGLE)]
    experiment: Option<Experiment>,
    /// How many seeds an experiment trains each network with, from --seed on [default: 3]
    #[arg(long, value_name = "N", requires = "experiment")]
    seeds: Option<usize>,
    /// What the convolutions learn by: ghl, or a control: sign-only, bp, frozen [default: the preset's]
    #[arg(long, value_name = "NAME")]
    learning: Option<String>,
    /// First learning rate of the convolutions; with bp, a rate of its own [default: the preset's]
    #[arg(long, value_name = "RATE")]
    conv_learning_rate: Option<f64>,
    /// First learning rate of everything else [default: the preset's]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Weight decay of the convolutions [default: the preset's]
    #[arg(long, value_name = "LAMBDA")]
    weight_decay: Option<f64>,
    /// Size of the steps of sign-only, relative to the largest of ghl [default: 0.15]
    #[arg(long, value_name = "SIZE")]
    size: Option<f64>,
    /// Images per step [default: the preset's]
    #[arg(long)]
    batch_size: Option<usize>,
    /// Passes over the training images [default: the preset's]
    #[arg(long)]
    epochs: Option<usize>,
}

impl Door for Ghl {
    const ABOUT: &'static str =
        "Hua et al. 2026 (GHL): Hebbian learning with the direction of back-propagation";
    const NEXT: &'static str = "--experiment rules to compare, --list";
    const EXPERIMENTS: &'static [(&'static str, &'static str)] = Experiment::LIST;
    const NUMBERS: &'static [&'static str] = &["error"];
    type Flags = Flags;

    fn study(_common: &CommonArgs, flags: &Flags) -> Result<Option<Asked>> {
        let Some(experiment) = flags.experiment else { return Ok(None) };
        let how = (flags.epochs, flags.seeds);
        Ok(Some(Asked::on_images(experiment.name(), how, move |study, data| {
            Ok(experiment.run(study, data)?)
        })))
    }

    fn options(common: &CommonArgs, flags: &Flags, _: Option<&Options>) -> Result<Options> {
        let own = if common.on_digits() { "ghl-digits" } else { "fasthebb-cifar" };
        let mut preset: Preset = find_preset(common.preset.as_deref().unwrap_or(own))?;
        let training = &mut preset.training;
        if let Some(name) = &flags.learning {
            let learning = choose("learning", name, &Learning::ALL)?;
            // The preset's own parameter, if it has the same kind.
            if discriminant(&learning) != discriminant(&training.learning) {
                training.learning = learning;
            }
        }
        match (&mut training.learning, flags.size) {
            (Learning::SignOnly { size }, Some(given)) => *size = given,
            (_, Some(given)) => bail!("--size {given} is for --learning sign-only"),
            _ => {}
        }
        let of_learning = [flags.conv_learning_rate, flags.weight_decay];
        if training.learning == (Learning::Frozen {}) && of_learning.iter().any(Option::is_some) {
            bail!(
                "--conv-learning-rate and --weight-decay do nothing where the convolutions are frozen"
            );
        }
        match &mut training.learning {
            Learning::Backprop { learning_rate } => {
                *learning_rate = flags.conv_learning_rate.or(*learning_rate);
            }
            _ => {
                training.conv_learning_rate =
                    flags.conv_learning_rate.unwrap_or(training.conv_learning_rate);
            }
        }
        training.learning_rate = flags.learning_rate.unwrap_or(training.learning_rate);
        training.weight_decay = flags.weight_decay.unwrap_or(training.weight_decay);
        training.batch_size = flags.batch_size.unwrap_or(training.batch_size);
        training.epochs = flags.epochs.unwrap_or(training.epochs);
        preset.validate()?;
        Ok(Options { preset })
    }

    fn report(run: &Run<Learner>, out: &Path) -> Result<String> {
        let results = &run.results;
        let mut text = format!("test accuracy {:.2} %\n", 100.0 * results.test_accuracy);
        if let Some((epoch, last)) = run.history.by_epoch().last()
            && let Some(error) = last.get("train_error")
        {
            writeln!(text, "training error in epoch {epoch} {:.2} %", 100.0 * error)?;
        }
        writeln!(text, "training {:.1} s\nwrote {}", results.training_seconds, out.display())?;
        Ok(text)
    }
}
