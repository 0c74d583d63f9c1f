//! Layers, rules and a loss that several test modules share.

pub mod draw;

use candle::{Result, Tensor};
use candle_hebbian::ops::custom_vjp;
use candle_hebbian::{Hebb, Instar, Oja, Rule, SoftHebb};

/// The sum of `out·upstream`, whose gradient at `out` is `upstream`. That of nothing is 0, and no device is asked for
/// it: candle starts a backward pass with ones, which CUDA refuses to write to a tensor without elements.
pub fn weighted_sum(out: &Tensor, upstream: &Tensor) -> Result<Tensor> {
    if out.elem_count() > 0 {
        return (out * upstream)?.sum_all();
    }
    let (zero, upstream) = (Tensor::zeros((), out.dtype(), out.device())?, upstream.clone());
    let forward = |_: &[Tensor; 1]| Ok((zero.into(), ()));
    custom_vjp("weighted_sum", [out], forward, move |_| Ok([Some(upstream.clone())]))
}

/// The rules of the decay form, by name: oracles choose the definition by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleName {
    Hebb,
    Instar,
    Oja,
    Softhebb,
}

impl RuleName {
    pub fn rule(self) -> &'static dyn Rule {
        match self {
            Self::Hebb => &Hebb,
            Self::Instar => &Instar,
            Self::Oja => &Oja,
            Self::Softhebb => &SoftHebb,
        }
    }
}
