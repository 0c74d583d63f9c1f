use super::rows::{self, Rows};
use super::{Competition, HardWta, SoftWta, hard_wta};
use crate::cpu::Real;
use candle::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// [`SoftWta`], negated for every unit but the one of largest `u` (the first of equals): the losers
/// learn with the opposite sign.
///
/// ```text
/// y_k = ± e^{t·u_k} / Σ_l e^{t·u_l}        + where k = argmax_l u_l, else −
/// ```
///
/// `t` is `inverse_temperature`.
///
/// Source: Journé et al. 2023, arXiv 2209.11883.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Competition, SoftWtaAntiHebbian};
/// let u = Tensor::new(&[[1f64, 1.5, 1.0]], &Device::Cpu)?;
/// let y = SoftWtaAntiHebbian { inverse_temperature: 1.0 }.compete(&u)?.to_vec2::<f64>()?;
/// assert!((y[0][0] + 0.274069).abs() < 1e-6 && (y[0][1] - 0.451863).abs() < 1e-6);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// An inverse temperature that is not finite in f32.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftWtaAntiHebbian {
    /// `t`, one over the temperature.
    pub inverse_temperature: f64,
}

impl SoftWtaAntiHebbian {
    fn soft(&self) -> SoftWta {
        SoftWta { inverse_temperature: self.inverse_temperature }
    }
}

impl Competition for SoftWtaAntiHebbian {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        rows::compete(self, u)
    }
}

impl Rows for SoftWtaAntiHebbian {
    fn check(&self, units: usize) -> Result<()> {
        self.soft().check(units)
    }

    #[inline(always)]
    fn row<T: Real>(&self, u: &[T], y: &mut [T], scratch: &mut Vec<T>) {
        self.soft().row(u, y, scratch);
        let winner = hard_wta::winner(u);
        let share = y[winner];
        for y in y.iter_mut() {
            *y = -*y;
        }
        y[winner] = share;
    }

    fn composed(&self, u: &Tensor) -> Result<Tensor> {
        let sign = HardWta.composed(u)?.affine(2.0, -1.0)?;
        self.soft().composed(u)? * sign
    }
}
