//! Golkar et al. 2020: a microcircuit that learns locally and matches back-propagation.
//!
//! `cargo run --release --example golkar` trains a linear and a rectified circuit on the embedded 8×8
//! digits, beside back-propagation and the best that a linear network can do.
//!
//! `… -- --experiment fig3 --dataset mnist` draws a curve of the paper's Fig. 3, `--experiment table1
//! --dataset mnist` makes its Table 1. `… -- --preset golkar-mnist-online` trains one circuit. `… --
//! --list` lists circuits and experiments.

use anyhow::Result;
use clap::Parser;
use hebbian_data::DatasetName;
use hebbian_examples::CommonArgs;
use hebbian_models::golkar::{self, Experiment, Options, Preset, Way};
use std::process::ExitCode;

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

/// Golkar et al. 2020: local supervision in a cortical microcircuit
#[derive(Debug, Parser)]
#[command(name = "golkar", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// An experiment: a name from --list [default without flags of a single circuit: digits, or
    /// fig3 with another --dataset]
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
    /// Rate of the basal weights; those of the others follow in proportion [default: the preset's]
    #[arg(long)]
    rate: Option<f64>,
    /// Ridge, as noise of this variance on every input [default: the preset's]
    #[arg(long, value_name = "LAMBDA")]
    ridge: Option<f64>,
    /// Level of the constraint on the activity's moments [default: the preset's]
    #[arg(long, value_name = "RHO")]
    level: Option<f64>,
    /// Give pyramidal-to-interneuron synapses weights of their own
    #[arg(long)]
    decoupled: bool,
    /// Times the samples are seen
    #[arg(long)]
    epochs: Option<usize>,
}

impl Args {
    /// The experiment asked for; without flags of a single circuit, the one for the data set.
    fn experiment(&self) -> Option<Experiment> {
        let Self { common, way, units, batch_size, rate, ridge, level, .. } = self;
        let single = common.preset.is_some()
            || [&common.load, &common.save].into_iter().any(Option::is_some)
            || [way.is_some(), units.is_some(), batch_size.is_some()].contains(&true)
            || [rate, ridge, level].into_iter().any(|number| number.is_some())
            || self.backprop
            || self.decoupled;
        let digits = common.dataset.as_deref().is_none_or(|name| name == "digits");
        let first = if digits { Experiment::Digits } else { Experiment::Fig3 };
        self.experiment.or((!single || self.seeds.is_some()).then_some(first))
    }

    fn preset(&self) -> Result<Preset> {
        let name = self.common.preset.as_deref().unwrap_or(match self.common.dataset.as_deref() {
            None | Some("digits") => "golkar-digits",
            _ => "golkar-mnist",
        });
        let mut preset = golkar::preset(name)?;
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

fn main() -> ExitCode {
    hebbian_examples::main(run)
}

fn run(args: Args) -> Result<String> {
    if args.common.list {
        return Ok(golkar::list()?);
    }
    if let Some(experiment) = args.experiment() {
        return run_experiment(experiment, &args);
    }
    let preset = args.preset()?;
    let (device, run) = args.common.run()?;
    let data = args.common.announced_dataset(&preset.dataset, &preset.name)?;
    let out = args.common.folder(&preset.name);
    let options = Options { preset, backprop: args.backprop, run };
    if args.common.eval_only {
        let accuracy = golkar::evaluate(&options, &data, &device)?;
        return Ok(format!("test accuracy {:.2} %\n", 100.0 * accuracy));
    }
    let outcome = golkar::train(&options, &data, &device, &out)?;
    Ok(golkar::report(&outcome, &out))
}

fn run_experiment(experiment: Experiment, args: &Args) -> Result<String> {
    let common = &args.common;
    let (device, options) = common.experiment(args.epochs, args.seeds.unwrap_or(3))?;
    let data = common.announced_dataset("digits", experiment.name())?;
    let out = common.folder(&format!("golkar-{}-{}", experiment.name(), data.name));
    let report = experiment.run(&options, &data, &device, &out)?;
    let next = "next: --list for circuits and experiments, --experiment fig3 --dataset mnist\n";
    Ok(if data.name == DatasetName::Digits { report + next } else { report })
}
