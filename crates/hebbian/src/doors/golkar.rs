//! The flags of Golkar et al. 2020.

use crate::{Asked, CommonArgs, Door};
use anyhow::{Result, bail};
use hebbian_data::DatasetName;
use hebbian_models::golkar::{self, Experiment, Golkar, Learner, Options, Preset, Way};
use hebbian_train::Run;
use std::path::Path;

/// Flags of a single run, which an experiment sets itself.
const SINGLE: [&str; 12] = [
    "preset",
    "backprop",
    "way",
    "units",
    "batch_size",
    "rate",
    "ridge",
    "level",
    "decoupled",
    "load",
    "save",
    "eval_only",
];

/// Flags of Golkar et al. 2020.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// An experiment: a name from --list [default without flags of a single circuit: digits]
    #[arg(long, value_name = "NAME", conflicts_with_all = SINGLE)]
    experiment: Option<Experiment>,
    /// How many seeds an experiment trains each network with, from --seed on [default: 3]
    #[arg(long, value_name = "N", conflicts_with_all = SINGLE)]
    seeds: Option<usize>,
    /// Train the same network by back-propagation
    #[arg(long)]
    backprop: bool,
    /// How a step is computed: surrogates, energy or explicit [default: the preset's]
    #[arg(long)]
    way: Option<Way>,
    /// Hidden units [default: the preset's]
    #[arg(long, value_name = "K")]
    units: Option<usize>,
    /// Samples per step; 1 is online [default: the preset's]
    #[arg(long)]
    batch_size: Option<usize>,
    /// Learning rate of the basal weights; the other rates are scaled by the same factor [default: the preset's]
    #[arg(long)]
    rate: Option<f64>,
    /// Ridge penalty, equivalent to noise of this variance on every input [default: the preset's]
    #[arg(long, value_name = "LAMBDA")]
    ridge: Option<f64>,
    /// Level of the constraint on the second moments of the activity [default: the preset's]
    #[arg(long, value_name = "RHO")]
    level: Option<f64>,
    /// Use separate weights for the synapses from pyramidal neurons to interneurons
    #[arg(long)]
    decoupled: bool,
    /// Passes over the samples
    #[arg(long)]
    epochs: Option<usize>,
}

impl Flags {
    /// Returns the experiment asked for; if there is none, the default one, unless a flag is for a single network.
    fn experiment(&self, common: &CommonArgs) -> Option<Experiment> {
        let Self { way, units, batch_size, rate, ridge, level, .. } = self;
        let single = common.is_single()
            || [way.is_some(), units.is_some(), batch_size.is_some()].contains(&true)
            || [rate, ridge, level].into_iter().any(|number| number.is_some())
            || self.backprop
            || self.decoupled;
        self.experiment.or((!single || self.seeds.is_some()).then_some(Experiment::Digits))
    }

    fn preset(&self, common: &CommonArgs) -> Result<Preset> {
        // Other images than those of the presets are learned by the network for the digits, whose splits are not
        // swapped.
        let known =
            common.dataset.as_deref().is_some_and(|name| name.parse::<DatasetName>().is_ok());
        let name = common.preset.as_deref().unwrap_or(match known && !common.on_digits() {
            true => "golkar-mnist",
            false => "golkar-digits",
        });
        let mut preset = golkar::preset(name)?;
        if preset.swapped.is_some() {
            check_roles(common, name, "choose another preset, or one with \"swapped\" null")?;
        }
        preset.units = self.units.unwrap_or(preset.units);
        preset.circuit.ridge = self.ridge.unwrap_or(preset.circuit.ridge);
        preset.circuit.level = self.level.unwrap_or(preset.circuit.level);
        preset.circuit.decoupled |= self.decoupled;
        let training = &mut preset.training;
        training.way = self.way.unwrap_or(training.way);
        training.epochs = self.epochs.unwrap_or(training.epochs);
        if let Some(rate) = self.rate {
            training.rates = training.rates.scaled(rate / training.rates.w1);
            preset.backprop.rate = rate;
        }
        if let Some(batch_size) = self.batch_size {
            training.batch_size = batch_size;
            preset.backprop.batch_size = batch_size;
        }
        preset.check()?;
        Ok(preset)
    }
}

/// Refuses flags that divide the training images, with which `what` is tested.
fn check_roles(common: &CommonArgs, what: &str, advice: &str) -> Result<()> {
    if let Some(share) = common.validation {
        bail!(
            "--validation {share}: {what} learns the test images and is tested with training images, as the paper \
             does: {advice}"
        );
    }
    if let Some(count) = common.labelled {
        bail!("--labelled {count}: {what} learns the test images, as the paper does: {advice}");
    }
    Ok(())
}

impl Door for Golkar {
    const ABOUT: &'static str = "Golkar et al. 2020: local supervision in a cortical microcircuit";
    const EXPERIMENTS: &'static [(&'static str, &'static str)] = Experiment::LIST;
    const NUMBERS: &'static [&'static str] =
        &["loss", "linear_optimum", "alignment", "interneuron_gap", "samples"];
    const BESIDE_PRESET: &'static [&'static str] = &["--backprop"];
    type Flags = Flags;

    fn options(common: &CommonArgs, flags: &Flags, run: Option<&Options>) -> Result<Options> {
        let backprop = flags.backprop || run.is_some_and(|run| run.backprop);
        let of_circuit = [
            ("--way", flags.way.is_some()),
            ("--level", flags.level.is_some()),
            ("--decoupled", flags.decoupled),
        ];
        if let (true, Some((flag, _))) = (backprop, of_circuit.iter().find(|(_, given)| *given)) {
            bail!("{flag} is for the circuit, and --backprop trains a network without one");
        }
        Ok(Options { preset: flags.preset(common)?, backprop })
    }

    fn study(common: &CommonArgs, flags: &Flags) -> Result<Option<Asked>> {
        let Some(experiment) = flags.experiment(common) else { return Ok(None) };
        let swapped = experiment.swapped(&common.name("digits")?);
        if swapped.is_some() {
            let what = format!("the experiment '{}'", experiment.name());
            check_roles(common, &what, "leave it out")?;
        }
        let how = (flags.epochs, flags.seeds);
        let asked = Asked::on_images(experiment.name(), how, move |study, data| {
            Ok(experiment.run(study, data)?)
        });
        let next = match common.on_digits() {
            true => "--list for circuits and experiments, --experiment fig3 --dataset mnist",
            false => "",
        };
        Ok(Some(Asked { swapped, next, ..asked }))
    }

    fn report(run: &Run<Learner>, out: &Path) -> Result<String> {
        Ok(golkar::report(run, out)?)
    }
}
