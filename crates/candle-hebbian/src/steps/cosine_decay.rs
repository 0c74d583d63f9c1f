//! A learning rate that falls along a cosine.

use super::descent::Descent;
use super::part::{Dependence, Part};
use candle::Result;
use std::f64::consts::PI;

/// `η ← η·½(1 + cos(π·progress))`: the full rate at first, half of it half way, 0 at the end of training. The caller
/// sets the [progress](super::Steps::set_progress).
///
/// Source: Loshchilov & Hutter 2017, arXiv 1608.03983, Eq. 5, without restarts and with a smallest rate of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CosineDecay;

impl CosineDecay {
    /// The rate when the share `progress` (0 to 1) of training is done, from the initial `learning_rate`.
    pub fn rate(&self, learning_rate: f64, progress: f64) -> f64 {
        learning_rate * 0.5 * (1.0 + (PI * progress).cos())
    }
}

impl Part for CosineDecay {
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
