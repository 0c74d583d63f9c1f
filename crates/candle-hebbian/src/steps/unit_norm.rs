//! Weights of norm 1.

use super::part::{Constraint, Part};

/// Scales the weights of each unit to norm 1 after every step: `w_k ← w_k / (‖w_k‖ + 1e-10)`. A
/// unit whose weights are all 0 stays at 0. A unit whose squared norm exceeds the range of the type
/// becomes NaN: from a norm of 1.8e19 on in f32, in which f16 and bf16 are computed too.
///
/// Source: Miconi 2021, arXiv 2107.01729, whose code has the same 1e-10.
///
/// ```
/// use candle::{Device, Var};
/// use candle_hebbian::{Steps, UnitNorm};
/// let w = Var::new(&[[2f64, 2.0]], &Device::Cpu)?;
/// let gradient = candle::Tensor::new(&[[-1f64, -2.0]], &Device::Cpu)?;
/// let mut steps = Steps::builder(1.0).then(UnitNorm).build([w.clone()])?;
/// steps.descend(|_| Some(gradient.clone()))?; // (3, 4) of norm 5
/// let w = w.to_vec2::<f64>()?;
/// assert!((w[0][0] - 0.6).abs() < 1e-10 && (w[0][1] - 0.8).abs() < 1e-10);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitNorm;

impl Part for UnitNorm {
    fn constraint(&self) -> Option<Constraint<'_>> {
        Some(Constraint::UnitNorm)
    }
}
