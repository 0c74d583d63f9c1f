//! Competition among the units that see the same input, which turns the linear response `u` into
//! the post-synaptic activity `y`.
//!
//! | competition | `y` |
//! |---|---|
//! | [`NoCompetition`] | `u` |
//! | [`HardWta`] | 1 for the largest `u` |
//! | [`KWta`] | 1, or `u` itself, for the `k` largest that are above 0 |
//! | [`SoftWta`] | `softmax(t·u)` |
//! | [`SoftWtaAntiHebbian`] | the same, with the opposite sign for all but the largest |
//! | [`RankedWta`] | 1 for the largest, `−Δ` for the `k`-th largest |
//!
//! Units compete along the last dimension, in each row separately. In all competitions but
//! [`NoCompetition`], in which units do not affect each other, a row that holds a NaN is NaN for
//! all its units; see [what is not a number](crate::ops#nan-and-infinity).

mod hard_wta;
mod k_wta;
mod no_competition;
mod ranked_wta;
mod rows;
mod soft_wta;
mod soft_wta_anti_hebbian;

pub use hard_wta::HardWta;
pub use k_wta::KWta;
pub use no_competition::NoCompetition;
pub use ranked_wta::RankedWta;
pub use rows::over_rows;
pub use soft_wta::SoftWta;
pub use soft_wta_anti_hebbian::SoftWtaAntiHebbian;

use candle::{Result, Tensor};
use std::fmt::Debug;
use std::sync::Arc;

/// How the units of one row (one sample, or one position of a map) compete.
///
/// Implementing a competition takes a single function. [`over_rows`] handles what all competitions
/// share: types, layouts, empty batches and NaN.
///
/// ```
/// use candle::{D, Device, Result, Tensor};
/// use candle_hebbian::{Competition, competition::over_rows, ops::channels_last::repu};
///
/// /// Lateral inhibition: every unit is held down by a share of what the others respond,
/// /// `y_k = max(0, u_k − β Σ_{l≠k} u_l)`.
/// #[derive(Debug)]
/// struct Lateral {
///     beta: f64,
/// }
///
/// impl Competition for Lateral {
///     fn compete(&self, u: &Tensor) -> Result<Tensor> {
///         over_rows(u, |u| {
///             let others = u.sum_keepdim(D::Minus1)?.broadcast_sub(u)?;
///             repu(&(u - (others * self.beta)?)?, 1.0) // candle's relu makes 0 of NaN
///         })
///     }
/// }
///
/// let u = Tensor::new(&[[2f64, 1.0, 1.0], [0.0, f64::NAN, 0.0]], &Device::Cpu)?;
/// let y = Lateral { beta: 0.5 }.compete(&u)?.to_vec2::<f64>()?;
/// assert_eq!(y[0], [1.0, 0.0, 0.0]); // 2 − (1 + 1)/2, 1 − (2 + 1)/2 twice
/// assert!(y[1].iter().all(|y| y.is_nan()));
/// # Ok::<(), candle::Error>(())
/// ```
pub trait Competition: Debug + Send + Sync {
    /// Computes the activity `y` for the response `u (…, K)`. It has the same shape and type but no
    /// graph, since rules treat `y` as a constant.
    ///
    /// # Errors
    /// No units; a parameter that does not fit the number of units.
    fn compete(&self, u: &Tensor) -> Result<Tensor>;
}

impl<C: Competition + ?Sized> Competition for &C {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        (**self).compete(u)
    }
}

impl<C: Competition + ?Sized> Competition for Box<C> {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        (**self).compete(u)
    }
}

impl<C: Competition + ?Sized> Competition for Arc<C> {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        (**self).compete(u)
    }
}
