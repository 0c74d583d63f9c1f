//! Times a training step of a network of Amit 2019 under several protocols, on random images.
//!
//! `cargo run --release --example amit_step -- --network simpnet --batch 100` prints a JSON line a
//! protocol with the median time of a step; `benches/peers/amit_step.py` sets it beside PyTorch.

use anyhow::Result;
use candle::{DType, Tensor};
use candle_hebbian::{Rng, Steps};
use candle_nn::Optimizer;
use clap::Parser;
use hebbian::{DeviceArgs, tell};
use hebbian_models::amit::{Network, Protocol, preset};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Instant;

/// Time of a training step of a network of Amit 2019
#[derive(Debug, Parser)]
#[command(name = "amit_step", version)]
struct Args {
    /// simpnet, deepnet, deepernet, … : a preset without its "amit-"
    #[arg(long, default_value = "simpnet")]
    network: String,
    /// Images per step
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Steps to take the median of
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Protocols, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "bp,urfb,frfb")]
    protocols: Vec<Protocol>,
    #[command(flatten)]
    device: DeviceArgs,
}

fn main() -> ExitCode {
    hebbian::main(run)
}

fn run(args: Args) -> Result<String> {
    let chosen = args.device.choose()?;
    tell(&chosen.to_string());
    let device = &chosen.device;
    let mut report = String::new();
    let rng = Rng::new(0);
    let mut draw = rng.stream("images");
    let x = draw.uniform(0.0, 1.0, (args.batch, 3, 32, 32), DType::F32, device)?;
    let labels: Vec<u32> = (0..args.batch).map(|_| draw.below(10) as u32).collect();
    let labels = Tensor::new(labels, device)?;
    for protocol in args.protocols {
        let mut preset = preset(&format!("amit-{}", args.network))?;
        preset.training.protocol = protocol;
        let network = Network::new(&preset, (3, 32, 32), 10, &rng, DType::F32, device)?;
        let rate = preset.training.learning_rate;
        let mut optimizer = network.optimizer(|vars| Steps::builder(rate).build(vars))?;
        let mut masks = rng.stream("dropout");
        let mut times = Vec::new();
        for step in 0..args.steps + 2 {
            let started = Instant::now();
            let loss = network.loss(&network.forward_train(&x, &mut masks)?, &labels)?;
            optimizer.backward_step(&loss)?;
            device.synchronize()?;
            if step >= 2 {
                times.push(1e3 * started.elapsed().as_secs_f64()); // the first ones warm up
            }
        }
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
        writeln!(report, "{{\"protocol\": \"{protocol}\", \"median_ms\": {median:.2}}}")?;
    }
    Ok(report)
}
