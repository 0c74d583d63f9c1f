//! Rows that hold a NaN.

use super::backend::has_kernels;
use crate::cpu::{holds_nan, rows_per_block, slice, with_real};
use candle::{D, DType, Result, Storage, Tensor};
use rayon::prelude::*;

/// Applies `op` to the contiguous rows `u (…, K)`, and returns NaN for everything that it computes
/// from a row that holds a NaN. `op` sees such a row as zeros, since candle's sort, maximum and
/// comparisons lose NaN.
pub(crate) fn over_nan_rows(
    u: &Tensor,
    op: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    if has_kernels(u.device()) && !any(u)? {
        return op(u);
    }
    let count = u.ne(u)?.to_dtype(DType::F32)?.sum_keepdim(D::Minus1)?;
    let holds = count.gt(0.0)?;
    let seen = holds.broadcast_as(u.shape())?.where_cond(&u.zeros_like()?, u)?;
    let out = op(&seen)?;
    holds.broadcast_as(out.shape())?.where_cond(&out.affine(0.0, f64::NAN)?, &out)
}

/// Whether a tensor on the CPU holds a NaN anywhere. This takes one pass; the masks take five.
fn any(u: &Tensor) -> Result<bool> {
    let (storage, layout) = u.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { return Ok(true) };
    with_real!(storage, "a search for NaN", T => {
        Ok(slice::<T>(storage, layout)?.par_chunks(rows_per_block(1)).any(holds_nan))
    })
}
