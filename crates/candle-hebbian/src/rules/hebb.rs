use super::{Rule, State, Update};
use crate::synapses::Synapses;
use candle::Result;

/// Plain Hebb: units that fire together wire together, without bound.
///
/// ```text
/// Δw_k = Σ y_k x        d_k = 0
/// ```
///
/// where `x` is a row of `synapses.pre()` and `y` of `post`; the sum is over rows. Weights grow for
/// ever unless something else, such as a norm that is kept at 1, limits them.
///
/// Source: Hebb 1949; as a surrogate, Miconi 2021, arXiv 2107.01729.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Geometry, Hebb, Response};
/// let w = Tensor::new(&[[0.5f64, 0.75]], &Device::Cpu)?;
/// let x = Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?;
/// let response = Response::new(&w, Geometry::Dense, &x)?; // u = 2
/// let update = response.synapses(response.u())?.update(&Hebb)?; // y = u
/// assert_eq!(update.to_vec2::<f64>()?, [[2.0, 4.0]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hebb;

impl Rule for Hebb {
    fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
        Ok(Update::hebbian(synapses.post().clone()))
    }
}
