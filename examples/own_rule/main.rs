//! Write your own rule: Sanger's generalised Hebbian algorithm (Neural Networks 2:459, 1989), which
//! finds the principal components of its input, strongest first.
//!
//! `cargo run --release --example own_rule` trains it on the embedded digits, in a dense layer and
//! in a convolution, and compares each unit with the component that power iteration finds. Expect
//! every cosine above 0.99 in a few seconds. No code of the rule depends on a geometry or a device:
//! it runs unchanged with `--device cuda` or `metal`.

use anyhow::Result;
use candle::{DType, Device, Tensor};
use candle_hebbian::{Conv2dConfig, Geometry, Layer, Rng, State, Synapses, Update};
use candle_nn::{Optimizer, SGD};
use clap::Parser;
use hebbian::{DeviceArgs, tell};
use hebbian_data::Batches;
use std::fmt::Write;
use std::process::ExitCode;

/// `Δw_k = Σ y_k (x − Σ_{j≤k} y_j w_j)`: Oja's rule on what the units before `k` leave of `x`. For
/// each site, this is `yᵀx − lower(yᵀy)·w`.
fn sanger(synapses: &Synapses, _: &mut State) -> candle::Result<Update> {
    let post = synapses.post();
    let lower = Tensor::tril2(post.dim(2)?, post.dtype(), post.device())?;
    let taken = post.transpose(1, 2)?.matmul(post)?.broadcast_mul(&lower)?;
    Ok(Update::hebbian(post.clone()).mixing(taken))
}

/// Trains on `images`, and returns each unit's cosine with the principal component of the same number.
fn train(layer: &Layer, images: &Tensor, rng: &mut Rng) -> Result<Vec<f64>> {
    const EPOCHS: usize = 100;
    let respond = |batch: &Tensor| match layer.geometry() {
        Geometry::Dense => layer.response(&batch.flatten_from(1)?),
        _ => layer.response(batch),
    };
    let mut optimiser = SGD::new(vec![layer.var()?], 0.0)?;
    for epoch in 0..EPOCHS {
        optimiser.set_learning_rate(0.5 * (1.0 - epoch as f64 / EPOCHS as f64));
        for indices in Batches::shuffled(images.dim(0)?, 50, rng)? {
            let indices: Vec<u32> = indices.iter().map(|&i| i as u32).collect();
            let response =
                respond(&images.index_select(&Tensor::new(indices, images.device())?, 0)?)?;
            let rows = response.pre()?.dim(1)? as f64;
            let loss = response.synapses(response.u())?.loss(&sanger)?; // y = u
            optimiser.backward_step(&(loss / rows)?)?;
        }
    }
    // In f64 on the host, because the components are the standard that the units are compared with.
    let host = |tensor: &Tensor| tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64);
    let units = host(&layer.weight().flatten_from(1)?)?;
    let components = components(&host(&respond(images)?.pre()?.squeeze(0)?)?, units.dim(0)?, rng)?;
    let lengths = units.sqr()?.sum(1)?.sqrt()?;
    Ok(((units * components)?.sum(1)? / lengths)?.abs()?.to_vec1()?)
}

/// The leading eigenvectors of `xᵀx / P` as rows, by power iteration and deflation.
fn components(x: &Tensor, count: usize, rng: &mut Rng) -> Result<Tensor> {
    let mut moments = (x.t()?.matmul(x)? / x.dim(0)? as f64)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let mut v = rng.normal(0.0, 1.0, (x.dim(1)?, 1), x.dtype(), x.device())?;
        let mut value = 0.0;
        for _ in 0..1000 {
            v = moments.matmul(&v)?;
            value = v.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>()?;
            v = (v / value)?;
        }
        moments = (moments - (v.matmul(&v.t()?)? * value)?)?;
        found.push(v.t()?);
    }
    Ok(Tensor::cat(&found, 0)?)
}

/// Sanger's rule on the embedded digits: one rule, two geometries
#[derive(Debug, Parser)]
#[command(name = "own_rule", version)]
struct Args {
    /// Seed of initial weights and batches
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

fn main() -> ExitCode {
    hebbian::main(|Args { seed, device }| {
        let chosen = device.choose()?;
        tell(&chosen.to_string());
        let device = &chosen.device;
        let digits = hebbian_data::digits().train;
        let all: Vec<usize> = (0..digits.len()).collect();
        let (images, _) = digits.batch(&all, DType::F32, device)?;
        let images = images.broadcast_sub(&images.mean_keepdim(0)?)?;

        let mut rng = Rng::new(seed);
        let mut report = String::from("cosine of unit k with principal component k\n");
        let dense = rng.normal(0.0, 0.1, (6, 64), DType::F32, device)?;
        let kernels = rng.normal(0.0, 0.1, (6, 1, 3, 3), DType::F32, device)?;
        for (name, weight, geometry) in [
            ("dense, 8x8 images", dense, Geometry::Dense),
            ("conv2d, 3x3 patches", kernels, Geometry::Conv2d(Conv2dConfig::default())),
        ] {
            let cosines = train(&Layer::from_tensor(&weight, geometry)?, &images, &mut rng)?;
            write!(report, "  {name:20}")?;
            cosines.iter().try_for_each(|cosine| write!(report, " {cosine:.4}"))?;
            writeln!(report)?;
        }
        Ok(report)
    })
}
