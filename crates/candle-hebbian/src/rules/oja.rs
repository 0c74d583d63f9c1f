use super::Rule;
use crate::layer::Response;
use crate::ops::column_dots;
use candle::{Result, Tensor};

/// Oja's rule: Hebb with the decay that keeps the norm at 1 when `y = u`.
///
/// ```text
/// Δw_k = Σ y_k (x − y_k w_k)        d_k = Σ y_k²
/// ```
///
/// where `x` is a row of `response.pre()` and `y` of `post`; the sums are over rows. With a
/// competition whose `y` is 0 or 1 it is the same as [`Instar`](crate::Instar), since `y² = y`.
///
/// Source: Oja 1982; as a surrogate, Miconi 2021, arXiv 2107.01729.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Geometry, Layer, Oja, Rule};
/// let layer = Layer::new(Tensor::new(&[[0.5f64, 0.75]], &Device::Cpu)?, Geometry::Dense)?;
/// let response = layer.response(&Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?)?; // u = 2
/// let update = Oja.update(&response, response.u())?;
/// assert_eq!(update.to_vec2::<f64>()?, [[0.0, 1.0]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Oja;

impl Rule for Oja {
    fn name(&self) -> &'static str {
        "oja"
    }

    fn decay(&self, _: &Response, post: &Tensor) -> Result<Option<Tensor>> {
        column_dots(post, post).map(Some)
    }
}
