//! Synapses: everything that a learning rule may see.

use crate::ops::widen::wide;
use crate::ops::{Presynaptic, custom_vjp, hebbian_update, surrogate_loss};
use crate::rules::{Rule, State, Update};
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
    pre: Presynaptic,
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

    /// Computes the surrogate loss of `rule`: a scalar whose gradient at the weights is minus the
    /// rule's update, so that any optimiser can take the step.
    ///
    /// For an update `Δw_k = Σ y_k x − d_k w_k` it is `−Σ sg(y)·u + ½ Σ_k sg(d_k)·‖w_k‖²` (`sg` is
    /// stop-gradient) and its backward pass is one matrix product; for any other update it is
    /// `−⟨sg(Δw), w⟩`. Like every rule's update, it is a sum over rows and units: divide it by the
    /// number of rows for a mean.
    ///
    /// Call `backward()` before the weights change: it reads them when it runs, and a variable
    /// shares its memory with every tensor that was detached from it.
    ///
    /// # Errors
    /// If the weights are not a variable, since then no gradient would reach them; if the rule
    /// keeps state (see [`loss_with`](Self::loss_with)); or if the rule fails.
    pub fn loss(&self, rule: &(impl Rule + ?Sized)) -> Result<Tensor> {
        stateless(|state| self.loss_with(rule, state))
    }

    /// Computes the [`loss`](Self::loss) of a rule with `state`, which the rule may change.
    ///
    /// # Errors
    /// As for [`loss`](Self::loss), except that the rule may keep state.
    pub fn loss_with(&self, rule: &(impl Rule + ?Sized), state: &mut State) -> Result<Tensor> {
        if !self.weight.track_op() {
            return Err(no_variable(&self.weight));
        }
        let seen = self.wide()?;
        let update = seen.asked(rule, state)?;
        let mut terms = Vec::new();
        if let Some(post) = &update.post {
            let (u, decay) = (&seen.response, update.decay.as_ref());
            terms.push(surrogate_loss(&seen.pre, u, post, decay, &self.weight)?);
        }
        for term in seen.unfused(&update)? {
            // −⟨sg(Δw), w⟩. With candle's own ops, the backward pass would form a gradient of the
            // constant too.
            let narrow = self.weight.dtype();
            terms.push(custom_vjp(
                "update",
                [&self.weight],
                |[w]| Ok(((&term * w.to_dtype(term.dtype())?)?.sum_all()?.neg()?.into(), term)),
                move |pass| {
                    let gradient = pass.residuals.broadcast_mul(&pass.grad.neg()?)?;
                    Ok([Some(gradient.to_dtype(narrow)?)])
                },
            )?);
        }
        sum(terms)
    }

    /// The same in f32, if they are f16 or bf16: what a rule sums over rows may exceed the range of these types, and
    /// small changes of its state are rounded away in them.
    fn wide(&self) -> Result<Self> {
        Ok(Self {
            pre: self.pre.wide()?,
            response: wide(&self.response)?,
            post: wide(&self.post)?,
            weight: wide(&self.weight)?,
            third: self.third.as_ref().map(wide).transpose()?,
        })
    }

    /// Computes the update of `rule` itself, without a graph, in the shape of the weights: minus
    /// the gradient of [`loss`](Self::loss).
    ///
    /// # Errors
    /// If the rule keeps state (see [`update_with`](Self::update_with)) or fails.
    pub fn update(&self, rule: &(impl Rule + ?Sized)) -> Result<Tensor> {
        stateless(|state| self.update_with(rule, state))
    }

    /// Computes the [`update`](Self::update) of a rule with `state`, which the rule may change.
    ///
    /// # Errors
    /// As for [`update`](Self::update), except that the rule may keep state.
    pub fn update_with(&self, rule: &(impl Rule + ?Sized), state: &mut State) -> Result<Tensor> {
        self.scaled_update(rule, state, 1.0)
    }

    /// The gradient of [`loss_with`](Self::loss_with) at a variable, without the loss: minus the update. It costs less
    /// than `backward`, which adds every gradient to zeros.
    pub(crate) fn gradient_with(&self, rule: &dyn Rule, state: &mut State) -> Result<Tensor> {
        if !self.weight.is_variable() {
            return Err(no_variable(&self.weight));
        }
        self.scaled_update(rule, state, -1.0)
    }

    /// The update of a rule times `scale`.
    fn scaled_update(
        &self,
        rule: &(impl Rule + ?Sized),
        state: &mut State,
        scale: f64,
    ) -> Result<Tensor> {
        let seen = self.wide()?;
        let update = seen.asked(rule, state)?;
        let mut terms = Vec::new();
        if let Some(post) = &update.post {
            let decay = update.decay.as_ref();
            terms.push(hebbian_update(&seen.pre, post, decay, &seen.weight, scale)?);
        }
        for term in seen.unfused(&update)? {
            terms.push(if scale == 1.0 { term } else { (term * scale)? });
        }
        sum(terms)?.to_dtype(self.weight.dtype())
    }

    /// The update that a rule computes for these synapses.
    ///
    /// # Errors
    /// If the rule fails, or a term of its update has another shape than it should have.
    fn asked(&self, rule: &(impl Rule + ?Sized), state: &mut State) -> Result<Update> {
        let update = rule.update(self, state)?;
        let ([sites, rows, fan_in], units) = (self.pre.dims(), self.post.dim(D::Minus1)?);
        let Update { post, decay, mixing, direct } = &update;
        // A direct update may have the shape of the weights, whichever that is.
        let direct = direct.as_ref().filter(|direct| direct.shape() != self.weight.shape());
        for (what, term, axes, expected) in [
            ("activity", post.as_ref(), "(S, P, K)", &[sites, rows, units][..]),
            ("decay", decay.as_ref(), "(S, K)", &[sites, units]),
            ("mixing", mixing.as_ref(), "(S, K, K)", &[sites, units, units]),
            ("direct update", direct, "(S, K, F)", &[sites, units, fan_in]),
        ] {
            if let Some(term) = term.filter(|term| term.dims() != expected) {
                candle::bail!(
                    "the {what} of a rule's update has the shape {:?}, expected {axes}, {expected:?}",
                    term.dims()
                )
            }
        }
        Ok(update)
    }

    /// The terms of `update` that are not in the fused product, in the shape of the weights.
    fn unfused(&self, update: &Update) -> Result<Vec<Tensor>> {
        let mut terms = Vec::new();
        if let (None, Some(decay)) = (&update.post, &update.decay) {
            terms.push(self.weights()?.broadcast_mul(&decay.detach().unsqueeze(2)?)?.neg()?);
        }
        if let Some(mixing) = &update.mixing {
            terms.push(mixing.detach().matmul(&self.weights()?)?.neg()?);
        }
        terms.extend(update.direct.as_ref().map(Tensor::detach));
        terms.iter().map(|term| term.reshape(self.weight.shape())).collect()
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

fn sum(terms: Vec<Tensor>) -> Result<Tensor> {
    match terms.into_iter().map(Ok).reduce(|a: Result<Tensor>, b| a? + b?) {
        Some(sum) => sum,
        None => candle::bail!("the rule's update has no term"),
    }
}

/// Runs `f` with an empty state, and returns an error if the rule leaves something in it.
fn stateless(f: impl FnOnce(&mut State) -> Result<Tensor>) -> Result<Tensor> {
    let mut state = State::default();
    let result = f(&mut state)?;
    match state.iter().next() {
        None => Ok(result),
        Some((name, _)) => candle::bail!(
            "this rule keeps state ({name}), which would be lost here: keep a State beside the \
             layer and call loss_with or update_with"
        ),
    }
}
