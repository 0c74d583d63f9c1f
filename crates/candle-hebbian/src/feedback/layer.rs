//! Layers whose error goes back as a [`FeedbackConfig`] specifies.

use super::config::{FeedbackConfig, Sizes, Source};
use crate::device::upload;
use crate::geometry::Geometry;
use crate::layer::{self, Layer};
use crate::memory;
use crate::ops::widen::check_like;
use crate::ops::{Epilogue, masked, sign};
use crate::window::Conv2dConfig;
use crate::{Rng, init};
use candle::backprop::GradStore;
use candle::{Module, Result, Tensor, Var};
use candle_nn::{Init, VarBuilder};

/// A dense, convolutional or locally connected layer with a backward path of its own.
///
/// ```text
/// forward     h = W x
/// backward    φ = Kᵀ δ            ∂L/∂W = δ xᵀ = G
/// ```
///
/// where `K` is given by the [source](Source) of its [`FeedbackConfig`], so an ordinary
/// `loss.backward()` on an ordinary model suffices. The backward pass costs as much as in
/// back-propagation: `φ` is computed only when `x` is part of a graph, so not in a first layer.
/// Feedback weights `R` that learn from the step of the weights do so under
/// [`WithFeedback`](super::WithFeedback); under any other optimiser they stay as they are.
///
/// The layer holds the very tensors that it was made with: a variable remains the same variable of
/// its `VarMap`. As with candle's own layers, clones share the weights and feedback weights: give
/// one clone to `candle_nn::seq()` and one to the optimiser.
///
/// Source: Amit 2019, Frontiers in Computational Neuroscience 13:18, §3; there `R` of the first
/// layer, through which nothing is sent, is kept and updated too.
///
/// ```
/// use candle::{Device, Module, Tensor, Var};
/// use candle_hebbian::{FeedbackConfig, FeedbackLayer, Geometry};
/// use candle_hebbian::feedback::{Learning, Source};
/// let w = Tensor::new(&[[0.5f64, 0.2], [-1.0, 0.1]], &Device::Cpu)?;
/// let r = Tensor::new(&[[-0.3f64, 0.4], [0.2, 0.6]], &Device::Cpu)?;
/// let urfb = FeedbackConfig { source: Source::Own, learning: Learning::LikeWeights { rate: 1.0 } };
/// let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, urfb)?;
/// let x = Var::new(&[[0.4f64, 1.0]], &Device::Cpu)?;
/// let delta = Tensor::new(&[[-1f64, 0.5]], &Device::Cpu)?; // the loss Σ δ·h has δ as its error at h
/// let grads = (layer.forward(&x)? * delta)?.sum_all()?.backward()?;
/// let grad = |tensor: &Tensor| grads.get(tensor).unwrap().to_vec2::<f64>();
/// assert_eq!(grad(&x)?, [[0.3 + 0.1, -0.4 + 0.3]]); // Rᵀδ
/// assert_eq!(grad(layer.weight())?, [[-0.4, -1.0], [0.2, 0.5]]); // δxᵀ
/// let of_r = layer.feedback_gradient(&grads)?.unwrap();
/// assert_eq!(of_r.to_vec2::<f64>()?, [[-0.4, -1.0], [0.2, 0.5]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FeedbackLayer {
    pub(super) layer: Layer,
    pub(super) feedback: Option<Tensor>,
    pub(super) config: FeedbackConfig,
    pub(super) connections: Connections,
}

/// The connections of a layer.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    pub(super) weight_mask: Option<Tensor>,
    pub(super) feedback_mask: Option<Tensor>,
    /// A variable whose gradient is the whole of `G`. It exists if the feedback weights learn from
    /// `G` but connect other units than the weights, whose gradient covers only their own
    /// connections.
    pub(super) tap: Option<Var>,
}

/// Builds a layer like [`candle_hebbian::dense`](crate::dense), with `feedback (units, inputs)`
/// next to `weight` in `vb` if `config` has feedback weights. New variables are drawn by `init`,
/// the weights first.
///
/// # Errors
/// If a size is 0, `vb` has a tensor of another shape, or the config is invalid.
pub fn dense(
    inputs: usize,
    units: usize,
    config: FeedbackConfig,
    init: impl Fn(&[usize]) -> Init,
    vb: VarBuilder,
) -> Result<FeedbackLayer> {
    config.check_for(Geometry::Dense)?;
    beside(layer::dense(inputs, units, &init, vb.clone())?, config, init, &vb)
}

/// Builds a layer like [`candle_hebbian::conv2d`](crate::conv2d), with `feedback` next to `weight`
/// as in [`dense`].
///
/// # Errors
/// If a size is 0, the channels do not divide into the groups, `vb` has a tensor of another shape,
/// or the config is invalid.
pub fn conv2d(
    in_channels: usize,
    units: usize,
    kernel: usize,
    (window, config): (Conv2dConfig, FeedbackConfig),
    init: impl Fn(&[usize]) -> Init,
    vb: VarBuilder,
) -> Result<FeedbackLayer> {
    config.check_for(Geometry::Conv2d(window))?;
    let layer = layer::conv2d(in_channels, units, kernel, window, &init, vb.clone())?;
    beside(layer, config, init, &vb)
}

/// Builds a layer like [`candle_hebbian::locally_connected2d`](crate::locally_connected2d), with
/// `feedback` next to `weight` as in [`dense`].
///
/// # Errors
/// If a size is 0, `groups` is not 1, the image is smaller than the window, `vb` has a tensor of
/// another shape, or the config is invalid.
pub fn locally_connected2d(
    in_channels: usize,
    units: usize,
    kernel: usize,
    image: (usize, usize),
    (window, config): (Conv2dConfig, FeedbackConfig),
    init: impl Fn(&[usize]) -> Init,
    vb: VarBuilder,
) -> Result<FeedbackLayer> {
    config.check_for(Geometry::LocallyConnected2d(window))?;
    let weights = vb.clone();
    let layer =
        layer::locally_connected2d(in_channels, units, kernel, image, window, &init, weights)?;
    beside(layer, config, init, &vb)
}

/// Puts feedback weights beside the weights of `layer`. The config was checked before the weights were asked for, so
/// that a refusal leaves no variable behind.
fn beside(
    layer: Layer,
    config: FeedbackConfig,
    init: impl Fn(&[usize]) -> Init,
    vb: &VarBuilder,
) -> Result<FeedbackLayer> {
    let shape = layer.weight().dims();
    let feedback = match config.has_feedback() {
        true => Some(vb.get_with_hints(shape, "feedback", init(shape))?),
        false => None,
    };
    FeedbackLayer::new(layer, feedback, config)
}

impl FeedbackLayer {
    /// A layer with the given feedback weights, which must be `None` if `config` has none.
    ///
    /// To learn, the weights must be a variable, and so must feedback weights that learn or are
    /// redrawn.
    ///
    /// # Errors
    /// If the config is invalid, or not for this geometry; if feedback weights are missing, or given
    /// although the config has none; if they have another shape, type or device than the weights, or
    /// are the same tensor.
    pub fn new(layer: Layer, feedback: Option<Tensor>, config: FeedbackConfig) -> Result<Self> {
        config.check_for(layer.geometry())?;
        let weight = layer.weight();
        match &feedback {
            Some(_) if !config.has_feedback() => candle::bail!(
                "feedback weights were given, but the source {:?} has no feedback weights",
                config.source
            ),
            None if config.has_feedback() => candle::bail!(
                "the source {:?} needs feedback weights of the shape {:?} of the weights, found none",
                config.source,
                weight.dims()
            ),
            Some(feedback) if feedback.shape() != weight.shape() => candle::bail!(
                "feedback weights of {:?} for weights of {:?}: expected the same shape and index \
                 order (they are used transposed, and stored as the weights are)",
                feedback.dims(),
                weight.dims()
            ),
            Some(feedback) if feedback.id() == weight.id() => candle::bail!(
                "the feedback weights are the very tensor of the weights: give a copy of it, which \
                 learns by itself, or the source 'weights'"
            ),
            Some(feedback) => check_like("feedback weights", feedback, "weights", weight)?,
            None => {}
        }
        Ok(Self { layer, feedback, config, connections: Connections::default() })
    }

    /// Makes a layer that can learn: with `weight` and `feedback` themselves if they are variables,
    /// else with copies of them in new variables.
    ///
    /// # Errors
    /// If the weight does not fit the geometry, or as for [`new`](Self::new).
    pub fn from_tensors(
        weight: &Tensor,
        feedback: Option<&Tensor>,
        geometry: Geometry,
        config: FeedbackConfig,
    ) -> Result<Self> {
        let feedback = feedback.map(Var::from_tensor).transpose()?.map(Var::into_inner);
        Self::new(Layer::from_tensor(weight, geometry)?, feedback, config)
    }

    /// Makes a locally connected layer with a copy of a convolution's weights, feedback weights and
    /// masks at each position of an image of `(height, width)`: it starts equal to the convolution.
    /// Taps outside the image are 0, and stay 0.
    ///
    /// The weights are `(OH, OW, K, C, kh, kw)`, so only connections that exist take memory.
    ///
    /// # Errors
    /// If the layer is not a convolution with one group and zero padding, the image is too small, or
    /// there is not enough memory for the weights.
    pub fn untied(&self, (height, width): (usize, usize)) -> Result<Self> {
        let Geometry::Conv2d(config) = self.layer.geometry() else {
            candle::bail!("only a convolution can be untied, found {:?}", self.layer.geometry())
        };
        let (units, channels, kh, kw) = self.layer.weight().dims4()?;
        let (dtype, device) = (self.layer.weight().dtype(), self.layer.weight().device());
        let (oh, ow) = (config.output_size(height, kh)?, config.output_size(width, kw)?);
        memory::check("weights", &[oh, ow, units, channels, kh, kw], dtype, device)?;
        let taps = config.taps_in_image((height, width), (kh, kw))?;
        let taps = upload(
            taps.iter().map(|&inside| u8::from(inside)).collect::<Vec<_>>(),
            (oh, ow, 1, 1, kh, kw),
            device,
        )?
        .to_dtype(dtype)?;
        let copied = |weight: &Tensor| {
            weight.detach().reshape((1, 1, units, channels, kh, kw))?.broadcast_mul(&taps)
        };
        let (weight, feedback) = (copied(self.weight())?, self.feedback().map(copied).transpose()?);
        let geometry = Geometry::LocallyConnected2d(config);
        let mut untied = Self::from_tensors(&weight, feedback.as_ref(), geometry, self.config)?;
        let (weight_mask, feedback_mask) = self.masks();
        untied.set_masks(
            weight_mask.map(copied).transpose()?,
            feedback_mask.map(copied).transpose()?,
        )?;
        Ok(untied)
    }

    /// Copies the weights and feedback weights of `other`, a layer of the same shape and config,
    /// wherever this layer has connections. What `other` has no connection for is 0, as in its response.
    ///
    /// # Errors
    /// If the shapes differ, only one of the layers has feedback weights, or the weights are not variables.
    pub fn copy_weights(&self, other: &Self) -> Result<()> {
        let (weight_mask, feedback_mask) = self.masks();
        let feedback = match (self.feedback_var()?, other.present_feedback()?) {
            (Some(own), Some(other)) => Some((own, other)),
            (None, None) => None,
            _ => candle::bail!("copied weights: only one of the two layers has feedback weights"),
        };
        self.var()?.set(&masked(&other.connected()?.detach(), weight_mask)?)?;
        match feedback {
            Some((own, other)) => own.set(&masked(&other, feedback_mask)?),
            None => Ok(()),
        }
    }

    /// Draws the sizes of [`Sizes::Redrawn`] again; does nothing for other sources.
    ///
    /// # Errors
    /// If the feedback weights are not a variable.
    pub fn redraw(&self, rng: &mut Rng) -> Result<()> {
        if self.config.source != (Source::Signs { sizes: Sizes::Redrawn }) {
            return Ok(());
        }
        let Some(r) = self.feedback_var()? else { return Ok(()) };
        let init = init::glorot_uniform(r.shape());
        let drawn = rng.draw(init, r.shape(), r.dtype(), r.device())?;
        r.set(&masked(&drawn, self.masks().1)?)
    }

    /// The weights and their geometry, without the backward path.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The weights `W`.
    pub fn weight(&self) -> &Tensor {
        self.layer.weight()
    }

    /// The weights as a variable, for an optimiser.
    ///
    /// # Errors
    /// If the weights are not a variable: they cannot learn.
    pub fn var(&self) -> Result<Var> {
        self.layer.var()
    }

    /// The feedback weights `R`, in the shape of the weights.
    pub fn feedback(&self) -> Option<&Tensor> {
        self.feedback.as_ref()
    }

    /// The feedback weights as a variable, which can be set; `None` if there are none.
    ///
    /// # Errors
    /// If the feedback weights are not a variable: they cannot change.
    pub fn feedback_var(&self) -> Result<Option<Var>> {
        match &self.feedback {
            Some(feedback) if !feedback.is_variable() => candle::bail!(
                "the feedback weights of {:?} are no variable, so they cannot change: make the layer \
                 from a VarBuilder of a VarMap, or with FeedbackLayer::from_tensors",
                feedback.dims()
            ),
            Some(feedback) => Ok(Some(Var::from_tensor(feedback)?)), // the same variable
            None => Ok(None),
        }
    }

    /// How the error goes back.
    pub fn config(&self) -> FeedbackConfig {
        self.config
    }

    /// The geometry.
    pub fn geometry(&self) -> Geometry {
        self.layer.geometry()
    }

    /// The current matrix `K` through which the error goes back, in the shape of the weights,
    /// without a graph.
    ///
    /// # Errors
    /// If one of candle's operations fails.
    pub fn error_weight(&self) -> Result<Tensor> {
        Ok(self.ways(false)?.1)
    }

    /// The weights as they are [connected](Self::connected), and the matrix through which the error goes back, without
    /// a graph: these weights themselves if `backprop`, else [`error_weight`](Self::error_weight).
    pub(crate) fn ways(&self, backprop: bool) -> Result<(Tensor, Tensor)> {
        let connected = self.connected()?;
        let weight = connected.detach();
        let feedback = if backprop { None } else { self.present_feedback()? };
        let back = match (self.config.source, feedback) {
            _ if backprop => weight,
            (Source::Own, Some(feedback)) => feedback,
            (Source::Signs { .. }, Some(feedback)) => (feedback.abs()? * sign(&weight)?)?,
            (Source::Signs { .. }, None) => {
                (sign(&weight)? * init::glorot_deviation(weight.shape()))?
            }
            _ => weight,
        };
        Ok((connected, back))
    }

    /// The layer as it responds, without the backward path: weights without a connection are 0. Its weights are a
    /// variable only if it has all its connections.
    pub(crate) fn responding(&self) -> Result<Layer> {
        match self.masks().0 {
            None => Ok(self.layer.clone()),
            Some(_) => Layer::new(self.connected()?.detach(), self.geometry()),
        }
    }

    /// Returns `∂L/∂R = εG` for the connections of `R`, or `None` if `R` does not learn from the
    /// step of the weights or `grads` has no gradient of this layer. It is for plain gradient
    /// descent and for inspection; other optimisers do not descend it, see
    /// [`WithFeedback`](super::WithFeedback).
    ///
    /// # Errors
    /// If one of candle's operations fails.
    pub fn feedback_gradient(&self, grads: &GradStore) -> Result<Option<Tensor>> {
        let (Some(rate), Some(product)) = (self.config.rate(), self.product(grads)) else {
            return Ok(None);
        };
        let scaled = if rate == 1.0 { product.clone() } else { (product * rate)? };
        match self.masks().1 {
            // Makes −0 into 0 where there is no connection, as candle's sums do for the weights.
            Some(mask) => Ok(Some(masked(&scaled, Some(mask))?.affine(1.0, 0.0)?)),
            None => Ok(Some(scaled)),
        }
    }

    /// Responds to images `x (B, H, W, C)`, with channels last in the result too, and to any other
    /// input as [`forward`](Module::forward) does. See
    /// [`ops::channels_last`](crate::ops::channels_last).
    ///
    /// # Errors
    /// If the shape of the input does not fit.
    pub fn forward_channels_last(&self, x: &Tensor) -> Result<Tensor> {
        self.channels_last_by(x, false)
    }

    /// [`forward`](Module::forward) or, if `backprop`, the same with the error going back through the weights
    /// themselves, whatever the source.
    pub(crate) fn forward_by(&self, x: &Tensor, backprop: bool) -> Result<Tensor> {
        let (weight, back) = self.ways(backprop)?;
        self.layer.forward_with(x, &weight, &back)
    }

    /// [`forward_by`](Self::forward_by) for images with channels last.
    pub(crate) fn channels_last_by(&self, x: &Tensor, backprop: bool) -> Result<Tensor> {
        let (weight, back) = self.ways(backprop)?;
        self.layer.forward_channels_last_with(x, &weight, &back)
    }

    /// [`channels_last_by`](Self::channels_last_by) with `epilogues` in the same node of the graph; `None` if there is
    /// no such node.
    pub(crate) fn with_epilogues(
        &self,
        x: &Tensor,
        epilogues: &[Epilogue],
        backprop: bool,
    ) -> Result<Option<Tensor>> {
        let (weight, back) = self.ways(backprop)?;
        self.layer.forward_with_epilogues(x, &weight, &back, epilogues)
    }
}

impl Module for FeedbackLayer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_by(x, false)
    }
}
