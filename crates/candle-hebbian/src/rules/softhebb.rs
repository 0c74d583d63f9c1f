use super::{Rule, State, Update};
use crate::ops::column_dots;
use crate::synapses::Synapses;
use candle::Result;

/// SoftHebb: Oja's decay with the pre-activation in place of one `y`.
///
/// ```text
/// Δw_k = Σ y_k (x − u_k w_k)        d_k = Σ y_k u_k
/// ```
///
/// where `x` is a row of `synapses.pre()`, `u` of `response` and `y` of `post`, usually a [soft
/// winner-take-all](crate::SoftWta), and in the multilayer paper one with [anti-Hebbian
/// losers](crate::SoftWtaAntiHebbian). The sums are over rows. If the `d_k` of a unit is positive,
/// its norm goes to 1; if it is negative, the norm is pushed away from 1:
/// `w_k·Δw_k = d_k (1 − ‖w_k‖²)`.
///
/// Source: Journé et al. 2023, arXiv 2209.11883, Eq. 2; Moraitis et al. 2022, arXiv 2107.05747.
///
/// The rule does not differ from the paper. The division of the step by its largest entry and the
/// rates that depend on the norm, which the authors' code adds, belong to the optimiser:
/// [`LargestEntry`](crate::LargestEntry) and [`NormDependent`](crate::NormDependent).
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Competition, Geometry, Response, SoftHebb, SoftWta};
/// let weight = Tensor::new(&[[1f64, 0.0], [0.5, 0.5], [-1.0, 1.0]], &Device::Cpu)?;
/// let x = Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?;
/// let response = Response::new(&weight, Geometry::Dense, &x)?;
/// let post = SoftWta { inverse_temperature: 1.0 }.compete(response.u())?;
/// let update = response.synapses(&post)?.update(&SoftHebb)?.to_vec2::<f64>()?;
/// for (row, want) in update.iter().zip([[0.0, 0.548137], [0.112966, 0.564828]]) {
///     assert!((row[0] - want[0]).abs() < 1e-6 && (row[1] - want[1]).abs() < 1e-6);
/// }
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SoftHebb;

impl Rule for SoftHebb {
    fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
        let post = synapses.post();
        Ok(Update::hebbian(post.clone()).decaying(column_dots(post, synapses.response())?))
    }
}
