//! A stack as a differentiable function: back-propagation and feedback weights.

use super::Stack;
use super::block::{Block, ByRule, activation, flat};
use super::config::{Activation, Excitation, Norm};
use super::local::named;
use crate::Rng;
use crate::by_rule::by_rule;
use crate::competition::Competition;
use crate::feedback::{FeedbackLayer, direct_feedback};
use crate::geometry::{Geometry, with_rows};
use crate::layer::Layer;
use crate::ops::layout::{to_channels_first, to_channels_last};
use crate::ops::{Epilogue, Pool, channels_last, flatten, linear_response, triangle};
use candle::{Module, Result, Tensor, Var};

impl<C: Competition> Stack<C> {
    /// The forward pass of training, by back-propagation or what the blocks' [`FeedbackConfig`](crate::FeedbackConfig)s
    /// and [direct feedback](Block::set_direct) put in its place. Batch norm uses the batch's statistics and updates
    /// the running ones. Feedback weights that are redrawn for each batch are drawn from `rng`, layer by layer, and
    /// then the masks of dropout, block by block. The output is differentiable in the weights and, if `x (B, …)` is
    /// part of a graph, in `x`. Frozen weights, which are no variables, do not learn, and direct feedback is not sent
    /// to them.
    ///
    /// # Errors
    /// If an input does not fit; the message names the block.
    pub fn forward_train(&self, x: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        for block in self.blocks() {
            if let Some(layer) = &block.layer {
                layer.redraw(rng)?;
            }
        }
        self.pass(x, Pass { dropout: Some(rng), ..Pass::default() })
    }

    /// Returns the error `δ` at the linear response of every layer, `(B, K, …)`, that `loss` of the output for `x`
    /// sends back in evaluation. The error goes back as the blocks are configured or, if `backprop`, through the
    /// weights themselves. For inspecting the effect of feedback weights.
    ///
    /// # Errors
    /// If an input does not fit; the message names the block. Also if `loss` fails.
    pub fn errors(
        &self,
        x: &Tensor,
        backprop: bool,
        loss: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let mut probes = Vec::new();
        let pass = Pass { backprop, probes: Some(&mut probes), ..Pass::default() };
        let grads = loss(&self.pass(x, pass)?)?.backward()?;
        let order = self.order();
        let error = |probe: &Var| match grads.get(probe) {
            Some(error) => order.back(error),
            None => order.back(&probe.zeros_like()?),
        };
        probes.iter().map(error).collect()
    }

    /// Returns the gradient of `loss` of the output for `x`, in evaluation, with respect to the weights of every layer,
    /// in the shape of the weights. The error goes back as for [`errors`](Self::errors). Frozen weights, which are no
    /// variables, have the gradient 0. For inspecting the effect of feedback weights.
    ///
    /// # Errors
    /// If an input does not fit; the message names the block. Also if `loss` fails.
    pub fn gradients(
        &self,
        x: &Tensor,
        backprop: bool,
        loss: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let grads = loss(&self.pass(x, Pass { backprop, ..Pass::default() })?)?.backward()?;
        let weights =
            self.blocks().iter().filter_map(|block| block.layer().ok()).map(Layer::weight);
        weights
            .map(|weight| grads.get(weight).map_or_else(|| weight.zeros_like(), |g| Ok(g.clone())))
            .collect()
    }

    /// Returns the excitation of block `index` in evaluation for `x (B, …)`: what its units compete with, `(B, K, …)`,
    /// in the shape of the layer's output. It is differentiable in `x` through the weights themselves, whatever
    /// feedback the blocks have. For inspecting what excites a unit.
    ///
    /// # Errors
    /// If the block does not exist or has no layer, or if an input does not fit; the message names the block.
    pub fn excitation(&self, index: usize, x: &Tensor) -> Result<Tensor> {
        let Some(block) = self.blocks().get(index) else {
            candle::bail!(
                "there is no block {index}: the stack has {} blocks, counted from 0",
                self.blocks().len()
            )
        };
        let mut pass = Pass { backprop: true, exact: true, ..Pass::default() };
        let mut x = x.clone();
        for (at, below) in self.blocks()[..index].iter().enumerate() {
            let next = below.forward(&x, Order::First, &mut pass, &mut Vec::new());
            x = named(at, &x, next)?;
        }
        let mut excitation = || {
            let layer = block.feedback_layer()?;
            let input = flat(layer.layer(), &block.normed(&x, false)?)?;
            block.excitation(layer, &input, Order::First, &mut pass)
        };
        named(index, &x, excitation())
    }

    fn order(&self) -> Order {
        match self.blocks().iter().all(Block::takes_channels_last) {
            true => Order::Last,
            false => Order::First,
        }
    }

    fn pass(&self, x: &Tensor, mut pass: Pass) -> Result<Tensor> {
        let order = self.order();
        let mut x = order.of(x)?;
        let mut direct = Vec::new();
        for (at, block) in self.blocks().iter().enumerate() {
            let below = x.clone();
            x = named(at, &below, block.forward(&below, order, &mut pass, &mut direct))?;
            if let (Some(dropout), Some(rng)) = (&block.dropout, &mut pass.dropout) {
                x = named(at, &below, dropout.apply(&x, rng))?;
            }
        }
        let mut x = order.back(&x)?;
        for (hidden, feedback) in direct {
            // Frozen weights need no error.
            if hidden.track_op() {
                x = direct_feedback(&x, &hidden, &feedback)?;
            }
        }
        Ok(x)
    }
}

/// Evaluation, differentiable in the weights and in the input. See
/// [`forward_train`](Stack::forward_train) for training.
impl<C: Competition> Module for Stack<C> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.pass(x, Pass::default())
    }
}

/// The options of one pass.
#[derive(Default)]
struct Pass<'a> {
    /// The generator of dropout masks; `None` in evaluation.
    dropout: Option<&'a mut Rng>,
    /// Whether the error goes back through the weights themselves, whatever the blocks' configs say.
    backprop: bool,
    /// Whether the gradient is that of the function itself: then the mean in a triangle, which learning treats as a
    /// constant, is differentiated too.
    exact: bool,
    /// Zeros that are added to the response of each layer; their gradient is the error of that layer.
    probes: Option<&'a mut Vec<Var>>,
}

/// The order of dimensions of images in a pass: `(B, C, H, W)`, or `(B, H, W, C)` if every op takes that. In candle's
/// backward pass a view in a graph costs a copy and a sum of the whole tensor, so the order does not change on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    First,
    Last,
}

impl Order {
    fn of(self, x: &Tensor) -> Result<Tensor> {
        if self == Self::Last && x.rank() == 4 { to_channels_last(x) } else { Ok(x.clone()) }
    }

    /// `x` in the order in which direct feedback weights number the features.
    fn units_last(self, x: &Tensor) -> Result<Tensor> {
        if self == Self::First && x.rank() == 4 { to_channels_last(x) } else { Ok(x.clone()) }
    }

    /// `x` as rows `(B, F)` for a dense layer, whose weights number the features of an image channel by channel.
    fn flat(self, x: &Tensor) -> Result<Tensor> {
        if self == Self::Last && x.rank() == 4 { channels_last::flatten(x) } else { flatten(x) }
    }

    /// [`activation`] in this order. Channels come last in images only: in all else they are the first dimension of a
    /// sample.
    fn activation(self, kind: Activation, x: &Tensor, constant_mean: bool) -> Result<Tensor> {
        match kind {
            _ if self == Self::First || x.rank() != 4 => activation(kind, x, constant_mean),
            Activation::Triangle { power } => channels_last::triangle(x, power, constant_mean),
            Activation::Repu { power } => channels_last::repu(x, power),
            Activation::Relu {} => channels_last::repu(x, 1.0),
            kind => activation(kind, x, constant_mean),
        }
    }

    fn back(self, x: &Tensor) -> Result<Tensor> {
        if self == Self::Last && x.rank() == 4 { to_channels_first(x) } else { Ok(x.clone()) }
    }
}

impl<C: Competition> Block<C> {
    fn takes_channels_last(&self) -> bool {
        use Activation::{Linear, Ramp, Relu, Repu, Triangle};
        let config = self.config();
        let one_site = self.layer.as_ref().is_some_and(|layer| layer.layer().dims().sites == 1);
        matches!(config.norm, None | Some(Norm::BatchNorm {}))
            && self.rows.is_none()
            && (self.rule.is_none() || one_site)
            && matches!(
                config.activation,
                Linear {} | Ramp { .. } | Relu {} | Repu { .. } | Triangle { .. }
            )
            && config.excitation == Excitation::Linear {}
    }

    /// Evaluates without a graph or, if `x` is part of one, differentiably in `x` through the weights themselves.
    pub(super) fn evaluate(&self, x: &Tensor) -> Result<Tensor> {
        let graph = x.track_op();
        let mut pass = Pass { backprop: graph, exact: graph, ..Pass::default() };
        let output = self.forward(x, Order::First, &mut pass, &mut Vec::new())?;
        Ok(if graph { output } else { output.detach() })
    }

    /// The output before dropout. A hidden activity that gets direct feedback from the output is added to `direct`.
    fn forward(
        &self,
        x: &Tensor,
        order: Order,
        pass: &mut Pass,
        direct: &mut Vec<(Tensor, Tensor)>,
    ) -> Result<Tensor> {
        let input = match &self.batch_norm {
            Some(norm) if order == Order::Last && x.rank() == 4 => {
                norm.channels_last(x, pass.dropout.is_some())?
            }
            _ => self.normed(x, pass.dropout.is_some())?,
        };
        if let (Some(layer), Some(epilogues)) = (&self.layer, self.epilogues(order, pass))
            && let Some(output) = layer.with_epilogues(&input, &epilogues, pass.backprop)?
        {
            return Ok(output);
        }
        let kind = self.config().activation;
        let mut active = match &self.layer {
            None if self.pools_first() => input,
            None => order.activation(kind, &input, !pass.exact)?,
            Some(layer) => {
                let input = match layer.geometry() {
                    Geometry::Dense => order.flat(&input)?,
                    _ => input,
                };
                let excitation = self.excitation(layer, &input, order, pass)?;
                match kind {
                    Activation::Winners {} => self.winners(&input, &excitation)?,
                    _ if self.pools_first() => excitation,
                    kind => order.activation(kind, &excitation, !pass.exact)?,
                }
            }
        };
        if let (Some(feedback), false) = (&self.direct, pass.backprop) {
            direct.push((order.units_last(&active)?, feedback.clone()));
            active = active.detach();
        }
        let active = if self.config().residual { (x + active)? } else { active };
        let pooled = match (&self.config().pool, order) {
            (None, _) => active,
            (Some(pool), Order::First) => pool.forward(&active)?,
            (Some(pool), Order::Last) => pool.forward_channels_last(&active)?,
        };
        if self.pools_first() { order.activation(kind, &pooled, !pass.exact) } else { Ok(pooled) }
    }

    /// What follows the layer, if it can be computed in the same node of the graph.
    fn epilogues(&self, order: Order, pass: &Pass) -> Option<Vec<Epilogue>> {
        let has_direct = self.direct.is_some() && !pass.backprop;
        let by_rule = self.rule.is_some() && pass.dropout.is_some();
        if order == Order::First || pass.probes.is_some() || has_direct || by_rule {
            return None;
        }
        let config = self.config();
        // The residual sum adds the block's input, of which the layer sees the norm.
        if config.residual && config.norm.is_some() {
            return None;
        }
        let active = match config.activation {
            Activation::Ramp { slope } => Some(Epilogue::Ramp(slope)),
            Activation::Relu {} => Some(Epilogue::Rectify(1.0, None)),
            Activation::Repu { power } => Some(Epilogue::Rectify(power, None)),
            Activation::Triangle { power } => Some(Epilogue::Rectify(power, Some(!pass.exact))),
            _ => None,
        };
        let (residual, pool) =
            (config.residual.then_some(Epilogue::Residual), config.pool.map(Epilogue::Pool));
        let all =
            if self.pools_first() { [residual, pool, active] } else { [active, residual, pool] };
        Some(all.into_iter().flatten().collect())
    }

    /// Whether the activation comes after the pool, where there are fewer values: a ramp or a rectified power is
    /// monotonic, so its maximum is that of a maximum. Saturated and silent units, which tie only after it, get no
    /// error either way.
    fn pools_first(&self) -> bool {
        let config = self.config();
        let maximum = matches!(config.pool, Some(Pool::Max { .. } | Pool::MaxSame { .. }));
        let alone = !config.residual && self.direct.is_none();
        let monotonic = matches!(
            config.activation,
            Activation::Ramp { .. } | Activation::Relu {} | Activation::Repu { .. }
        );
        monotonic && maximum && alone
    }

    /// The excitation, which competes, in the shape of the layer's output.
    fn excitation(
        &self,
        layer: &FeedbackLayer,
        x: &Tensor,
        order: Order,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let (geometry, weight) = (layer.geometry(), layer.weight().dims());
        let rule = self.rule.as_ref().filter(|_| pass.dropout.is_some());
        let mut u = match (order, &self.rows) {
            (_, map) if map.is_some() || rule.is_some() => {
                let last = order == Order::Last && x.rank() == 4;
                let (connected, way_back) = layer.ways(pass.backprop)?;
                let (seen, pre) = match map {
                    Some(map) => {
                        let rows = map.map(&geometry.unfold(x, weight)?)?;
                        layer.layer().check_rows(&rows)?;
                        with_rows(rows)?
                    }
                    None if last => geometry.presynaptic_channels_last(x, layer.weight())?,
                    None => geometry.presynaptic(x, layer.weight())?,
                };
                let u = match rule {
                    Some(ByRule(rule)) => {
                        let compete = |u: &Tensor| self.compete(u);
                        by_rule(&seen, pre, &connected, &way_back, compete, rule.clone())?
                    }
                    None => linear_response(&seen, &connected, &way_back)?,
                };
                match last {
                    true => geometry.fold_channels_last(&u, x.dims(), weight)?,
                    false => geometry.fold(&u, x.dims(), weight)?,
                }
            }
            (Order::First, _) => layer.forward_by(x, pass.backprop)?,
            (Order::Last, _) => layer.channels_last_by(x, pass.backprop)?,
        };
        if let Some(probes) = &mut pass.probes {
            let probe = Var::from_tensor(&u.zeros_like()?.contiguous()?)?;
            u = (u + probe.as_tensor())?;
            probes.push(probe);
        }
        match (self.config().excitation, &self.threshold) {
            (Excitation::Triangle {}, _) => triangle(&u, 1.0, !pass.exact),
            (_, Some(threshold)) => self.fold(&threshold.apply(&self.rows_of(&u)?)?, x.dims()),
            (_, None) => Ok(u),
        }
    }

    /// The result of the competition on the excitation, as a constant; `x` is the layer's input.
    fn winners(&self, x: &Tensor, excitation: &Tensor) -> Result<Tensor> {
        self.fold(&self.compete(&self.rows_of(&excitation.detach())?)?, x.dims())
    }
}
