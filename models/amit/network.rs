//! A network of layers with asymmetric feedback.

use super::config::{LayerConfig, Preset};
use super::protocol::Protocol;
use crate::error::{Error, Result};
use candle::{DType, Device, Tensor, Var};
use candle_hebbian::ops::channels_last::{avg_pool2d, max_pool2d_same};
use candle_hebbian::ops::{Dropout, Edge, Ties, ramp};
use candle_hebbian::{
    Conv2dConfig, Decoupled, FeedbackLayer, Geometry, Rng, WithFeedback, direct_feedback, init,
};

/// The layers of a preset, for images of one size and a number of classes.
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
    stages: Vec<Stage>,
    preset: Preset,
    rng: Rng,
    dtype: DType,
    device: Device,
}

#[derive(Debug)]
enum Stage {
    Weights(Box<WeightLayer>),
    MaxPool { kernel: usize, stride: usize, edge: Edge },
    AvgPool { kernel: usize, stride: usize, padding: usize },
    Dropout(Dropout),
}

/// A layer with weights, and what belongs to it.
#[derive(Debug)]
pub struct WeightLayer {
    name: String,
    layer: FeedbackLayer,
    protocol: Protocol,
    /// The direct feedback weights `(classes, features)` of a layer of that protocol.
    direct: Option<Tensor>,
    residual: bool,
    untied: bool,
    frozen: bool,
    classes: bool,
    /// Height and width of the input, for a convolution.
    size: Option<(usize, usize)>,
    /// Whether a maximum is pooled next, and nothing else sees the activity. The ramp then comes
    /// after the pool, where there is less of it: it is monotonic, and saturated units, which tie
    /// only after the ramp, get no error either way.
    pooled: bool,
}

impl WeightLayer {
    /// `conv1`, `conv2`, …, `dense1`, …, `classes`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The weights, their feedback and their geometry.
    pub fn layer(&self) -> &FeedbackLayer {
        &self.layer
    }
}

/// Called with the index of each weight layer and its field `h`, and returns what takes its place.
type AtField<'a> = &'a mut dyn FnMut(usize, Tensor) -> candle::Result<Tensor>;

/// How one pass through the network goes.
#[derive(Default)]
struct Pass<'a> {
    /// The generator of dropout masks; none drops nothing.
    dropout: Option<&'a mut Rng>,
    /// Whether the error goes back through the weights themselves, whatever the protocol.
    backprop: bool,
    at_field: Option<AtField<'a>>,
}

impl Network {
    /// A network with fresh weights, each layer's from a stream of its own.
    ///
    /// # Errors
    /// A preset that is wrong in itself or does not fit the images; the message names the layer.
    pub fn new(
        preset: &Preset,
        image: (usize, usize, usize),
        classes: usize,
        rng: &Rng,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        preset.check()?;
        let mut network = Self {
            stages: Vec::new(),
            preset: preset.clone(),
            rng: rng.clone(),
            dtype,
            device: device.clone(),
        };
        let mut input = vec![image.0, image.1, image.2];
        for (at, config) in preset.layers.iter().enumerate() {
            let stage =
                network.stage(config, &mut input, classes).map_err(|problem| Error::Unfit {
                    preset: preset.name.clone(),
                    image,
                    layer: at,
                    problem: problem.to_string(),
                })?;
            network.stages.push(stage);
        }
        for at in 1..network.stages.len() {
            let (below, above) = network.stages.split_at_mut(at);
            if let (Some(Stage::Weights(layer)), Some(Stage::MaxPool { .. })) =
                (below.last_mut(), above.first())
            {
                layer.pooled = !layer.residual && layer.direct.is_none();
            }
        }
        if preset.training.tied.is_none() {
            network.untie(false)?;
        }
        Ok(network)
    }

    /// The stage that `config` describes; `input` becomes the shape of its output.
    fn stage(
        &self,
        config: &LayerConfig,
        input: &mut Vec<usize>,
        classes: usize,
    ) -> candle::Result<Stage> {
        let image = |input: &[usize]| match *input {
            [c, h, w] => Ok((c, h, w)),
            _ => candle::bail!("expects an image, but the layer below is dense"),
        };
        match *config {
            LayerConfig::Conv { units, kernel, residual, untied, frozen, protocol } => {
                let (c, h, w) = image(input)?;
                if residual && units != c {
                    candle::bail!("a residual sum of {units} channels with {c}: expected as many")
                }
                let geometry = Geometry::Conv2d(Conv2dConfig::same(kernel));
                let shape = [units, c, kernel, kernel];
                *input = vec![units, h, w];
                let features = (units * h * w, classes);
                let mut layer = self.weights(&shape, geometry, protocol, features, untied)?;
                (layer.residual, layer.frozen) = (residual, frozen);
                layer.size = Some((h, w));
                Ok(Stage::Weights(Box::new(layer)))
            }
            LayerConfig::Dense { units, protocol } => {
                let shape = [units, input.iter().product()];
                *input = vec![units];
                let features = (units, classes);
                let layer = self.weights(&shape, Geometry::Dense, protocol, features, false)?;
                Ok(Stage::Weights(Box::new(layer)))
            }
            LayerConfig::Classes { protocol } => {
                if protocol == Some(Protocol::DirectFeedback) {
                    candle::bail!(
                        "dfa on the class layer: there is no path from the output to it but its \
                         own error; choose another protocol for it, or none"
                    )
                }
                // Nothing below a network with direct feedback hears from the class layer.
                let own = protocol.unwrap_or(match self.preset.training.protocol {
                    Protocol::DirectFeedback => Protocol::Backprop,
                    other => other,
                });
                let shape = [classes, input.iter().product()];
                let features = (classes, classes);
                let mut layer =
                    self.weights(&shape, Geometry::Dense, Some(own), features, false)?;
                layer.classes = true;
                *input = vec![classes];
                Ok(Stage::Weights(Box::new(layer)))
            }
            LayerConfig::MaxPool { kernel, stride, edge } => {
                let (c, h, w) = image(input)?;
                if kernel == 0 || stride == 0 {
                    candle::bail!(
                        "a pool of kernel {kernel} and stride {stride}: expected 1 or more"
                    )
                }
                *input = vec![c, h.div_ceil(stride), w.div_ceil(stride)];
                Ok(Stage::MaxPool { kernel, stride, edge })
            }
            LayerConfig::AvgPool { kernel, stride, padding } => {
                let (c, h, w) = image(input)?;
                let pool = candle_hebbian::ops::Pool::Avg { kernel, stride, padding };
                *input = vec![c, pool.output_size(h)?, pool.output_size(w)?];
                Ok(Stage::AvgPool { kernel, stride, padding })
            }
            LayerConfig::Dropout { probability } => Ok(Stage::Dropout(Dropout::new(probability)?)),
        }
    }

    fn weights(
        &self,
        shape: &[usize],
        geometry: Geometry,
        protocol: Option<Protocol>,
        (features, classes): (usize, usize),
        untied: bool,
    ) -> candle::Result<WeightLayer> {
        let index = self.weight_layers().count();
        let name = self.preset.weight_layers().swap_remove(index);
        let protocol = protocol.unwrap_or(self.preset.training.protocol);
        let layer = self.draw((index, "weight"), shape, geometry, protocol)?;
        let direct = match protocol {
            Protocol::DirectFeedback => {
                let rng = &mut self.rng.stream(&format!("layers.{index}.direct"));
                let shape = (classes, features);
                Some(rng.draw(init::glorot_uniform(shape), shape, self.dtype, &self.device)?)
            }
            _ => None,
        };
        let (residual, frozen, pooled) = (false, false, false);
        let (classes, size) = (name == "classes", None);
        let layer = match self.preset.training.connection_probability {
            // An untied layer loses connections of single positions, so once it is untied.
            Some(p) if !classes && !untied => {
                layer.thinned(p, protocol.pairing(), &mut mask_rng(&self.rng, index))?
            }
            _ => layer,
        };
        Ok(WeightLayer {
            name,
            layer,
            protocol,
            direct,
            residual,
            untied,
            frozen,
            classes,
            size,
            pooled,
        })
    }

    /// A layer with random weights, from the stream of layer `index` for this `purpose`.
    fn draw(
        &self,
        (index, purpose): (usize, &str),
        shape: &[usize],
        geometry: Geometry,
        protocol: Protocol,
    ) -> candle::Result<FeedbackLayer> {
        let rng = &mut self.rng.stream(&format!("layers.{index}.{purpose}"));
        let config = protocol.feedback();
        let init = || init::glorot_uniform(shape);
        let mut draw = || rng.draw(init(), shape, self.dtype, &self.device);
        let weight = draw()?;
        let feedback = match protocol {
            Protocol::Identical => Some(weight.clone()),
            _ if config.has_feedback() => Some(draw()?),
            _ => None,
        };
        FeedbackLayer::from_tensors(&weight, feedback.as_ref(), geometry, config)
    }

    /// Gives the layers marked so weights of their own at each position; with `redraw`, all but
    /// frozen layers first get fresh random weights (direct feedback, which is fixed, stays).
    pub(super) fn untie(&mut self, redraw: bool) -> candle::Result<()> {
        if redraw {
            for (index, layer) in self.weight_layers().enumerate() {
                if layer.frozen {
                    continue;
                }
                let old = &layer.layer;
                let (shape, geometry) = (old.weight().dims(), old.geometry());
                old.copy_weights(&self.draw(
                    (index, "redraw"),
                    shape,
                    geometry,
                    layer.protocol,
                )?)?;
            }
        }
        let (rng, probability) = (self.rng.clone(), self.preset.training.connection_probability);
        for (index, layer) in self.weight_layers_mut().enumerate() {
            if let (true, Some(size), Geometry::Conv2d(_)) =
                (layer.untied, layer.size, layer.layer.geometry())
            {
                let untied = layer.layer.untied(size)?;
                layer.layer = match probability {
                    Some(p) => {
                        untied.thinned(p, layer.protocol.pairing(), &mut mask_rng(&rng, index))?
                    }
                    None => untied,
                };
            }
        }
        Ok(())
    }

    /// The preset.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// The layers with weights, from the image to the classes.
    pub fn weight_layers(&self) -> impl Iterator<Item = &WeightLayer> {
        self.stages.iter().filter_map(|stage| match stage {
            Stage::Weights(layer) => Some(&**layer),
            _ => None,
        })
    }

    fn weight_layers_mut(&mut self) -> impl Iterator<Item = &mut WeightLayer> {
        self.stages.iter_mut().filter_map(|stage| match stage {
            Stage::Weights(layer) => Some(&mut **layer),
            _ => None,
        })
    }

    /// Whether the layers that are to be untied are.
    pub fn is_untied(&self) -> bool {
        self.weight_layers()
            .all(|l| !l.untied || matches!(l.layer.geometry(), Geometry::LocallyConnected2d(_)))
    }

    /// The layers that learn. A frozen layer does until layers are untied.
    fn learning(&self) -> impl Iterator<Item = &FeedbackLayer> {
        let untied = self.is_untied();
        let learns = move |layer: &&WeightLayer| !(layer.frozen && untied);
        self.weight_layers().filter(learns).map(|layer| &layer.layer)
    }

    /// The weights that learn. Feedback weights that learn do so by their steps, see
    /// [`optimizer`](Self::optimizer).
    pub fn vars(&self) -> candle::Result<Vec<Var>> {
        self.learning().map(|layer| layer.var()).collect()
    }

    /// What moves the weights and the feedback weights that learn, around the optimiser that `inner`
    /// makes of the variables it is given. Made anew once layers are untied.
    ///
    /// # Errors
    /// An optimiser under which the protocol would not be what it says, see [`WithFeedback::build`].
    pub fn optimizer<O: Decoupled>(
        &self,
        inner: impl Fn(Vec<Var>) -> candle::Result<O>,
    ) -> candle::Result<WithFeedback<O>> {
        WithFeedback::build(self.vars()?, self.learning(), inner)
    }

    /// The fields `(N, classes)` of the class units for images `x (N, C, H, W)`, without dropout;
    /// differentiable.
    pub fn forward(&self, x: &Tensor) -> candle::Result<Tensor> {
        self.pass(x, Pass::default())
    }

    /// The same in training: with dropout masks, and batchwise feedback, drawn from `rng`.
    pub fn forward_train(&self, x: &Tensor, rng: &mut Rng) -> candle::Result<Tensor> {
        for layer in self.weight_layers() {
            layer.layer.redraw(rng)?;
        }
        self.pass(x, Pass { dropout: Some(rng), ..Pass::default() })
    }

    /// The preset's loss of `fields (N, classes)` for `labels (N)`.
    pub fn loss(&self, fields: &Tensor, labels: &Tensor) -> candle::Result<Tensor> {
        self.preset.training.loss.of(fields, labels)
    }

    /// The error `δ` at the field of every weight layer, `(N, …)`, by the protocol or by
    /// back-propagation through the same weights; without dropout.
    pub fn errors(
        &self,
        x: &Tensor,
        labels: &Tensor,
        backprop: bool,
    ) -> candle::Result<Vec<Tensor>> {
        let mut probes = Vec::new();
        // A zero added to the field gets the field's error as its gradient.
        let mut at_field = |_: usize, field: Tensor| {
            let probe = Var::from_tensor(&field.zeros_like()?.contiguous()?)?;
            let probed = (field + probe.as_tensor())?;
            probes.push(probe);
            Ok(probed)
        };
        let pass = Pass { dropout: None, backprop, at_field: Some(&mut at_field) };
        let grads = self.loss(&self.pass(x, pass)?, labels)?.backward()?;
        let error = |probe: &Var| match grads.get(probe) {
            Some(error) => Ok(error.clone()),
            None => probe.zeros_like(),
        };
        probes.iter().map(error).collect()
    }

    fn pass(&self, x: &Tensor, mut pass: Pass) -> candle::Result<Tensor> {
        // Images stay in the order (B, H, W, C) up to the first dense layer.
        let mut x = x.detach();
        if x.rank() == 4 {
            x = x.permute((0, 2, 3, 1))?;
        }
        let mut direct = Vec::new();
        let (mut index, mut ramp_is_due) = (0, false);
        let slope = self.preset.training.ramp_slope;
        for stage in &self.stages {
            x = match stage {
                Stage::MaxPool { kernel, stride, edge } => {
                    let pooled = max_pool2d_same(&x, *kernel, *stride, *edge, Ties::All)?;
                    if std::mem::take(&mut ramp_is_due) { ramp(&pooled, slope)? } else { pooled }
                }
                Stage::AvgPool { kernel, stride, padding } => {
                    avg_pool2d(&x, *kernel, *stride, *padding)?
                }
                Stage::Dropout(dropout) => match &mut pass.dropout {
                    Some(rng) => dropout.apply(&x, rng)?,
                    None => x,
                },
                Stage::Weights(layer) => {
                    let below = match layer.layer.geometry() {
                        Geometry::Dense if x.rank() == 4 => {
                            x.permute((0, 3, 1, 2))?.flatten_from(1)?
                        }
                        _ => x,
                    };
                    let mut field = if pass.backprop {
                        layer.layer.backprop_channels_last(&below)?
                    } else {
                        layer.layer.forward_channels_last(&below)?
                    };
                    if let Some(at_field) = &mut pass.at_field {
                        field = at_field(index, field)?;
                    }
                    index += 1;
                    if layer.classes || layer.pooled {
                        ramp_is_due = layer.pooled;
                        field
                    } else {
                        let mut active = ramp(&field, slope)?;
                        if let (Some(feedback), false) = (&layer.direct, pass.backprop) {
                            direct.push((active.clone(), feedback));
                            active = active.detach();
                        }
                        if layer.residual { (below + active)? } else { active }
                    }
                }
            };
        }
        for (hidden, feedback) in direct {
            x = direct_feedback(&x, &hidden, feedback)?;
        }
        Ok(x)
    }

    /// Every tensor of a checkpoint in a fixed order: `layers.i.weight`, `layers.i.feedback` (for
    /// direct feedback `(classes, features)`), and with thinned connections `layers.i.weight_mask`
    /// and `layers.i.feedback_mask`, for each weight layer, the class layer last.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = Vec::new();
        for (i, layer) in self.weight_layers().enumerate() {
            let mut put = |name: &str, tensor: Option<&Tensor>| {
                tensors.extend(tensor.map(|t| (format!("layers.{i}.{name}"), t.detach())));
            };
            let (weight_mask, feedback_mask) = layer.layer.masks();
            put("weight", Some(layer.layer.weight()));
            put("feedback", layer.layer.feedback().or(layer.direct.as_ref()));
            put("weight_mask", weight_mask);
            put("feedback_mask", feedback_mask);
        }
        tensors
    }

    /// Puts tensors back; `take(name, shape)` hands out each by its name.
    pub fn restore<E: From<candle::Error>>(
        &mut self,
        mut take: impl FnMut(&str, &[usize]) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<(), E> {
        for (i, layer) in self.weight_layers_mut().enumerate() {
            let mut take =
                |name: &str, like: &Tensor| take(&format!("layers.{i}.{name}"), like.dims());
            let (weight_mask, feedback_mask) = layer.layer.masks();
            let weight_mask = weight_mask.map(|mask| take("weight_mask", mask)).transpose()?;
            let feedback_mask =
                feedback_mask.map(|mask| take("feedback_mask", mask)).transpose()?;
            layer.layer.var()?.set(&take("weight", layer.layer.weight())?)?;
            if let Some(feedback) = layer.layer.feedback_var()? {
                feedback.set(&take("feedback", &feedback)?)?;
            }
            if let Some(direct) = &mut layer.direct {
                *direct = take("feedback", direct)?;
            }
            layer.layer.set_masks(weight_mask, feedback_mask)?;
        }
        Ok(())
    }
}

/// What the connections of layer `index` are drawn from.
fn mask_rng(rng: &Rng, index: usize) -> Rng {
    rng.stream(&format!("layers.{index}.mask"))
}
