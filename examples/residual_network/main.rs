//! A network of your own, with residual sums and batch normalisation, whose error goes back as `--feedback` says:
//! ResNet-20 for small images (He et al. 2016), the network of BioTorch's benchmark of feedback alignment (2021).
//! Convolutions and class layer are `FeedbackLayer`s; everything else is candle's.
//!
//! `cargo run --release --example residual_network` trains it on the embedded digits with updated random feedback
//! (URFB, Amit 2019), in about six seconds. Expect it to classify 96.3 % of the test digits correctly. `--feedback bp`,
//! `frfb`, `kp`, `usf` and others choose another protocol, and `--dataset cifar10` the images and the network of the
//! benchmark, which has 269,722 parameters. Unlike there, the optimiser is AdamW at a constant rate, and images are
//! neither augmented nor standardised.

mod network;

use anyhow::{Result, bail};
use candle::{D, DType, Device, ModuleT, Tensor};
use candle_hebbian::{Rng, WithFeedback, seeded};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarMap, loss::cross_entropy};
use clap::Parser;
use hebbian::{DeviceArgs, tell};
use hebbian_data::{ImageSet, LoadOptions, load};
use hebbian_models::amit::Protocol;
use network::ResNet20;
use std::fmt::Write;
use std::process::ExitCode;

/// ResNet-20 with asymmetric feedback: a residual network in a candle program
#[derive(Debug, Parser)]
#[command(name = "residual_network", version)]
struct Args {
    /// How the error goes back: bp, urfb, frfb, partial:RATE, kp, usf, brsf or frsf
    #[arg(long, default_value = "urfb")]
    feedback: Protocol,
    /// Data set: digits (embedded), mnist, cifar10 or any other that `hebbian data` knows
    #[arg(long, default_value = "digits")]
    dataset: String,
    /// Epochs
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Use only the first N training images
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
    /// Seed of initial weights, batches and noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

/// The number of values that learn and that the response depends on.
fn parameters(varmap: &VarMap) -> usize {
    let vars = varmap.data().lock().unwrap();
    let other = ["feedback", "running_mean", "running_var"];
    let learning = vars.iter().filter(|(name, _)| !other.iter().any(|end| name.ends_with(end)));
    learning.map(|(_, var)| var.elem_count()).sum()
}

fn accuracy(network: &ResNet20, images: &ImageSet, device: &Device) -> Result<f64> {
    let mut right = 0.0;
    for indices in images.in_order(100)? {
        let (x, labels) = images.batch(&indices, DType::F32, device)?;
        let classes = network.forward_t(&x, false)?.argmax(D::Minus1)?;
        right += classes.eq(&labels)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
    }
    Ok(f64::from(right) / images.len() as f64)
}

/// Decay of the weights for Kolen–Pollack, whose feedback weights approach the weights only by the decay of both.
const DECAY: f64 = 0.1;

fn run(args: Args) -> Result<String> {
    use Protocol::{DirectFeedback, Identical, WeightMirror};
    if matches!(args.feedback, DirectFeedback | Identical | WeightMirror { .. }) {
        bail!(
            "--feedback {}: needs more than the layers of this example, found in `hebbian train amit`; expected bp, \
             urfb, frfb, partial:RATE, kp, usf, brsf or frsf",
            args.feedback
        )
    }
    let chosen = args.device.choose()?;
    tell(&chosen.to_string());
    let data = load(&args.dataset, &LoadOptions::default())?;
    let train = data.train.take(args.limit_train.unwrap_or(usize::MAX));

    let (mut rng, varmap) = (Rng::new(args.seed), VarMap::new());
    let vb = seeded(&varmap, &rng, DType::F32, &chosen.device);
    let sizes = (train.shape().0, data.class_names.len());
    let network = ResNet20::new(sizes, args.feedback.feedback(), vb)?;
    let decay = if args.feedback == Protocol::KolenPollack { DECAY } else { 0.0 };
    let params = ParamsAdamW { lr: 1e-3, weight_decay: decay, ..ParamsAdamW::default() };
    let adam = |vars| AdamW::new(vars, params.clone());
    let mut optimiser = WithFeedback::build(varmap.all_vars(), network.layers(), adam)?;

    for epoch in 1..=args.epochs {
        let mut losses = Tensor::zeros((), DType::F32, &chosen.device)?;
        for indices in train.shuffled(100, &mut rng)? {
            for layer in network.layers() {
                layer.redraw(&mut rng)?; // only brSF does
            }
            let (x, labels) = train.batch(&indices, DType::F32, &chosen.device)?;
            let loss = cross_entropy(&network.forward_t(&x, true)?, &labels)?;
            optimiser.backward_step(&loss)?;
            losses = (losses + (loss.detach() * indices.len() as f64)?)?; // read once an epoch
        }
        let loss = losses.to_scalar::<f32>()? / train.len() as f32;
        tell(&format!("epoch {epoch}: loss {loss:.3}"));
    }
    let mut report = format!("feedback: {}\n", args.feedback);
    writeln!(report, "parameters: {}", parameters(&varmap))?;
    for (name, images) in [("train", &train), ("test", &data.test)] {
        writeln!(report, "{name}: {:.1} %", 100.0 * accuracy(&network, images, &chosen.device)?)?;
    }
    Ok(report)
}

fn main() -> ExitCode {
    hebbian::main(run)
}
