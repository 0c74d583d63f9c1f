//! A learning rate that falls evenly.

use super::descent::Descent;
use super::part::{Dependence, Part};
use candle::Result;

/// `η ← η·(1 − progress)`, which is 0 at the end of training and after it. The caller sets the
/// [progress](super::Steps::set_progress). A constant rate needs no part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearDecay;

impl LinearDecay {
    /// The rate when the share `progress` of training is done, from the initial `learning_rate`.
    pub fn rate(&self, learning_rate: f64, progress: f64) -> f64 {
        // Not `max`, which makes 0 of NaN.
        learning_rate * (1.0 - progress).clamp(0.0, f64::INFINITY)
    }
}

impl Part for LinearDecay {
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
