use super::Rule;
use crate::layer::Response;
use candle::{Result, Tensor};

/// Plain Hebb: units that fire together wire together, without bound.
///
/// ```text
/// Δw_k = Σ y_k x        d_k = 0
/// ```
///
/// where `x` is a row of `response.pre()` and `y` of `post`; the sum is over rows. Weights grow
/// for ever unless something else (a norm kept at 1, say) holds them.
///
/// Source: Hebb 1949; as a surrogate, Miconi 2021, arXiv 2107.01729.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Competition, Geometry, Hebb, Layer, Rule};
/// let layer = Layer::new(Tensor::new(&[[0.5f64, 0.75]], &Device::Cpu)?, Geometry::Dense)?;
/// let response = layer.response(&Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?)?; // u = 2
/// let update = Hebb.update(&response, response.u())?;
/// assert_eq!(update.to_vec2::<f64>()?, [[2.0, 4.0]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Hebb;

impl Rule for Hebb {
    fn name(&self) -> &'static str {
        "hebb"
    }

    fn decay(&self, _: &Response, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }
}
