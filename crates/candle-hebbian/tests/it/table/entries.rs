//! The table: every op, competition, rule and geometry, with inputs to try and inputs to refuse. The checks of all of
//! them are in the other files. A name up to its first comma is that of the public item.

use candle::{D, DType, Device, IndexOp, Module, ModuleT, Result, Tensor};
use candle_hebbian::competition::over_rows;
use candle_hebbian::ops::{
    BatchNorm, Dropout, Edge, Pool, Ties, above_kth_largest, avg_pool2d, batch_norm, channels_last,
    column_counts, column_dots, column_sums, custom_vjp, flatten, kth_largest, linear_response,
    max_pool2d, max_pool2d_same, normalise, pad_reflect, ramp, repu, sign, squared_norms,
    standardise, triangle,
};
use candle_hebbian::testing::Synapse;
use candle_hebbian::{
    AdaptiveThreshold, Bcm, Competition, Conv2dConfig, Geometry, GlobalDirection, HardWta, Hebb,
    HingeHebb, Instar, KWta, KrotovHopfield, Layer, ModulatedHebb, NoCompetition, Oja, PaddingMode,
    RankedWta, Response, Rng, Rule, SoftHebb, SoftWta, SoftWtaAntiHebbian, State, Synapses,
};
use candle_nn::{VarBuilder, VarMap};

/// A function from inputs to a result.
pub type Run = fn(&[Tensor]) -> Result<Tensor>;

/// A tensor function with inputs to try it with.
pub struct Op {
    pub name: &'static str,
    /// The shapes of its inputs.
    pub inputs: &'static [&'static [usize]],
    pub run: Run,
    /// For each input, the axis of its rows or images.
    pub batch: &'static [Option<usize>],
    pub gradient: Gradient,
    pub empty: Empty,
    /// Distances at which the op has a kink, from 0 or from the mean over axis 1.
    pub kinks: &'static [f64],
}

#[derive(Clone, Copy)]
pub enum Gradient {
    /// No gradient reaches the inputs.
    None,
    /// The derivative.
    Exact,
    /// The derivative of this function of what is held and what moves.
    Of(fn(&[Tensor], &[Tensor]) -> Result<Tensor>),
}

/// The outcome for no rows or images.
#[derive(Clone, Copy)]
pub enum Empty {
    /// A result without rows or images.
    Nothing,
    /// Sums, which are 0.
    Zeros,
    /// An error whose message contains these words.
    Refused(&'static [&'static str]),
}

/// Inputs that must be refused, and the words that the message must contain.
pub struct Refused {
    pub name: &'static str,
    pub inputs: &'static [&'static [usize]],
    pub run: Run,
    pub says: &'static [&'static str],
}

const IMAGES: &[&[usize]] = &[&[2, 3, 7, 6]];
const FIRST: &[Option<usize>] = &[Some(0)];
const ROWS: &[Option<usize>] = &[Some(1)];

/// An op that is differentiable in its only input, whose batch comes first.
const fn exact(name: &'static str, inputs: &'static [&'static [usize]], run: Run) -> Op {
    let (gradient, empty) = (Gradient::Exact, Empty::Nothing);
    Op { name, inputs, run, batch: FIRST, gradient, empty, kinks: &[] }
}

/// The same for an op with kinks.
const fn bent(
    name: &'static str,
    inputs: &'static [&'static [usize]],
    kinks: &'static [f64],
    run: Run,
) -> Op {
    Op { kinks, ..exact(name, inputs, run) }
}

/// A reduction of rows `(2, 3, 5)`, of one input or two.
const fn reduction(
    name: &'static str,
    inputs: &'static [&'static [usize]],
    batch: &'static [Option<usize>],
    empty: Empty,
    run: Run,
) -> Op {
    Op { name, inputs, run, batch, gradient: Gradient::None, empty, kinks: &[] }
}

fn max<const KERNEL: usize, const STRIDE: usize, const PADDING: usize>(
    x: &[Tensor],
) -> Result<Tensor> {
    max_pool2d(&x[0], KERNEL, STRIDE, PADDING, Ties::First)
}

fn max_all<const KERNEL: usize, const STRIDE: usize, const PADDING: usize>(
    x: &[Tensor],
) -> Result<Tensor> {
    max_pool2d(&x[0], KERNEL, STRIDE, PADDING, Ties::All)
}

fn avg<const KERNEL: usize, const STRIDE: usize, const PADDING: usize>(
    x: &[Tensor],
) -> Result<Tensor> {
    avg_pool2d(&x[0], KERNEL, STRIDE, PADDING)
}

fn norm(x: &Tensor) -> Result<BatchNorm> {
    BatchNorm::new(x.dim(1)?, x.dtype(), x.device())
}

/// Statistics other than those of the input, and not the same for all channels.
fn with_statistics(x: &Tensor) -> Result<BatchNorm> {
    let (norm, channels) = (norm(x)?, x.dim(1)? as f32);
    let mean = Tensor::arange(0f32, channels, x.device())?;
    norm.set_running(&mean.affine(0.5, -0.5)?, &mean.affine(0.25, 0.5)?)?;
    Ok(norm)
}

/// `relu(u − m)^p` with the mean `m` over channels as it is at `held`.
fn triangle_of(held: &Tensor, u: &Tensor, power: f64) -> Result<Tensor> {
    let excess = u.broadcast_sub(&held.mean_keepdim(1)?)?;
    let active = excess.gt(0.0)?.to_dtype(u.dtype())?;
    // Powers of inactive values would be NaN.
    excess.abs()?.powf(power)? * active
}

fn threshold(u: &Tensor) -> Result<Tensor> {
    let threshold = AdaptiveThreshold::new((2, 5), 1.0, 0.2, u.dtype(), u.device())?;
    threshold.set(&Tensor::arange(0f32, 10.0, u.device())?.affine(0.1, -0.4)?.reshape((2, 5))?)?;
    threshold.apply(u)
}

/// A response that is differentiable at the weights and, through the constant feedback weights, at the rows.
fn with_feedback(held: &[Tensor], moves: &[Tensor]) -> Result<Tensor> {
    let through = |x: &Tensor, w: &Tensor| x.matmul(&w.t()?);
    let of_x = through(&moves[0], &held[2])?;
    of_x + through(&held[0], &moves[1])?
}

pub const OPS: &[Op] = &[
    exact("max_pool2d, 2 by 2", IMAGES, max::<2, 2, 0>),
    exact("max_pool2d, 4 by 2", IMAGES, max::<4, 2, 1>),
    exact("max_pool2d, 3 by 2", IMAGES, max::<3, 2, 1>),
    exact("max_pool2d, 3 by 1", IMAGES, max::<3, 1, 1>),
    exact("max_pool2d, 2 by 3", IMAGES, max::<2, 3, 0>),
    exact("max_pool2d, 3 by 3", IMAGES, max::<3, 3, 0>),
    exact("max_pool2d, 1 by 2", IMAGES, max::<1, 2, 0>),
    exact("max_pool2d, all ties, 4 by 2", IMAGES, max_all::<4, 2, 1>),
    exact("max_pool2d, all ties, 3 by 1", IMAGES, max_all::<3, 1, 1>),
    exact("max_pool2d, all ties, 2 by 3", IMAGES, max_all::<2, 3, 0>),
    exact("avg_pool2d, 2 by 2", IMAGES, avg::<2, 2, 0>),
    exact("avg_pool2d, 4 by 2", IMAGES, avg::<4, 2, 1>),
    exact("avg_pool2d, 3 by 2", IMAGES, avg::<3, 2, 1>),
    exact("avg_pool2d, 3 by 1", IMAGES, avg::<3, 1, 1>),
    exact("avg_pool2d, 2 by 3", IMAGES, avg::<2, 3, 0>),
    exact("avg_pool2d, 3 by 3", IMAGES, avg::<3, 3, 0>),
    exact("avg_pool2d, 1 by 2", IMAGES, avg::<1, 2, 0>),
    bent("max_pool2d_same, zeros", IMAGES, &[0.0], |x| {
        max_pool2d_same(&x[0], 3, 2, Edge::Zeros, Ties::All)
    }),
    exact("max_pool2d_same, excluded", IMAGES, |x| {
        max_pool2d_same(&x[0], 3, 2, Edge::Excluded, Ties::First)
    }),
    exact("channels_last::max_pool2d_same", &[&[2, 4, 3, 5]], |x| {
        channels_last::max_pool2d_same(&x[0], 2, 1, Edge::Excluded, Ties::First)
    }),
    exact("channels_last::avg_pool2d", &[&[2, 4, 3, 5]], |x| {
        channels_last::avg_pool2d(&x[0], 2, 1, 1)
    }),
    // More channels than are pooled together.
    exact("channels_last::max_pool2d_same, 19 channels", &[&[2, 4, 3, 19]], |x| {
        channels_last::max_pool2d_same(&x[0], 3, 2, Edge::Zeros, Ties::First)
    }),
    exact("channels_last::max_pool2d_same, all ties, 33 channels", &[&[2, 4, 3, 33]], |x| {
        channels_last::max_pool2d_same(&x[0], 2, 1, Edge::Excluded, Ties::All)
    }),
    exact("channels_last::avg_pool2d, 19 channels", &[&[2, 4, 3, 19]], |x| {
        channels_last::avg_pool2d(&x[0], 2, 1, 1)
    }),
    exact("flatten", &[&[2, 3, 5, 2]], |x| flatten(&x[0])),
    exact("flatten, rows", &[&[4, 3]], |x| flatten(&x[0])),
    exact("channels_last::flatten", &[&[2, 3, 5, 4]], |x| channels_last::flatten(&x[0])),
    exact("channels_last::flatten, 19 channels", &[&[2, 4, 5, 19]], |x| {
        channels_last::flatten(&x[0])
    }),
    exact("Pool, max", IMAGES, |x| Pool::Max { kernel: 3, stride: 2, padding: 1 }.forward(&x[0])),
    exact("Pool, mean", IMAGES, |x| Pool::Avg { kernel: 3, stride: 2, padding: 1 }.forward(&x[0])),
    exact("pad_reflect, 0", &[&[2, 2, 4, 5]], |x| pad_reflect(&x[0], 0)),
    exact("pad_reflect, 1", &[&[2, 2, 4, 5]], |x| pad_reflect(&x[0], 1)),
    exact("pad_reflect, 2", &[&[2, 4, 5]], |x| pad_reflect(&x[0], 2)),
    exact("pad_reflect, 3", &[&[2, 2, 4, 5]], |x| pad_reflect(&x[0], 3)),
    bent("ramp, ½", &[&[2, 3, 5]], &[2.0], |x| ramp(&x[0], 0.5)),
    bent("ramp, 2", &[&[2, 3, 2, 3]], &[0.5], |x| ramp(&x[0], 2.0)),
    bent("repu, 0.7", &[&[5, 7]], &[0.0], |x| repu(&x[0], 0.7)),
    bent("repu, 1", &[&[2, 5, 3]], &[0.0], |x| repu(&x[0], 1.0)),
    bent("repu, 1.4", &[&[2, 3, 2, 2]], &[0.0], |x| repu(&x[0], 1.4)),
    bent("repu, 2", &[&[5, 7]], &[0.0], |x| repu(&x[0], 2.0)),
    Op { gradient: Gradient::None, ..bent("sign", &[&[2, 5, 3]], &[0.0], |x| sign(&x[0])) },
    bent("triangle, 0.7", &[&[5, 7]], &[0.0], |x| triangle(&x[0], 0.7, false)),
    bent("triangle, 1", &[&[2, 5, 3]], &[0.0], |x| triangle(&x[0], 1.0, false)),
    bent("triangle, 1.4", &[&[2, 3, 2, 2]], &[0.0], |x| triangle(&x[0], 1.4, false)),
    bent("triangle, 2", &[&[5, 7]], &[0.0], |x| triangle(&x[0], 2.0, false)),
    bent("channels_last::repu, 1.4", &[&[2, 3, 4, 5]], &[0.0], |x| channels_last::repu(&x[0], 1.4)),
    bent("channels_last::triangle, 1.4", &[&[2, 3, 4, 5]], &[0.0], |x| {
        channels_last::triangle(&x[0], 1.4, false)
    }),
    Op {
        gradient: Gradient::Of(|held, u| triangle_of(&held[0], &u[0], 0.7)),
        ..bent("triangle, constant mean, 0.7", &[&[5, 7]], &[0.0], |x| triangle(&x[0], 0.7, true))
    },
    Op {
        gradient: Gradient::Of(|held, u| triangle_of(&held[0], &u[0], 1.4)),
        ..bent("triangle, constant mean, 1.4", &[&[2, 3, 2, 2]], &[0.0], |x| {
            triangle(&x[0], 1.4, true)
        })
    },
    Op {
        empty: Empty::Refused(&["[0, 3, 5]", "0 values"]),
        ..exact("normalise", &[&[4, 3, 5]], |x| Ok(normalise(&x[0], 1e-5)?.0))
    },
    Op {
        empty: Empty::Refused(&["[0, 3]", "0 values"]),
        ..exact("BatchNorm, training", &[&[6, 3]], |x| norm(&x[0])?.forward_t(&x[0], true))
    },
    Op {
        empty: Empty::Refused(&["[0, 2, 4, 3]", "0 values"]),
        ..exact("BatchNorm, images", &[&[3, 2, 4, 3]], |x| norm(&x[0])?.forward_train(&x[0]))
    },
    exact("BatchNorm, evaluation", &[&[4, 3, 5]], |x| {
        with_statistics(&x[0])?.forward_t(&x[0], false)
    }),
    exact("batch_norm", &[&[4, 3, 5]], |x| {
        let vb = VarBuilder::from_varmap(&VarMap::new(), x[0].dtype(), x[0].device());
        batch_norm(3, vb)?.forward(&x[0])
    }),
    exact("Dropout", &[&[4, 3, 20]], |x| Dropout::new(0.5)?.apply(&x[0], &mut Rng::new(7))),
    exact("Dropout, nothing", &[&[4, 3]], |x| Dropout::new(0.0)?.apply(&x[0], &mut Rng::new(7))),
    exact("SeededDropout", &[&[4, 3, 20]], |x| {
        Dropout::new(0.25)?.seeded(Rng::new(7)).forward_t(&x[0], true)
    }),
    // Rows of half precision come out in f32.
    reduction("Dropout, rows", &[&[4, 20]], &[None], Empty::Nothing, |x| {
        let rows = Tensor::new(&[2u32, 0, 2], x[0].device())?;
        Dropout::new(0.5)?.rows(&x[0], &rows, &mut Rng::new(7))?.to_dtype(x[0].dtype())
    }),
    reduction("above_kth_largest", &[&[2, 3, 5]], ROWS, Empty::Nothing, |x| {
        above_kth_largest(&x[0], 2)
    }),
    reduction("kth_largest", &[&[2, 3, 5]], ROWS, Empty::Nothing, |x| kth_largest(&x[0], 2)),
    reduction("column_sums", &[&[2, 3, 5]], ROWS, Empty::Zeros, |x| column_sums(&x[0])),
    reduction("column_counts", &[&[2, 3, 5]], ROWS, Empty::Zeros, |x| column_counts(&x[0])),
    reduction("column_dots", &[&[2, 3, 5], &[2, 3, 5]], &[Some(1), Some(1)], Empty::Zeros, |x| {
        column_dots(&x[0], &x[1])
    }),
    reduction("squared_norms", &[&[2, 3, 5]], &[Some(2)], Empty::Zeros, |x| squared_norms(&x[0])),
    exact("standardise", &[&[4, 3, 5]], |x| standardise(&x[0], 1e-10)),
    exact("standardise, images", &[&[2, 3, 4, 3]], |x| standardise(&x[0], 0.1)),
    reduction("AdaptiveThreshold", &[&[2, 3, 5]], ROWS, Empty::Nothing, |x| threshold(&x[0])),
    Op {
        inputs: &[&[4, 3], &[2, 3]],
        batch: &[Some(0), None],
        ..exact("linear_response, back-propagation", &[], |x| {
            linear_response(&x[0], &x[1], &x[1].detach())
        })
    },
    Op {
        inputs: &[&[4, 3], &[5, 3], &[5, 3]],
        batch: &[Some(0), None, None],
        gradient: Gradient::Of(with_feedback),
        ..exact("linear_response, feedback", &[], |x| linear_response(&x[0], &x[1], &x[2]))
    },
    Op {
        inputs: &[&[2, 4, 6], &[2, 5, 1, 2, 3]],
        batch: &[Some(1), None],
        ..exact("linear_response, sites", &[], |x| linear_response(&x[0], &x[1], &x[1].detach()))
    },
    exact("custom_vjp", &[&[2, 3]], |x| {
        let forward = |[x]: &[Tensor; 1]| Ok(((x * 2.0)?.into(), ()));
        custom_vjp("twice", [&x[0]], forward, |pass| Ok([Some((pass.grad * 2.0)?)]))
    }),
];

const fn refused(
    name: &'static str,
    inputs: &'static [&'static [usize]],
    says: &'static [&'static str],
    run: Run,
) -> Refused {
    Refused { name, inputs, run, says }
}

pub const REFUSED: &[Refused] = &[
    refused("max_pool2d, flat", &[&[2, 3]], &["[2, 3]"], max::<2, 2, 0>),
    refused("max_pool2d, small", IMAGES, &["too small", "6 pixels", "kernel of 7"], max::<7, 1, 0>),
    refused("max_pool2d, padding", IMAGES, &["kernel 2", "padding 2", "half"], max::<2, 1, 2>),
    refused("avg_pool2d, stride", IMAGES, &["stride 0", "at least 1"], avg::<2, 0, 0>),
    refused("avg_pool2d, kernel", IMAGES, &["kernel 0", "at least 1"], avg::<0, 1, 0>),
    refused("max_pool2d_same", IMAGES, &["stride 0", "at least 1"], |x| {
        max_pool2d_same(&x[0], 3, 0, Edge::Zeros, Ties::All)
    }),
    refused("flatten", &[&[]], &["without dimensions", "(B, …)"], |x| flatten(&x[0])),
    refused("channels_last::flatten", &[&[2, 3, 4]], &["rank", "[2, 3, 4]"], |x| {
        channels_last::flatten(&x[0])
    }),
    refused("channels_last::max_pool2d_same", IMAGES, &["kernel 0"], |x| {
        channels_last::max_pool2d_same(&x[0], 0, 1, Edge::Zeros, Ties::All)
    }),
    refused("channels_last::avg_pool2d", &[&[2, 1, 4, 3]], &["too small", "1 pixels"], |x| {
        channels_last::avg_pool2d(&x[0], 2, 1, 0)
    }),
    refused("Pool", IMAGES, &["too small", "6 pixels"], |x| {
        Pool::Avg { kernel: 7, stride: 1, padding: 0 }.forward(&x[0])
    }),
    refused("pad_reflect", IMAGES, &["reflection padding of 6", "found 6"], |x| {
        pad_reflect(&x[0], 6)
    }),
    refused("pad_reflect, flat", &[&[5]], &["(…, H, W)", "[5]"], |x| pad_reflect(&x[0], 1)),
    refused("ramp", &[&[3]], &["slope", "NaN"], |x| ramp(&x[0], f64::NAN)),
    refused("ramp, negative", &[&[3]], &["slope", "-1"], |x| ramp(&x[0], -1.0)),
    refused("repu", &[&[2, 3]], &["power", "found 0"], |x| repu(&x[0], 0.0)),
    refused("repu, flat", &[&[3]], &["(N, C, …)", "[3]"], |x| repu(&x[0], 1.0)),
    refused("sign", &[&[2, 3]], &["U32"], |x| sign(&x[0].to_dtype(DType::U32)?)),
    refused("triangle", &[&[2, 3]], &["power", "inf"], |x| triangle(&x[0], f64::INFINITY, true)),
    refused("triangle, no channels", &[&[2, 0, 3]], &["[2, 0, 3]"], |x| triangle(&x[0], 1.0, true)),
    refused("channels_last::repu", &[&[2, 3, 0]], &["(N, …, C)", "[2, 3, 0]"], |x| {
        channels_last::repu(&x[0], 1.0)
    }),
    refused("channels_last::triangle", &[&[3]], &["(N, …, C)", "[3]"], |x| {
        channels_last::triangle(&x[0], 1.0, true)
    }),
    refused("normalise", &[&[1, 3]], &["[1, 3]", "1 values", "at least 2"], |x| {
        Ok(normalise(&x[0], 1e-5)?.0)
    }),
    refused("normalise, eps", &[&[4, 3]], &["eps is -1", "0 or more"], |x| {
        Ok(normalise(&x[0], -1.0)?.0)
    }),
    refused("BatchNorm", &[&[4, 2]], &["[3] channels", "[4, 2]"], |x| {
        BatchNorm::new(3, x[0].dtype(), x[0].device())?.forward(&x[0])
    }),
    refused("batch_norm", &[&[4]], &["(N, C, …)", "[4]"], |x| {
        let vb = VarBuilder::from_varmap(&VarMap::new(), x[0].dtype(), x[0].device());
        batch_norm(4, vb)?.forward(&x[0])
    }),
    refused("Dropout", &[&[4]], &["dropout is 1", "below 1"], |x| {
        Dropout::new(1.0)?.apply(&x[0], &mut Rng::new(7))
    }),
    refused("Dropout, rows", &[&[4, 2]], &["no row 4", "have 4"], |x| {
        Dropout::new(0.5)?.rows(&x[0], &Tensor::new(&[0u32, 4], x[0].device())?, &mut Rng::new(7))
    }),
    refused("SeededDropout", &[&[4]], &["dropout is -0.5"], |x| {
        Dropout::new(-0.5)?.seeded(Rng::new(7)).forward_t(&x[0], true)
    }),
    refused("above_kth_largest", &[&[2, 3]], &["k is 4", "1 to 3"], |x| {
        above_kth_largest(&x[0], 4)
    }),
    refused("kth_largest", &[&[2, 3]], &["k is 4", "1 to 3"], |x| kth_largest(&x[0], 4)),
    refused("column_sums", &[&[2, 3]], &["column_sums", "[2, 3]"], |x| column_sums(&x[0])),
    refused("column_counts", &[&[2, 3, 0]], &["column_counts", "[2, 3, 0]"], |x| {
        column_counts(&x[0])
    }),
    refused("column_dots", &[&[2, 3, 4], &[2, 4, 3]], &["[2, 3, 4]", "[2, 4, 3]"], |x| {
        column_dots(&x[0], &x[1])
    }),
    refused("squared_norms", &[&[2, 0, 3]], &["squared_norms", "[2, 0, 3]"], |x| {
        squared_norms(&x[0])
    }),
    refused("standardise", &[&[4, 1]], &["2 values", "[4, 1]"], |x| standardise(&x[0], 0.1)),
    refused("standardise, epsilon", &[&[4, 2]], &["epsilon -0.1"], |x| standardise(&x[0], -0.1)),
    refused("AdaptiveThreshold", &[&[2, 3, 4]], &["[2, 5]", "[2, 3, 4]"], |x| threshold(&x[0])),
    refused("linear_response", &[&[4, 3], &[2, 4]], &["[4, 3]", "[2, 4]", "(K, F)"], |x| {
        linear_response(&x[0], &x[1], &x[1])
    }),
    refused("linear_response, feedback", &[&[4, 3], &[2, 3], &[3, 2]], &["[3, 2]", "order"], |x| {
        linear_response(&x[0], &x[1], &x[2])
    }),
    refused("custom_vjp", &[&[2, 3]], &["twice", "argument 0", "[6]", "[2, 3]"], |x| {
        let x = candle::Var::from_tensor(&x[0])?;
        let forward = |[x]: &[Tensor; 1]| Ok(((x * 2.0)?.into(), ()));
        let twice = custom_vjp("twice", [x.as_tensor()], forward, |pass| {
            Ok([Some((pass.grad.flatten_all()? * 2.0)?)])
        })?;
        twice.backward()?;
        Ok(twice)
    }),
];

/// A competition, and the activity of one row from its definition.
pub struct CompetitionEntry {
    pub name: &'static str,
    pub competition: &'static dyn Competition,
    pub definition: fn(&[f64]) -> Vec<f64>,
}

/// Lateral inhibition, `max(0, u_k − ½ Σ_{l≠k} u_l)`, as a user would write it.
#[derive(Debug)]
struct Lateral;

impl Competition for Lateral {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        over_rows(u, |u| {
            let others = u.sum_keepdim(D::Minus1)?.broadcast_sub(u)?;
            (u - (others * 0.5)?)?.relu()
        })
    }
}

pub const COMPETITIONS: &[CompetitionEntry] = &[
    compete("NoCompetition", &NoCompetition, |u| u.to_vec()),
    compete("HardWta", &HardWta, |u| of_units(u, |k| if rank(u, k) == 0 { 1.0 } else { 0.0 })),
    compete("KWta, binary", &KWta { k: 2, graded: false }, |u| {
        of_units(u, |k| if wins(u, 2, k) { 1.0 } else { 0.0 })
    }),
    compete("KWta, graded", &KWta { k: 2, graded: true }, |u| {
        of_units(u, |k| if wins(u, 2, k) { u[k] } else { 0.0 })
    }),
    compete("SoftWta", &SoftWta { inverse_temperature: 0.7 }, |u| of_units(u, |k| soft(u, 0.7, k))),
    compete("SoftWta, negative", &SoftWta { inverse_temperature: -0.4 }, |u| {
        of_units(u, |k| soft(u, -0.4, k))
    }),
    compete("SoftWtaAntiHebbian", &SoftWtaAntiHebbian { inverse_temperature: 1.0 }, |u| {
        of_units(u, |k| if rank(u, k) == 0 { soft(u, 1.0, k) } else { -soft(u, 1.0, k) })
    }),
    compete("RankedWta", &RankedWta { k: 2, delta: 0.4 }, |u| {
        of_units(u, |k| [1.0, -0.4].get(rank(u, k)).copied().unwrap_or(0.0))
    }),
    compete("over_rows", &Lateral, |u| {
        let all: f64 = u.iter().sum();
        of_units(u, |k| (u[k] - 0.5 * (all - u[k])).max(0.0))
    }),
];

const fn compete(
    name: &'static str,
    competition: &'static dyn Competition,
    definition: fn(&[f64]) -> Vec<f64>,
) -> CompetitionEntry {
    CompetitionEntry { name, competition, definition }
}

fn of_units(u: &[f64], activity: impl Fn(usize) -> f64) -> Vec<f64> {
    (0..u.len()).map(activity).collect()
}

/// The number of units that rank before `unit`; of equals, the one of lower index comes first.
fn rank(u: &[f64], unit: usize) -> usize {
    (0..u.len()).filter(|&k| u[k] > u[unit] || (u[k] == u[unit] && k < unit)).count()
}

fn wins(u: &[f64], k: usize, unit: usize) -> bool {
    let mut sorted = u.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    u[unit] >= sorted[k - 1] && u[unit] > 0.0
}

fn soft(u: &[f64], t: f64, unit: usize) -> f64 {
    let shift = u.iter().fold(f64::NEG_INFINITY, |m, &u| m.max(t * u));
    let total: f64 = u.iter().map(|&u| (t * u - shift).exp()).sum();
    (t * u[unit] - shift).exp() / total
}

pub const REFUSED_COMPETITIONS: &[Refused] = &[
    refused("NoCompetition", &[&[2, 0]], &["no units", "[2, 0]"], |u| NoCompetition.compete(&u[0])),
    refused("HardWta", &[&[2, 0]], &["no units", "[2, 0]"], |u| HardWta.compete(&u[0])),
    refused("KWta", &[&[2, 3]], &["k is 4", "1 to 3"], |u| KWta::binary(4).compete(&u[0])),
    refused("KWta, none", &[&[2, 3]], &["k is 0", "1 to 3"], |u| KWta::graded(0).compete(&u[0])),
    refused("SoftWta", &[&[2, 3]], &["inverse_temperature", "NaN"], |u| {
        SoftWta { inverse_temperature: f64::NAN }.compete(&u[0])
    }),
    refused("SoftWtaAntiHebbian", &[&[2, 3]], &["inverse_temperature", "finite in f32"], |u| {
        SoftWtaAntiHebbian { inverse_temperature: 1e300 }.compete(&u[0])
    }),
    refused("RankedWta", &[&[2, 3]], &["k is 1", "2 to 3"], |u| {
        RankedWta { k: 1, delta: 0.4 }.compete(&u[0])
    }),
    refused("over_rows", &[&[2, 3]], &["[2, 2]", "[2, 3]"], |u| {
        over_rows(&u[0], |u| u.narrow(1, 0, 2))
    }),
];

/// A rule with its equation: what one row adds to one weight.
pub struct RuleEntry {
    pub name: &'static str,
    pub rule: fn() -> Result<Box<dyn Rule>>,
    pub equation: fn(&Synapse) -> f64,
    /// The third factor for a response `(S, P, K)`.
    pub third: fn(&Tensor) -> Result<Option<Tensor>>,
    /// Whether the update of a batch is the sum of those of its parts.
    pub is_sum: bool,
}

/// A rule that needs only what all rules see.
const fn plain(
    name: &'static str,
    rule: fn() -> Result<Box<dyn Rule>>,
    equation: fn(&Synapse) -> f64,
) -> RuleEntry {
    RuleEntry { name, rule, equation, third: |_| Ok(None), is_sum: true }
}

/// A reward for each row.
fn reward(u: &Tensor) -> Result<Option<Tensor>> {
    let (sites, rows, _) = u.dims3()?;
    let reward = (0..sites * rows).map(|row| ((row * 7 % 5) as f32 - 1.5) / 2.0);
    let reward = Tensor::from_iter(reward, u.device())?.reshape((sites, rows, 1))?;
    reward.to_dtype(u.dtype()).map(Some)
}

/// 1 at one class of each row, −1 at the others.
fn targets(u: &Tensor) -> Result<Option<Tensor>> {
    let (sites, rows, units) = u.dims3()?;
    let target = |at: usize| if at / units * 3 % units == at % units { 1f32 } else { -1.0 };
    let targets = Tensor::from_iter((0..sites * rows * units).map(target), u.device())?;
    targets.reshape(u.shape())?.to_dtype(u.dtype()).map(Some)
}

pub const RULES: &[RuleEntry] = &[
    plain("Hebb", || Ok(Box::new(Hebb)), |s| s.y * s.x),
    plain("Instar", || Ok(Box::new(Instar)), |s| s.y * (s.x - s.w)),
    plain("Oja", || Ok(Box::new(Oja)), |s| s.y * (s.x - s.y * s.w)),
    plain("SoftHebb", || Ok(Box::new(SoftHebb)), |s| s.y * (s.x - s.u * s.w)),
    plain(
        "KrotovHopfield",
        || Ok(Box::new(KrotovHopfield { norm: 3.0 })),
        |s| s.y * (s.x - s.u * s.w),
    ),
    RuleEntry {
        third: reward,
        ..plain(
            "ModulatedHebb",
            || Ok(Box::new(ModulatedHebb { leak: 0.25 })),
            |s| s.third * s.y * s.x - 0.25 * s.w,
        )
    },
    RuleEntry {
        third: targets,
        ..plain(
            "HingeHebb",
            || Ok(Box::new(HingeHebb::new(2.0)?)),
            |s| match s.third > 0.0 {
                true if s.u < 1.0 => s.x,
                false if s.u > -1.0 => -2.0 / (s.units() - 1) as f64 * s.x,
                _ => 0.0,
            },
        )
    },
    RuleEntry {
        is_sum: false,
        ..plain(
            "Bcm",
            || Ok(Box::new(Bcm { rate: 0.3, threshold: 0.5 })),
            |s| {
                let squares: f64 = (0..s.rows()).map(|row| s.y_in(row).powi(2)).sum();
                let before = s.kept("threshold").unwrap_or(0.5);
                let threshold = 0.7 * before + 0.3 * squares / s.rows() as f64;
                s.y * (s.y - threshold) * s.x
            },
        )
    },
    RuleEntry {
        is_sum: false,
        third: targets,
        ..plain("GlobalDirection", || Ok(Box::new(GlobalDirection)), global_direction)
    },
];

/// −|D̂|·sign(G), all of it in the first row, because it is not a sum over rows.
fn global_direction(s: &Synapse) -> f64 {
    if s.row() > 0 {
        return 0.0;
    }
    let local = |unit, input| s.sum_at(unit, input, |s| s.y * (s.x - s.u * s.w)).abs();
    let all = (0..s.units()).flat_map(|unit| (0..s.inputs()).map(move |input| (unit, input)));
    let largest = all.fold(0.0, |largest: f64, (unit, input)| largest.max(local(unit, input)));
    let gradient = s.sum_at(s.unit(), s.input(), |s| s.third * s.x);
    let sign = f64::from(i8::from(gradient > 0.0) - i8::from(gradient < 0.0));
    -sign * local(s.unit(), s.input()) / (largest + 1e-30)
}

/// The update of one site, with inputs `x (P, F)`, `w (K, F)` and `y = u`.
fn update_of(x: &[Tensor], rule: &dyn Rule, state: &mut State) -> Result<Tensor> {
    let response = rule.response(Response::new(&x[1], Geometry::Dense, &x[0])?)?;
    response.synapses(response.u())?.update_with(rule, state)
}

const DENSE: &[&[usize]] = &[&[3, 4], &[2, 4]];

pub const REFUSED_RULES: &[Refused] = &[
    refused("Hebb", &[&[3, 5], &[2, 4]], &["[3, 5]", "(…, 4)"], |x| {
        update_of(x, &Hebb, &mut State::default())
    }),
    refused("Instar", &[&[1, 3, 4], &[2, 4], &[1, 3, 3]], &["do not fit", "[1, 3, 3]"], |x| {
        Synapses::new(&x[1], &x[0], &x[2], &x[2])?.update(&Instar)
    }),
    refused("Oja", &[&[1, 3, 4], &[2, 4], &[1, 5, 2]], &["do not fit", "[1, 5, 2]"], |x| {
        Synapses::new(&x[1], &x[0], &x[2], &x[2])?.update(&Oja)
    }),
    refused("SoftHebb", DENSE, &["[2, 4]", "no variable", "VarMap"], |x| {
        let response = Response::new(&x[1].detach(), Geometry::Dense, &x[0])?;
        response.synapses(response.u())?.loss(&SoftHebb)
    }),
    refused("KrotovHopfield", DENSE, &["p is 0.5", "from 1"], |x| {
        update_of(x, &KrotovHopfield { norm: 0.5 }, &mut State::default())
    }),
    refused("ModulatedHebb", DENSE, &["third factor", "with_third"], |x| {
        update_of(x, &ModulatedHebb::default(), &mut State::default())
    }),
    refused("HingeHebb", DENSE, &["third factor", "with_third"], |x| {
        update_of(x, &HingeHebb::new(1.0)?, &mut State::default())
    }),
    refused("HingeHebb, targets", DENSE, &["[1, 3, 1]", "[1, 3, 2]", "targets"], |x| {
        let response = Response::new(&x[1], Geometry::Dense, &x[0])?;
        let synapses = response.synapses(response.u())?;
        synapses.with_third(&x[0].i((.., 0))?)?.update(&HingeHebb::new(1.0)?)
    }),
    refused("GlobalDirection", DENSE, &["third factor", "with_third"], |x| {
        update_of(x, &GlobalDirection, &mut State::default())
    }),
    refused("Bcm, rate", DENSE, &["1.5", "0 to 1"], |x| {
        update_of(x, &Bcm { rate: 1.5, ..Bcm::default() }, &mut State::default())
    }),
    refused("Bcm, state", DENSE, &["[1, 3]", "2 units", "another layer"], |x| {
        let mut state = State::default();
        state.set("threshold", &Tensor::ones((1, 3), DType::F32, &Device::Cpu)?);
        update_of(x, &Bcm::default(), &mut state)
    }),
    refused("Bcm, no state", DENSE, &["threshold", "update_with"], |x| {
        let response = Response::new(&x[1], Geometry::Dense, &x[0])?;
        response.synapses(response.u())?.update(&Bcm::default())
    }),
];

/// The description of a layer.
pub struct GeometryEntry {
    pub name: &'static str,
    pub geometry: Geometry,
    pub input: &'static [usize],
    pub weight: &'static [usize],
}

const fn conv(
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
    reflect: bool,
) -> Conv2dConfig {
    let padding_mode = if reflect { PaddingMode::Reflect } else { PaddingMode::Zeros };
    Conv2dConfig { stride, padding, trailing_padding: 0, dilation, groups, padding_mode }
}

const fn layer(
    name: &'static str,
    geometry: Geometry,
    input: &'static [usize],
    weight: &'static [usize],
) -> GeometryEntry {
    GeometryEntry { name, geometry, input, weight }
}

const fn tied(
    name: &'static str,
    config: Conv2dConfig,
    input: &'static [usize],
    weight: &'static [usize],
) -> GeometryEntry {
    layer(name, Geometry::Conv2d(config), input, weight)
}

const fn untied(
    name: &'static str,
    config: Conv2dConfig,
    input: &'static [usize],
    weight: &'static [usize],
) -> GeometryEntry {
    layer(name, Geometry::LocallyConnected2d(config), input, weight)
}

pub const GEOMETRIES: &[GeometryEntry] = &[
    layer("Dense", Geometry::Dense, &[7, 5], &[4, 5]),
    layer("Dense, one sample", Geometry::Dense, &[1, 3], &[4, 3]),
    layer("Dense, leading dimensions", Geometry::Dense, &[2, 3, 4], &[3, 4]),
    tied("Conv2d", conv(1, 0, 1, 1, false), &[2, 3, 6, 5], &[4, 3, 3, 2]),
    tied("Conv2d, stride", conv(2, 0, 1, 1, false), &[2, 3, 7, 6], &[4, 3, 3, 3]),
    tied("Conv2d, zeros", conv(1, 2, 1, 1, false), &[2, 2, 5, 4], &[3, 2, 3, 3]),
    tied("Conv2d, reflect", conv(1, 2, 1, 1, true), &[2, 2, 5, 4], &[3, 2, 3, 3]),
    tied("Conv2d, dilation", conv(1, 1, 2, 1, true), &[2, 2, 6, 7], &[3, 2, 3, 2]),
    tied("Conv2d, all", conv(3, 2, 2, 1, false), &[2, 2, 9, 8], &[3, 2, 3, 3]),
    tied(
        "Conv2d, trailing",
        Conv2dConfig { trailing_padding: 1, ..conv(1, 0, 1, 1, false) },
        &[2, 2, 4, 5],
        &[3, 2, 2, 2],
    ),
    tied("Conv2d, groups", conv(1, 0, 1, 2, false), &[2, 4, 5, 5], &[6, 2, 2, 3]),
    tied("Conv2d, groups and all", conv(2, 2, 2, 2, true), &[2, 4, 7, 6], &[4, 2, 3, 2]),
    untied("LocallyConnected2d", conv(1, 0, 1, 1, false), &[3, 2, 4, 5], &[3, 3, 3, 2, 2, 3]),
    untied(
        "LocallyConnected2d, zeros",
        conv(2, 1, 1, 1, false),
        &[3, 2, 5, 6],
        &[3, 3, 2, 2, 3, 3],
    ),
    untied(
        "LocallyConnected2d, reflect",
        conv(2, 1, 2, 1, true),
        &[2, 2, 5, 6],
        &[2, 3, 2, 2, 3, 2],
    ),
];

/// The response of weights that are not a variable.
fn respond(x: &[Tensor], geometry: Geometry) -> Result<Tensor> {
    Layer::new(x[1].clone(), geometry)?.forward(&x[0])
}

pub const REFUSED_GEOMETRIES: &[Refused] = &[
    refused("Dense", &[&[2, 3], &[2, 4]], &["(…, 4)", "[2, 3]"], |x| respond(x, Geometry::Dense)),
    refused("Dense, weights", &[&[2, 3], &[2, 3, 1]], &["(K, F)", "[2, 3, 1]"], |x| {
        respond(x, Geometry::Dense)
    }),
    refused("Conv2d", &[&[2, 3, 4, 4], &[2, 2, 2, 2]], &["(B, 2, H, W)", "[2, 3, 4, 4]"], |x| {
        respond(x, Geometry::Conv2d(conv(1, 0, 1, 1, false)))
    }),
    refused("Conv2d, small", &[&[2, 2, 4, 2], &[2, 2, 3, 3]], &["too small", "2 pixels"], |x| {
        respond(x, Geometry::Conv2d(conv(1, 0, 1, 1, false)))
    }),
    refused(
        "Conv2d, reflect",
        &[&[2, 2, 4, 4], &[2, 2, 3, 3]],
        &["reflection padding of 4"],
        |x| respond(x, Geometry::Conv2d(conv(1, 4, 1, 1, true))),
    ),
    refused("Conv2d, groups", &[&[2, 4, 4, 4], &[3, 2, 2, 2]], &["3 output", "2 groups"], |x| {
        respond(x, Geometry::Conv2d(conv(1, 0, 1, 2, false)))
    }),
    refused("Conv2d, weights", &[&[2, 4, 4, 4], &[3, 4]], &["(K, C/groups, kh, kw)"], |x| {
        respond(x, Geometry::Conv2d(conv(1, 0, 1, 1, false)))
    }),
    refused("Conv2d, types", &[&[2, 2, 4, 4], &[2, 2, 3, 3]], &["F32", "F64"], |x| {
        let weight = x[1].to_dtype(DType::F64)?;
        respond(&[x[0].clone(), weight], Geometry::Conv2d(conv(1, 0, 1, 1, false)))
    }),
    refused(
        "LocallyConnected2d",
        &[&[2, 2, 4, 5], &[3, 3, 3, 2, 2, 2]],
        &["3 x 4 windows", "[3, 3, 3, 2, 2, 2]", "3 x 3"],
        |x| respond(x, Geometry::LocallyConnected2d(conv(1, 0, 1, 1, false))),
    ),
    refused(
        "LocallyConnected2d, groups",
        &[&[2, 2, 4, 4], &[3, 3, 4, 1, 2, 2]],
        &["no groups", "2"],
        |x| respond(x, Geometry::LocallyConnected2d(conv(1, 0, 1, 2, false))),
    ),
];
