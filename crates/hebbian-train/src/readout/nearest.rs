//! Nearest class mean.

use candle::Tensor;
use candle_hebbian::device::upload;
use candle_hebbian::wide_dtype;

use super::{Readout, check_features, check_labels, in_parts, largest, linear_scores, one_hot};
use crate::Result;

/// A classifier that gives each sample the class whose mean training feature is nearest, in plain Euclidean
/// distance on the features as they are.
///
/// With μ_c the mean of class c and m that of all training features, argmin_c ‖x − μ_c‖² = argmax_c ((x − m)·(μ_c − m)
/// − ½‖μ_c − m‖²), one matrix product; without m, what the features have in common would cancel but for rounding. A
/// class without training samples is never predicted; among equally near classes, the first is.
#[derive(Debug, Clone)]
pub struct NearestClassMean {
    means: Tensor,
    /// `m (F)`
    origin: Tensor,
    bias: Tensor,
}

impl NearestClassMean {
    /// Computes the mean of `features` `(N, F)` for each label.
    ///
    /// # Errors
    /// If a label is no class, or the features hold NaN or infinities.
    pub fn fit(features: &Tensor, labels: &[u32], classes: usize) -> Result<Self> {
        check_labels(features, labels, classes)?;
        check_features(features)?;
        let mut counts = vec![0f32; classes];
        labels.iter().for_each(|&label| counts[label as usize] += 1.0);
        let device = features.device();
        let dtype = wide_dtype(features.dtype());
        let one_hot = one_hot(labels, classes, dtype, device)?.t()?;
        // (1, classes, F) for each part.
        let sums = in_parts(features, |part, start| {
            Ok(one_hot.narrow(1, start, part.dim(0)?)?.matmul(part)?.unsqueeze(0)?)
        })?;
        let divisors: Vec<f32> = counts.iter().map(|count| count.max(1.0)).collect();
        let divisors = upload(divisors, (classes, 1), device)?.to_dtype(dtype)?;
        let sums = sums.sum(0)?;
        let means = sums.broadcast_div(&divisors)?;
        let origin = (sums.sum(0)? / labels.len().max(1) as f64)?;

        let absent: Vec<f32> =
            counts.iter().map(|&count| if count > 0.0 { 0.0 } else { f32::MIN }).collect();
        let absent = upload(absent, classes, device)?.to_dtype(dtype)?;
        let from_origin = means.broadcast_sub(&origin)?;
        let bias = ((from_origin.sqr()?.sum(1)? * -0.5)? + absent)?;
        Ok(Self { means, origin, bias })
    }

    /// The class means `(classes, F)`; 0 for a class without samples.
    pub fn means(&self) -> &Tensor {
        &self.means
    }
}

impl Readout for NearestClassMean {
    fn predict(&self, features: &Tensor) -> Result<Tensor> {
        let weight = self.means.broadcast_sub(&self.origin)?.t()?;
        in_parts(features, |features, _| {
            let origin = self.origin.to_dtype(features.dtype())?.to_device(features.device())?;
            let features = features.broadcast_sub(&origin)?;
            largest(&linear_scores(&features, &weight, &self.bias)?)
        })
    }
}
