//! Steps for layers with missing connections.

use candle::{Result, Tensor};
use candle_hebbian::{Constraint, Layer, Part, Steps, UnitNorm};

/// Plain gradient descent, after which the weights of missing connections are set to 0 and, if `normalise`,
/// every filter is scaled to norm 1.
pub(super) fn steps(
    layer: &Layer,
    learning_rate: f64,
    mask: Option<&Tensor>,
    normalise: bool,
) -> Result<Steps> {
    let mut chain = Steps::builder(learning_rate);
    if let Some(mask) = mask {
        chain = chain.then(Connections { mask: mask.clone() });
    }
    if normalise {
        chain = chain.then(UnitNorm);
    }
    chain.build([layer.var()?])
}

/// A constraint that keeps the weights of missing connections at 0.
#[derive(Debug)]
struct Connections {
    /// 1 for the connections that exist, in the shape of the weights.
    mask: Tensor,
}

impl Part for Connections {
    fn constraint(&self) -> Option<Constraint<'_>> {
        Some(Constraint::Map(Box::new(|weight| {
            weight * self.mask.to_dtype(weight.dtype())?.reshape(weight.shape())?
        })))
    }
}
