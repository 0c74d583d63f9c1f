//! A network of your own, with residual sums and batch normalisation, whose error goes back as `--feedback` says:
//! ResNet-20 for small images (He et al. 2016), the network of BioTorch's benchmark of feedback alignment (2021).
//! Convolutions and class layer are `FeedbackLayer`s; everything else is candle's.
//!
//! `cargo run --release --example residual_network` trains it on the embedded digits with updated random feedback
//! (URFB, Amit 2019), in about six seconds. Expect it to classify 96.3 % of the test digits correctly. `--feedback bp`,
//! `frfb`, `kp`, `usf` and others choose another protocol, and `--dataset cifar10` the images and the network of the
//! benchmark, which has 269,722 parameters. Unlike there, the optimiser is AdamW at a constant rate, and images are
//! neither augmented nor standardised.

use anyhow::{Result, bail};
use candle::{D, DType, Device, Module, ModuleT, Tensor};
use candle_hebbian::ops::{Pool, repu};
use candle_hebbian::{Conv2dConfig, FeedbackConfig, FeedbackLayer};
use candle_hebbian::{Rng, WithFeedback, feedback, init, seeded};
use candle_nn::{AdamW, BatchNorm, BatchNormConfig, Init, Optimizer, ParamsAdamW};
use candle_nn::{VarBuilder, VarMap, batch_norm, loss::cross_entropy};
use clap::Parser;
use hebbian::{DeviceArgs, tell};
use hebbian_data::{ImageSet, LoadOptions, load};
use hebbian_models::amit::Protocol;
use std::fmt::Write;
use std::process::ExitCode;

fn glorot(shape: &[usize]) -> Init {
    init::glorot_uniform(shape)
}

/// A convolution without bias, and the batch normalisation of its channels.
struct Conv {
    layer: FeedbackLayer,
    norm: BatchNorm,
}

impl Conv {
    fn new(
        [ins, outs, stride]: [usize; 3],
        config: FeedbackConfig,
        vb: VarBuilder,
    ) -> candle::Result<Self> {
        let window = (Conv2dConfig { stride, padding: 1, ..Conv2dConfig::default() }, config);
        let layer = feedback::conv2d(ins, outs, 3, window, glorot, vb.pp("conv"))?;
        Ok(Self { layer, norm: batch_norm(outs, BatchNormConfig::default(), vb.pp("norm"))? })
    }
}

impl ModuleT for Conv {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle::Result<Tensor> {
        self.norm.forward_t(&self.layer.forward(x)?, train)
    }
}

/// Two convolutions, and the sum with what they read. The sum has no parameters: if the block has more channels than
/// its input, and half as many rows and columns, it adds every second pixel, between channels of zeros.
struct Block([Conv; 2]);

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle::Result<Tensor> {
        let Self([first, second]) = self;
        let inner = second.forward_t(&repu(&first.forward_t(x, train)?, 1.0)?, train)?;
        let zeros = (inner.dim(1)? - x.dim(1)?) / 2;
        let shortcut = match zeros {
            0 => x.clone(),
            _ => {
                let pixels = Pool::Avg { kernel: 1, stride: 2, padding: 0 }.forward(x)?;
                pixels.pad_with_zeros(1, zeros, zeros)?
            }
        };
        repu(&(inner + shortcut)?, 1.0) // candle's relu makes 0 of NaN
    }
}

struct ResNet20 {
    stem: Conv,
    blocks: Vec<Block>,
    classes: FeedbackLayer,
    bias: Tensor,
}

impl ResNet20 {
    fn new(
        (channels, classes): (usize, usize),
        config: FeedbackConfig,
        vb: VarBuilder,
    ) -> candle::Result<Self> {
        let stem = Conv::new([channels, 16, 1], config, vb.pp("stem"))?;
        let (mut blocks, mut ins) = (Vec::new(), 16);
        for (outs, stride) in [(16, 1), (32, 2), (64, 2)] {
            for stride in [stride, 1, 1] {
                let vb = vb.pp(format!("blocks.{}", blocks.len()));
                let first = Conv::new([ins, outs, stride], config, vb.pp("first"))?;
                let second = Conv::new([outs, outs, 1], config, vb.pp("second"))?;
                blocks.push(Block([first, second]));
                ins = outs;
            }
        }
        let vb = vb.pp("classes");
        let bias = vb.get_with_hints(classes, "bias", Init::Const(0.0))?;
        let classes = feedback::dense(ins, classes, config, glorot, vb)?;
        Ok(Self { stem, blocks, classes, bias })
    }

    /// All layers with weights, from the image on.
    fn layers(&self) -> impl Iterator<Item = &FeedbackLayer> {
        let convs = self.blocks.iter().flat_map(|Block(convs)| convs);
        let convs = std::iter::once(&self.stem).chain(convs);
        convs.map(|conv| &conv.layer).chain(std::iter::once(&self.classes))
    }
}

impl ModuleT for ResNet20 {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle::Result<Tensor> {
        let mut x = repu(&self.stem.forward_t(x, train)?, 1.0)?;
        for block in &self.blocks {
            x = block.forward_t(&x, train)?;
        }
        self.classes.forward(&x.mean((2, 3))?)?.broadcast_add(&self.bias)
    }
}

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
