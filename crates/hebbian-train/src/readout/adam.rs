//! Adam without autograd.

use candle::{Result, Tensor};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The state of Adam (Kingma & Ba 2015) for one tensor w with gradient g at step t = 1, 2, …:
///
/// ```text
/// m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
/// w ← w − η · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
/// ```
#[derive(Debug, Clone)]
pub(super) struct Adam {
    m: Tensor,
    v: Tensor,
    step: i32,
}

impl Adam {
    pub(super) fn new(parameter: &Tensor) -> Result<Self> {
        Ok(Self { m: parameter.zeros_like()?, v: parameter.zeros_like()?, step: 0 })
    }

    /// The parameter after one step.
    pub(super) fn step(&mut self, w: &Tensor, g: &Tensor, learning_rate: f64) -> Result<Tensor> {
        self.step += 1;
        let rate = learning_rate / (1.0 - BETA_1.powi(self.step));
        let scale = 1.0 / (1.0 - BETA_2.powi(self.step));
        self.m = ((&self.m * BETA_1)? + (g * (1.0 - BETA_1))?)?;
        self.v = ((&self.v * BETA_2)? + (g.sqr()? * (1.0 - BETA_2))?)?;
        w - ((&self.m * rate)? / ((&self.v * scale)?.sqrt()? + EPSILON)?)?
    }
}
