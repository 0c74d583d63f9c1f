//! Amit 2019: deep learning with asymmetric feedback that learns by the same Hebbian product.
//!
//! `cargo run --release --example amit` trains a deep network on the embedded 8×8 digits with
//! updated random feedback, fixed random feedback and back-propagation, and prints a table.
//!
//! `… -- --preset amit-simpnet --protocol urfb --epochs 20` trains one network on CIFAR-10.

use anyhow::{Result, bail};
use candle_hebbian::Protocol;
use clap::Parser;
use hebbian_examples::CommonArgs;
use hebbian_models::amit::{self, Loss, Options, Preset};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Amit 2019: deep networks with asymmetric feedback and Hebbian updates
#[derive(Debug, Parser)]
#[command(name = "amit", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
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
    /// Times the training images are seen
    #[arg(long)]
    epochs: Option<usize>,
    /// Images per step
    #[arg(long)]
    batch_size: Option<usize>,
    /// Rate of gradient descent
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Go on with the interrupted run in the folder of --out
    #[arg(long, conflicts_with = "load")]
    resume: bool,
}

impl Args {
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
        Ok(preset)
    }
}

fn main() -> ExitCode {
    hebbian_examples::main(run)
}

fn run(args: Args) -> Result<String> {
    let preset = args.preset()?;
    let save = args.common.save()?;
    let (device, device_name) = args.common.device()?;
    let data = args.common.dataset(&preset.dataset)?;
    args.common.tell(&format!(
        "{} on {}: {} training images, {} test images, device {device_name}",
        preset.name,
        data.name,
        data.train.len(),
        data.test.len()
    ));
    let out = args.common.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&preset.name));
    let options = Options {
        preset,
        seed: args.common.seed,
        device: device_name.to_string(),
        load: args.common.load.clone(),
        resume: args.resume,
        save,
        quiet: args.common.quiet,
    };
    if args.common.eval_only {
        let accuracy = amit::evaluate(&options, &data, &device)?;
        return Ok(format!("test accuracy {:.2} %\n", 100.0 * accuracy));
    }
    let outcome = amit::train(&options, &data, &device, &out)?;
    let mut text = String::new();
    writeln!(text, "test accuracy {:.2} %", 100.0 * outcome.results.test_accuracy)?;
    for (epoch, values) in outcome.history.iter().rev().take(1) {
        writeln!(text, "epoch {epoch}: {values:.3?}")?;
    }
    Ok(text)
}
