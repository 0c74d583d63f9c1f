//! Decoupled weight decay.

use super::descent::Descent;
use super::part::{Dependence, Part};
use candle::Result;
use serde::{Deserialize, Serialize};

/// Shrinks the weights by a fraction of themselves at each step: `w ← (1 − ηλ)·w − ηu`, with the `η` of the schedule.
/// The decay is decoupled, as in AdamW: factors that scale the direction `u` do not scale it.
///
/// Source: Loshchilov & Hutter 2019, arXiv 1711.05101, with the `η` of PyTorch's and candle's AdamW.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WeightDecay {
    /// `λ`. Default: 0.01.
    pub rate: f64,
}

impl Default for WeightDecay {
    fn default() -> Self {
        Self { rate: 0.01 }
    }
}

impl Part for WeightDecay {
    fn check(&self) -> Result<()> {
        let rate = self.rate;
        match rate.is_finite() && rate >= 0.0 {
            true => Ok(()),
            false => candle::bail!(
                "weight decay: the rate is {rate}, expected a finite number of 0 or more"
            ),
        }
    }

    fn needs_units(&self) -> bool {
        false
    }

    fn dependence(&self) -> Dependence {
        Dependence::Decay(self.rate)
    }

    fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
        descent.decay(self.rate);
        Ok(())
    }
}
