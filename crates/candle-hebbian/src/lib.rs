//! Hebbian and biologically plausible learning on candle.
//!
//! **The one decision:** every rule is a surrogate loss whose gradient is minus the wanted local
//! update, so candle's autograd, any optimiser and any device can run it. What learns is then
//! three free choices: a [rule](rules), a [`Competition`] and a [`Geometry`]. Each is written
//! once, none for a pair of them: rules see matrices, layers know geometry.
//!
//! ```
//! use candle::{DType, Device};
//! use candle_hebbian::{Competition, Conv2dConfig, Geometry, Layer, Rng, Rule, SoftHebb};
//!
//! let mut rng = Rng::new(0);
//! let weight = rng.normal(0.0, 1.0, (8, 3, 5, 5), DType::F32, &Device::Cpu)?;
//! let layer = Layer::new(weight, Geometry::Conv2d(Conv2dConfig::default()))?;
//! let images = rng.uniform(0.0, 1.0, (2, 3, 12, 12), DType::F32, &Device::Cpu)?;
//!
//! let response = layer.response(&images)?; // unfolds once, responds, learns nothing
//! let post = Competition::SoftWta { inverse_temperature: 1.0 }.apply(response.u())?;
//! let grads = SoftHebb.loss(&response, &post)?.backward()?; // minus the update
//! let output = response.output()?; // (2, 8, 8, 8), the linear response
//! assert_eq!(grads.get(layer.weight()).unwrap().dims(), [8, 3, 5, 5]);
//! assert_eq!(output.dims(), [2, 8, 8, 8]);
//! # Ok::<(), candle::Error>(())
//! ```
//!
//! Shapes: images `(B, C, H, W)`, dense inputs `(N, F)`, patches channel-major `(C, kh, kw)`.
//! Sums over batch and positions, not means. Nothing here reads files or knows a data set.
#![deny(missing_docs)]

mod competition;
mod cpu;
pub mod device;
mod feedback;
mod geometry;
mod homeostasis;
mod layer;
pub mod ops;
mod optim;
mod protocol;
mod rng;
pub mod rules;
pub mod testing;

pub use competition::Competition;
pub use feedback::{FeedbackLayer, direct_feedback, glorot_uniform};
pub use geometry::{Conv2dConfig, Geometry, PaddingMode, WeightDims};
pub use homeostasis::AdaptiveThreshold;
pub use layer::{Layer, Response};
pub use optim::{MaxAbsStep, Rate, Sgd};
pub use protocol::Protocol;
pub use rng::Rng;
pub use rules::{Hebb, HingeHebb, Instar, Oja, Rule, RuleKind, SoftHebb};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
