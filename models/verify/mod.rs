//! Reference vectors: inputs with the results that the papers' definitions give for them, and a check that this library
//! gives the same results on any device.
//!
//! A case is one safetensors file: inputs under their own names, the expected results under `expect.NAME`, and in the
//! metadata `case` (the [`Kind`]) and `params` (JSON with the settings and `rtol`). It passes if for every expected
//! tensor
//!
//! ```text
//! max|got − want| ≤ rtol · max|want|          1e-6 where max|want| is 0
//! ```
//!
//! with the maxima taken over the elements, in f64, on the host. If the library can compute something in several ways
//! (as a surrogate loss and as a direct update, say), each of them has to be right.
//!
//! | kind | inputs | expected |
//! |---|---|---|
//! | [`Rule`](Kind::Rule) | `x`, `w` | response `u`, activity `y`, change `delta_w` |
//! | [`Hinge`](Kind::Hinge) | `h`, `labels` | `loss` (1), `grad_h` |
//! | [`Feedback`](Kind::Feedback) | `x`, `w`, `r`, `upstream` | `out`, `grad_x`, `grad_w`, and `grad_r` if the feedback learns |
//! | [`Pool`](Kind::Pool) | `x`, `upstream` | `out`, `grad_x` |
//! | [`Pad`](Kind::Pad) | `x` | `out` |
//! | [`Zca`](Kind::Zca) | `x` | `matrix` |
//! | [`AmitSteps`](Kind::AmitSteps) | `NAME.weight`, `NAME.feedback`, `x`, `labels` | the same weights and `losses` |
//! | [`SofthebbSteps`](Kind::SofthebbSteps) | `layers.i.weight`, `x`, `test` | weights, batch-norm statistics, `features` of `test` |
//! | [`MiconiSteps`](Kind::MiconiSteps) | `layers.i.weight`, `layers.i.mask`, `x` | weights, thresholds, `features` of the last batch |
//! | [`LocalSupervisionSteps`] | `w1`, `w2`, `q`, `r`, `x`, `y` | the same weights, `mean`, `prediction` for the last batch |
//!
//! [`LocalSupervisionSteps`]: Kind::LocalSupervisionSteps
//!
//! ```no_run
//! use candle::{DType, Device};
//! use hebbian_models::verify::{Case, shipped};
//! for path in shipped()? {
//!     let case = Case::read(&path)?;
//!     assert!(case.run(DType::F32, &Device::Cpu)?.passed(), "{}", case.name());
//! }
//! # Ok::<(), hebbian_models::verify::Error>(())
//! ```

mod case;
mod error;
mod inputs;
mod kinds;
mod outcome;

pub use case::{Case, files, shipped};
pub use error::{Error, Problem};
pub use kinds::Kind;
pub use outcome::{Comparison, Outcome};

/// The result of a fallible function of this module.
pub type Result<T> = std::result::Result<T, Error>;
