//! Steps of layers in which connections are missing.

use candle::{Result, Tensor};
use candle_hebbian::{Constraint, Layer, Part, Steps, UnitNorm};

/// Plain descent; what has no connection is taken away, then every filter has norm 1, if `normalise`.
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

/// Weights are 0 where there is no connection.
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
