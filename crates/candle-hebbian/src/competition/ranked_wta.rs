use super::rows::{self, Rows};
use super::{Competition, HardWta, hard_wta};
use crate::cpu::Real;
use crate::ops::{kth_selected, kth_sorted};
use candle::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

/// Units are ranked: the first learns, the `k`-th unlearns, the others do neither.
///
/// ```text
/// y_j = 1 if u_j is the largest, −Δ if it is the k-th largest, else 0
/// ```
///
/// for each unit `j`; `k` is the field `k`, and `Δ` is `delta`. Among equal values, the one of lower index ranks
/// first.
///
/// Source: Krotov & Hopfield 2019, PNAS 116:7723, with `k` from 2 to 7 and `Δ` of 0.1 to 0.4.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Competition, RankedWta};
/// let u = Tensor::new(&[[0.23f64, 0.17, -0.035], [-0.035, 0.155, 0.19]], &Device::Cpu)?;
/// let y = RankedWta { k: 2, delta: 0.4 }.compete(&u)?.to_vec2::<f64>()?;
/// assert_eq!(y, [[1.0, -0.4, 0.0], [0.0, -0.4, 1.0]]);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// `k` outside `2..=K`; a `Δ` that is not finite in f32.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankedWta {
    /// The rank of the unit that unlearns; the largest has rank 1.
    pub k: usize,
    /// How strongly it unlearns.
    pub delta: f64,
}

impl Competition for RankedWta {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        rows::compete(self, u)
    }
}

impl Rows for RankedWta {
    fn check(&self, units: usize) -> Result<()> {
        let Self { k, delta } = *self;
        if k < 2 || k > units {
            candle::bail!(
                "competition: k is {k}, expected a rank from 2 to {units}, the number of units"
            )
        }
        if !(delta as f32).is_finite() {
            candle::bail!("competition: delta is {delta}, expected a number that is finite in f32")
        }
        Ok(())
    }

    #[inline(always)]
    fn row<T: Real>(&self, u: &[T], y: &mut [T], scratch: &mut Vec<T>) {
        y.fill(T::zero());
        let value = kth_selected(u, self.k, scratch);
        let before = u.iter().filter(|&&u| u > value).count();
        let mut equals = u.iter().zip(y.iter_mut()).filter(|(u, _)| **u == value);
        if let Some((_, y)) = equals.nth(self.k - 1 - before) {
            *y = -T::of(self.delta);
        }
        y[hard_wta::winner(u)] = T::one();
    }

    fn composed(&self, u: &Tensor) -> Result<Tensor> {
        let number = |mask: Tensor| mask.to_dtype(u.dtype());
        let value = kth_sorted(u, self.k)?;
        let before = number(u.broadcast_gt(&value)?)?.sum_keepdim(D::Minus1)?;
        let equals = number(u.broadcast_eq(&value)?)?;
        let rank = equals.cumsum(D::Minus1)?.broadcast_add(&before)?;
        let unlearns = (number(rank.eq(self.k as f64)?)? * equals)?;
        HardWta.composed(u)? - (unlearns * self.delta)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    /// The rows of the hand-worked example of Krotov & Hopfield's rule, and rows of equals.
    #[test]
    fn ranks() -> Result<()> {
        let ranked = |k: usize, delta: f64, u: &[f64]| -> Result<Vec<f64>> {
            RankedWta { k, delta }.compete(&Tensor::new(u, &Device::Cpu)?)?.to_vec1()
        };
        assert_eq!(ranked(2, 0.4, &[0.23, 0.17, -0.035])?, [1.0, -0.4, 0.0]);
        assert_eq!(ranked(2, 0.4, &[-0.035, 0.155, 0.19])?, [0.0, -0.4, 1.0]);
        assert_eq!(ranked(3, 0.4, &[0.23, 0.17, -0.035])?, [1.0, 0.0, -0.4]);
        assert_eq!(ranked(3, 0.4, &[-0.035, 0.155, 0.19])?, [-0.4, 0.0, 1.0]);
        // Ranks 1, 2, 3 of the equals go by index.
        assert_eq!(ranked(2, 0.5, &[2.0, 2.0, 2.0])?, [1.0, -0.5, 0.0]);
        assert_eq!(ranked(3, 0.5, &[2.0, 2.0, 2.0])?, [1.0, 0.0, -0.5]);
        assert_eq!(ranked(3, 0.5, &[1.0, 5.0, 1.0, 1.0])?, [0.0, 1.0, -0.5, 0.0]);
        assert_eq!(ranked(2, 0.5, &[f64::NEG_INFINITY, f64::INFINITY])?, [-0.5, 1.0]);
        Ok(())
    }

    #[test]
    fn parameters_are_checked() -> Result<()> {
        let u = Tensor::new(&[1f64, 2.0, 3.0], &Device::Cpu)?;
        for (k, delta, says) in [
            (0, 0.4, "k is 0, expected a rank from 2 to 3"),
            (1, 0.4, "k is 1, expected a rank from 2 to 3"),
            (4, 0.4, "k is 4, expected a rank from 2 to 3"),
            (2, f64::NAN, "delta is NaN"),
            (2, 1e300, "finite in f32"),
        ] {
            let error = RankedWta { k, delta }.compete(&u).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        Ok(())
    }
}
