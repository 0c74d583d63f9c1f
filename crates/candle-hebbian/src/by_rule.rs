//! Local rules inside a network that back-propagates.

use crate::ops::{Presynaptic, custom_vjp};
use crate::rules::Rule;
use crate::synapses::Synapses;
use candle::{Result, Tensor};
use std::sync::Arc;

/// Computes the linear response `u (S, P, K)` of `weight`, which holds `(S, K, F)` or, for one site, `(K, F)`, to rows
/// `x (S, P, F)`. The weights learn by `rule`, in a network that otherwise learns by back-propagation.
///
/// ```text
/// forward     u = x·wᵀ        y = compete(u)
/// backward    ∂L/∂x = δ·r     ∂L/∂w := −Δw(x, u, y, δ)        δ = ∂L/∂u
/// ```
///
/// The gradient of `weight` is minus the update that `rule` computes for the [`Synapses`] with the error `δ` as their
/// third factor, so any optimiser can take the step. The error reaches `x` through `feedback`, which has the shape of
/// the weights; for back-propagation, pass the weights themselves. `compete` is called once, in the forward pass.
/// Nothing is kept from one batch to the next, and the response that competes is `u`, whatever
/// [`Rule::response`](crate::Rule::response) would make of it.
///
/// The backward pass reads `x` and `w` as they are when it runs, so it must run before the step.
///
/// ```
/// use candle::{Device, Tensor, Var};
/// use candle_hebbian::{ModulatedHebb, response_by_rule};
/// use std::sync::Arc;
/// let x = Var::new(&[[[1f64, 2.0]]], &Device::Cpu)?;
/// let w = Var::new(&[[0.5f64, 0.25]], &Device::Cpu)?;
/// let rule = Arc::new(ModulatedHebb::default()); // Δw = Σ δ y x
/// let u = response_by_rule(&x, &w, &w, |u| u * 3.0, rule)?; // u = 1, y = 3
/// let grads = (u * 2.0)?.sum_all()?.backward()?; // δ = 2
/// assert_eq!(grads.get(&w).unwrap().to_vec2::<f64>()?, [[-6.0, -12.0]]);
/// assert_eq!(grads.get(&x).unwrap().to_vec3::<f64>()?, [[[1.0, 0.5]]]); // δ·w
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// If the shapes do not fit or the competition fails. The backward pass fails if the rule does, or if the rule keeps
/// state, which would be lost.
pub fn response_by_rule(
    x: &Tensor,
    weight: &Tensor,
    feedback: &Tensor,
    compete: impl FnOnce(&Tensor) -> Result<Tensor>,
    rule: Arc<dyn Rule>,
) -> Result<Tensor> {
    let (sites, _, inputs) = x.dims3()?;
    if sites > 1 && weight.rank() == 2 {
        candle::bail!(
            "response by rule: weights of {:?} for rows of {:?}: expected (S, K, F) with {sites} sites \
             and {inputs} inputs",
            weight.dims(),
            x.dims()
        )
    }
    by_rule(x, Presynaptic::rows_of(x)?, weight, feedback, compete, rule)
}

/// [`response_by_rule`] to the rows `pre` that were made from `x`, to which the error is propagated back: these rows
/// themselves, or images and their windows.
pub(crate) fn by_rule(
    x: &Tensor,
    pre: Presynaptic,
    weight: &Tensor,
    feedback: &Tensor,
    compete: impl FnOnce(&Tensor) -> Result<Tensor>,
    rule: Arc<dyn Rule>,
) -> Result<Tensor> {
    custom_vjp(
        "response_by_rule",
        [x, weight],
        |[_, weight]| {
            let feedback = feedback.detach();
            let u = pre.response(weight, &feedback)?;
            let post = compete(&u)?;
            Ok((u.into(), (pre, weight.clone(), feedback, post)))
        },
        move |pass| {
            let (pre, weight, feedback, post) = pass.residuals;
            let grad = pass.grad.contiguous()?;
            let grad_x = match pass.wanted[0] {
                true => Some(pre.error(&grad, feedback)?),
                false => None,
            };
            let grad_weight = match pass.wanted[1] {
                true => {
                    let synapses = Synapses::of(weight, pre.clone(), pass.output, post)?;
                    let update = synapses.with_third(&grad)?.update(&*rule)?;
                    Some(update.neg()?.reshape(weight.shape())?)
                }
                false => None,
            };
            Ok([grad_x, grad_weight])
        },
    )
}
