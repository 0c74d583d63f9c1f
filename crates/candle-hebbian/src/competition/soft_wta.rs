use super::Competition;
use super::rows::{self, Rows};
use crate::cpu::{Real, maximum, sum};
use candle::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

/// The winner takes most: a softmax of the response.
///
/// ```text
/// y_k = e^{t·u_k} / Σ_l e^{t·u_l}
/// ```
///
/// `t` is `inverse_temperature`. A unit with `t·u = −∞` gets 0. If `t·u` is `+∞` for any unit or
/// `−∞` for all, the quotient is ∞/∞ or 0/0 and the row is NaN. Finite responses give finite
/// activity, however large they are.
///
/// Source: Moraitis et al. 2022; Journé et al. 2023, arXiv 2209.11883, Eq. 1.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Competition, SoftWta};
/// let u = Tensor::new(&[[1f64, 1.5, 1.0]], &Device::Cpu)?;
/// let y = SoftWta { inverse_temperature: 1.0 }.compete(&u)?.to_vec2::<f64>()?;
/// assert!((y[0][0] - 0.274069).abs() < 1e-6 && (y[0][1] - 0.451863).abs() < 1e-6);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// An inverse temperature that is not finite in f32.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftWta {
    /// `t`, one over the temperature.
    pub inverse_temperature: f64,
}

impl Competition for SoftWta {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        rows::compete(self, u)
    }
}

impl Rows for SoftWta {
    fn check(&self, _units: usize) -> Result<()> {
        match self.inverse_temperature {
            t if (t as f32).is_finite() => Ok(()),
            t => candle::bail!(
                "competition: inverse_temperature is {t}, expected a number that is finite in f32"
            ),
        }
    }

    #[inline(always)]
    fn row<T: Real>(&self, u: &[T], y: &mut [T], _scratch: &mut Vec<T>) {
        let t = T::of(self.inverse_temperature);
        // Not `t·u − t·largest`, whose two products are rounded before they cancel.
        let largest = largest(u, t);
        for (y, &u) in y.iter_mut().zip(u) {
            *y = (t * (u - largest)).fast_exp();
        }
        let scale = T::one() / sum(y, |x| x);
        for y in y.iter_mut() {
            *y *= scale;
        }
    }

    fn composed(&self, u: &Tensor) -> Result<Tensor> {
        let t = self.inverse_temperature;
        let largest = match t < 0.0 {
            true => u.min_keepdim(D::Minus1)?,
            false => u.max_keepdim(D::Minus1)?,
        };
        let y = (u.broadcast_sub(&largest)? * t)?.exp()?;
        y.broadcast_div(&y.sum_keepdim(D::Minus1)?)
    }
}

/// The `u` of the largest `t·u`.
fn largest<T: Real>(u: &[T], t: T) -> T {
    if t < T::zero() { -maximum(u, |x| -x) } else { maximum(u, |x| x) }
}
