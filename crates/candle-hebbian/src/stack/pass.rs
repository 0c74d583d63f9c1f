//! A stack as a differentiable function: back-propagation and feedback weights.

use super::Stack;
use super::block::{Block, activation};
use super::config::{Activation, Excitation};
use super::local::named;
use crate::Rng;
use crate::competition::Competition;
use crate::geometry::Geometry;
use crate::layer::Layer;
use crate::ops::layout::{to_channels_first, to_channels_last};
use crate::ops::{Asymmetry, Pool, linear_response, triangle};
use candle::{Module, Result, Tensor};

impl<C: Competition> Stack<C> {
    /// Training by back-propagation: batch norm uses and moves the statistics of the batch, and dropout
    /// draws its masks from `rng`, block by block. Differentiable in the weights and, where it is part
    /// of a graph, in `x (B, …)`, down to the last [`Norm::Standardise`](super::Norm::Standardise), which
    /// no gradient passes.
    ///
    /// # Errors
    /// An input that does not fit, with the block.
    pub fn forward_train(&self, x: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        self.pass(x, Some(rng))
    }

    fn pass(&self, x: &Tensor, mut dropout: Option<&mut Rng>) -> Result<Tensor> {
        let last = self.blocks().iter().all(Block::takes_channels_last);
        let order = if last { Order::Last } else { Order::First };
        let mut x = order.of(x)?;
        for (at, block) in self.blocks().iter().enumerate() {
            let (below, training) = (x.clone(), dropout.is_some());
            x = named(at, &below, block.forward(&below, training, order))?;
            if let (Some(dropout), Some(rng)) = (&block.dropout, &mut dropout) {
                x = named(at, &below, dropout.apply(&x, rng))?;
            }
        }
        order.back(&x)
    }
}

/// Evaluation, differentiable in the weights and in the input. See
/// [`forward_train`](Stack::forward_train) for training.
impl<C: Competition> Module for Stack<C> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.pass(x, None)
    }
}

/// How images go through a pass: `(B, C, H, W)`, or `(B, H, W, C)` where every op takes that. A view of
/// a graph costs a copy and a sum of the whole tensor in candle's backward pass, so the order does not
/// change on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    First,
    Last,
}

impl Order {
    fn of(self, x: &Tensor) -> Result<Tensor> {
        if self == Self::Last && x.rank() == 4 { to_channels_last(x) } else { Ok(x.clone()) }
    }

    fn back(self, x: &Tensor) -> Result<Tensor> {
        if self == Self::Last && x.rank() == 4 { to_channels_first(x) } else { Ok(x.clone()) }
    }
}

impl<C: Competition> Block<C> {
    fn takes_channels_last(&self) -> bool {
        let config = self.config();
        let linear = matches!(config.activation, Activation::Linear {} | Activation::Ramp { .. });
        config.norm.is_none()
            && self.rows.is_none()
            && linear
            && config.excitation == Excitation::Linear {}
    }

    fn forward(&self, x: &Tensor, training: bool, order: Order) -> Result<Tensor> {
        let input = self.normed(x, training)?;
        let kind = self.config().activation;
        let active = match &self.layer {
            None if self.pools_first() => input,
            None => activation(kind, &input)?,
            Some(layer) => {
                let input = match layer.geometry() {
                    Geometry::Dense => order.back(&input)?.flatten_from(1)?,
                    _ => input,
                };
                let excitation = self.excitation(layer, &input, order)?;
                match kind {
                    Activation::Winners {} => self.winners(layer, &input, &excitation)?,
                    _ if self.pools_first() => excitation,
                    kind => activation(kind, &excitation)?,
                }
            }
        };
        let active = if self.config().residual { (x + active)? } else { active };
        let pooled = match (&self.config().pool, order) {
            (None, _) => active,
            (Some(pool), Order::First) => pool.forward(&active)?,
            (Some(pool), Order::Last) => pool.forward_channels_last(&active)?,
        };
        if self.pools_first() { activation(kind, &pooled) } else { Ok(pooled) }
    }

    /// Whether the activation comes after the pool, where there is less of it: a ramp is monotonic, so
    /// a maximum of ramps is the ramp of a maximum. Saturated units, which tie only after the ramp, get
    /// no error either way.
    fn pools_first(&self) -> bool {
        let config = self.config();
        let maximum = matches!(config.pool, Some(Pool::Max { .. } | Pool::MaxSame { .. }));
        matches!(config.activation, Activation::Ramp { .. }) && maximum && !config.residual
    }

    /// What competes, in the shape of the layer's output.
    fn excitation(&self, layer: &Layer, x: &Tensor, order: Order) -> Result<Tensor> {
        let (geometry, weight) = (layer.geometry(), layer.weight());
        let (constant, plain) = (weight.detach(), Asymmetry::default());
        let u = match (order, &self.rows) {
            (Order::Last, _) => layer.forward_channels_last_with(x, &constant, plain)?,
            (Order::First, None) => layer.forward(x)?,
            (Order::First, Some(map)) => {
                let rows = map.map(&geometry.unfold(x, weight.dims())?)?;
                let u = linear_response(&rows, weight, &constant, plain)?;
                geometry.fold(&u, x.dims(), weight.dims())?
            }
        };
        match (self.config().excitation, &self.threshold) {
            (Excitation::Triangle {}, _) => triangle(&u, 1.0, true),
            (_, Some(threshold)) => {
                let theta = threshold.values().to_dtype(u.dtype())?.unsqueeze(1)?;
                let excess = geometry.rows(&u, weight.dims())?.broadcast_sub(&theta)?;
                geometry.fold(&excess, x.dims(), weight.dims())
            }
            (_, None) => Ok(u),
        }
    }

    /// The activity that competition makes of the excitation: constant.
    fn winners(&self, layer: &Layer, x: &Tensor, excitation: &Tensor) -> Result<Tensor> {
        let (geometry, weight) = (layer.geometry(), layer.weight().dims());
        let post = self.compete(&geometry.rows(&excitation.detach(), weight)?)?;
        geometry.fold(&post, x.dims(), weight)
    }
}
