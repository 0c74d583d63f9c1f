use super::{Rule, SoftHebb, State, Update};
use crate::ops::sign;
use crate::ops::widen::widened;
use crate::steps::largest_entries;
use crate::synapses::Synapses;
use candle::Result;

/// Hebbian learning with global direction: [`SoftHebb`] determines how much a weight changes, and back-propagation in
/// which direction.
///
/// ```text
/// D_k = Σ y_k x − (Σ y_k u_k) w_k      D̂ = D / (max|D| + 1e-30)
/// G_k = Σ δ_k x                        Δw = −|D̂| ⊙ sign(G)             sign(0) = 0
/// ```
///
/// where `x` is a row of `synapses.pre()`, `u` of `response`, `y` of `post`, usually a [soft
/// winner-take-all](crate::SoftWta), and `δ` of the third factor: the error `∂L/∂u`, so that `G` is the gradient of the
/// weights. Sums are over rows; the maximum is over each site (a layer, or a channel group). So no entry of the update
/// is larger than 1, whatever the size of the batch and of the loss, and `⟨Δw, G⟩ ≤ 0`: to first order a step never
/// increases the loss. The absolute value discards the sign of SoftHebb's decay, so only a weight decay bounds the
/// norms. A unit without error does not learn.
///
/// The maximum is over all weights of a site, so the rule is not for a layer that lacks connections, whose weights are
/// masked: a [`Block`](crate::Block) refuses to learn by a rule if its layer is
/// [thinned](crate::FeedbackLayer::thinned).
///
/// The sign is that of the sum over rows, so it is one bit per synapse. [`response_by_rule`](crate::response_by_rule)
/// puts the rule into a network, which then has to provide the error at each layer.
///
/// Source: Hua et al. 2026 (GHL), arXiv 2601.21367, as in the authors' code. A note on the paper quotes the equation
/// with `u` and `y` exchanged.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Competition, Geometry, GlobalDirection, Response, SoftWta};
/// let weight = Tensor::new(&[[1f64, 0.0], [0.5, 0.5], [-1.0, 1.0]], &Device::Cpu)?;
/// let x = Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?;
/// let response = Response::new(&weight, Geometry::Dense, &x)?;
/// let post = SoftWta { inverse_temperature: 1.0 }.compete(response.u())?;
/// let error = Tensor::new(&[[0.1f64, -3.0, 0.0]], &Device::Cpu)?;
/// let synapses = response.synapses(&post)?.with_third(&error)?;
/// let update = synapses.update(&GlobalDirection)?.to_vec2::<f64>()?;
/// // SoftHebb's update of the first two units is (0, 0.548137), (0.112966, 0.564828), and the largest of all.
/// for (row, want) in update.iter().zip([[0.0, -0.970450], [0.2, 1.0], [0.0, 0.0]]) {
///     assert!((row[0] - want[0]).abs() < 2e-6 && (row[1] - want[1]).abs() < 2e-6);
/// }
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GlobalDirection;

impl Rule for GlobalDirection {
    fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
        let gradient = synapses.third_product()?;
        let local = synapses.update(&SoftHebb)?.reshape(gradient.shape())?;
        let size = widened(&local, |local| {
            let largest = (largest_entries(local)? + 1e-30)?.unsqueeze(2)?;
            local.abs()?.broadcast_div(&largest)
        })?;
        Ok(Update::direct((size * sign(&gradient)?)?.neg()?))
    }
}
