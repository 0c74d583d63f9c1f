//! Layers with feedback weights of their own, and the hinge-Hebbian class layer (Amit 2019,
//! Frontiers in Computational Neuroscience 13:18).
//!
//! | module | oracle |
//! |---|---|
//! | `exact` | numbers worked out by hand from the definitions |
//! | `equivalence` | a list of every connection; candle's own autograd; central differences |
//! | `training` | what the update rules imply for any number of steps, often bit for bit |
//! | `property` | invariants over random shapes, strides, paddings and groups |
//! | `steps` | what a step of feedback weights means under each optimiser, with numbers worked out by hand |
//! | `mirror` | weight mirrors: numbers worked out by hand, and the angle that they settle at |
//! | `checkpoints` | variables of a `VarMap`: saved, loaded, trained in `candle_nn::seq()` |
//! | `bad_input` | the message names what was found and what was expected |

mod bad_input;
mod checkpoints;
mod equivalence;
mod exact;
mod mirror;
mod momentum;
mod property;
mod steps;
mod training;

use candle::backprop::GradStore;
use candle::{DType, Device, Result, Tensor, Var};
use candle_hebbian::feedback::{Learning, Pairing, Sizes, Source};
use candle_hebbian::{
    Conv2dConfig, FeedbackConfig, FeedbackLayer, Geometry, Rng, Steps, WithFeedback, init,
};
use std::fmt;

const CPU: &Device = &Device::Cpu;

/// The combinations of the literature that differ in a layer's gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Protocol {
    Backprop,
    Urfb,
    Frfb,
    Partial {
        rate: f64,
    },
    /// URFB from feedback weights equal to the weights.
    Identical,
    UniformSign,
    BatchwiseRandomSign,
    FixedRandomSign,
}

impl Protocol {
    fn config(self) -> FeedbackConfig {
        let own = |learning| FeedbackConfig { source: Source::Own, learning };
        let like = |rate| own(Learning::LikeWeights { rate });
        let signs =
            |sizes| FeedbackConfig { source: Source::Signs { sizes }, ..Default::default() };
        match self {
            Self::Backprop => FeedbackConfig::default(),
            Self::Urfb | Self::Identical => like(1.0),
            Self::Frfb => own(Learning::Fixed),
            Self::Partial { rate } => like(rate),
            Self::UniformSign => signs(Sizes::Uniform),
            Self::BatchwiseRandomSign => signs(Sizes::Redrawn),
            Self::FixedRandomSign => signs(Sizes::Own),
        }
    }

    fn pairing(self) -> Pairing {
        if self == Self::Identical { Pairing::Mutual } else { Pairing::Independent }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Every protocol of a single layer.
const PROTOCOLS: [Protocol; 8] = [
    Protocol::Backprop,
    Protocol::Urfb,
    Protocol::Frfb,
    Protocol::Partial { rate: 0.25 },
    Protocol::Identical,
    Protocol::UniformSign,
    Protocol::BatchwiseRandomSign,
    Protocol::FixedRandomSign,
];

fn tensor(values: &[f64], shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(values, shape, CPU)
}

fn normal(rng: &mut Rng, shape: &[usize], dtype: DType) -> Result<Tensor> {
    rng.normal(0.0, 1.0, shape, dtype, CPU)
}

fn flat(t: &Tensor) -> Result<Vec<f64>> {
    t.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

fn bits(t: &Tensor) -> Result<Vec<u32>> {
    Ok(t.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
}

fn gradient(grads: &GradStore, var: &Tensor) -> Tensor {
    grads.get(var).expect("a gradient").clone()
}

/// Asserts that the largest difference, relative to the largest expected entry, is within `tolerance`.
fn assert_close(name: &str, got: &Tensor, want: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(got.dims(), want.dims(), "{name}");
    let (got, want) = (flat(got)?, flat(want)?);
    let scale = want.iter().fold(0f64, |scale, x| scale.max(x.abs()));
    let allowed = if scale == 0.0 { tolerance } else { tolerance * scale };
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() <= allowed, "{name}[{i}]: {got}, expected {want} ± {allowed:e}");
    }
    Ok(())
}

fn near(name: &str, got: &Tensor, want: &[f64], tolerance: f64) -> Result<()> {
    let got = flat(got)?;
    assert_eq!(got.len(), want.len(), "{name}: {got:?}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "{name}[{i}]: {got}, expected {want}");
    }
    Ok(())
}

/// A layer with these weights. Protocols without feedback weights ignore `r`, and `Identical` starts from `w`.
fn layer(w: &Tensor, r: &Tensor, geometry: Geometry, protocol: Protocol) -> Result<FeedbackLayer> {
    let config = protocol.config();
    let r = if protocol == Protocol::Identical { w } else { r };
    FeedbackLayer::from_tensors(w, config.has_feedback().then_some(r), geometry, config)
}

/// A layer with random weights.
fn random(
    rng: &mut Rng,
    shape: &[usize],
    geometry: Geometry,
    protocol: Protocol,
) -> Result<FeedbackLayer> {
    let mut draw = || rng.draw(init::glorot_uniform(shape), shape, DType::F32, CPU);
    let w = draw()?;
    layer(&w, &draw()?, geometry, protocol)
}

/// Plain gradient descent of the layers.
fn descent(layers: &[&FeedbackLayer]) -> Result<WithFeedback<Steps>> {
    let vars = layers.iter().map(|layer| layer.var()).collect::<Result<Vec<_>>>()?;
    WithFeedback::build(vars, layers.iter().copied(), |vars| Steps::builder(0.1).build(vars))
}

/// The gradients of the weights and, if they learn, of the feedback weights.
fn gradients(layer: &FeedbackLayer, grads: &GradStore) -> Result<Vec<Tensor>> {
    let of_feedback = layer.feedback_gradient(grads)?;
    Ok([gradient(grads, layer.weight())].into_iter().chain(of_feedback).collect())
}

/// The description of a layer.
#[derive(Debug, Clone)]
struct Case {
    geometry: Geometry,
    /// The shape of the input, including the batch.
    input: Vec<usize>,
    weight: Vec<usize>,
}

fn case(geometry: Geometry, input: &[usize], weight: &[usize]) -> Case {
    Case { geometry, input: input.to_vec(), weight: weight.to_vec() }
}

/// A dense layer, convolutions with every option, and locally connected ones.
fn cases() -> Vec<Case> {
    let plain = Conv2dConfig::default();
    let tied =
        |config, input: &[usize], weight: &[usize]| case(Geometry::Conv2d(config), input, weight);
    let untied = |config, input: &[usize], weight: &[usize]| {
        case(Geometry::LocallyConnected2d(config), input, weight)
    };
    vec![
        case(Geometry::Dense, &[5, 7], &[4, 7]),
        tied(Conv2dConfig::same(2), &[2, 3, 4, 5], &[4, 3, 2, 2]),
        tied(Conv2dConfig::same(3), &[2, 3, 5, 4], &[4, 3, 3, 3]),
        tied(Conv2dConfig::same(5), &[2, 2, 6, 5], &[9, 2, 5, 5]),
        tied(Conv2dConfig { stride: 2, padding: 1, ..plain }, &[2, 2, 6, 7], &[3, 2, 3, 2]),
        tied(Conv2dConfig { dilation: 2, padding: 2, ..plain }, &[2, 2, 6, 5], &[3, 2, 3, 3]),
        tied(Conv2dConfig { groups: 2, padding: 1, ..plain }, &[2, 4, 4, 5], &[6, 2, 3, 3]),
        tied(
            Conv2dConfig { stride: 3, padding: 2, trailing_padding: 1, dilation: 2, ..plain },
            &[2, 2, 8, 7],
            &[3, 2, 2, 3],
        ),
        untied(Conv2dConfig::same(2), &[2, 3, 3, 4], &[3, 4, 2, 3, 2, 2]),
        untied(Conv2dConfig::same(3), &[2, 2, 3, 4], &[3, 4, 3, 2, 3, 3]),
        untied(Conv2dConfig { stride: 2, ..plain }, &[2, 2, 5, 7], &[2, 3, 3, 2, 3, 3]),
    ]
}

/// Every connection `(output, input, weight)` of a layer for one sample, as flat indices, and the shape of its output.
/// There are no connections to the (zero) padding.
fn connections(case: &Case) -> (Vec<usize>, Vec<[usize; 3]>) {
    let (config, positions, kernel) = match (case.geometry, &case.weight[..]) {
        (Geometry::Dense, &[units, fan]) => {
            let all = (0..units).flat_map(|k| (0..fan).map(move |f| [k, f, k * fan + f]));
            return (vec![units], all.collect());
        }
        (Geometry::Conv2d(config), kernel) => (config, None, kernel),
        (Geometry::LocallyConnected2d(config), &[oh, ow, ref kernel @ ..]) => {
            (config, Some((oh, ow)), kernel)
        }
        _ => unreachable!("no such case"),
    };
    let &[units, fan, kh, kw] = kernel else { unreachable!("kernels have four axes") };
    let &[_, channels, height, width] = &case.input[..] else { unreachable!("images") };
    let size = |size: usize, kernel: usize| {
        let padded = size + 2 * config.padding + config.trailing_padding;
        (padded - config.dilation * (kernel - 1) - 1) / config.stride + 1
    };
    let (oh, ow) = (size(height, kh), size(width, kw));
    assert!(positions.is_none_or(|positions| positions == (oh, ow)), "{case:?}");
    let mut all = Vec::new();
    for (k, i, j) in product(units, oh, ow) {
        let group = k / (units / config.groups);
        for (c, a, b) in product(fan, kh, kw) {
            let h = (i * config.stride + a * config.dilation).checked_sub(config.padding);
            let w = (j * config.stride + b * config.dilation).checked_sub(config.padding);
            let (Some(h), Some(w)) = (h, w) else { continue };
            if h >= height || w >= width {
                continue;
            }
            let tap = ((k * fan + c) * kh + a) * kw + b;
            let site = if positions.is_some() { (i * ow + j) * units * fan * kh * kw } else { 0 };
            let channel = group * fan + c;
            all.push([(k * oh + i) * ow + j, (channel * height + h) * width + w, site + tap]);
        }
    }
    assert_eq!(channels, fan * config.groups, "{case:?}");
    (vec![units, oh, ow], all)
}

fn product(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

/// `h = W x`, `φ = Kᵀδ` and `G = δxᵀ`, connection by connection.
struct Oracle {
    out: Tensor,
    grad_x: Tensor,
    grad_w: Tensor,
}

fn oracle(case: &Case, x: &Tensor, w: &Tensor, k: &Tensor, delta: &Tensor) -> Result<Oracle> {
    let (out_dims, connections) = connections(case);
    let (outputs, inputs) = (out_dims.iter().product::<usize>(), x.elem_count() / case.input[0]);
    let (xs, ws, ks, deltas) = (flat(x)?, flat(w)?, flat(k)?, flat(delta)?);
    let mut out = vec![0.0; case.input[0] * outputs];
    let (mut grad_x, mut grad_w) = (vec![0.0; xs.len()], vec![0.0; ws.len()]);
    for n in 0..case.input[0] {
        for &[o, i, s] in &connections {
            let (o, i) = (n * outputs + o, n * inputs + i);
            out[o] += ws[s] * xs[i];
            grad_x[i] += ks[s] * deltas[o];
            grad_w[s] += deltas[o] * xs[i];
        }
    }
    let shape = [&case.input[..1], &out_dims].concat();
    Ok(Oracle {
        out: tensor(&out, &shape)?,
        grad_x: tensor(&grad_x, x.dims())?,
        grad_w: tensor(&grad_w, w.dims())?,
    })
}

/// The gradients of `Σ δ·layer(x)`, whose error at the layer's output is `δ`.
fn send(layer: &FeedbackLayer, x: &Var, delta: &Tensor) -> Result<GradStore> {
    use candle::Module;
    (layer.forward(x)? * delta)?.sum_all()?.backward()
}
