//! Features of a frozen network, computed once.

use std::ops::Range;

use candle::{Device, Tensor};

use crate::{Error, Result};

/// Runs `compute` over the samples `0..count` in batches and gathers its rows in one `(count, F)`
/// tensor on `device`.
///
/// `compute` gets the range of samples and returns one row each, of any rank ≥ 2 (the axes after
/// the first are flattened). The result is allocated once and filled in place: at no time are
/// there two copies.
///
/// ```
/// use candle::{Device, Tensor};
/// let features = hebbian_train::collect_features(5, 2, &Device::Cpu, |batch| {
///     let rows: Vec<f32> = batch.map(|sample| sample as f32).collect();
///     let count = rows.len();
///     Ok(Tensor::from_vec(rows, (count, 1, 1), &Device::Cpu)?)
/// })?;
/// assert_eq!(features.to_vec2::<f32>()?, [[0.], [1.], [2.], [3.], [4.]]);
/// # Ok::<(), hebbian_train::Error>(())
/// ```
///
/// # Errors
/// When `count` or `batch_size` is 0, `compute` fails, or a batch has another number of rows or
/// features than expected.
pub fn collect_features(
    count: usize,
    batch_size: usize,
    device: &Device,
    mut compute: impl FnMut(Range<usize>) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut all: Option<Tensor> = None;
    for start in (0..count).step_by(batch_size.max(1)) {
        let range = start..(start + batch_size.max(1)).min(count);
        let rows = compute(range.clone())?.detach().flatten_from(1)?.to_device(device)?;
        if rows.dim(0)? != range.len() {
            return Err(Error::Argument(format!(
                "the features of samples {range:?} have {} rows, expected {}",
                rows.dim(0)?,
                range.len()
            )));
        }
        let all = match &mut all {
            Some(all) => all,
            None => all.insert(Tensor::zeros((count, rows.dim(1)?), rows.dtype(), device)?),
        };
        all.slice_set(&rows.contiguous()?, 0, start)?;
    }
    all.ok_or_else(|| Error::Argument("there are no samples to compute features of".to_string()))
}
