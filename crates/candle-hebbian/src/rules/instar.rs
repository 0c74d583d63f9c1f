use super::{Rule, State, Update};
use crate::ops::column_sums;
use crate::synapses::Synapses;
use candle::Result;

/// Grossberg's instar: an active unit moves towards its input.
///
/// ```text
/// Δw_k = Σ y_k (x − w_k)        d_k = Σ y_k
/// ```
///
/// where `x` is a row of `synapses.pre()` and `y` of `post`; the sums are over rows. The fixed
/// point is the mean input weighted by `y`.
///
/// Source: Grossberg 1976; as a surrogate, Miconi 2021, arXiv 2107.01729.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Geometry, Instar, Response};
/// let w = Tensor::new(&[[0.5f64, 0.75]], &Device::Cpu)?;
/// let x = Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?;
/// let response = Response::new(&w, Geometry::Dense, &x)?; // u = 2
/// let update = response.synapses(response.u())?.update(&Instar)?; // y = u
/// assert_eq!(update.to_vec2::<f64>()?, [[1.0, 2.5]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Instar;

impl Rule for Instar {
    fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
        let post = synapses.post();
        Ok(Update::hebbian(post.clone()).decaying(column_sums(post)?))
    }
}
