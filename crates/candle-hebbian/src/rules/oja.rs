use super::{Rule, State, Update};
use crate::ops::column_dots;
use crate::synapses::Synapses;
use candle::Result;

/// Oja's rule: Hebb with the decay that keeps the norm at 1 when `y = u`.
///
/// ```text
/// Δw_k = Σ y_k (x − y_k w_k)        d_k = Σ y_k²
/// ```
///
/// where `x` is a row of `synapses.pre()` and `y` of `post`; the sums are over rows. With a
/// competition whose `y` is 0 or 1 it is the same as [`Instar`](crate::Instar), since `y² = y`.
///
/// Source: Oja 1982; as a surrogate, Miconi 2021, arXiv 2107.01729.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Geometry, Oja, Response};
/// let w = Tensor::new(&[[0.5f64, 0.75]], &Device::Cpu)?;
/// let x = Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?;
/// let response = Response::new(&w, Geometry::Dense, &x)?; // u = 2
/// let update = response.synapses(response.u())?.update(&Oja)?; // y = u
/// assert_eq!(update.to_vec2::<f64>()?, [[0.0, 1.0]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oja;

impl Rule for Oja {
    fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
        let post = synapses.post();
        Ok(Update::hebbian(post.clone()).decaying(column_dots(post, post)?))
    }
}
