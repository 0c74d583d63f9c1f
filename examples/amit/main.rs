//! Amit 2019: deep learning with asymmetric feedback that learns by the same Hebbian product.
//!
//! `cargo run --release --example amit` trains four hidden layers on the embedded 8×8 digits by
//! back-propagation, updated random feedback (URFB) and fixed random feedback (FRFB), three seeds
//! each, and prints a table.
//!
//! `… -- --experiment fig5` repeats a figure of the paper on the digits in minutes, with `--dataset
//! cifar10` as in the paper. `… -- --preset amit-simpnet --protocol urfb --epochs 20` trains one
//! network on CIFAR-10. `… -- --list` lists networks and figures.

use anyhow::{Result, bail};
use clap::Parser;
use hebbian_examples::CommonArgs;
use hebbian_models::amit::{self, Experiment, Loss, Options, Preset, Protocol};
use std::process::ExitCode;

/// Flags of a single run, which an experiment sets itself.
const SINGLE: [&str; 9] = [
    "preset",
    "protocol",
    "loss",
    "connection_probability",
    "batch_size",
    "learning_rate",
    "load",
    "save",
    "eval_only",
];

/// Amit 2019: deep networks with asymmetric feedback and Hebbian updates
#[derive(Debug, Parser)]
#[command(name = "amit", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// Repeat a figure: a name from --list [default without flags of a single network: protocols]
    #[arg(long, value_name = "NAME", conflicts_with_all = SINGLE)]
    experiment: Option<Experiment>,
    /// How many seeds an experiment trains each network with, from --seed on [default: 3; with
    /// --dataset other than digits 1]
    #[arg(long, value_name = "N", conflicts_with_all = SINGLE)]
    seeds: Option<usize>,
    /// How the error goes back: bp, urfb, frfb (or fa), partial:RATE, identical, dfa, usf, brsf,
    /// frsf [default: the preset's]
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Loss of the class layer: hinge or softmax [default: the preset's]
    #[arg(long)]
    loss: Option<String>,
    /// Keep each connection with this probability, the class layer's excepted
    #[arg(long, value_name = "P")]
    connection_probability: Option<f64>,
    /// Times the training images are seen; 0 only measures the start
    #[arg(long)]
    epochs: Option<usize>,
    /// Images per step
    #[arg(long)]
    batch_size: Option<usize>,
    /// Rate of gradient descent
    #[arg(long)]
    learning_rate: Option<f64>,
}

impl Args {
    /// The experiment asked for; without flags of a single network, the first.
    fn experiment(&self) -> Option<Experiment> {
        let Self { common, protocol, loss, connection_probability: p, batch_size, .. } = self;
        let single = [&common.preset, &common.dataset, loss].into_iter().any(Option::is_some)
            || [&common.load, &common.save].into_iter().any(Option::is_some)
            || (protocol.is_some() || p.is_some() || batch_size.is_some())
            || self.learning_rate.is_some();
        self.experiment.or((!single || self.seeds.is_some()).then_some(Experiment::Protocols))
    }

    fn preset(&self) -> Result<Preset> {
        let name = self.common.preset.as_deref().unwrap_or(match self.common.dataset.as_deref() {
            None | Some("digits") => "amit-digits",
            _ => "amit-simpnet",
        });
        let mut preset = amit::preset(name)?;
        let training = &mut preset.training;
        training.protocol = self.protocol.unwrap_or(training.protocol);
        training.loss = match self.loss.as_deref() {
            None => training.loss,
            Some("hinge") => Loss::Hinge { mu: None },
            Some("softmax") => Loss::Softmax {},
            Some(other) => bail!("there is no loss '{other}'; losses are: hinge, softmax"),
        };
        training.connection_probability =
            self.connection_probability.or(training.connection_probability);
        training.epochs = self.epochs.unwrap_or(training.epochs);
        training.batch_size = self.batch_size.unwrap_or(training.batch_size);
        training.learning_rate = self.learning_rate.unwrap_or(training.learning_rate);
        preset.check()?;
        Ok(preset)
    }
}

fn main() -> ExitCode {
    hebbian_examples::main(run)
}

fn run(args: Args) -> Result<String> {
    if args.common.list {
        return Ok(amit::list()?);
    }
    if let Some(experiment) = args.experiment() {
        return run_experiment(experiment, &args);
    }
    let preset = args.preset()?;
    let (device, run) = args.common.run()?;
    let data = args.common.announced_dataset(&preset.dataset, &preset.name)?;
    let out = args.common.folder(&preset.name);
    let options = Options { preset, run };
    if args.common.eval_only {
        let accuracy = amit::evaluate(&options, &data, &device)?;
        return Ok(format!("test accuracy {:.2} %\n", 100.0 * accuracy));
    }
    let outcome = amit::train(&options, &data, &device, &out)?;
    let next = "next: --protocol bp, frfb or partial:0.5 to compare, --experiment fig5, --list\n";
    Ok(amit::report(&outcome, &options.preset, &out)? + next)
}

fn run_experiment(experiment: Experiment, args: &Args) -> Result<String> {
    let common = &args.common;
    let limits = common.limit_train.is_some() || common.limit_test.is_some();
    if !experiment.needs_images() && (limits || common.dataset.is_some()) {
        bail!("{} makes its own data: leave out --dataset and --limit-…", experiment.name());
    }
    let seeds = args.seeds.unwrap_or(if common.on_digits() { 3 } else { 1 });
    let (device, options) = common.experiment(args.epochs, seeds)?;
    let data = match experiment.needs_images() {
        true => Some(common.announced_dataset("digits", experiment.name())?),
        false => None,
    };
    let out = common.folder(&match &data {
        Some(data) => format!("amit-{}-{}", experiment.name(), data.name),
        None => format!("amit-{}", experiment.name()),
    });
    let report = experiment.run(&options, data.as_ref(), &device, &out)?;
    let next = "next: --list for the paper's figures and networks, --protocol urfb for one run\n";
    Ok(if experiment == Experiment::Protocols { report + next } else { report })
}
