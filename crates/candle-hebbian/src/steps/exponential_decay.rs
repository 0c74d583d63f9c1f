//! A learning rate that falls early.

use super::descent::Descent;
use super::part::{Dependence, Part};
use candle::Result;
use serde::{Deserialize, Serialize};

/// `η ← m + (η − m)·e^{−speed·progress}`, where `m` is such that the rate ends at `η/divisor` once the caller has set
/// the [progress](super::Steps::set_progress) to 1.
///
/// Source: the released code of Journé et al. 2023 (`exp` of its schedulers), in closed form.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExponentialDecay {
    /// How early the rate falls. Default: 7.
    pub speed: f64,
    /// The first rate divided by the last. Default: 96.
    pub divisor: f64,
}

impl Default for ExponentialDecay {
    fn default() -> Self {
        Self { speed: 7.0, divisor: 96.0 }
    }
}

impl ExponentialDecay {
    /// The rate when the share `progress` (0 to 1) of training is done, from the initial `learning_rate`.
    pub fn rate(&self, learning_rate: f64, progress: f64) -> f64 {
        let end = (-self.speed).exp();
        let floor = learning_rate * (1.0 / self.divisor - end) / (1.0 - end);
        floor + (learning_rate - floor) * (-self.speed * progress).exp()
    }
}

impl Part for ExponentialDecay {
    fn check(&self) -> Result<()> {
        let Self { speed, divisor } = *self;
        // A speed so small that e^{−speed} rounds to 1 would lead to a division by 0, as a speed of 0 does.
        if !speed.is_finite() || 1.0 - (-speed).exp() <= 0.0 {
            candle::bail!(
                "exponential decay: the speed is {speed}, expected a finite number above 1e-15: at 0 \
                 the rate would be 0/0; a linear decay is what it tends to"
            )
        }
        if !divisor.is_finite() || divisor <= 0.0 || divisor.recip().is_infinite() {
            candle::bail!(
                "exponential decay: the divisor is {divisor}, expected a finite number above \
                 1e-308: the rate ends at the first one over it"
            )
        }
        Ok(())
    }

    fn needs_units(&self) -> bool {
        false
    }

    fn dependence(&self) -> Dependence {
        Dependence::None
    }

    fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
        descent.set_learning_rate(self.rate(descent.learning_rate(), descent.progress()));
        Ok(())
    }
}
