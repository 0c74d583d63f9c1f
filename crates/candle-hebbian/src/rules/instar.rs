use super::Rule;
use crate::layer::Response;
use crate::ops::column_sums;
use candle::{Result, Tensor};

/// Grossberg's instar: an active unit moves towards its input.
///
/// ```text
/// Δw_k = Σ y_k (x − w_k)        d_k = Σ y_k
/// ```
///
/// where `x` is a row of `response.pre()` and `y` of `post`; the sums are over rows. The fixed
/// point is the mean input weighted by `y`.
///
/// Source: Grossberg 1976; as a surrogate, Miconi 2021, arXiv 2107.01729.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Geometry, Instar, Layer, Rule};
/// let layer = Layer::new(Tensor::new(&[[0.5f64, 0.75]], &Device::Cpu)?, Geometry::Dense)?;
/// let response = layer.response(&Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?)?; // u = 2
/// let update = Instar.update(&response, response.u())?;
/// assert_eq!(update.to_vec2::<f64>()?, [[1.0, 2.5]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Instar;

impl Rule for Instar {
    fn name(&self) -> &'static str {
        "instar"
    }

    fn decay(&self, _: &Response, post: &Tensor) -> Result<Option<Tensor>> {
        column_sums(post).map(Some)
    }
}
