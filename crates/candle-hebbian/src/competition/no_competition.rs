use super::Competition;
use super::rows::units;
use candle::{Result, Tensor};

/// `y = u`: every unit responds as if it were alone.
///
/// Used with the plain Hebb and Oja rules. A NaN stays with its unit.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Competition, NoCompetition};
/// let u = Tensor::new(&[[1f64, -1.5]], &Device::Cpu)?;
/// assert_eq!(NoCompetition.compete(&u)?.to_vec2::<f64>()?, [[1.0, -1.5]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoCompetition;

impl Competition for NoCompetition {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        units(u)?;
        Ok(u.detach())
    }
}
