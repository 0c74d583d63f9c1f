//! Hebbian and biologically plausible learning on candle.
//!
//! **The key decision:** a rule is a function from what a synapse may see to its update. The update
//! becomes a surrogate loss whose gradient is minus that update, so candle's autograd, any
//! optimiser and any device can run it. Learning then combines three independent choices: a
//! [rule](rules), a [`Competition`] and a [`Geometry`]. Each is implemented once, not once per
//! combination: rules see matrices ([`Synapses`]), and layers know the geometry.
//!
//! ```
//! use candle::{DType, Device, Tensor};
//! use candle_hebbian::{Competition, Conv2dConfig, SoftHebb, SoftWta, conv2d};
//! use candle_nn::{Init, Optimizer, SGD, VarBuilder, VarMap};
//!
//! let varmap = VarMap::new();
//! let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
//! let init = |_: &[usize]| Init::Randn { mean: 0.0, stdev: 0.5 };
//! let layer = conv2d(3, 8, 5, Conv2dConfig::default(), init, vb.pp("c1"))?;
//! let images = Tensor::rand(0f32, 1.0, (2, 3, 12, 12), &Device::Cpu)?;
//!
//! let response = layer.response(&images)?; // responds, learns nothing
//! let post = SoftWta { inverse_temperature: 1.0 }.compete(response.u())?;
//! let loss = response.synapses(&post)?.loss(&SoftHebb)?; // its gradient is minus the update
//!
//! // Units share each of the 2·8·8 places: their activities, 1 in all, are 1/8 each on average.
//! let share = post.mean_all()?.to_scalar::<f32>()?;
//! assert!((share - 0.125).abs() < 1e-6);
//! // A rate times Σ y (x − u w): one place at a time, it is the definition.
//! let (u, x) = (response.u().squeeze(0)?, layer.unfold(&images)?.squeeze(0)?);
//! let (y, w) = (post.squeeze(0)?, layer.weight().flatten_from(1)?);
//! let hebb = y.t()?.matmul(&x)?;
//! let decay = w.broadcast_mul(&(y * u)?.sum(0)?.unsqueeze(1)?)?;
//! let update = response.synapses(&post)?.update(&SoftHebb)?.reshape(hebb.shape())?;
//! let error = (update - (hebb - decay)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
//! assert!(error < 1e-3, "{error}");
//!
//! SGD::new(varmap.all_vars(), 1e-3)?.backward_step(&loss)?;
//! let output = response.output()?; // the linear response, with the weights before the step
//! assert_eq!(output.dims(), [2, 8, 8, 8]);
//! # Ok::<(), candle::Error>(())
//! ```
//!
//! | to | see |
//! |---|---|
//! | make a layer | [`dense`], [`conv2d`], [`locally_connected2d`], [`Layer`] |
//! | let it learn | [`Layer::response`], [`Response::synapses`], [`Synapses::loss`] |
//! | choose a rule or write one | [`rules`], [`Rule`], [`Update`] |
//! | choose a competition or write one | [`competition`], [`Competition`] |
//! | take the steps of a paper | [`Steps`]: [`LargestEntry`], [`NormDependent`], [`UnitNorm`], … |
//! | keep units equally active | [`AdaptiveThreshold`] |
//! | stack layers | [`Stack`], [`BlockConfig`], [`Learner`] |
//! | send errors back through other weights | [`feedback`], [`FeedbackLayer`], [`WithFeedback`] |
//! | learn by a rule inside a network that back-propagates | [`response_by_rule`], [`Block::set_rule`] |
//! | learn classes locally | [`HingeHebb`] |
//! | draw the same weights on every device | [`Rng`], [`seeded()`], [`init`] |
//! | choose a device | [`device`] |
//! | test your own rule | the feature `testing` |
//!
//! Shapes: images `(B, C, H, W)`, dense inputs `(N, F)`, patches channel-major `(C, kh, kw)`.
//! Updates and surrogate losses are sums over batch and positions, not means. Nothing here reads
//! files or knows about data sets.
#![deny(missing_debug_implementations, missing_docs)]
#![warn(clippy::missing_errors_doc)]

mod backtrace;
mod by_rule;
pub mod competition;
mod cpu;
pub mod device;
pub mod feedback;
mod geometry;
mod homeostasis;
pub mod init;
#[cfg(test)]
mod largest;
mod layer;
mod loss;
mod memory;
mod mode;
pub mod ops;
mod precision;
mod rng;
pub mod rules;
mod seeded;
mod stack;
mod steps;
mod synapses;
#[cfg(feature = "testing")]
pub mod testing;
mod window;

pub use backtrace::without_backtrace;
pub use by_rule::response_by_rule;
pub use competition::{
    Competition, HardWta, KWta, NoCompetition, RankedWta, SoftWta, SoftWtaAntiHebbian,
};
pub use feedback::{
    Decoupled, FeedbackConfig, FeedbackLayer, WithFeedback, WithFeedbackConfig, direct_feedback,
};
pub use geometry::{Geometry, WeightDims};
pub use homeostasis::{AdaptiveThreshold, adaptive_threshold};
pub use layer::{Layer, Response, conv2d, dense, locally_connected2d};
pub use memory::with_most_bytes;
pub use mode::{InMode, in_evaluation, in_training};
pub use ops::widen::wide_dtype;
pub use precision::{MatmulPrecision, matmul_precision, set_matmul_precision};
pub use rng::Rng;
pub use rules::{
    Bcm, GlobalDirection, Hebb, HingeHebb, Instar, KrotovHopfield, ModulatedHebb, Oja, Rule,
    SoftHebb, State, Update,
};
pub use seeded::seeded;
pub use stack::{
    Activation, Activity, Block, BlockConfig, Excitation, InitConfig, LayerConfig, Learner, Norm,
    RowMap, Stack,
};
pub use steps::{
    Constraint, CosineDecay, Dependence, Descent, ExponentialDecay, LargestEntry, LinearDecay,
    NormDependent, Part, PartConfig, Steps, StepsBuilder, StepsConfig, UnitNorm, Variable,
    WeightDecay,
};
pub use synapses::Synapses;
pub use window::{Conv2dConfig, PaddingMode};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
