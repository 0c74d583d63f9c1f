use super::Competition;
use super::rows::{self, Rows};
use crate::cpu::Real;
use crate::ops::{kth_selected, kth_sorted};
use candle::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// `k` winners take all: the `k` units of largest `u`, provided they are above 0.
///
/// ```text
/// y_j = 1[u_j ≥ u_(k) and u_j > 0]        graded: that times u_j
/// ```
///
/// for each unit `j`, with `u_(k)` the `k`-th largest of the row. All units that tie for the `k`-th place win.
///
/// Source: Miconi 2021, arXiv 2107.01729.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Competition, KWta};
/// let u = Tensor::new(&[[3f64, 0.5, 2.0, 2.0], [-1.0, 4.0, -2.0, -3.0]], &Device::Cpu)?;
/// let y = KWta::binary(2).compete(&u)?.to_vec2::<f64>()?;
/// assert_eq!(y, [[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0]]);
/// let y = KWta::graded(2).compete(&u)?.to_vec2::<f64>()?;
/// assert_eq!(y, [[3.0, 0.0, 2.0, 2.0], [0.0, 4.0, 0.0, 0.0]]);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// `k` outside `1..=K`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KWta {
    /// Number of winners.
    pub k: usize,
    /// Whether a winner's activity is its response instead of 1.
    pub graded: bool,
}

impl KWta {
    /// Creates a competition whose winners have an activity of 1.
    pub fn binary(k: usize) -> Self {
        Self { k, graded: false }
    }

    /// Creates a competition whose winners have their response as activity.
    pub fn graded(k: usize) -> Self {
        Self { k, graded: true }
    }
}

impl Competition for KWta {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        rows::compete(self, u)
    }
}

impl Rows for KWta {
    fn check(&self, units: usize) -> Result<()> {
        match self.k {
            k if k == 0 || k > units => {
                candle::bail!("competition: k is {k}, expected 1 to {units}, the number of units")
            }
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn row<T: Real>(&self, u: &[T], y: &mut [T], scratch: &mut Vec<T>) {
        let threshold = kth_selected(u, self.k, scratch);
        for (y, &u) in y.iter_mut().zip(u) {
            let activity = if self.graded { u } else { T::one() };
            *y = if u >= threshold && u > T::zero() { activity } else { T::zero() };
        }
    }

    fn composed(&self, u: &Tensor) -> Result<Tensor> {
        let won = (u.broadcast_ge(&kth_sorted(u, self.k)?)? * u.gt(0.0)?)?;
        match self.graded {
            // Not a product, in which an infinite loser is 0·∞.
            true => won.where_cond(u, &u.zeros_like()?),
            false => won.to_dtype(u.dtype()),
        }
    }
}
