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

pub use adam::Adam;
pub use confusion::ConfusionMatrix;
pub use knn::NearestNeighbours;
pub use linear::{EpochStats, LinearHead, LinearHeadConfig, halvings};
pub use linear_svm::{LinearSvm, LinearSvmConfig};
pub use nearest::NearestClassMean;
pub use ridge::Ridge;
pub use stored::{LinearReadout, Standardisation};

use crate::{Error, Result, check_finite};
use candle_hebbian::device::upload;
use candle_hebbian::ops::numbers;

/// A classifier of feature rows.
pub trait Readout {
    /// The class of each row of `features` `(N, F)`: u32 `(N,)`, on the features' device.
    ///
    /// # Errors
    /// When F is another than in training, N is 0, or what the classes are chosen by is not finite.
    /// [`NearestNeighbours`] takes an N of 0.
    fn predict(&self, features: &Tensor) -> Result<Tensor>;

    /// The share of rows of `features` `(N, F)` whose predicted class is the label, 0 to 1.
    ///
    /// # Errors
    /// As [`predict`](Self::predict), and when there is not one label per row, or N or F is 0.
    fn accuracy(&self, features: &Tensor, labels: &[u32]) -> Result<f64> {
        check_counts(features, labels)?;
        let predicted = self.predict(features)?.to_vec1::<u32>()?;
        let correct = predicted.iter().zip(labels).filter(|(a, b)| a == b).count();
        Ok(correct as f64 / labels.len() as f64)
    }
}

/// Checks that there is one label per row of `(N, F)` features, and that N and F are at least 1. Returns `(N, F)`.
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

/// Checks that there is one label per row of `features` `(N, F)`, that N and F are at least 1, and that every label is
/// below `classes`. Returns `(N, F)`.
///
/// # Errors
/// When that is not so.
pub fn check_labels(features: &Tensor, labels: &[u32], classes: usize) -> Result<(usize, usize)> {
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

/// Refuses features `(N, F)` that hold NaN or infinities. A few rows at a time, because half precision is widened.
fn check_features(features: &Tensor) -> Result<()> {
    let rows = features.dim(0)?;
    (0..rows).step_by(CHUNK).try_for_each(|start| {
        let part = features.narrow(0, start, CHUNK.min(rows - start))?;
        let last = start + part.dim(0)? - 1;
        check_finite(&format!("features (rows {start} to {last})"), 0, &part)
    })
}

/// `features·weight + bias`, in the features' type and on their device; half precision is widened to f32.
fn linear_scores(features: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    in_parts(features, |features, _| {
        let like =
            |tensor: &Tensor| tensor.to_dtype(features.dtype())?.to_device(features.device());
        Ok(features.matmul(&like(weight)?)?.broadcast_add(&like(bias)?)?)
    })
}

/// The class of each row of `scores (N, classes)`: the first of those with the largest score.
///
/// # Errors
/// Scores that are NaN or infinite: a class would be found where there is none.
fn largest(scores: &Tensor) -> Result<Tensor> {
    check_finite("the scores of the read-out", 0, scores)?;
    Ok(scores.argmax(1)?)
}

/// Rows (or columns) converted to f64 at a time.
const CHUNK: usize = 4096;
/// Rows in half precision that are widened at a time.
const PART: usize = 1024;

/// Applies `f` to the rows of `features` and concatenates the results: to all rows at once or, if they are in half
/// precision, to one part after the other in f32, so that the rows are never all in memory in f32. `f` is given the
/// rows and the index of the first one.
///
/// ```
/// use candle::{DType, Device, Tensor};
/// let features = Tensor::ones((3000, 2), DType::BF16, &Device::Cpu)?;
/// let sums = hebbian_train::in_parts(&features, |part, _| Ok(part.sum(1)?))?;
/// assert_eq!((sums.dtype(), sums.dims()), (DType::F32, &[3000][..]));
/// # Ok::<(), hebbian_train::Error>(())
/// ```
///
/// # Errors
/// Those of `f`.
pub fn in_parts(features: &Tensor, f: impl Fn(&Tensor, usize) -> Result<Tensor>) -> Result<Tensor> {
    let rows = features.dim(0)?;
    if !matches!(features.dtype(), DType::F16 | DType::BF16) || rows == 0 {
        return f(&features.contiguous()?, 0);
    }
    let parts = (0..rows).step_by(PART).map(|start| {
        let part = features.narrow(0, start, PART.min(rows - start))?;
        f(&part.contiguous()?.to_dtype(DType::F32)?, start)
    });
    Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
}

/// One row per label, 1 in the label's column and 0 elsewhere: `(N, classes)`.
///
/// # Errors
/// When a label is not below `classes`.
pub fn one_hot(labels: &[u32], classes: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    check_classes(labels, classes)?;
    one_hot_of(&upload(labels.to_vec(), labels.len(), device)?, classes, dtype)
}

/// [`one_hot`] of a tensor of u32 labels `(N)`, which stay on their device; a label that is not below `classes` has a
/// row of zeros.
///
/// # Errors
/// When the labels have another type.
pub fn one_hot_of(labels: &Tensor, classes: usize, dtype: DType) -> Result<Tensor> {
    let classes = numbers(classes, labels.device())?;
    Ok(labels.reshape(((), 1))?.broadcast_eq(&classes)?.to_dtype(dtype)?)
}
