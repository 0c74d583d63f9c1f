//! Linear read-outs as checkpoints hold them, and the standardisation that is folded into them.

use candle::{DType, Device, Tensor};
use candle_hebbian::device::to_host;
use candle_hebbian::wide_dtype;

use super::{CHUNK, Readout, in_parts, largest, linear_scores};
use crate::{Checkpoint, Error, Result};

const WEIGHT: &str = "head.weight";
const BIAS: &str = "head.bias";
/// Keeps the division by a standard deviation finite.
const TINY: f64 = 1e-10;

/// A trained linear read-out: the class of features `x` is that of the largest entry of `W·x + b`. A
/// checkpoint stores it as `head.weight` and `head.bias`, in f32.
#[derive(Debug, Clone)]
pub struct LinearReadout {
    weight: Tensor,
    bias: Tensor,
}

impl LinearReadout {
    /// A read-out with `weight (classes, F)` and `bias (classes)`.
    ///
    /// # Errors
    /// When a tensor cannot be converted to f32.
    pub fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (weight, bias) = (weight.to_dtype(DType::F32)?, bias.to_dtype(DType::F32)?);
        Ok(Self { weight: weight.contiguous()?, bias })
    }

    /// Returns the same read-out on another device.
    ///
    /// # Errors
    /// When the device lacks the memory for it.
    pub fn to(&self, device: &Device) -> Result<Self> {
        Ok(Self { weight: self.weight.to_device(device)?, bias: self.bias.to_device(device)? })
    }

    /// Loads the read-out of a checkpoint, for `width` features; `None` if no read-out was trained.
    ///
    /// # Errors
    /// When the read-out has another size.
    pub fn restore(checkpoint: &Checkpoint, classes: usize, width: usize) -> Result<Option<Self>> {
        if checkpoint.dims(WEIGHT).is_none() {
            return Ok(None);
        }
        let weight = checkpoint.take(WEIGHT, (classes, width), DType::F32)?;
        Ok(Some(Self { weight, bias: checkpoint.take(BIAS, classes, DType::F32)? }))
    }

    /// `W·x + b` for each row of `features (N, F)`: `(N, classes)`, differentiable in the features.
    ///
    /// # Errors
    /// When the number of features does not fit.
    pub fn scores(&self, features: &Tensor) -> Result<Tensor> {
        linear_scores(features, &self.weight.t()?, &self.bias)
    }

    /// `head.weight` and `head.bias`.
    pub fn tensors(&self) -> [(String, Tensor); 2] {
        [(WEIGHT.to_string(), self.weight.clone()), (BIAS.to_string(), self.bias.clone())]
    }

    /// The error for a model without a trained read-out.
    pub fn untrained() -> Error {
        Error::NoReadout(
            "the read-out is not trained: load the model of a run that is complete, or take its \
             features",
        )
    }
}

impl Readout for LinearReadout {
    fn predict(&self, features: &Tensor) -> Result<Tensor> {
        largest(&self.scores(features)?)
    }
}

/// The standardisation `(x − m)/s` of each feature, with its mean `m` and standard deviation `s` over the rows that
/// it was fitted to; a feature that is constant in these rows becomes 0.
///
/// ```
/// use candle::{Device, Tensor};
/// use hebbian_train::{LinearReadout, Readout, Standardisation};
/// let rows = Tensor::new(&[[1f32, 10.], [3., 50.]], &Device::Cpu)?; // means 2 and 30, deviations 1 and 20
/// let scale = Standardisation::of(&rows)?;
/// assert_eq!(scale.apply(&rows)?.to_vec2::<f32>()?, [[-1., -1.], [1., 1.]]);
///
/// // W = [1, 2] and b = 3 of standardised features are [1, 0.1] and 3 − 2 − 3 = −2 of those themselves.
/// let (weight, bias) = (Tensor::new(&[[1f32, 2.]], &Device::Cpu)?, Tensor::new(&[3f32], &Device::Cpu)?);
/// let folded = scale.fold(&weight, &bias)?.tensors();
/// let values = Tensor::cat(&[folded[0].1.flatten_all()?, folded[1].1.clone()], 0)?.to_vec1::<f32>()?;
/// assert!(values.iter().zip([1., 0.1, -2.]).all(|(found, want): (&f32, _)| (found - want).abs() < 1e-6));
/// # Ok::<(), hebbian_train::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Standardisation {
    mean: Tensor,
    deviation: Tensor,
}

impl Standardisation {
    /// Fits the standardisation to `rows (N, F)`.
    ///
    /// # Errors
    /// If there are no rows.
    pub fn of(rows: &Tensor) -> Result<Self> {
        if rows.dims2()?.0 == 0 {
            return Err(Error::Argument("there are no rows to standardise by".to_string()));
        }
        let (count, rows) = (rows.dim(0)?, rows.detach());
        // A few rows at a time, because each operation would need as much memory as all rows.
        let mean_of = |f: &dyn Fn(Tensor) -> candle::Result<Tensor>| -> Result<Tensor> {
            let mut sum = Tensor::zeros((1, rows.dim(1)?), DType::F64, &Device::Cpu)?;
            for start in (0..count).step_by(CHUNK) {
                let part = to_host(&rows.narrow(0, start, CHUNK.min(count - start))?)?;
                sum = (sum + f(part)?.sum_keepdim(0)?)?;
            }
            Ok((sum / count as f64)?)
        };
        let mean = mean_of(&Ok)?;
        let variance = mean_of(&|part| part.broadcast_sub(&mean)?.sqr())?;
        // In half precision, `TINY` would be 0.
        let like = |row: Tensor| row.to_dtype(wide_dtype(rows.dtype()))?.to_device(rows.device());
        Ok(Self { deviation: like((variance.sqrt()? + TINY)?)?, mean: like(mean)? })
    }

    /// That of `length` features from the feature `start`.
    pub(super) fn columns(&self, start: usize, length: usize) -> Result<Self> {
        let of = |row: &Tensor| row.narrow(1, start, length);
        Ok(Self { mean: of(&self.mean)?, deviation: of(&self.deviation)? })
    }

    /// Standardises rows; the result of rows in half precision is in f32.
    ///
    /// # Errors
    /// When the number of features does not fit.
    pub fn apply(&self, rows: &Tensor) -> Result<Tensor> {
        in_parts(rows, |part, _| {
            Ok(part.broadcast_sub(&self.mean)?.broadcast_div(&self.deviation)?)
        })
    }

    /// Folds the standardisation into a read-out with `weight (classes, F)` and `bias (classes)` for standardised
    /// features. Returns the read-out for `x` itself, which is the same up to rounding:
    /// `W(x − m)/s + b = (W/s)·x + (b − (W/s)·m)`.
    ///
    /// # Errors
    /// When the number of features does not fit.
    pub fn fold(&self, weight: &Tensor, bias: &Tensor) -> Result<LinearReadout> {
        let [mean, deviation] = [&self.mean, &self.deviation].map(|row| row.to_dtype(DType::F64));
        let [weight, bias] = [weight, bias].map(|tensor| tensor.to_dtype(DType::F64));
        let weight = weight?.broadcast_div(&deviation?)?;
        let shift = weight.broadcast_mul(&mean?)?.sum(1)?;
        LinearReadout::new(&weight, &(bias? - shift)?)
    }
}
