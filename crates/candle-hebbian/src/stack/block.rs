//! A block: norm, layer, excitation, competition, activation, residual, pool.

use super::config::{Activation, BlockConfig, Excitation, LayerConfig, Norm};
use super::rows::RowMap;
use crate::competition::Competition;
use crate::feedback::{FeedbackLayer, conv2d, dense, locally_connected2d};
use crate::geometry::Geometry;
use crate::homeostasis::{AdaptiveThreshold, adaptive_threshold};
use crate::layer::{Layer, Response};
use crate::memory;
use crate::ops::widen::{check_like, widened};
use crate::ops::{BatchNorm, Dropout, batch_norm, flatten, repu, standardise, triangle};
use crate::rules::{Rule, State};
use crate::window::Conv2dConfig;
use candle::{Error, Module, Result, Tensor};
use candle_nn::{VarBuilder, ops::softmax};
use std::fmt;
use std::sync::Arc;

/// One block of a [`Stack`](super::Stack).
#[derive(Debug)]
pub struct Block<C> {
    pub(super) config: BlockConfig<C>,
    pub(super) batch_norm: Option<BatchNorm>,
    pub(super) layer: Option<FeedbackLayer>,
    pub(super) rows: Option<Arc<dyn RowMap>>,
    pub(super) rule: Option<ByRule>,
    pub(super) direct: Option<Tensor>,
    pub(super) threshold: Option<AdaptiveThreshold>,
    pub(super) dropout: Option<Dropout>,
    input: Vec<usize>,
    output: Vec<usize>,
}

/// The rule by which the weights learn while the network back-propagates.
#[derive(Clone)]
pub(super) struct ByRule(pub(super) Arc<dyn Rule>);

impl fmt::Debug for ByRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByRule")
    }
}

/// The activity of a block with a layer on one batch. It carries no graph.
#[derive(Debug, Clone)]
pub struct Activity {
    /// The excitation, `(S, P, K)`, which competed.
    pub u: Tensor,
    /// The post-synaptic activity for the rule, `(S, P, K)`: the result of the competition on `u`.
    pub post: Tensor,
    /// The output before pooling.
    pub unpooled: Tensor,
    /// The output of the block.
    pub output: Tensor,
}

/// The competition of a block's units on one batch.
pub(super) struct Contest {
    /// The excitation of the linear response, from which the activation is computed.
    handed: Tensor,
    /// The response as the rule sees it; its `u` is the excitation that competed.
    pub(super) seen: Response,
    /// The result of the competition.
    pub(super) post: Tensor,
}

impl<C> BlockConfig<C> {
    fn activation_in(&self, training: bool) -> Activation {
        self.learning_activation.filter(|_| training).unwrap_or(self.activation)
    }

    /// Builds the layer for inputs of shape `input`, with weights from `vb`.
    fn make_layer(&self, input: &[usize], vb: VarBuilder) -> Result<Option<FeedbackLayer>> {
        let (feedback, init) = (self.feedback, |shape: &[usize]| self.init.of(shape));
        match (self.layer, input) {
            (None, _) => Ok(None),
            (Some(LayerConfig::Dense { units }), _) => {
                let inputs = memory::count("inputs", input, size_of::<f32>())?;
                dense(inputs, units, feedback, init, vb).map(Some)
            }
            (Some(LayerConfig::Conv2d { units, kernel, window }), &[c, _, _]) => {
                conv2d(c, units, kernel, (window, feedback), init, vb).map(Some)
            }
            (Some(LayerConfig::LocallyConnected2d { units, kernel, window }), &[c, h, w]) => {
                locally_connected2d(c, units, kernel, (h, w), (window, feedback), init, vb)
                    .map(Some)
            }
            (Some(_), _) => candle::bail!("a convolution takes images (C, H, W)"),
        }
    }
}

impl<C: Competition> Block<C> {
    /// A block for inputs of shape `input` (without the batch), with tensors from `vb`.
    pub(super) fn new(config: BlockConfig<C>, input: &[usize], vb: VarBuilder) -> Result<Self> {
        let layer = config.make_layer(input, vb.clone())?;
        Self::of(config, layer, input, vb)
    }

    /// A block with this layer; its other tensors are from `vb`.
    pub(super) fn of(
        config: BlockConfig<C>,
        layer: Option<FeedbackLayer>,
        input: &[usize],
        vb: VarBuilder,
    ) -> Result<Self> {
        if input.is_empty() || input.contains(&0) {
            candle::bail!("expected an input of one dimension or more and no size 0")
        }
        if layer.is_none()
            && (config.competition.is_some() || config.excitation != Excitation::default())
        {
            candle::bail!("a competition or an excitation without a layer, whose units compete")
        }
        let activations = [Some(config.activation), config.learning_activation];
        if layer.is_none() && activations.contains(&Some(Activation::Winners {})) {
            candle::bail!("activation 'winners' without a layer, whose units compete")
        }
        let batch_norm = match config.norm {
            Some(Norm::BatchNorm {}) => Some(batch_norm(input[0], vb.clone())?),
            _ => None,
        };
        let mut output = match &layer {
            Some(layer) => response_shape(layer.layer(), input)?,
            None => input.to_vec(),
        };
        let threshold = match (config.excitation, &layer) {
            (Excitation::Threshold { rate, target }, Some(layer)) => {
                let dims = layer.layer().dims();
                Some(adaptive_threshold((dims.sites, dims.units), rate, target, vb)?)
            }
            _ => None,
        };
        if config.residual && output != input {
            candle::bail!(
                "a residual sum with an activation of {output:?}: expected the same shape"
            )
        }
        if let Some(pool) = &config.pool {
            let [_, height, width] = output[..] else {
                candle::bail!("an activation of {output:?}, of which nothing can be pooled")
            };
            (output[1], output[2]) = (pool.output_size(height)?, pool.output_size(width)?);
        }
        let dropout = match config.dropout {
            0.0 => None,
            probability => Some(Dropout::new(probability)?),
        };
        let input = input.to_vec();
        let (rows, rule, direct) = (None, None, None);
        Ok(Self {
            config,
            batch_norm,
            layer,
            rows,
            rule,
            direct,
            threshold,
            dropout,
            input,
            output,
        })
    }

    /// Whether the block has tensors in a checkpoint.
    pub(super) fn holds_tensors(&self) -> bool {
        self.layer.is_some() || self.batch_norm.is_some()
    }

    /// The shape of one output, without the batch.
    pub fn output(&self) -> &[usize] {
        &self.output
    }

    /// The config that the block was made from.
    pub fn config(&self) -> &BlockConfig<C> {
        &self.config
    }

    /// The layer, without its backward path.
    ///
    /// # Errors
    /// If the block has no layer.
    pub fn layer(&self) -> Result<&Layer> {
        Ok(self.feedback_layer()?.layer())
    }

    /// The layer with its backward path.
    ///
    /// # Errors
    /// If the block has no layer.
    pub fn feedback_layer(&self) -> Result<&FeedbackLayer> {
        match &self.layer {
            Some(layer) => Ok(layer),
            None => {
                candle::bail!("a block without a layer, which has no weights and does not learn")
            }
        }
    }

    /// The batch norm of the input, if there is one.
    pub fn batch_norm(&self) -> Option<&BatchNorm> {
        self.batch_norm.as_ref()
    }

    /// The thresholds, if there are any.
    pub fn threshold(&self) -> Option<&AdaptiveThreshold> {
        self.threshold.as_ref()
    }

    /// Replaces the layer by `layer`.
    ///
    /// # Errors
    /// If the block has no layer, or the output of `layer` has another shape; if `layer` has feedback weights while the
    /// block has [direct](Self::set_direct) ones, other sites or units than the block has [thresholds](Self::threshold)
    /// for, or missing connections while the block learns by a [rule](Self::set_rule).
    pub fn set_layer(&mut self, layer: FeedbackLayer) -> Result<()> {
        let (old, new) = (
            response_shape(self.layer()?, &self.input)?,
            response_shape(layer.layer(), &self.input)?,
        );
        if old != new {
            candle::bail!("a layer with an output of {new:?} in place of one of {old:?}")
        }
        let dims = layer.layer().dims();
        if let Some(threshold) = &self.threshold
            && threshold.values().dims() != [dims.sites, dims.units]
        {
            candle::bail!(
                "a layer of {} sites with {} units each in a block with thresholds of {:?}: expected a layer with as \
                 many sites and units as these have",
                dims.sites,
                dims.units,
                threshold.values().dims()
            )
        }
        if self.rule.is_some() {
            check_connections(&layer)?;
        }
        if self.direct.is_some() && layer.feedback().is_some() {
            return Err(two_feedbacks());
        }
        self.layer = Some(layer);
        Ok(())
    }

    /// Sends the error of the stack's output straight to this block's activation, through the fixed
    /// weights `feedback (outputs, features)`, in place of the error from above: see
    /// [`direct_feedback`](crate::direct_feedback). The features of an activity map `(K, H, W)` are
    /// ordered as `(H, W, K)`.
    ///
    /// # Errors
    /// If the block has no layer, its layer has feedback weights of its own, or the weights are for another number of
    /// features or of another type or on another device than those of the layer. The number of outputs is known, and
    /// checked, in a forward pass.
    pub fn set_direct(&mut self, feedback: Tensor) -> Result<()> {
        let shape = response_shape(self.layer()?, &self.input)?;
        let features = memory::count("features", &shape, size_of::<f32>())?;
        if self.feedback_layer()?.feedback().is_some() {
            return Err(two_feedbacks());
        }
        if feedback.dims2()?.1 != features {
            candle::bail!(
                "direct feedback weights of {:?}: expected ({features} features) in the second place",
                feedback.dims()
            )
        }
        check_like("direct feedback weights", &feedback, "a layer", self.layer()?.weight())?;
        self.direct = Some(feedback.detach());
        Ok(())
    }

    /// Applies `map` to the rows that the layer unfolds, before its units see them.
    pub fn set_rows(&mut self, map: Arc<dyn RowMap>) {
        self.rows = Some(map);
    }

    /// Lets the weights learn by `rule` in [`forward_train`](super::Stack::forward_train). Their
    /// gradient is minus the update of the rule, which reads the response of the units, the result
    /// of the block's competition on it, and the error at the response as the third factor; see
    /// [`response_by_rule`](crate::response_by_rule). The rule is called once here, for a row of
    /// zeros. The error that goes further back is the same
    /// as without the rule.
    ///
    /// # Errors
    /// If the block has no layer, its layer lacks connections, or its units compete by an excitation
    /// that is not the linear response; if the rule reads another response, or keeps state.
    pub fn set_rule(&mut self, rule: Arc<dyn Rule>) -> Result<()> {
        check_connections(self.feedback_layer()?)?;
        if self.config.excitation != (Excitation::Linear {}) {
            candle::bail!(
                "a rule for the error of a block with the excitation {:?}: expected the linear one",
                self.config.excitation
            )
        }
        let layer = self.layer()?;
        let (dims, weight) = (layer.dims(), layer.weight());
        let silence = Tensor::zeros((dims.sites, 1, dims.fan_in), weight.dtype(), weight.device())?;
        let linear = layer.response_to(&silence, &self.input)?;
        if rule.response(linear.clone())?.u().id() != linear.u().id() {
            candle::bail!(
                "the rule transforms the response: expected one that reads the linear response; \
                 others learn by a Learner"
            )
        }
        // One row of zeros shows whether the rule keeps state. If it fails on that row, it will say
        // so when it learns.
        let (mut state, third) = (State::default(), linear.u().zeros_like()?);
        let synapses = linear.synapses(linear.u())?.with_third(&third)?;
        let _ = rule.update(&synapses, &mut state);
        if let Some((name, _)) = state.iter().next() {
            candle::bail!(
                "the rule keeps '{name}' from batch to batch, which a block would lose: expected \
                 one without state; others learn by a Learner"
            )
        }
        self.rule = Some(ByRule(rule));
        Ok(())
    }

    /// The rows `(S, P, F)` into which the layer unfolds the block's input `x`, before they are
    /// mapped.
    ///
    /// # Errors
    /// If the block has no layer, or the input does not fit.
    pub fn unfold(&self, x: &Tensor) -> Result<Tensor> {
        let layer = self.layer()?;
        layer.unfold(&flat(layer, &self.normed(&x.detach(), false)?)?)
    }

    /// Responds to `x` and lets the units compete; changes no weights and no thresholds. In
    /// `training`, batch norm uses the batch's statistics and updates the running ones, and the
    /// output is that of the `learning_activation`.
    ///
    /// Take a step with the returned [`Response`] and the activity's `post`. The `u` of this
    /// response is the excitation, which competed.
    ///
    /// # Errors
    /// If the block has no layer, or the input does not fit.
    pub fn respond(&self, x: &Tensor, training: bool) -> Result<(Response, Activity)> {
        self.respond_by(x, None, training)
    }

    /// The same, with the response as `rule` transforms it.
    pub(super) fn respond_by(
        &self,
        x: &Tensor,
        rule: Option<&dyn Rule>,
        training: bool,
    ) -> Result<(Response, Activity)> {
        let Contest { handed, seen, post } = self.contest(x, rule, training)?;
        let u = seen.u().clone();
        let activity = self.handed_on(u, &handed, post, &x.detach(), seen.input(), training)?;
        Ok((seen, activity))
    }

    /// The activity that [`respond`](Self::respond) returns, without the response. It costs less, because a convolution
    /// on the CPU does not unfold its input. The sums of the response are taken in another order.
    ///
    /// # Errors
    /// As for [`respond`](Self::respond).
    pub fn activity(&self, x: &Tensor, training: bool) -> Result<Activity> {
        let x = x.detach();
        let input = flat(self.layer()?, &self.normed(&x, training)?)?;
        let linear = match &self.rows {
            Some(_) => self.linear(&input)?.u().clone(),
            None => {
                let layer = self.feedback_layer()?.responding()?;
                let weight = layer.weight().detach();
                self.rows_of(&layer.forward_with(&input, &weight, &weight)?)?
            }
        };
        let u = self.excite(&linear, input.dims())?;
        let post = self.compete(&u)?;
        self.handed_on(u.clone(), &u, post, &x, input.dims(), training)
    }

    /// Runs the block up to the competition; no output is computed.
    pub(super) fn contest(
        &self,
        x: &Tensor,
        rule: Option<&dyn Rule>,
        training: bool,
    ) -> Result<Contest> {
        let linear = self.linear(&flat(self.layer()?, &self.normed(&x.detach(), training)?)?)?;
        let handed = self.excite(linear.u(), linear.input())?;
        let seen = match rule {
            Some(rule) => rule.response(linear.clone())?,
            None => linear.clone(),
        };
        // Rules that leave the response alone need only one excitation.
        let same = seen.u().id() == linear.u().id();
        let u = if same { handed.clone() } else { self.excite(seen.u(), seen.input())? };
        let post = self.compete(&u)?;
        Ok(Contest { handed, seen: seen.with_u(&u)?, post })
    }

    /// The output of a block without a layer for `x`, without a graph.
    pub(super) fn without_layer(&self, x: &Tensor, training: bool) -> Result<Tensor> {
        let x = x.detach();
        let kind = self.config.activation_in(training);
        self.pool(&self.plus_input(activation(kind, &self.normed(&x, training)?, true)?, &x)?)
    }

    /// Moves the thresholds by how much the activity `post` is above or below their target.
    ///
    /// # Errors
    /// If the activity has another shape.
    pub fn adapt(&self, post: &Tensor) -> Result<()> {
        match &self.threshold {
            Some(threshold) => threshold.adapt(post),
            None => Ok(()),
        }
    }

    pub(super) fn normed(&self, x: &Tensor, training: bool) -> Result<Tensor> {
        match (&self.batch_norm, self.config.norm) {
            (Some(norm), _) if training => norm.forward_train(x),
            (Some(norm), _) => norm.forward(x),
            (None, Some(Norm::Standardise { epsilon })) => standardise(x, epsilon),
            (None, _) => Ok(x.clone()),
        }
    }

    /// The linear response to an input in the [shape](flat) that the layer takes.
    fn linear(&self, x: &Tensor) -> Result<Response> {
        let layer = self.feedback_layer()?.responding()?;
        match &self.rows {
            None => layer.response(x),
            Some(rows) => layer.response_to(&rows.map(&layer.unfold(x)?)?, x.dims()),
        }
    }

    /// The excitation, `(S, P, K)`, which competes, from the linear response `u (S, P, K)` to an `input` of this shape.
    fn excite(&self, u: &Tensor, input: &[usize]) -> Result<Tensor> {
        match (self.config.excitation, &self.threshold) {
            (Excitation::Triangle {}, _) => {
                self.rows_of(&triangle(&self.fold(u, input)?, 1.0, true)?)
            }
            (_, Some(threshold)) => threshold.apply(u),
            (_, None) => Ok(u.clone()),
        }
    }

    /// Brings rows `(S, P, K)` of the response to an `input` of this shape into the shape of the layer's output.
    pub(super) fn fold(&self, rows: &Tensor, input: &[usize]) -> Result<Tensor> {
        let layer = self.layer()?;
        layer.geometry().fold(rows, input, layer.weight().dims())
    }

    /// Brings a tensor in the shape of the layer's output into rows `(S, P, K)`.
    pub(super) fn rows_of(&self, output: &Tensor) -> Result<Tensor> {
        let layer = self.layer()?;
        layer.geometry().rows(output, layer.weight().dims())
    }

    pub(super) fn compete(&self, u: &Tensor) -> Result<Tensor> {
        match &self.config.competition {
            Some(competition) => competition.compete(u),
            None => Ok(u.clone()),
        }
    }

    /// The activity of units whose excitation is `handed` and whose competition on `u` has the result `post`; `x` is
    /// the block's input, and `input` is the shape of the layer's.
    fn handed_on(
        &self,
        u: Tensor,
        handed: &Tensor,
        post: Tensor,
        x: &Tensor,
        input: &[usize],
        training: bool,
    ) -> Result<Activity> {
        let active = match self.config.activation_in(training) {
            Activation::Winners {} => self.fold(&post, input)?,
            kind => activation(kind, &self.fold(handed, input)?, true)?,
        };
        let unpooled = self.plus_input(active, x)?;
        let output = self.pool(&unpooled)?;
        Ok(Activity { u, post, unpooled, output })
    }

    fn plus_input(&self, active: Tensor, x: &Tensor) -> Result<Tensor> {
        if self.config.residual { x + active } else { Ok(active) }
    }

    fn pool(&self, x: &Tensor) -> Result<Tensor> {
        match &self.config.pool {
            Some(pool) => pool.forward(x),
            None => Ok(x.clone()),
        }
    }
}

fn two_feedbacks() -> Error {
    Error::msg(
        "direct feedback weights and feedback weights of the layer's own in one block, which a \
         checkpoint cannot hold: give them to different blocks",
    )
}

/// Refuses a layer that lacks some of its connections. A local rule would make them and, where the update of a synapse
/// depends on those of others, as in [`GlobalDirection`](crate::GlobalDirection), reckon with them.
pub(super) fn check_connections(layer: &FeedbackLayer) -> Result<()> {
    if layer.masks().0.is_some() {
        candle::bail!(
            "the layer is thinned, and a local rule would learn its missing connections too: expected a layer with \
             all its connections"
        )
    }
    Ok(())
}

/// The shape of the response of `layer` to one input of shape `input`.
fn response_shape(layer: &Layer, input: &[usize]) -> Result<Vec<usize>> {
    let weight = layer.weight().dims();
    let map = |window: Conv2dConfig, (h, w), (kh, kw)| {
        Ok::<_, candle::Error>((window.output_size(h, kh)?, window.output_size(w, kw)?))
    };
    // `None` for more inputs than can be counted, which fit no layer.
    let inputs = input.iter().try_fold(1, |all: usize, &size| all.checked_mul(size));
    match (layer.geometry(), weight, input) {
        (Geometry::Dense, &[units, fan_in], _) if inputs == Some(fan_in) => Ok(vec![units]),
        (Geometry::Conv2d(window), &[units, c, kh, kw], &[channels, h, w])
            if c.checked_mul(window.groups) == Some(channels) =>
        {
            let (oh, ow) = map(window, (h, w), (kh, kw))?;
            Ok(vec![units, oh, ow])
        }
        (Geometry::LocallyConnected2d(window), &[oh, ow, units, c, kh, kw], &[channels, h, w])
            if c == channels && map(window, (h, w), (kh, kw))? == (oh, ow) =>
        {
            Ok(vec![units, oh, ow])
        }
        _ => candle::bail!("a layer with weights {weight:?} does not fit"),
    }
}

/// `x (B, …)` in the shape that `layer` takes.
pub(super) fn flat(layer: &Layer, x: &Tensor) -> Result<Tensor> {
    match layer.geometry() {
        Geometry::Dense => flatten(x),
        _ => Ok(x.clone()),
    }
}

/// Applies an activation that depends only on its input `(B, K, …)`. It is differentiable, with the
/// mean of a triangle as a constant if `constant_mean`.
pub(super) fn activation(kind: Activation, x: &Tensor, constant_mean: bool) -> Result<Tensor> {
    match kind {
        Activation::Linear {} => Ok(x.clone()),
        Activation::Triangle { power } => triangle(x, power, constant_mean),
        Activation::Repu { power } => repu(x, power),
        Activation::Relu {} => repu(x, 1.0),
        // candle has no softmax of no rows.
        Activation::Softmax { .. } if x.elem_count() == 0 => Ok(x.clone()),
        Activation::Softmax { scale } => widened(x, |x| softmax(&(x * scale)?, 1)),
        Activation::Ramp { slope } => crate::ops::ramp(x, slope),
        Activation::Winners {} => candle::bail!("winners are made by a competition"),
    }
}
