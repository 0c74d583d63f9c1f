//! Synapses: everything that a learning rule may see.

use crate::ops::widen::wide;
use crate::ops::{Presynaptic, hebbian_update};
use candle::{D, Error, Result, Tensor};

/// Everything that the synapses of a layer see of one batch, and nothing else. A rule that reads
/// only this is therefore local.
///
/// | | symbol | shape |
/// |---|---|---|
/// | [`pre`](Self::pre) | `x`, pre-synaptic rows: samples, or patches | `(S, P, F)` |
/// | [`response`](Self::response) | `u`, the response of the units, usually `x·wᵀ` | `(S, P, K)` |
/// | [`post`](Self::post) | `y`, post-synaptic activity: the result of a competition on `u` | `(S, P, K)` |
/// | [`weights`](Self::weights) | `w` | `(S, K, F)` |
/// | [`third`](Self::third) | an error, a reward, a teaching signal | `(S, P, K)` or `(S, P, 1)` |
///
/// There are `S` sites (groups of units with weights and a competition of their own; 1 for dense
/// layers and ordinary convolutions), `P` rows, and `F` inputs and `K` units per site. All of these
/// tensors are constants: the only gradient of a [`loss`](Self::loss) is that of the weights.
///
/// A [`Response`](crate::Response) makes the synapses of a layer or of any other weight tensor;
/// [`new`](Self::new) assembles them from matrices. Here a rule trains the weight of a
/// `candle_nn::Linear`:
///
/// ```
/// use candle::{DType, Device, Tensor};
/// use candle_hebbian::{Geometry, Oja, Response};
/// use candle_nn::{Optimizer, SGD, VarBuilder, VarMap};
/// let varmap = VarMap::new();
/// let vb = VarBuilder::from_varmap(&varmap, DType::F64, &Device::Cpu);
/// let linear = candle_nn::linear_no_bias(2, 1, vb)?;
/// let x = Tensor::new(&[[3f64, 4.0]], &Device::Cpu)?;
/// let mut sgd = SGD::new(varmap.all_vars(), 0.01)?;
/// for _ in 0..500 {
///     let response = Response::new(linear.weight(), Geometry::Dense, &x)?;
///     sgd.backward_step(&response.synapses(response.u())?.loss(&Oja)?)?;
/// }
/// let w = linear.weight().to_vec2::<f64>()?; // ± x/‖x‖
/// assert!((w[0][0].abs() - 0.6).abs() < 1e-6 && (w[0][1].abs() - 0.8).abs() < 1e-6);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Synapses {
    pub(crate) pre: Presynaptic,
    response: Tensor,
    post: Tensor,
    weight: Tensor,
    third: Option<Tensor>,
}

impl Synapses {
    /// Assembles the synapses of `weight`, which may have any shape that holds `(S, K, F)`, from
    /// the rows `pre (S, P, F)`, the units' `response` and their activity `post`, both `(S, P, K)`.
    ///
    /// # Errors
    /// If the shapes do not fit each other.
    pub fn new(weight: &Tensor, pre: &Tensor, response: &Tensor, post: &Tensor) -> Result<Self> {
        Self::of(weight, Presynaptic::rows_of(pre)?, response, post)
    }

    /// The same, with rows that may not have been written out yet.
    pub(crate) fn of(
        weight: &Tensor,
        pre: Presynaptic,
        response: &Tensor,
        post: &Tensor,
    ) -> Result<Self> {
        let [sites, rows, fan_in] = pre.dims();
        let (_, _, units) = post.dims3()?;
        let fits = post.dims() == [sites, rows, units]
            && response.dims() == post.dims()
            && weight.elem_count() == sites * units * fan_in;
        if !fits {
            candle::bail!(
                "synapses: rows {:?}, response {:?}, activity {:?} and weights {:?} do not fit: \
                 expected (S, P, F), (S, P, K), (S, P, K) and S·K·F weights",
                pre.dims(),
                response.dims(),
                post.dims(),
                weight.dims()
            )
        }
        Ok(Self {
            pre,
            response: response.detach(),
            post: post.detach(),
            weight: weight.clone(),
            third: None,
        })
    }

    /// Adds a third factor: a value for each row, of shape `(P)`, `(S, P)` or `(S, P, 1)`, or for
    /// each row and unit, of shape `(P, K)` or `(S, P, K)`. The shapes without `S` are for one
    /// site.
    ///
    /// # Errors
    /// If the third factor has any other shape.
    pub fn with_third(self, third: &Tensor) -> Result<Self> {
        let (sites, rows, units) = self.post.dims3()?;
        let third = match *third.dims() {
            [p] if (sites, rows) == (1, p) => third.reshape((1, p, 1))?,
            [p, k] if (sites, rows, units) == (1, p, k) => third.unsqueeze(0)?,
            [s, p] if (sites, rows) == (s, p) => third.unsqueeze(2)?,
            [s, p, k] if (sites, rows) == (s, p) && (k == units || k == 1) => third.clone(),
            _ => candle::bail!(
                "third factor of {:?} for activity of {:?}: expected a value a row, or a value a \
                 row and unit",
                third.dims(),
                self.post.dims()
            ),
        };
        Ok(Self { third: Some(third.detach()), ..self })
    }

    /// The pre-synaptic rows `x (S, P, F)`. For some convolutions, they are written out when this is first called.
    ///
    /// # Errors
    /// If there is not enough memory for them.
    pub fn pre(&self) -> Result<&Tensor> {
        self.pre.rows()
    }

    /// The units' response `u (S, P, K)`.
    pub fn response(&self) -> &Tensor {
        &self.response
    }

    /// The post-synaptic activity `y (S, P, K)`.
    pub fn post(&self) -> &Tensor {
        &self.post
    }

    /// The weights `w (S, K, F)`. As after `detach`, they share memory with the layer's weights:
    /// read them at once, and do not keep them across a step.
    ///
    /// # Errors
    /// If the weights are not contiguous, and their device has no memory for a contiguous copy.
    pub fn weights(&self) -> Result<Tensor> {
        let [sites, _, fan_in] = self.pre.dims();
        self.weight.detach().reshape((sites, self.post.dim(D::Minus1)?, fan_in))
    }

    /// The weights themselves, in the shape that they have.
    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The third factor, `(S, P, K)` or `(S, P, 1)`.
    ///
    /// # Errors
    /// If there is none.
    pub fn third(&self) -> Result<&Tensor> {
        match &self.third {
            Some(third) => Ok(third),
            None => candle::bail!(
                "this rule needs a third factor (an error, a reward, a teaching signal), and none \
                 was given: see Synapses::with_third"
            ),
        }
    }

    /// Computes `Σ m_k x (S, K, F)` with the third factor `m`, summed over rows. If `m` is the
    /// error `∂L/∂u` at a linear response, this is the gradient of the weights.
    ///
    /// # Errors
    /// If there is no third factor.
    pub fn third_product(&self) -> Result<Tensor> {
        let third = self.third()?.to_dtype(self.pre.dtype())?.broadcast_as(self.post.shape())?;
        let product = hebbian_update(&self.pre, &third, None, &self.weight, 1.0)?;
        product.reshape(self.weights()?.shape())
    }

    /// The same in f32, if they are f16 or bf16: what a rule sums over rows may exceed the range of these types, and
    /// small changes of its state are rounded away in them.
    pub(crate) fn wide(&self) -> Result<Self> {
        Ok(Self {
            pre: self.pre.wide()?,
            response: wide(&self.response)?,
            post: wide(&self.post)?,
            weight: wide(&self.weight)?,
            third: self.third.as_ref().map(wide).transpose()?,
        })
    }
}

/// The error for a weight that no step can change.
pub(crate) fn no_variable(weight: &Tensor) -> Error {
    Error::msg(format!(
        "the weights of {:?} are no variable, so they cannot learn: make the layer from a VarBuilder of a VarMap, or \
         with Layer::from_tensor",
        weight.dims()
    ))
}
