//! Times online learning (one sample a step) of a circuit of Golkar et al. 2020, on random samples.
//!
//! `cargo run --release --example golkar_online -- --units 64` prints a JSON line with the samples
//! per second; `benches/peers/golkar_online.py` sets it beside NumPy.

use anyhow::Result;
use candle::{DType, Device};
use candle_hebbian::Rng;
use clap::Parser;
use hebbian_models::golkar::{Circuit, CircuitConfig, Initial, Nonlinearity, Online, Rates};
use std::process::ExitCode;
use std::time::Instant;

/// Speed of online learning of a circuit of Golkar et al. 2020
#[derive(Debug, Parser)]
#[command(name = "golkar_online", version)]
struct Args {
    /// Inputs
    #[arg(long, default_value_t = 784)]
    inputs: usize,
    /// Hidden units
    #[arg(long, default_value_t = 64)]
    units: usize,
    /// Outputs
    #[arg(long, default_value_t = 10)]
    outputs: usize,
    /// Samples
    #[arg(long, default_value_t = 20_000)]
    samples: usize,
}

fn main() -> ExitCode {
    hebbian::main(run)
}

fn run(args: Args) -> Result<String> {
    let Args { inputs, units, outputs, samples } = args;
    let config = CircuitConfig {
        nonlinearity: Nonlinearity::Relu,
        mean_rate: 1e-4,
        ridge: 0.0,
        level: 1.0,
        decoupled: false,
    };
    let (rng, device) = (Rng::new(0), Device::Cpu);
    let sizes = (inputs, units, outputs);
    let initial = Initial { w1: 0.01, w2: 0.1, q: 1.0 / 3.0 };
    let circuit = Circuit::new(config, sizes, initial, &rng, DType::F32, &device)?;
    let mut draw = rng.stream("samples");
    let mut rows = |columns| -> Result<Vec<Vec<f32>>> {
        Ok(draw.normal(0.0, 1.0, (1000, columns), DType::F32, &device)?.to_vec2()?)
    };
    let (x, y) = (rows(inputs)?, rows(outputs)?);
    let mut online = Online::of(&circuit)?;
    let rates = Rates { w1: 1e-4, w2: 2e-5, q: 1e-4 };
    let started = Instant::now();
    for sample in 0..samples {
        online.step(&x[sample % x.len()], &y[sample % y.len()], rates)?;
    }
    let speed = samples as f64 / started.elapsed().as_secs_f64();
    let line = serde_json::json!({
        "inputs": inputs,
        "units": units,
        "outputs": outputs,
        "samples_per_second": speed,
    });
    Ok(format!("{line}\n"))
}
