//! Read-outs: from features to classes.

mod adam;
mod confusion;
mod knn;
mod linear;
mod linear_svm;
mod nearest;
mod ridge;
mod stored;

use candle::{DType, Device, Tensor};

pub use confusion::ConfusionMatrix;
pub use knn::NearestNeighbours;
pub use linear::{EpochStats, LinearHead, LinearHeadConfig, halvings};
pub use linear_svm::{LinearSvm, LinearSvmConfig};
pub use nearest::NearestClassMean;
pub use ridge::Ridge;
pub use stored::{LinearReadout, Standardisation};

use crate::{Error, Result};

/// A classifier of feature rows.
pub trait Readout {
    /// The class of each row of `features` `(N, F)`: u32 `(N,)`, on the features' device.
    fn predict(&self, features: &Tensor) -> Result<Tensor>;

    /// The share of rows whose class is the label, 0 to 1.
    fn accuracy(&self, features: &Tensor, labels: &[u32]) -> Result<f64> {
        check_counts(features, labels)?;
        let predicted = self.predict(features)?.to_vec1::<u32>()?;
        let correct = predicted.iter().zip(labels).filter(|(a, b)| a == b).count();
        Ok(correct as f64 / labels.len() as f64)
    }
}

/// One label per row of `(N, F)` features, and at least one row. Returns `(N, F)`.
fn check_counts(features: &Tensor, labels: &[u32]) -> Result<(usize, usize)> {
    let (rows, width) = features.dims2()?;
    if rows != labels.len() || rows == 0 || width == 0 {
        return Err(Error::Argument(format!(
            "{} labels do not fit features of shape {:?}: expected one label per row of (N, F), \
             N and F at least 1",
            labels.len(),
            features.dims()
        )));
    }
    Ok((rows, width))
}

/// [`check_counts`], and every label below `classes`.
fn check_labels(features: &Tensor, labels: &[u32], classes: usize) -> Result<(usize, usize)> {
    check_classes(labels, classes)?;
    check_counts(features, labels)
}

fn check_classes(labels: &[u32], classes: usize) -> Result<()> {
    match labels.iter().find(|&&label| label as usize >= classes) {
        Some(label) => Err(Error::Argument(format!(
            "label {label} is not below the number of classes, {classes}"
        ))),
        None => Ok(()),
    }
}

/// `features·weight + bias`, in the features' type and on their device.
fn linear_scores(features: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let like = |tensor: &Tensor| tensor.to_dtype(features.dtype())?.to_device(features.device());
    Ok(features.contiguous()?.matmul(&like(weight)?)?.broadcast_add(&like(bias)?)?)
}

/// One row per label, 1 in the label's column and 0 elsewhere: `(N, classes)`.
///
/// # Errors
/// When a label is not below `classes`.
pub fn one_hot(labels: &[u32], classes: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    check_classes(labels, classes)?;
    let mut rows = vec![0f32; labels.len() * classes];
    for (row, &label) in rows.chunks_exact_mut(classes.max(1)).zip(labels) {
        row[label as usize] = 1.0;
    }
    Ok(Tensor::from_vec(rows, (labels.len(), classes), device)?.to_dtype(dtype)?)
}
