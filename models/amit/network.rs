//! The layers of a preset, with asymmetric feedback.

use super::config::{LayerConfig, Preset};
use super::protocol::Protocol;
use crate::units::units_of;
use candle::{DType, Device, Module, Tensor, Var};
use candle_hebbian::feedback::Learning;
use candle_hebbian::ops::{Dropout, Pool, Ties, flatten};
use candle_hebbian::{
    Activation, BlockConfig, Conv2dConfig, Decoupled, FeedbackLayer, Geometry, NoCompetition, Rng,
    Stack, WithFeedback, init,
};
use candle_nn::VarBuilder;
use hebbian_train::{Checkpoint, Error, Model, Result, Units, check_layer};

/// The layers of a preset, built for one size of images and one number of classes.
///
/// ```
/// use candle::{DType, Device};
/// use candle_hebbian::{Rng, Steps};
/// use candle_nn::Optimizer;
/// use hebbian_models::amit::{Network, preset};
/// let preset = preset("amit-digits")?;
/// let rng = Rng::new(0);
/// let network = Network::new(&preset, (1, 8, 8), 10, &rng, DType::F32, &Device::Cpu)?;
/// let images = rng.stream("doc").uniform(0.0, 1.0, (4, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// let labels = candle::Tensor::new(&[3u32, 1, 4, 1], &Device::Cpu)?;
/// let loss = network.loss(&network.forward(&images)?, &labels)?;
/// network.optimizer(|vars| Steps::builder(0.1).build(vars))?.backward_step(&loss)?; // one step
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Network {
    stack: Stack<NoCompetition>,
    /// The layers with weights, from the image to the classes.
    placed: Vec<Placed>,
    preset: Preset,
    rng: Rng,
    dtype: DType,
    device: Device,
}

/// The settings of a layer with weights that are not part of its block.
#[derive(Debug)]
struct Placed {
    block: usize,
    name: String,
    protocol: Protocol,
    untied: bool,
    frozen: bool,
    /// Height and width of the input, for a convolution.
    size: Option<(usize, usize)>,
}

/// A layer with weights.
#[derive(Debug)]
pub struct WeightLayer<'a> {
    name: &'a str,
    layer: &'a FeedbackLayer,
}

impl<'a> WeightLayer<'a> {
    /// `conv1`, `conv2`, …, `dense1`, …, `classes`.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The weights, their feedback and their geometry.
    pub fn layer(&self) -> &'a FeedbackLayer {
        self.layer
    }
}

impl Network {
    /// Creates a network with fresh weights; each layer draws from a random stream of its own.
    ///
    /// # Errors
    /// If the preset is invalid or does not fit the images, in which case the message names the layer.
    pub fn new(
        preset: &Preset,
        image: (usize, usize, usize),
        classes: usize,
        rng: &Rng,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        preset.check()?;
        let vb = VarBuilder::zeros(dtype, device);
        let mut network = Self {
            stack: Stack::new(Vec::new(), &[image.0, image.1, image.2], vb)?,
            placed: Vec::new(),
            preset: preset.clone(),
            rng: rng.clone(),
            dtype,
            device: device.clone(),
        };
        let mut at = 0;
        while at < preset.layers.len() {
            at = network.add(at, classes).map_err(|(layer, problem)| Error::Unfit {
                preset: preset.name.clone(),
                image,
                layer,
                problem: problem.to_string(),
            })?;
        }
        if preset.training.tied.is_none() {
            network.untie(false)?;
        }
        Ok(network)
    }

    /// Adds the block that begins with layer `first` of the preset: weights, a pool and dropout, as many of
    /// them as follow each other in this order. Returns the index of the layer after the block or, as an
    /// error, the index of the faulty layer with its problem.
    fn add(
        &mut self,
        first: usize,
        classes: usize,
    ) -> std::result::Result<usize, (usize, candle::Error)> {
        let layers = self.preset.layers.clone();
        let mut block = BlockConfig::default();
        let mut at = first;
        let weights = self.weights(&layers[at], &mut block, classes).map_err(|e| (at, e))?;
        at += usize::from(weights.is_some());
        let shape = weights.as_ref().map_or(self.stack.output(), |(_, _, shape)| shape);
        if let Some(pool) = layers.get(at).and_then(pool) {
            let (_, height, width) = image(shape).map_err(|e| (at, e))?;
            for size in [height, width] {
                pool.output_size(size).map_err(|e| (at, e))?;
            }
            block.pool = Some(pool);
            at += 1;
        }
        if let Some(&LayerConfig::Dropout { probability }) = layers.get(at) {
            Dropout::new(probability).map_err(|e| (at, e))?;
            block.dropout = probability;
            at += 1;
        }
        let placed = self.place(block, weights, classes).map_err(|e| (first, e))?;
        self.placed.extend(placed);
        Ok(at)
    }

    /// Pushes a block onto the stack.
    fn place(
        &mut self,
        block: BlockConfig<NoCompetition>,
        weights: Option<(FeedbackLayer, Placed, Vec<usize>)>,
        classes: usize,
    ) -> candle::Result<Option<Placed>> {
        let vb = VarBuilder::zeros(self.dtype, &self.device);
        let Some((layer, placed, shape)) = weights else {
            self.stack.push(block, &vb)?;
            return Ok(None);
        };
        self.stack.push_layer(block, layer, &vb)?;
        if placed.protocol == Protocol::DirectFeedback {
            let rng = &mut self.rng.stream(&format!("layers.{}.direct", self.placed.len()));
            let shape = (classes, shape.iter().product::<usize>());
            let direct = rng.draw(init::glorot_uniform(shape), shape, self.dtype, &self.device)?;
            self.stack.blocks_mut()[placed.block].set_direct(direct)?;
        }
        Ok(Some(placed))
    }

    /// Draws the weights that `config` describes and returns them with their other settings and the shape
    /// of their activity, or `None` if it describes no weights. Sets the residual sum and the activation of
    /// `block`.
    fn weights(
        &self,
        config: &LayerConfig,
        block: &mut BlockConfig<NoCompetition>,
        classes: usize,
    ) -> candle::Result<Option<(FeedbackLayer, Placed, Vec<usize>)>> {
        let input = self.stack.output();
        let fan_in = input.iter().product();
        let network = self.preset.training.protocol;
        let (mut untied, mut frozen, mut size) = (false, false, None);
        let (protocol, weight, geometry, shape) = match *config {
            LayerConfig::Conv {
                units,
                kernel,
                residual,
                protocol,
                untied: alone,
                frozen: fixed,
            } => {
                let (c, h, w) = image(input)?;
                if residual && units != c {
                    candle::bail!("a residual sum of {units} channels with {c}: expected as many")
                }
                (untied, frozen, size) = (alone, fixed, Some((h, w)));
                block.residual = residual;
                let geometry = Geometry::Conv2d(Conv2dConfig::same(kernel));
                (protocol, vec![units, c, kernel, kernel], geometry, vec![units, h, w])
            }
            LayerConfig::Dense { units, protocol } => {
                (protocol, vec![units, fan_in], Geometry::Dense, vec![units])
            }
            LayerConfig::Classes { protocol } => {
                if protocol == Some(Protocol::DirectFeedback) {
                    candle::bail!(
                        "dfa on the class layer: there is no path from the output to it but its \
                         own error; choose another protocol for it, or none"
                    )
                }
                // In a network with direct feedback, the class layer has no feedback weights of its own: a layer below
                // it that has another protocol receives the error through the weights.
                let own = protocol.unwrap_or(match network {
                    Protocol::DirectFeedback => Protocol::Backprop,
                    other => other,
                });
                (Some(own), vec![classes, fan_in], Geometry::Dense, vec![classes])
            }
            _ => return Ok(None),
        };
        let protocol = protocol.unwrap_or(network);
        let index = self.placed.len();
        let name = self.preset.weight_layers().swap_remove(index);
        if name != CLASSES {
            block.activation = Activation::Ramp { slope: self.preset.training.ramp_slope };
        }
        let layer = self.draw((index, "weight"), &weight, geometry, protocol)?;
        let layer = match self.preset.training.connection_probability {
            // An untied layer loses connections separately at each position, so only once it is untied. The author's
            // first convolution keeps all its connections.
            Some(p) if name != CLASSES && !untied && (index > 0 || geometry == Geometry::Dense) => {
                layer.thinned(p, protocol.pairing(), &mut mask_rng(&self.rng, index))?
            }
            _ => layer,
        };
        let block = self.stack.blocks().len();
        Ok(Some((layer, Placed { block, name, protocol, untied, frozen, size }, shape)))
    }

    /// Draws a layer with random weights from the random stream of layer `index` for `purpose`.
    fn draw(
        &self,
        (index, purpose): (usize, &str),
        shape: &[usize],
        geometry: Geometry,
        protocol: Protocol,
    ) -> candle::Result<FeedbackLayer> {
        let rng = &mut self.rng.stream(&format!("layers.{index}.{purpose}"));
        let config = protocol.feedback();
        let mut draw = || rng.draw(init::glorot_uniform(shape), shape, self.dtype, &self.device);
        let weight = draw()?;
        let feedback = match protocol {
            Protocol::Identical => Some(weight.clone()),
            _ if config.has_feedback() => Some(draw()?),
            _ => None,
        };
        FeedbackLayer::from_tensors(&weight, feedback.as_ref(), geometry, config)
    }

    /// Gives the layers marked `untied` separate weights at each position. With `redraw`, all layers except
    /// frozen ones first get fresh random weights (direct feedback weights are fixed and stay).
    pub(super) fn untie(&mut self, redraw: bool) -> candle::Result<()> {
        if redraw {
            for (index, (placed, layer)) in
                self.placed.iter().zip(self.feedback_layers()).enumerate()
            {
                if placed.frozen {
                    continue;
                }
                let (shape, geometry) = (layer.weight().dims(), layer.geometry());
                let fresh = self.draw((index, "redraw"), shape, geometry, placed.protocol)?;
                layer.copy_weights(&fresh)?;
            }
        }
        let probability = self.preset.training.connection_probability;
        for (index, placed) in self.placed.iter().enumerate() {
            let block = &mut self.stack.blocks_mut()[placed.block];
            let layer = block.feedback_layer()?;
            if let (true, Some(size), Geometry::Conv2d(_)) =
                (placed.untied, placed.size, layer.geometry())
            {
                let untied = layer.untied(size)?;
                let rng = &mut mask_rng(&self.rng, index);
                block.set_layer(match probability {
                    Some(p) => untied.thinned(p, placed.protocol.pairing(), rng)?,
                    None => untied,
                })?;
            }
        }
        Ok(())
    }

    /// Returns the preset.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// Returns the blocks.
    pub fn stack(&self) -> &Stack<NoCompetition> {
        &self.stack
    }

    /// Returns the blocks, for changing them.
    pub fn stack_mut(&mut self) -> &mut Stack<NoCompetition> {
        &mut self.stack
    }

    /// The layers with weights, from the image to the classes.
    pub fn weight_layers(&self) -> impl Iterator<Item = WeightLayer<'_>> {
        let named = self.placed.iter().zip(self.feedback_layers());
        named.map(|(placed, layer)| WeightLayer { name: &placed.name, layer })
    }

    fn feedback_layers(&self) -> impl Iterator<Item = &FeedbackLayer> {
        self.stack.blocks().iter().filter_map(|block| block.feedback_layer().ok())
    }

    /// Whether all layers marked `untied` have been untied.
    pub fn is_untied(&self) -> bool {
        self.placed.iter().zip(self.feedback_layers()).all(|(placed, layer)| {
            !placed.untied || matches!(layer.geometry(), Geometry::LocallyConnected2d(_))
        })
    }

    /// The layers that learn. A frozen layer learns only until the layers are untied.
    fn learning(&self) -> impl Iterator<Item = &FeedbackLayer> {
        let untied = self.is_untied();
        let placed = self.placed.iter().zip(self.feedback_layers());
        placed.filter(move |(placed, _)| !(placed.frozen && untied)).map(|(_, layer)| layer)
    }

    /// Returns the weights that learn. Feedback weights are not among them: those that learn follow the
    /// steps of the weights, see [`optimizer`](Self::optimizer).
    ///
    /// # Errors
    /// If the weights of a layer are not a variable. Those that the network has drawn are; those of a layer that was
    /// put in by [`stack_mut`](Self::stack_mut) may not be.
    pub fn vars(&self) -> candle::Result<Vec<Var>> {
        self.learning().map(|layer| layer.var()).collect()
    }

    /// Builds an optimiser of the weights and feedback weights that learn. It wraps the optimiser that
    /// `inner` builds for the variables it is given. It must be built again once layers are untied.
    ///
    /// # Errors
    /// If the optimiser would break the protocol, see [`WithFeedback::build`].
    pub fn optimizer<O: Decoupled>(
        &self,
        inner: impl Fn(Vec<Var>) -> candle::Result<O>,
    ) -> candle::Result<WithFeedback<O>> {
        WithFeedback::build(self.vars()?, self.learning(), inner)
    }

    /// Computes the fields `(N, classes)` of the class units for images `x (N, C, H, W)`, without dropout;
    /// differentiable in the weights.
    ///
    /// # Errors
    /// If images of this size do not fit a layer, or `x` is of another type or on another device than the weights; the
    /// message names the block.
    pub fn forward(&self, x: &Tensor) -> candle::Result<Tensor> {
        self.stack.forward(&x.detach())
    }

    /// Like [`forward`](Self::forward), but for training: dropout masks and batchwise feedback weights are
    /// drawn from `rng`.
    ///
    /// # Errors
    /// As for [`forward`](Self::forward), or if batchwise feedback weights are not a variable.
    pub fn forward_train(&self, x: &Tensor, rng: &mut Rng) -> candle::Result<Tensor> {
        self.stack.forward_train(&x.detach(), rng)
    }

    /// Moves the feedback weights of weight mirrors towards the weights, by the response of each layer to `samples`
    /// inputs of noise, drawn from the generator that `rng` makes. Other layers stay as they are.
    pub(super) fn mirror(&self, samples: usize, rng: impl Fn() -> Rng) -> candle::Result<()> {
        let is_mirror =
            |layer: &FeedbackLayer| matches!(layer.config().learning, Learning::Mirror { .. });
        let layers = self.placed.iter().zip(self.feedback_layers());
        let mut drawn = None;
        for (placed, layer) in layers.filter(|(_, layer)| is_mirror(layer)) {
            let dims = layer.weight().dims();
            let shape = match placed.size {
                // (K, C, kh, kw), or (OH, OW, K, C, kh, kw)
                Some((height, width)) => vec![samples, dims[dims.len() - 3], height, width],
                None => vec![samples, dims[1]],
            };
            let rng = drawn.get_or_insert_with(&rng);
            layer.mirror(&rng.normal(0.0, 1.0, shape, self.dtype, &self.device)?)?;
        }
        Ok(())
    }

    /// Computes the preset's loss of `fields (N, classes)` for `labels (N)`.
    ///
    /// # Errors
    /// As for [`Loss::of`](super::Loss::of).
    pub fn loss(&self, fields: &Tensor, labels: &Tensor) -> candle::Result<Tensor> {
        self.preset.training.loss.of(fields, labels)
    }

    /// Computes the error `δ` at the field of every weight layer, `(N, …)`, for images `x (N, C, H, W)` with
    /// `labels (N)`, by the protocol or, if `backprop`, by back-propagation through the same weights; without
    /// dropout.
    ///
    /// # Errors
    /// As for [`forward`](Self::forward) and [`loss`](Self::loss).
    pub fn errors(
        &self,
        x: &Tensor,
        labels: &Tensor,
        backprop: bool,
    ) -> candle::Result<Vec<Tensor>> {
        self.stack.errors(&x.detach(), backprop, |fields| self.loss(fields, labels))
    }

    /// Computes the gradient of the loss with respect to the weights of every weight layer, likewise.
    ///
    /// # Errors
    /// As for [`errors`](Self::errors).
    pub fn gradients(
        &self,
        x: &Tensor,
        labels: &Tensor,
        backprop: bool,
    ) -> candle::Result<Vec<Tensor>> {
        self.stack.gradients(&x.detach(), backprop, |fields| self.loss(fields, labels))
    }
}

impl Model for Network {
    /// See [`Stack::tensors`]; direct feedback weights are named `feedback`, and the class layer comes last.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        self.stack.tensors()
    }

    /// Also unties the layers whose weights are untied in the checkpoint.
    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        let untied = |index: usize| {
            let weight = checkpoint.dims(&format!("layers.{index}.weight"));
            weight.is_some_and(|dims| dims.len() == UNTIED)
        };
        if !self.is_untied() && (0..self.placed.len()).any(untied) {
            self.untie(false)?;
        }
        self.stack.restore(|name, shape| checkpoint.take(name, shape, self.dtype))
    }

    /// The number of hidden layers.
    fn layers(&self) -> usize {
        self.placed.len() - 1
    }

    fn layer_features(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        check_layer(layer, self.layers())?;
        Ok(self.stack.features(images, self.placed[layer].block + 1)?)
    }

    /// The input of the class layer.
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let classes = self.placed.last().map_or(0, |placed| placed.block);
        Ok(flatten(&self.stack.features(images, classes)?)?)
    }

    /// The fields of the class units. Their gradient with respect to the images is that of back-propagation,
    /// whatever the protocol.
    fn scores(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.stack.features(images, self.stack.blocks().len())?)
    }

    /// The units of the hidden layers, under the names of the layers.
    fn units(&self) -> Result<Vec<Units>> {
        let classes = self.placed.last().map_or(0, |placed| placed.block);
        let all = units_of(&self.stack, classes)?.into_iter().zip(&self.placed);
        Ok(all.map(|((_, units), placed)| Units { name: placed.name.clone(), ..units }).collect())
    }

    fn responses(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        check_layer(layer, self.layers())?;
        Ok(self.stack.excitation(self.placed[layer].block, images)?)
    }
}

/// Number of axes of the weights of an untied convolution.
const UNTIED: usize = 6;

/// The name of the class layer.
const CLASSES: &str = "classes";

/// The pool that `config` describes, if any.
fn pool(config: &LayerConfig) -> Option<Pool> {
    match *config {
        LayerConfig::MaxPool { kernel, stride, edge } => {
            Some(Pool::MaxSame { kernel, stride, edge, ties: Ties::All })
        }
        LayerConfig::AvgPool { kernel, stride, padding } => {
            Some(Pool::Avg { kernel, stride, padding })
        }
        _ => None,
    }
}

/// The channels, height and width in `shape`.
fn image(shape: &[usize]) -> candle::Result<(usize, usize, usize)> {
    match *shape {
        [c, h, w] => Ok((c, h, w)),
        _ => candle::bail!("expects an image, but the layer below is dense"),
    }
}

/// The random stream from which the connections of layer `index` are drawn.
fn mask_rng(rng: &Rng, index: usize) -> Rng {
    rng.stream(&format!("layers.{index}.mask"))
}
