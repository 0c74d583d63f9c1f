//! Nearest class mean.

use candle::{DType, Tensor};
use candle_hebbian::device::upload;

use super::{Readout, check_labels, in_parts, linear_scores, one_hot};
use crate::Result;

/// A classifier that gives each sample the class whose mean training feature is nearest, in plain Euclidean
/// distance on the features as they are.
///
/// With μ_c the mean of class c, argmin_c ‖x − μ_c‖² = argmax_c (x·μ_c − ½‖μ_c‖²), one matrix
/// product. A class without training samples is never predicted; among equally near classes, the first
/// is.
#[derive(Debug, Clone)]
pub struct NearestClassMean {
    means: Tensor,
    bias: Tensor,
}

impl NearestClassMean {
    /// Computes the mean of `features` `(N, F)` for each label.
    pub fn fit(features: &Tensor, labels: &[u32], classes: usize) -> Result<Self> {
        check_labels(features, labels, classes)?;
        let mut counts = vec![0f32; classes];
        labels.iter().for_each(|&label| counts[label as usize] += 1.0);
        let device = features.device();
        let dtype = match features.dtype() {
            DType::F16 | DType::BF16 => DType::F32,
            dtype => dtype,
        };
        let one_hot = one_hot(labels, classes, dtype, device)?.t()?;
        // (1, classes, F) for each part.
        let sums = in_parts(features, |part, start| {
            Ok(one_hot.narrow(1, start, part.dim(0)?)?.matmul(part)?.unsqueeze(0)?)
        })?;
        let divisors: Vec<f32> = counts.iter().map(|count| count.max(1.0)).collect();
        let divisors = upload(divisors, (classes, 1), device)?.to_dtype(dtype)?;
        let means = sums.sum(0)?.broadcast_div(&divisors)?;

        let absent: Vec<f32> =
            counts.iter().map(|&count| if count > 0.0 { 0.0 } else { f32::MIN }).collect();
        let absent = upload(absent, classes, device)?.to_dtype(dtype)?;
        let bias = ((means.sqr()?.sum(1)? * -0.5)? + absent)?;
        Ok(Self { means, bias })
    }

    /// The class means `(classes, F)`; 0 for a class without samples.
    pub fn means(&self) -> &Tensor {
        &self.means
    }
}

impl Readout for NearestClassMean {
    fn predict(&self, features: &Tensor) -> Result<Tensor> {
        Ok(linear_scores(features, &self.means.t()?, &self.bias)?.argmax(1)?)
    }
}
