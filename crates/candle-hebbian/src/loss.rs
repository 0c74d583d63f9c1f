//! Surrogate losses of rules, and the updates that their gradients are.

use crate::ops::{custom_vjp, hebbian_update, surrogate_loss};
use crate::rules::{Rule, State, Update};
use crate::synapses::{Synapses, no_variable};
use candle::{D, Result, Tensor};

impl Synapses {
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
        if !self.weight().track_op() {
            return Err(no_variable(self.weight()));
        }
        let seen = self.wide()?;
        let update = seen.asked(rule, state)?;
        let mut terms = Vec::new();
        if let Some(post) = &update.post {
            let (u, decay) = (seen.response(), update.decay.as_ref());
            terms.push(surrogate_loss(&seen.pre, u, post, decay, self.weight())?);
        }
        for term in seen.unfused(&update)? {
            // −⟨sg(Δw), w⟩. With candle's own ops, the backward pass would form a gradient of the
            // constant too.
            let narrow = self.weight().dtype();
            terms.push(custom_vjp(
                "update",
                [self.weight()],
                |[w]| Ok(((&term * w.to_dtype(term.dtype())?)?.sum_all()?.neg()?.into(), term)),
                move |pass| {
                    let gradient = pass.residuals.broadcast_mul(&pass.grad.neg()?)?;
                    Ok([Some(gradient.to_dtype(narrow)?)])
                },
            )?);
        }
        sum(terms)
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
        if !self.weight().is_variable() {
            return Err(no_variable(self.weight()));
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
            terms.push(hebbian_update(&seen.pre, post, decay, seen.weight(), scale)?);
        }
        for term in seen.unfused(&update)? {
            terms.push(if scale == 1.0 { term } else { (term * scale)? });
        }
        sum(terms)?.to_dtype(self.weight().dtype())
    }

    /// The update that a rule computes for these synapses.
    ///
    /// # Errors
    /// If the rule fails, or a term of its update has another shape than it should have.
    fn asked(&self, rule: &(impl Rule + ?Sized), state: &mut State) -> Result<Update> {
        let update = rule.update(self, state)?;
        let ([sites, rows, fan_in], units) = (self.pre.dims(), self.post().dim(D::Minus1)?);
        let Update { post, decay, mixing, direct } = &update;
        // A direct update may have the shape of the weights, whichever that is.
        let direct = direct.as_ref().filter(|direct| direct.shape() != self.weight().shape());
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
        terms.iter().map(|term| term.reshape(self.weight().shape())).collect()
    }
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
