//! Units that slow down as they reach norm 1.

use super::descent::Descent;
use super::part::Part;
use crate::ops::squared_norms;
use candle::Result;
use serde::{Deserialize, Serialize};

/// Multiplies the direction of every unit by a power of the distance of its norm from 1:
/// `u_k ← (|‖w_k‖ − 1| + 1e-10)^q·u_k`. A unit of norm 1 hardly moves any more.
///
/// Source: Journé et al. 2023, arXiv 2209.11883, who write `η·(r − 1)^q`; the absolute value and the 1e-10 are from
/// their code.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NormDependent {
    /// `q`. Default: 0.5.
    pub power: f64,
}

impl Default for NormDependent {
    fn default() -> Self {
        Self { power: 0.5 }
    }
}

impl Part for NormDependent {
    fn check(&self) -> Result<()> {
        let power = self.power;
        match power.is_finite() && power >= 0.0 {
            true => Ok(()),
            false => candle::bail!(
                "norm-dependent rate: the power is {power}, expected a finite number of 0 or more"
            ),
        }
    }

    fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
        let distance = (squared_norms(descent.weight())?.sqrt()? - 1.0)?.abs()?;
        descent.multiply(&(distance + 1e-10)?.powf(self.power)?)
    }
}
