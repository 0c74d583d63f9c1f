//! Linear read-outs as checkpoints hold them, and the standardisation that is folded into them.

use candle::{DType, Device, Tensor};

use super::{Readout, linear_scores};
use crate::{Checkpoint, Error, Result};

const WEIGHT: &str = "head.weight";
const BIAS: &str = "head.bias";
/// Keeps the division by a standard deviation finite.
const TINY: f64 = 1e-10;

/// A linear read-out that is trained: the class of features `x` is that of the largest `W·x + b`. A
/// checkpoint has it as `head.weight` and `head.bias`, in f32.
#[derive(Debug, Clone)]
pub struct LinearReadout {
    weight: Tensor,
    bias: Tensor,
}

impl LinearReadout {
    /// A read-out of `weight (classes, F)` and `bias (classes)`.
    ///
    /// # Errors
    /// Tensors that cannot be converted to f32.
    pub fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (weight, bias) = (weight.to_dtype(DType::F32)?, bias.to_dtype(DType::F32)?);
        Ok(Self { weight: weight.contiguous()?, bias })
    }

    /// The same on another device.
    ///
    /// # Errors
    /// When it has no room there.
    pub fn to(&self, device: &Device) -> Result<Self> {
        Ok(Self { weight: self.weight.to_device(device)?, bias: self.bias.to_device(device)? })
    }

    /// The read-out of a checkpoint, of `width` features; none where it was not trained.
    ///
    /// # Errors
    /// One of another size.
    pub fn restore(checkpoint: &Checkpoint, classes: usize, width: usize) -> Result<Option<Self>> {
        if checkpoint.dims(WEIGHT).is_none() {
            return Ok(None);
        }
        let weight = checkpoint.take(WEIGHT, (classes, width), DType::F32)?;
        Ok(Some(Self { weight, bias: checkpoint.take(BIAS, classes, DType::F32)? }))
    }

    /// `W·x + b` of each row of `features (N, F)`: `(N, classes)`, differentiable in the features.
    ///
    /// # Errors
    /// Another number of features.
    pub fn scores(&self, features: &Tensor) -> Result<Tensor> {
        linear_scores(features, &self.weight.t()?, &self.bias)
    }

    /// `head.weight` and `head.bias`.
    pub fn tensors(&self) -> [(String, Tensor); 2] {
        [(WEIGHT.to_string(), self.weight.clone()), (BIAS.to_string(), self.bias.clone())]
    }

    /// What to say when there is none.
    pub fn untrained() -> Error {
        Error::Argument(
            "the read-out is not trained: load the model of a run that is complete, or take its \
             features"
                .to_string(),
        )
    }
}

impl Readout for LinearReadout {
    fn predict(&self, features: &Tensor) -> Result<Tensor> {
        Ok(self.scores(features)?.argmax(1)?)
    }
}

/// `(x − m)/s` for each feature, with its mean `m` and standard deviation `s` over the rows that it was
/// fitted to; 0 for one that never changed.
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
    /// That of `rows (N, F)`.
    ///
    /// # Errors
    /// No rows.
    pub fn of(rows: &Tensor) -> Result<Self> {
        if rows.dims2()?.0 == 0 {
            return Err(Error::Argument("there are no rows to standardise by".to_string()));
        }
        let mean = rows.mean_keepdim(0)?;
        let deviation = (rows.broadcast_sub(&mean)?.sqr()?.mean_keepdim(0)?.sqrt()? + TINY)?;
        Ok(Self { mean, deviation })
    }

    /// Standardised rows.
    ///
    /// # Errors
    /// Another number of features.
    pub fn apply(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(rows.broadcast_sub(&self.mean)?.broadcast_div(&self.deviation)?)
    }

    /// `W(x − m)/s + b = (W/s)·x + (b − (W/s)·m)`, to rounding: what reads out of `x` itself, for a
    /// `weight (classes, F)` and a `bias (classes)` of standardised features.
    ///
    /// # Errors
    /// Another number of features.
    pub fn fold(&self, weight: &Tensor, bias: &Tensor) -> Result<LinearReadout> {
        let [mean, deviation] = [&self.mean, &self.deviation].map(|row| row.to_dtype(DType::F64));
        let [weight, bias] = [weight, bias].map(|tensor| tensor.to_dtype(DType::F64));
        let weight = weight?.broadcast_div(&deviation?)?;
        let shift = weight.broadcast_mul(&mean?)?.sum(1)?;
        LinearReadout::new(&weight, &(bias? - shift)?)
    }
}
