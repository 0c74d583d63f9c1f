//! Layers whose error goes back through weights of its own.

use crate::geometry::Geometry;
use crate::layer::Layer;
use crate::ops::{Asymmetry, custom_vjp, masked};
use crate::{Protocol, Rng, init};
use candle::{DType, Device, Module, Result, Shape, Tensor, Var};

/// A dense, convolutional or locally connected layer with asymmetric feedback.
///
/// ```text
/// forward     h = W x
/// backward    φ = Kᵀ δ            K = W or R, as the protocol says
///             ∂L/∂W = δ xᵀ = G    ∂L/∂R = ε G
/// ```
///
/// where `δ` is the error at `h`, `φ` the one that reaches `x`, and `R` has the shape and the index
/// order of `W`. So an ordinary `loss.backward()` on an ordinary model, and any optimiser over
/// [`vars`](Self::vars), trains it. The backward pass costs what back-propagation does: `G` is
/// formed once for both, and `φ` only when `x` is part of a graph, so not in a first layer.
///
/// Source: Amit 2019, Frontiers in Computational Neuroscience 13:18, §3; there `R` of the first
/// layer, through which nothing is sent, is kept and updated too.
///
/// ```
/// use candle::{Device, Module, Tensor, Var};
/// use candle_hebbian::{FeedbackLayer, Geometry, Protocol};
/// let w = Tensor::new(&[[0.5f64, 0.2], [-1.0, 0.1]], &Device::Cpu)?;
/// let r = Tensor::new(&[[-0.3f64, 0.4], [0.2, 0.6]], &Device::Cpu)?;
/// let layer = FeedbackLayer::with_feedback(w, r, Geometry::Dense, Protocol::Urfb)?;
/// let x = Var::new(&[[0.4f64, 1.0]], &Device::Cpu)?;
/// let delta = Tensor::new(&[[-1f64, 0.5]], &Device::Cpu)?; // the loss Σ δ·h has δ as its error at h
/// let grads = (layer.forward(&x)? * delta)?.sum_all()?.backward()?;
/// let grad = |var: &Var| grads.get(var).unwrap().to_vec2::<f64>();
/// assert_eq!(grad(&x)?, [[0.3 + 0.1, -0.4 + 0.3]]); // Rᵀδ
/// assert_eq!(grad(layer.weight())?, [[-0.4, -1.0], [0.2, 0.5]]); // δxᵀ
/// assert_eq!(grad(layer.feedback().unwrap())?, [[-0.4, -1.0], [0.2, 0.5]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug)]
pub struct FeedbackLayer {
    layer: Layer,
    weight: Var,
    protocol: Protocol,
    feedback: Option<Var>,
    weight_mask: Option<Tensor>,
    feedback_mask: Option<Tensor>,
}

impl FeedbackLayer {
    /// A layer of `shape` (see [`Geometry`]) with weights from [`init::glorot_uniform`] and, where the
    /// protocol has them, independent feedback weights from the same distribution.
    ///
    /// # Errors
    /// A shape that does not fit the geometry, or a protocol that is none of a single layer's.
    pub fn new<S: Into<Shape>>(
        shape: S,
        geometry: Geometry,
        protocol: Protocol,
        rng: &mut Rng,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let shape = shape.into();
        let mut draw = || rng.draw(init::glorot_uniform(&shape), &shape, dtype, device);
        let weight = draw()?;
        let feedback = match protocol {
            Protocol::Identical => weight.clone(),
            _ if protocol.has_feedback() => draw()?,
            _ => return Self::assemble(weight, geometry, protocol, None),
        };
        Self::with_feedback(weight, feedback, geometry, protocol)
    }

    /// A back-propagation layer of `weight`, a variable or a tensor to copy into one.
    pub fn backprop(weight: Tensor, geometry: Geometry) -> Result<Self> {
        Self::assemble(weight, geometry, Protocol::Backprop, None)
    }

    /// A layer of `weight` and `feedback`, variables or tensors to copy into some.
    ///
    /// # Errors
    /// A feedback weight of another shape than the weight, or a protocol that has none; a weight
    /// that does not fit the geometry; [`Protocol::Identical`] with different values.
    pub fn with_feedback(
        weight: Tensor,
        feedback: Tensor,
        geometry: Geometry,
        protocol: Protocol,
    ) -> Result<Self> {
        if feedback.shape() != weight.shape() {
            candle::bail!(
                "feedback weights of {:?} for weights of {:?}: expected the same shape and index \
                 order (they are used transposed, and stored as the weights are)",
                feedback.dims(),
                weight.dims()
            )
        }
        if !protocol.has_feedback() {
            candle::bail!("protocol {protocol} has no feedback weights, but some were given")
        }
        if protocol == Protocol::Identical && !equal(&weight, &feedback)? {
            candle::bail!("protocol identical: the feedback weights differ from the weights")
        }
        Self::assemble(weight, geometry, protocol, Some(feedback))
    }

    fn assemble(
        weight: Tensor,
        geometry: Geometry,
        protocol: Protocol,
        feedback: Option<Tensor>,
    ) -> Result<Self> {
        protocol.check()?;
        if protocol == Protocol::DirectFeedback {
            candle::bail!(
                "protocol dfa joins a layer to the output of the network and not to the layer \
                 below: make this a bp layer and pass its activity through direct_feedback"
            )
        }
        let own = |weight: Tensor| match weight.is_variable() {
            true => Var::from_tensor(&weight), // the same variable
            false => Var::from_tensor(&weight.detach().contiguous()?),
        };
        let (weight, feedback) = (own(weight)?, feedback.map(own).transpose()?);
        let layer = Layer::new(weight.as_tensor().clone(), geometry)?;
        Ok(Self { layer, weight, protocol, feedback, weight_mask: None, feedback_mask: None })
    }

    /// Keeps each connection of the weights, and independently each of the feedback weights, with
    /// `probability`; the others are 0 for ever. Kept weights are not rescaled.
    ///
    /// With [`Protocol::Identical`] both have the same connections, or they would not be identical.
    ///
    /// # Errors
    /// A probability outside [0, 1].
    pub fn thinned(mut self, probability: f64, rng: &mut Rng) -> Result<Self> {
        if !(0.0..=1.0).contains(&probability) {
            candle::bail!("connection probability {probability}: expected 0 to 1")
        }
        let weight = self.weight().clone();
        let mut draw =
            || rng.bernoulli(probability, weight.shape(), weight.dtype(), weight.device());
        let mask = draw()?;
        let feedback_mask = match (&self.feedback, self.protocol) {
            (None, _) => None,
            (_, Protocol::Identical) => Some(mask.clone()),
            _ => Some(draw()?),
        };
        self.set_masks(Some(mask), feedback_mask)?;
        Ok(self)
    }

    /// Keeps only the connections where a mask is 1 (it is 0 elsewhere); `None` keeps all. Weights
    /// without a connection become 0 and stay so.
    ///
    /// # Errors
    /// A mask of another shape than the weights; one for feedback weights that do not exist.
    pub fn set_masks(
        &mut self,
        weight_mask: Option<Tensor>,
        feedback_mask: Option<Tensor>,
    ) -> Result<()> {
        let pairs = [(&weight_mask, Some(self.weight())), (&feedback_mask, self.feedback())];
        for (mask, var) in pairs {
            match (mask, var) {
                (Some(mask), Some(var)) if var.shape() != mask.shape() => {
                    candle::bail!("a mask of {:?} for weights of {:?}", mask.dims(), var.dims())
                }
                (Some(_), None) => {
                    candle::bail!("a mask for the feedback weights, but there are none")
                }
                _ => {}
            }
        }
        for (mask, var) in pairs {
            if let (Some(mask), Some(var)) = (mask, var) {
                var.set(&(var.as_detached_tensor() * mask)?)?;
            }
        }
        (self.weight_mask, self.feedback_mask) = (weight_mask, feedback_mask);
        Ok(())
    }

    /// The locally connected layer with a copy of a convolution's weights, feedback weights and
    /// masks at each position of an image of `(height, width)`: it starts equal to the convolution.
    /// Taps outside the image are 0, and stay so.
    ///
    /// The weights are `(OH, OW, K, C, kh, kw)`: only connections that exist take memory.
    ///
    /// # Errors
    /// A layer that is no convolution with one group and zero padding, or an image that is too
    /// small.
    pub fn untied(&self, (height, width): (usize, usize)) -> Result<Self> {
        let Geometry::Conv2d(config) = self.layer.geometry() else {
            candle::bail!("only a convolution can be untied, found {:?}", self.layer.geometry())
        };
        let (units, channels, kh, kw) = self.layer.weight().dims4()?;
        let taps = config.taps_in_image((height, width), (kh, kw))?;
        let taps = Tensor::from_vec(
            taps.iter().map(|&inside| u8::from(inside)).collect::<Vec<_>>(),
            (config.output_size(height, kh)?, config.output_size(width, kw)?, 1, 1, kh, kw),
            self.layer.weight().device(),
        )?
        .to_dtype(self.layer.weight().dtype())?;
        let copied = |weight: &Tensor| {
            weight.detach().reshape((1, 1, units, channels, kh, kw))?.broadcast_mul(&taps)
        };
        let (weight, geometry) = (copied(&self.weight)?, Geometry::LocallyConnected2d(config));
        let feedback = self.feedback.as_ref().map(|r| copied(r)).transpose()?;
        let mut untied = Self::assemble(weight, geometry, self.protocol, feedback)?;
        let mask = |mask: &Option<Tensor>| mask.as_ref().map(copied).transpose();
        untied.set_masks(mask(&self.weight_mask)?, mask(&self.feedback_mask)?)?;
        Ok(untied)
    }

    /// Takes the weights and feedback weights of `other`, a layer of the same shape and protocol, as
    /// far as this one has the connections.
    ///
    /// # Errors
    /// Another shape.
    pub fn copy_weights(&self, other: &Self) -> Result<()> {
        self.weight().set(&masked(other.weight(), &self.weight_mask)?)?;
        match (&self.feedback, &other.feedback) {
            (Some(r), Some(other)) => r.set(&masked(other, &self.feedback_mask)?),
            _ => Ok(()),
        }
    }

    /// Draws the sizes of [`Protocol::BatchwiseRandomSign`] anew; does nothing for others.
    pub fn redraw(&self, rng: &mut Rng) -> Result<()> {
        match (&self.feedback, self.protocol) {
            (Some(r), Protocol::BatchwiseRandomSign) => {
                let init = init::glorot_uniform(r.shape());
                let drawn = rng.draw(init, r.shape(), r.dtype(), r.device())?;
                r.set(&masked(&drawn, &self.feedback_mask)?)
            }
            _ => Ok(()),
        }
    }

    /// The weights.
    pub fn weight(&self) -> &Var {
        &self.weight
    }

    /// The feedback weights, in the shape of the weights.
    pub fn feedback(&self) -> Option<&Var> {
        self.feedback.as_ref()
    }

    /// The variables that learn: the weights and, where the protocol updates them, the feedback
    /// weights.
    pub fn vars(&self) -> Vec<Var> {
        let mut vars = vec![self.weight().clone()];
        if self.protocol.feedback_rate() > 0.0 {
            vars.extend(self.feedback.clone());
        }
        vars
    }

    /// The connections that exist among the weights, and among the feedback weights: 1, else 0;
    /// `None` when all do.
    pub fn masks(&self) -> (Option<&Tensor>, Option<&Tensor>) {
        (self.weight_mask.as_ref(), self.feedback_mask.as_ref())
    }

    /// The protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The geometry.
    pub fn geometry(&self) -> Geometry {
        self.layer.geometry()
    }

    /// What the error is sent back through now: `K`, in the shape of the weights.
    pub fn error_weight(&self) -> Result<Tensor> {
        let weight = self.weight().as_detached_tensor();
        let size = match (&self.feedback, self.protocol) {
            (None, Protocol::UniformSign) => {
                return weight.sign()? * init::glorot_deviation(weight.shape());
            }
            (None, _) => return Ok(weight),
            (Some(feedback), _) => feedback.as_detached_tensor(),
        };
        if self.protocol.uses_signs() { size.abs()? * weight.sign()? } else { Ok(size) }
    }

    /// The response to images `x (B, H, W, C)`, with channels last in the result too; to anything
    /// else as [`forward`](Module::forward). See [`ops::channels_last`](crate::ops::channels_last).
    pub fn forward_channels_last(&self, x: &Tensor) -> Result<Tensor> {
        let (error_weight, asymmetry) = self.backward_pass()?;
        self.layer.forward_channels_last_with(x, &error_weight, asymmetry)
    }

    /// The same with the error going back through the weights themselves, whatever the protocol:
    /// for comparing the two. The feedback weights get no gradient.
    pub fn backprop_channels_last(&self, x: &Tensor) -> Result<Tensor> {
        let asymmetry = Asymmetry { weight_mask: self.weight_mask.clone(), ..Asymmetry::default() };
        self.layer.forward_channels_last_with(x, &self.weight().as_detached_tensor(), asymmetry)
    }

    /// What the error goes back through, tracked if it learns, and how.
    fn backward_pass(&self) -> Result<(Tensor, Asymmetry)> {
        let rate = self.protocol.feedback_rate();
        let error_weight = match &self.feedback {
            Some(feedback) if rate > 0.0 => feedback.as_tensor().clone(),
            _ => self.error_weight()?,
        };
        let (weight_mask, feedback_mask) = (self.weight_mask.clone(), self.feedback_mask.clone());
        Ok((error_weight, Asymmetry { rate, weight_mask, feedback_mask }))
    }
}

impl Module for FeedbackLayer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (error_weight, asymmetry) = self.backward_pass()?;
        self.layer.forward_with(x, &error_weight, asymmetry)
    }
}

/// `output` unchanged, with a second way back: the error `e (N, M)` at the output reaches `hidden`
/// as `e·B`, where `feedback` is `B (M, F)` and `hidden (N, …)` has `F` values per sample.
///
/// Direct feedback alignment (Nøkland 2016, Eq. 8): pass `hidden.detach()` on to the layers above
/// so that this is the only error that `hidden` gets.
///
/// ```
/// use candle::{Device, Tensor, Var};
/// let hidden = Var::new(&[[1f64, 2.0]], &Device::Cpu)?;
/// let output = (hidden.detach() * 3.0)?; // a network that the error does not pass
/// let b = Tensor::new(&[[1f64, -1.0], [0.5, 2.0]], &Device::Cpu)?;
/// let output = candle_hebbian::direct_feedback(&output, &hidden, &b)?;
/// let error = Tensor::new(&[[10f64, 100.0]], &Device::Cpu)?;
/// let grads = (output * error)?.sum_all()?.backward()?;
/// assert_eq!(grads.get(&hidden).unwrap().to_vec2::<f64>()?, [[60.0, 190.0]]); // e·B
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// A layer with no path from the output: `hidden` depends on no variable. Shapes that do not fit.
pub fn direct_feedback(output: &Tensor, hidden: &Tensor, feedback: &Tensor) -> Result<Tensor> {
    let (samples, outputs) = output.dims2()?;
    let features = hidden.elem_count() / hidden.dim(0)?.max(1);
    if hidden.dim(0)? != samples || feedback.dims() != [outputs, features] {
        candle::bail!(
            "direct feedback of {:?} from an output of {:?} to a layer of {:?}: expected weights \
             of ({outputs}, {features}) and as many samples in both",
            feedback.dims(),
            output.dims(),
            hidden.dims()
        )
    }
    if !hidden.track_op() {
        candle::bail!(
            "direct feedback: no path from the output to this layer of {:?}; its activity depends \
             on no variable (was it detached before, or does it have no weights?)",
            hidden.dims()
        )
    }
    let (feedback, shape) = (feedback.detach(), hidden.shape().clone());
    custom_vjp(
        "direct_feedback",
        [hidden, output],
        |[_, output]| Ok((output.clone().into(), ())),
        move |pass| {
            let error = pass.grad;
            Ok([Some(error.matmul(&feedback)?.reshape(&shape)?), Some(error.clone())])
        },
    )
}

fn equal(a: &Tensor, b: &Tensor) -> Result<bool> {
    let differ = a.ne(b)?.to_dtype(DType::F32)?.sum_all()?;
    Ok(differ.to_scalar::<f32>()? == 0.0)
}
