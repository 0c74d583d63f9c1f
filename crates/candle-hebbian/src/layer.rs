//! A layer: weights and a geometry. Responding and learning are separate calls.

use crate::geometry::{Geometry, WeightDims};
use crate::memory;
use crate::ops::layout::{to_channels_first, to_channels_last};
use crate::ops::widen::widened;
use crate::ops::{self, Epilogue, Presynaptic, has_kernels, linear_response};
use crate::synapses::{Synapses, no_variable};
use crate::window::Conv2dConfig;
use candle::{Result, Tensor, Var};
use candle_nn::{Init, VarBuilder};

/// Weights with a geometry: dense, convolutional or locally connected. No bias.
///
/// [`response`](Self::response) is for local learning: it unfolds the input at most once and keeps
/// it, so that the update can use it again, and cuts the graph at its input.
/// [`forward`](candle::Module::forward) is for learning by back-propagation: it is differentiable
/// in the weights and, when the input is part of a graph, in the input. Neither changes the
/// weights.
///
/// The layer holds the very tensor that it was made with: a variable remains the same variable of
/// its `VarMap`, whichever way the layer was made. As with candle's own layers, clones share the
/// weights.
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
/// assert_eq!(response.pre()?.dims(), [1, 4, 4]); // one site, four windows of four pixels
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

/// Builds a dense layer of `units` units that each see `inputs` inputs. Its
/// `weight (units, inputs)` comes from `vb`; if it is new, it is drawn from the distribution that
/// `init` returns for that shape (see [`init`](crate::init)).
///
/// # Errors
/// If a size is 0, or `vb` has a weight of another shape.
pub fn dense(
    inputs: usize,
    units: usize,
    init: impl FnOnce(&[usize]) -> Init,
    vb: VarBuilder,
) -> Result<Layer> {
    from_vb(&[units, inputs], Geometry::Dense, init, &vb)
}

/// Builds a convolution from `in_channels` to `units` channels with a square kernel of side
/// `kernel`. Its `weight (units, in_channels/groups, kernel, kernel)` comes from `vb`; if it is
/// new, it is drawn from the distribution that `init` returns for that shape.
///
/// # Errors
/// If a size is 0, the channels do not divide into the groups, or `vb` has a weight of another
/// shape.
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

/// Builds a layer like [`conv2d`], but for images of `(height, width)` and with separate weights at
/// each position: `weight (OH, OW, units, in_channels, kernel, kernel)`.
///
/// # Errors
/// If a size is 0, `groups` is not 1, the image is smaller than the window, or `vb` has a weight of
/// another shape.
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
    memory::check("weights", shape, vb.dtype(), vb.device())?;
    // A layer that is refused leaves no variable behind.
    geometry.weight_dims(shape)?;
    Layer::new(vb.get_with_hints(shape, "weight", init(shape))?, geometry)
}

impl Layer {
    /// Makes a layer that holds `weight` itself, whose shape must fit the geometry (see
    /// [`Geometry`]). To learn, the weight must be a variable, for example from
    /// `vb.get_with_hints(…)?` of a `VarMap`. [`from_tensor`](Self::from_tensor) makes a variable
    /// from any tensor.
    ///
    /// # Errors
    /// If the shape of the weight does not fit the geometry.
    pub fn new(weight: Tensor, geometry: Geometry) -> Result<Self> {
        let dims = geometry.weight_dims(weight.dims())?;
        Ok(Self { weight, geometry, dims })
    }

    /// Makes a layer that can learn: with `weight` itself if it is a variable, else with a copy of
    /// it in a new variable.
    ///
    /// # Errors
    /// If the shape of the weight does not fit the geometry.
    pub fn from_tensor(weight: &Tensor, geometry: Geometry) -> Result<Self> {
        Self::new(Var::from_tensor(weight)?.into_inner(), geometry)
    }

    /// The weights.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The weights as a variable, for an optimiser.
    ///
    /// # Errors
    /// If the weights are not a variable: they cannot learn.
    pub fn var(&self) -> Result<Var> {
        if !self.weight.is_variable() {
            return Err(no_variable(&self.weight));
        }
        Var::from_tensor(&self.weight) // the same variable
    }

    /// The geometry.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The dimensions of the weights as matrices.
    pub fn dims(&self) -> WeightDims {
        self.dims
    }

    /// The radius `‖w_k‖₂` of every unit, `(S, K)`.
    ///
    /// # Errors
    /// If the layer has no units, its weights are in another type than f16, bf16, f32 and f64, or
    /// there is not enough memory.
    pub fn radii(&self) -> Result<Tensor> {
        let WeightDims { sites, units, fan_in } = self.dims;
        let weight = self.weight.detach().reshape((sites, units, fan_in))?;
        // Squares exceed the range of half precision before their roots do.
        widened(&weight, |weight| ops::squared_norms(weight)?.sqrt())
    }

    /// The response to `x` of `weight`, which is the layer's weights or a graph node with their
    /// values. Differentiable; the error goes back through `feedback`.
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
            return to_channels_first(&ops::conv2d(&x, weight, feedback, &config, &[])?);
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

    /// The same with channels last, `(B, H, W, C)`, in the images and in the response.
    pub(crate) fn forward_channels_last_with(
        &self,
        x: &Tensor,
        weight: &Tensor,
        feedback: &Tensor,
    ) -> Result<Tensor> {
        if let Some(config) = self.has_kernel(x) {
            return ops::conv2d(x, weight, feedback, &config, &[]);
        }
        if x.rank() != 4 {
            return self.forward_with(x, weight, feedback);
        }
        to_channels_last(&self.forward_with(&to_channels_first(x)?, weight, feedback)?)
    }

    /// The same with `epilogues` in one node of the graph, or `None` if this layer has no such node for `x`.
    pub(crate) fn forward_with_epilogues(
        &self,
        x: &Tensor,
        weight: &Tensor,
        feedback: &Tensor,
        epilogues: &[Epilogue],
    ) -> Result<Option<Tensor>> {
        match self.has_kernel(x) {
            Some(config) if x.elem_count() > 0 => {
                ops::conv2d(x, weight, feedback, &config, epilogues).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The window, if there is a kernel for it that does not unfold.
    fn has_kernel(&self, x: &Tensor) -> Option<Conv2dConfig> {
        match self.geometry {
            Geometry::Conv2d(config) if has_kernels(x.device()) => Some(config),
            _ => None,
        }
    }

    /// The pre-synaptic rows `(S, P, F)` of the input `x`: samples, or patches flattened
    /// channel-major. They carry no graph.
    ///
    /// # Errors
    /// If the shape of the input does not fit, or there is not enough memory for the rows.
    pub fn unfold(&self, x: &Tensor) -> Result<Tensor> {
        self.geometry.unfold(&x.detach(), self.weight.dims())?.contiguous()
    }

    /// Responds to `x` with the graph cut at the input, keeping what learning needs.
    ///
    /// # Errors
    /// If the shape of the input does not fit.
    pub fn response(&self, x: &Tensor) -> Result<Response> {
        Response::new(&self.weight, self.geometry, x)
    }

    /// Like [`response`](Self::response), but to rows `pre (S, P, F)` made from an input of shape
    /// `input`: for patches that are transformed, each by itself, before the units see them.
    ///
    /// # Errors
    /// If the rows have another shape than those of [`unfold`](Self::unfold).
    pub fn response_to(&self, pre: &Tensor, input: &[usize]) -> Result<Response> {
        self.check_rows(pre)?;
        Response::to(&self.weight, self.geometry, Presynaptic::rows_of(pre)?, input)
    }

    /// Refuses rows that are not `(S, P, F)` for this layer's sites and inputs.
    pub(crate) fn check_rows(&self, rows: &Tensor) -> Result<()> {
        let (sites, _, fan_in) = rows.dims3()?;
        if (sites, fan_in) != (self.dims.sites, self.dims.fan_in) {
            candle::bail!(
                "a layer with weights {:?} takes rows ({}, P, {}), found {:?}",
                self.weight.dims(),
                self.dims.sites,
                self.dims.fan_in,
                rows.dims()
            )
        }
        Ok(())
    }
}

impl candle::Module for Layer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, &self.weight, &self.weight.detach())
    }
}

/// The response of weights to one batch: the rows that they saw and the linear response to them.
#[derive(Debug, Clone)]
pub struct Response {
    pre: Presynaptic,
    u: Tensor,
    weight: Tensor,
    geometry: Geometry,
    input: Vec<usize>,
}

impl Response {
    /// Computes the response of `weight` to `x`. The weight may be that of a layer or any other
    /// tensor whose shape fits `geometry`, such as the weight of a `candle_nn::Linear` or `Conv2d`.
    /// The graph is cut at `x`.
    ///
    /// # Errors
    /// If the shape of the weight or the input does not fit.
    pub fn new(weight: &Tensor, geometry: Geometry, x: &Tensor) -> Result<Self> {
        let (_, pre) = geometry.presynaptic(&x.detach(), weight)?;
        Self::to(weight, geometry, pre, x.dims())
    }

    fn to(weight: &Tensor, geometry: Geometry, pre: Presynaptic, input: &[usize]) -> Result<Self> {
        let constant = weight.detach();
        let u = pre.response(&constant, &constant)?;
        Ok(Self { pre, u, weight: weight.clone(), geometry, input: input.to_vec() })
    }

    /// The pre-synaptic rows `x (S, P, F)`: samples, or patches flattened channel-major. For some convolutions,
    /// response and update are computed from the images themselves, and the rows are written out when this is first
    /// called.
    ///
    /// # Errors
    /// If there is not enough memory for them.
    pub fn pre(&self) -> Result<&Tensor> {
        self.pre.rows()
    }

    /// The linear response `u = x·wᵀ (S, P, K)`; carries no graph.
    pub fn u(&self) -> &Tensor {
        &self.u
    }

    /// Replaces `u (S, P, K)`, for rules that read a transformed response. The update still uses
    /// the rows as they are.
    ///
    /// # Errors
    /// If `u` has another shape.
    pub fn with_u(&self, u: &Tensor) -> Result<Self> {
        if u.shape() != self.u.shape() {
            candle::bail!(
                "a response of {:?} in place of {:?}: expected the same shape",
                u.dims(),
                self.u.dims()
            )
        }
        Ok(Self { u: u.detach(), ..self.clone() })
    }

    /// The weights that responded: the key for their gradient in a `GradStore`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The weights `w (S, K, F)` as matrices, without a graph.
    ///
    /// # Errors
    /// If the weights are not contiguous, and their device has no memory for a contiguous copy.
    pub fn weights(&self) -> Result<Tensor> {
        let (sites, _, units) = self.u.dims3()?;
        self.weight.detach().reshape((sites, units, self.pre.dims()[2]))
    }

    /// Everything that a rule may see, with the post-synaptic activity `post (S, P, K)`.
    ///
    /// # Errors
    /// If the activity has another shape.
    pub fn synapses(&self, post: &Tensor) -> Result<Synapses> {
        Synapses::of(&self.weight, self.pre.clone(), &self.u, post)
    }

    /// Returns `u` in the shape of the layer's output: `(N, K)` or `(B, K, OH, OW)`.
    ///
    /// # Errors
    /// If the response is one [to rows](Layer::response_to), and an input of the shape that was given
    /// with them has another number of rows or does not fit the layer.
    pub fn output(&self) -> Result<Tensor> {
        self.fold(&self.u)
    }

    /// The shape of the input that the units responded to.
    pub(crate) fn input(&self) -> &[usize] {
        &self.input
    }

    /// Brings any rows `(S, P, K)` into the shape of the layer's output.
    ///
    /// # Errors
    /// If the numbers of sites and rows do not fit.
    pub fn fold(&self, rows: &Tensor) -> Result<Tensor> {
        self.geometry.fold(rows, &self.input, self.weight.dims())
    }

    /// Brings a tensor in the shape of the layer's [output](Self::output) into rows `(S, P, K)`.
    ///
    /// # Errors
    /// If the tensor has another shape, even if it has as many entries.
    pub fn rows(&self, output: &Tensor) -> Result<Tensor> {
        let rows = self.geometry.rows(output, self.weight.dims())?;
        let own = self.output()?;
        if output.shape() != own.shape() {
            candle::bail!(
                "expected a tensor in the shape {:?} of the response's output, found {:?}",
                own.dims(),
                output.dims()
            )
        }
        Ok(rows)
    }
}
