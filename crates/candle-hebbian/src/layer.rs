//! A layer: weights and a geometry. Responding and learning are separate calls.

use crate::geometry::{Geometry, WeightDims};
use crate::ops::layout::{to_channels_first, to_channels_last};
use crate::ops::{Asymmetry, conv2d, has_kernels, linear_response};
use crate::window::Conv2dConfig;
use candle::{Result, Tensor, Var};

/// Weights with a geometry: dense, convolutional or locally connected.
///
/// [`response`](Self::response) is for local learning: it unfolds the input once and keeps the
/// rows, so that the update can use them again, and cuts the graph at its input.
/// [`forward`](candle::Module::forward) is for learning by back-propagation: it is differentiable
/// in the weights and, when the input is part of a graph, in the input.
///
/// A layer is not `Clone`: two of them would share one variable, and training one move the other.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Conv2dConfig, Geometry, Layer};
/// let x = Tensor::new(&[[1f64, 2.0, 0.0], [0.0, 1.0, 3.0], [2.0, 0.0, 1.0]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[0.5f64, 0.0], [0.0, 0.5]], &Device::Cpu)?;
/// let geometry = Geometry::Conv2d(Conv2dConfig::default());
/// let layer = Layer::new(weight.reshape((1, 1, 2, 2))?, geometry)?;
/// let response = layer.response(&x.reshape((1, 1, 3, 3))?)?;
/// assert_eq!(response.pre().dims(), [1, 4, 4]); // one site, four windows of four pixels
/// assert_eq!(response.output()?.flatten_all()?.to_vec1::<f64>()?, [1.0, 2.5, 0.0, 1.0]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug)]
pub struct Layer {
    weight: Var,
    geometry: Geometry,
    dims: WeightDims,
}

impl Layer {
    /// A layer with a copy of `weight`, whose shape must fit the geometry (see [`Geometry`]).
    pub fn new(weight: Tensor, geometry: Geometry) -> Result<Self> {
        let dims = geometry.weight_dims(weight.dims())?;
        // `from_tensor` copies, so the layer shares memory with nobody.
        Ok(Self { weight: Var::from_tensor(&weight.detach().contiguous()?)?, geometry, dims })
    }

    /// The weights.
    pub fn weight(&self) -> &Var {
        &self.weight
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
        let weight = self.weight.as_detached_tensor().reshape((sites, units, fan_in))?;
        crate::ops::squared_norms(&weight)?.sqrt()
    }

    /// The response to `x`, differentiable; the error goes back through `feedback`.
    pub(crate) fn forward_with(
        &self,
        x: &Tensor,
        feedback: &Tensor,
        asymmetry: Asymmetry,
    ) -> Result<Tensor> {
        let weight = self.weight.dims();
        if let Some(config) = self.has_kernel(x) {
            self.geometry.check_channels(x, weight[1].saturating_mul(config.groups), weight)?;
            let x = to_channels_last(x)?;
            return to_channels_first(&conv2d(&x, &self.weight, feedback, &config, asymmetry)?);
        }
        let pre = self.geometry.unfold(x, weight)?;
        let u = linear_response(&pre, &self.weight, feedback, asymmetry)?;
        self.geometry.fold(&u, x.dims(), weight)
    }

    /// The same for images `(B, H, W, C)`, and so is the response.
    pub(crate) fn forward_channels_last_with(
        &self,
        x: &Tensor,
        feedback: &Tensor,
        asymmetry: Asymmetry,
    ) -> Result<Tensor> {
        if let Some(config) = self.has_kernel(x) {
            return conv2d(x, &self.weight, feedback, &config, asymmetry);
        }
        if x.rank() != 4 {
            return self.forward_with(x, feedback, asymmetry);
        }
        to_channels_last(&self.forward_with(&to_channels_first(x)?, feedback, asymmetry)?)
    }

    /// The window, when there is a kernel for it that does not unfold.
    fn has_kernel(&self, x: &Tensor) -> Option<Conv2dConfig> {
        match self.geometry {
            Geometry::Conv2d(config) if has_kernels(x.device()) => Some(config),
            _ => None,
        }
    }

    /// Scales the weights of every unit to norm 1: `w_k ← w_k / (‖w_k‖ + 10⁻¹⁰)`. A unit without
    /// weights stays so.
    ///
    /// Source: Miconi 2021, after every step.
    pub fn normalise(&self) -> Result<()> {
        let WeightDims { sites, units, fan_in } = self.dims;
        let matrices = self.weight.as_detached_tensor().reshape((sites, units, fan_in))?;
        let radii = (self.radii()? + 1e-10)?.unsqueeze(2)?;
        self.weight.set(&matrices.broadcast_div(&radii)?.reshape(self.weight.shape())?)
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
        let pre = pre.detach().contiguous()?;
        let weight = self.weight.as_detached_tensor();
        let u = linear_response(&pre, &weight, &weight, Asymmetry::default())?;
        Ok(Response {
            pre,
            u,
            weight: self.weight.clone(),
            geometry: self.geometry,
            input: input.to_vec(),
        })
    }
}

impl candle::Module for Layer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, &self.weight.as_detached_tensor(), Asymmetry::default())
    }
}

/// What a layer made of one batch: the rows it saw and the linear response to them.
#[derive(Debug, Clone)]
pub struct Response {
    pre: Tensor,
    u: Tensor,
    weight: Var,
    geometry: Geometry,
    input: Vec<usize>,
}

impl Response {
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

    /// The layer's weights.
    pub fn weight(&self) -> &Var {
        &self.weight
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
