//! Features of a frozen network, computed once.

use candle::{Device, Tensor};
use hebbian_data::Batches;

use crate::{Error, Result};

/// Runs `compute` over batches of samples and gathers its rows in one `(count, F)` tensor on `device`, in
/// the order of the batches.
///
/// `compute` receives the indices of the samples in a batch and returns one row for each, as a tensor of
/// any rank ≥ 2 (the axes after the first are flattened). The result is allocated once and filled in
/// place, so there are never two copies of it. It is held in memory as a whole, wherever the samples are.
///
/// ```
/// use candle::{Device, Tensor};
/// let batches = hebbian_data::Batches::sequential(5, 2)?;
/// let features = hebbian_train::collect_features(batches, &Device::Cpu, |batch| {
///     let rows: Vec<f32> = batch.iter().map(|&sample| sample as f32).collect();
///     let count = rows.len();
///     Ok(Tensor::from_vec(rows, (count, 1, 1), &Device::Cpu)?)
/// })?;
/// assert_eq!(features.to_vec2::<f32>()?, [[0.], [1.], [2.], [3.], [4.]]);
/// # Ok::<(), hebbian_train::Error>(())
/// ```
///
/// # Errors
/// When there are no samples, `compute` fails, or a batch has a different number of rows or features than
/// expected.
pub fn collect_features(
    batches: Batches,
    device: &Device,
    mut compute: impl FnMut(&[usize]) -> Result<Tensor>,
) -> Result<Tensor> {
    let (count, mut start) = (batches.images(), 0);
    let mut all: Option<Tensor> = None;
    for batch in batches {
        let rows = compute(&batch)?.detach().flatten_from(1)?.to_device(device)?;
        if rows.dim(0)? != batch.len() {
            return Err(Error::Argument(format!(
                "the features of {} samples have {} rows, expected one each",
                batch.len(),
                rows.dim(0)?,
            )));
        }
        let all = match &mut all {
            Some(all) => all,
            None => all.insert(Tensor::zeros((count, rows.dim(1)?), rows.dtype(), device)?),
        };
        all.slice_set(&rows.contiguous()?, 0, start)?;
        start += batch.len();
    }
    all.ok_or_else(|| Error::Argument("there are no samples to compute features of".to_string()))
}
