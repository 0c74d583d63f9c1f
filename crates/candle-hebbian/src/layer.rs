//! A layer: weights and a geometry. Responding and learning are separate calls.

use crate::geometry::{Geometry, WeightDims};
use crate::ops::layout::{to_channels_first, to_channels_last};
use crate::ops::{self, has_kernels, linear_response};
use crate::synapses::Synapses;
use crate::window::Conv2dConfig;
use candle::{Result, Tensor, Var};
use candle_nn::{Init, VarBuilder};

/// Weights with a geometry: dense, convolutional or locally connected. No bias.
///
/// [`response`](Self::response) is for local learning: it unfolds the input once and keeps the
/// rows, so that the update can use them again, and cuts the graph at its input.
/// [`forward`](candle::Module::forward) is for learning by back-propagation: it is differentiable
/// in the weights and, when the input is part of a graph, in the input. Neither learns.
///
/// The weights are the tensor that the layer was made with: a variable stays that variable, of the
/// `VarMap` it came from, whichever way the layer was made. As with candle's own layers, a clone
/// shares it.
///
/// ```
/// use candle::{DType, Device, Tensor};
/// use candle_hebbian::{Conv2dConfig, Oja, conv2d};
/// use candle_nn::{AdamW, Init, Optimizer, VarBuilder, VarMap};
/// let varmap = VarMap::new();
/// let vb = VarBuilder::from_varmap(&varmap, DType::F64, &Device::Cpu);
/// let layer = conv2d(1, 1, 2, Conv2dConfig::default(), |_| Init::Const(0.5), vb.pp("c1"))?;
/// let x = Tensor::new(&[[1f64, 2.0, 0.0], [0.0, 1.0, 3.0], [2.0, 0.0, 1.0]], &Device::Cpu)?;
/// let response = layer.response(&x.reshape((1, 1, 3, 3))?)?;
/// assert_eq!(response.pre().dims(), [1, 4, 4]); // one site, four windows of four pixels
/// assert_eq!(response.output()?.flatten_all()?.to_vec1::<f64>()?, [2.0, 3.0, 1.5, 2.5]);
///
/// let loss = response.synapses(response.u())?.loss(&Oja)?;
/// AdamW::new_lr(varmap.all_vars(), 0.1)?.backward_step(&loss)?; // the step reaches the VarMap
/// let stored = varmap.data().lock().unwrap()["c1.weight"].flatten_all()?;
/// assert_eq!(stored.to_vec1::<f64>()?, layer.weight().flatten_all()?.to_vec1::<f64>()?);
/// assert_ne!(stored.to_vec1::<f64>()?, [0.5; 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Layer {
    weight: Tensor,
    geometry: Geometry,
    dims: WeightDims,
}

/// A dense layer of `units` that see `inputs` each; its `weight (units, inputs)` is from `vb`, drawn
/// by what `init` says of that shape where it is new (see [`init`](crate::init)).
///
/// # Errors
/// A size of 0; a weight of another shape in `vb`.
pub fn dense(
    inputs: usize,
    units: usize,
    init: impl FnOnce(&[usize]) -> Init,
    vb: VarBuilder,
) -> Result<Layer> {
    from_vb(&[units, inputs], Geometry::Dense, init, &vb)
}

/// A convolution of `in_channels` to `units` channels with a square kernel of side `kernel`; its
/// `weight (units, in_channels/groups, kernel, kernel)` is from `vb`, drawn by what `init` says of
/// that shape where it is new.
///
/// # Errors
/// A size of 0, channels that do not divide into the groups; a weight of another shape in `vb`.
pub fn conv2d(
    in_channels: usize,
    units: usize,
    kernel: usize,
    config: Conv2dConfig,
    init: impl FnOnce(&[usize]) -> Init,
    vb: VarBuilder,
) -> Result<Layer> {
    let groups = config.groups;
    if groups == 0 || !in_channels.is_multiple_of(groups) {
        candle::bail!("{in_channels} input channels do not divide into {groups} groups")
    }
    let shape = [units, in_channels / groups, kernel, kernel];
    from_vb(&shape, Geometry::Conv2d(config), init, &vb)
}

/// As [`conv2d`], for images of `(height, width)` and with weights of its own at each position:
/// `weight (OH, OW, units, in_channels, kernel, kernel)`.
///
/// # Errors
/// A size of 0, groups, an image smaller than the window; a weight of another shape in `vb`.
pub fn locally_connected2d(
    in_channels: usize,
    units: usize,
    kernel: usize,
    (height, width): (usize, usize),
    config: Conv2dConfig,
    init: impl FnOnce(&[usize]) -> Init,
    vb: VarBuilder,
) -> Result<Layer> {
    let (oh, ow) = (config.output_size(height, kernel)?, config.output_size(width, kernel)?);
    let shape = [oh, ow, units, in_channels, kernel, kernel];
    from_vb(&shape, Geometry::LocallyConnected2d(config), init, &vb)
}

fn from_vb(
    shape: &[usize],
    geometry: Geometry,
    init: impl FnOnce(&[usize]) -> Init,
    vb: &VarBuilder,
) -> Result<Layer> {
    if shape.contains(&0) {
        candle::bail!("a layer with weights of {shape:?}: every size must be at least 1")
    }
    Layer::new(vb.get_with_hints(shape, "weight", init(shape))?, geometry)
}

impl Layer {
    /// A layer of `weight` as it is, whose shape must fit the geometry (see [`Geometry`]). To learn,
    /// it must be a variable: `vb.get_with_hints(…)?` of a `VarMap`, for example.
    /// [`from_tensor`](Self::from_tensor) makes one of any tensor.
    pub fn new(weight: Tensor, geometry: Geometry) -> Result<Self> {
        let dims = geometry.weight_dims(weight.dims())?;
        Ok(Self { weight, geometry, dims })
    }

    /// A layer that can learn: of `weight` if that is a variable, else of a new one with a copy of it.
    pub fn from_tensor(weight: &Tensor, geometry: Geometry) -> Result<Self> {
        Self::new(Var::from_tensor(weight)?.into_inner(), geometry)
    }

    /// The weights.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The weights as what an optimiser takes.
    ///
    /// # Errors
    /// Weights that are no variable: they cannot learn.
    pub fn var(&self) -> Result<Var> {
        if !self.weight.is_variable() {
            candle::bail!(
                "the weights of {:?} are no variable, so they cannot learn: make the layer from a \
                 VarBuilder of a VarMap, or with Layer::from_tensor",
                self.weight.dims()
            )
        }
        Var::from_tensor(&self.weight) // the same variable
    }

    /// The geometry.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The weights as matrices.
    pub fn dims(&self) -> WeightDims {
        self.dims
    }

    /// The radius `‖w_k‖₂` of every unit, `(S, K)`.
    pub fn radii(&self) -> Result<Tensor> {
        let WeightDims { sites, units, fan_in } = self.dims;
        let weight = self.weight.detach().reshape((sites, units, fan_in))?;
        ops::squared_norms(&weight)?.sqrt()
    }

    /// The response to `x` of `weight`, the layer's weights or a node with their values;
    /// differentiable. The error goes back through `feedback`.
    pub(crate) fn forward_with(
        &self,
        x: &Tensor,
        weight: &Tensor,
        feedback: &Tensor,
    ) -> Result<Tensor> {
        let dims = self.weight.dims();
        if let Some(config) = self.has_kernel(x) {
            self.geometry.check_channels(x, dims[1].saturating_mul(config.groups), dims)?;
            let x = to_channels_last(x)?;
            return to_channels_first(&ops::conv2d(&x, weight, feedback, &config)?);
        }
        let u = match self.geometry {
            Geometry::LocallyConnected2d(config) if has_kernels(x.device()) => {
                self.geometry.check_channels(x, dims[3], dims)?;
                ops::untied(x, weight, feedback, &config)?
            }
            geometry => linear_response(&geometry.unfold(x, dims)?, weight, feedback)?,
        };
        self.geometry.fold(&u, x.dims(), dims)
    }

    /// The same for images `(B, H, W, C)`, and so is the response.
    pub(crate) fn forward_channels_last_with(
        &self,
        x: &Tensor,
        weight: &Tensor,
        feedback: &Tensor,
    ) -> Result<Tensor> {
        if let Some(config) = self.has_kernel(x) {
            return ops::conv2d(x, weight, feedback, &config);
        }
        if x.rank() != 4 {
            return self.forward_with(x, weight, feedback);
        }
        to_channels_last(&self.forward_with(&to_channels_first(x)?, weight, feedback)?)
    }

    /// The window, when there is a kernel for it that does not unfold.
    fn has_kernel(&self, x: &Tensor) -> Option<Conv2dConfig> {
        match self.geometry {
            Geometry::Conv2d(config) if has_kernels(x.device()) => Some(config),
            _ => None,
        }
    }

    /// The pre-synaptic rows `(S, P, F)` of the input `x`: samples, or patches flattened
    /// channel-major. Carries no graph.
    pub fn unfold(&self, x: &Tensor) -> Result<Tensor> {
        self.geometry.unfold(&x.detach(), self.weight.dims())?.contiguous()
    }

    /// Responds to `x` with the graph cut at the input, keeping what learning needs.
    pub fn response(&self, x: &Tensor) -> Result<Response> {
        self.response_to(&self.unfold(x)?, x.dims())
    }

    /// [`response`](Self::response) to rows `pre (S, P, F)` made of an input of shape `input`: for
    /// patches that are changed, each by itself, before the units see them.
    ///
    /// # Errors
    /// Rows of another shape than [`unfold`](Self::unfold) gives.
    pub fn response_to(&self, pre: &Tensor, input: &[usize]) -> Result<Response> {
        let (sites, _, fan_in) = pre.dims3()?;
        if (sites, fan_in) != (self.dims.sites, self.dims.fan_in) {
            candle::bail!(
                "a layer with weights {:?} takes rows ({}, P, {}), found {:?}",
                self.weight.dims(),
                self.dims.sites,
                self.dims.fan_in,
                pre.dims()
            )
        }
        Response::to_rows(&self.weight, self.geometry, pre, input)
    }
}

impl candle::Module for Layer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, &self.weight, &self.weight.detach())
    }
}

/// What weights made of one batch: the rows they saw and the linear response to them.
#[derive(Debug, Clone)]
pub struct Response {
    pre: Tensor,
    u: Tensor,
    weight: Tensor,
    geometry: Geometry,
    input: Vec<usize>,
}

impl Response {
    /// The response of `weight`, a layer's or any other tensor of a shape that fits `geometry` (the
    /// weight of a `candle_nn::Linear` or `Conv2d`), to `x`. The graph is cut at `x`.
    ///
    /// # Errors
    /// A weight or an input whose shape does not fit.
    pub fn new(weight: &Tensor, geometry: Geometry, x: &Tensor) -> Result<Self> {
        Self::to_rows(weight, geometry, &geometry.unfold(&x.detach(), weight.dims())?, x.dims())
    }

    fn to_rows(weight: &Tensor, geometry: Geometry, pre: &Tensor, input: &[usize]) -> Result<Self> {
        let (pre, constant) = (pre.detach().contiguous()?, weight.detach());
        let u = linear_response(&pre, &constant, &constant)?;
        Ok(Self { pre, u, weight: weight.clone(), geometry, input: input.to_vec() })
    }

    /// The pre-synaptic rows `x (S, P, F)`: samples, or patches flattened channel-major.
    pub fn pre(&self) -> &Tensor {
        &self.pre
    }

    /// The linear response `u = x·wᵀ (S, P, K)`; carries no graph.
    pub fn u(&self) -> &Tensor {
        &self.u
    }

    /// The same response with another `u (S, P, K)`, for rules that read a transformed one. The
    /// update still uses the rows as they are.
    ///
    /// # Errors
    /// Another shape.
    pub fn with_u(&self, u: &Tensor) -> Result<Self> {
        if u.shape() != self.u.shape() {
            candle::bail!("a response of {:?} in place of {:?}", u.dims(), self.u.dims())
        }
        Ok(Self { u: u.detach(), ..self.clone() })
    }

    /// The weights that responded: the key for their gradient in a `GradStore`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The weights `w (S, K, F)` as matrices, without a graph.
    pub fn weights(&self) -> Result<Tensor> {
        let (sites, _, units) = self.u.dims3()?;
        self.weight.detach().reshape((sites, units, self.pre.dim(2)?))
    }

    /// What a rule may see, with the post-synaptic activity `post (S, P, K)`.
    ///
    /// # Errors
    /// Activity of another shape.
    pub fn synapses(&self, post: &Tensor) -> Result<Synapses> {
        Synapses::new(&self.weight, &self.pre, &self.u, post)
    }

    /// `u` in the shape of the layer's output: `(N, K)` or `(B, K, OH, OW)`.
    pub fn output(&self) -> Result<Tensor> {
        self.fold(&self.u)
    }

    /// Any `(S, P, K)` rows in the shape of the layer's output.
    pub fn fold(&self, rows: &Tensor) -> Result<Tensor> {
        self.geometry.fold(rows, &self.input, self.weight.dims())
    }

    /// A tensor in the shape of the layer's output as rows `(S, P, K)`.
    pub fn rows(&self, output: &Tensor) -> Result<Tensor> {
        self.geometry.rows(output, self.weight.dims())
    }
}
