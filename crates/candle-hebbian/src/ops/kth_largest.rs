use super::backend::has_kernels;
use super::host::on_host;
use super::nan::over_nan_rows;
use super::widen::widened;
use crate::cpu::{self, Real, RowKernel, holds_nan, maximum, slice, with_real};
use crate::memory::filled_rows;
use candle::{CpuStorage, CustomOp1, D, Device, Layout, Result, Shape, Tensor};
use std::cmp::Ordering;

/// Returns the `k`-th largest value along the last dimension, from `(…, K)` to `(…, 1)`. `k` starts at 1, and equal
/// values are counted separately. Carries no gradient. NaN for a row that holds a NaN.
///
/// ```
/// use candle::{Device, Tensor};
/// let u = Tensor::new(&[[1f64, 5.0, 5.0, 3.0]], &Device::Cpu)?;
/// let second = candle_hebbian::ops::kth_largest(&u, 2)?;
/// assert_eq!(second.to_vec2::<f64>()?, [[5.0]]);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// `k` outside `1..=K`.
pub fn kth_largest(u: &Tensor, k: usize) -> Result<Tensor> {
    let width = u.dim(D::Minus1)?;
    if k == 0 || k > width {
        candle::bail!("the k-th largest: k is {k}, expected 1 to {width}")
    }
    let u = u.detach();
    if u.elem_count() == 0 {
        return u.narrow(D::Minus1, 0, 1);
    }
    widened(&u.contiguous()?, |u| match has_kernels(u.device()) {
        true => u.apply_op1_no_bwd(&KthLargest(k)),
        false => over_nan_rows(u, |u| kth_sorted(u, k)),
    })
}

/// Returns 1 where `u (…, K)` is above the `k`-th largest value of its row, and 0 elsewhere, so there are fewer than
/// `k` ones in a row. Carries no gradient. NaN throughout for a row that holds a NaN.
///
/// ```
/// use candle::{Device, Tensor};
/// let u = Tensor::new(&[[1f64, 5.0, 4.0, 3.0]], &Device::Cpu)?;
/// let above = candle_hebbian::ops::above_kth_largest(&u, 3)?;
/// assert_eq!(above.to_vec2::<f64>()?, [[0.0, 1.0, 1.0, 0.0]]);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// `k` outside `1..=K`.
pub fn above_kth_largest(u: &Tensor, k: usize) -> Result<Tensor> {
    let width = u.dim(D::Minus1)?;
    if k == 0 || k > width {
        candle::bail!("above the k-th largest: k is {k}, expected 1 to {width}")
    }
    let u = u.detach();
    if u.elem_count() == 0 {
        return Ok(u);
    }
    widened(&u.contiguous()?, |u| match has_kernels(u.device()) {
        true => u.apply_op1_no_bwd(&AboveKthLargest(k)),
        false => over_nan_rows(u, |u| u.broadcast_gt(&kth_sorted(u, k)?)?.to_dtype(u.dtype())),
    })
}

/// [`kth_largest`] by candle's sort, for rows without NaN: where the sort puts NaN is arbitrary.
pub(crate) fn kth_sorted(u: &Tensor, k: usize) -> Result<Tensor> {
    kth_in_parts(u, k, widest_sort(u.device()))
}

/// The same by sorts of at most `widest` values: a value among the `k` largest of a row is among the `k` largest of its
/// part. A row is sorted on the CPU only if `k` is within half of `widest` of neither the top nor the bottom.
fn kth_in_parts(u: &Tensor, k: usize, widest: usize) -> Result<Tensor> {
    let width = u.dim(D::Minus1)?;
    let largest = |u: &Tensor, count: usize| {
        let (sorted, _) = u.contiguous()?.sort_last_dim(false)?;
        sorted.narrow(D::Minus1, 0, count)
    };
    let kth = |u: &Tensor| largest(u, k)?.narrow(D::Minus1, k - 1, 1)?.contiguous();
    if width <= widest {
        return kth(u);
    }
    let from_below = width + 1 - k;
    if from_below < k {
        return kth_in_parts(&u.neg()?, from_below, widest)?.neg();
    }
    if 2 * k > widest {
        return on_host("sort of wide rows", u, kth);
    }
    let parts = (0..width).step_by(widest).map(|start| {
        let length = widest.min(width - start);
        largest(&u.narrow(D::Minus1, start, length)?, k.min(length))
    });
    kth_in_parts(&Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, D::Minus1)?, k, widest)
}

/// The longest row that candle can sort on `device`: Metal takes a thread for each value, and CUDA keeps the indices of
/// a whole row in 48 KiB of shared memory. candle checks neither limit.
fn widest_sort(device: &Device) -> usize {
    match device {
        Device::Cpu => usize::MAX,
        Device::Cuda(_) => 8192,
        Device::Metal(_) => 1024,
    }
}

/// The `k`-th largest value of one row without NaN, for `k` from 1 to its length. `scratch` is a buffer to reuse.
#[inline(always)]
pub(crate) fn kth_selected<T: Real>(u: &[T], k: usize, scratch: &mut Vec<T>) -> T {
    if k == 1 {
        return maximum(u, |x| x);
    }
    scratch.clear();
    scratch.extend_from_slice(u);
    // A total order only because no value is NaN; std may panic on any other.
    let descending = |a: &T, b: &T| b.partial_cmp(a).unwrap_or(Ordering::Equal);
    *scratch.select_nth_unstable_by(k - 1, descending).1
}

struct KthLargest(usize);

impl CustomOp1 for KthLargest {
    fn name(&self) -> &'static str {
        "kth_largest"
    }

    fn cpu_fwd(&self, u: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut dims = layout.dims().to_vec();
        let Some(width) = dims.last_mut().map(|width| std::mem::replace(width, 1)) else {
            candle::bail!("the k-th largest: expected (…, K), found a scalar")
        };
        with_real!(u, "kth_largest", T => {
            let u = slice::<T>(u, layout)?;
            let (rows, kernel) = (dims.iter().product(), Rows { u, width, k: self.0 });
            let out = filled_rows("the k-th largest", (rows, 1), width, &kernel)?;
            Ok((cpu::owned(out), dims.into()))
        })
    }
}

struct AboveKthLargest(usize);

impl CustomOp1 for AboveKthLargest {
    fn name(&self) -> &'static str {
        "above_kth_largest"
    }

    fn cpu_fwd(&self, u: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some(&width) = layout.dims().last() else {
            candle::bail!("above the k-th largest: expected (…, K), found a scalar")
        };
        with_real!(u, "above_kth_largest", T => {
            let u = slice::<T>(u, layout)?;
            let kernel = Above { u, width, k: self.0 };
            let out = filled_rows("above the k-th largest", (u.len(), width), width, &kernel)?;
            Ok((cpu::owned(out), layout.shape().clone()))
        })
    }
}

struct Above<'a, T> {
    u: &'a [T],
    width: usize,
    k: usize,
}

impl<T: Real> RowKernel<T> for Above<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        let mut scratch = Vec::new();
        for (i, out) in block.chunks_exact_mut(self.width).enumerate() {
            let u = &self.u[(first + i) * self.width..][..self.width];
            if holds_nan(u) {
                out.fill(T::nan());
            } else {
                let kth = kth_selected(u, self.k, &mut scratch);
                for (out, &u) in out.iter_mut().zip(u) {
                    *out = if u > kth { T::one() } else { T::zero() };
                }
            }
        }
    }
}

struct Rows<'a, T> {
    u: &'a [T],
    width: usize,
    k: usize,
}

impl<T: Real> RowKernel<T> for Rows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        let mut scratch = Vec::new();
        for (i, out) in block.iter_mut().enumerate() {
            let u = &self.u[(first + i) * self.width..][..self.width];
            *out = if holds_nan(u) { T::nan() } else { kth_selected(u, self.k, &mut scratch) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use candle::DType;

    /// Kernel and composition match the definition, with equal values, and with a NaN in the last row.
    #[test]
    fn above_is_what_is_larger() -> Result<()> {
        let u = Rng::new(8).uniform(-3.0, 3.0, (20, 23), DType::F32, &Device::Cpu)?.round()?;
        let mut nan = vec![1f32; 23];
        nan[5] = f32::NAN;
        let u = Tensor::cat(&[u, Tensor::from_vec(nan, (1, 23), &Device::Cpu)?], 0)?;
        for k in [1, 2, 11, 23] {
            let above = || above_kth_largest(&u, k)?.to_vec2::<f32>();
            for found in [above()?, super::super::composed(above)?] {
                assert!(found[20].iter().all(|found| found.is_nan()));
                for (row, found) in u.to_vec2::<f32>()?[..20].iter().zip(found) {
                    let mut sorted = row.clone();
                    sorted.sort_by(|a, b| b.total_cmp(a));
                    let want: Vec<f32> =
                        row.iter().map(|u| f32::from(u8::from(*u > sorted[k - 1]))).collect();
                    assert_eq!(found, want, "{k}");
                }
            }
        }
        Ok(())
    }

    /// Nothing is asked of a device where there are no rows.
    #[test]
    fn of_no_rows() -> Result<()> {
        let nothing = Tensor::zeros((2, 0, 5), DType::F32, &Device::Cpu)?;
        assert_eq!(above_kth_largest(&nothing, 2)?.id(), nothing.id());
        assert_eq!(kth_largest(&nothing, 2)?.dims(), [2, 0, 1]);
        Ok(())
    }

    /// With sorts of at most eight values: from the top, from the bottom, and on the host in between.
    #[test]
    fn parts_of_a_row_have_its_kth_largest() -> Result<()> {
        let u = Rng::new(9).uniform(-3.0, 3.0, (3, 37), DType::F32, &Device::Cpu)?;
        let rows = u.to_vec2::<f32>()?;
        for k in 1..=37 {
            let found = kth_in_parts(&u, k, 8)?.flatten_all()?.to_vec1::<f32>()?;
            for (row, found) in rows.iter().zip(found) {
                let mut row = row.clone();
                row.sort_by(|a, b| b.total_cmp(a));
                assert_eq!(found, row[k - 1], "{k}");
            }
        }
        Ok(())
    }

    /// Values on a coarse grid, so that some are equal: fewer than `k` are larger than the `k`-th largest, and at least
    /// `k` are as large.
    #[test]
    fn kth_by_counting() -> Result<()> {
        let u = Rng::new(8).uniform(-3.0, 3.0, (4, 5, 23), DType::F32, &Device::Cpu)?.round()?;
        for k in [1, 2, 11, 23] {
            for kth in [kth_largest(&u, k)?, super::super::composed(|| kth_largest(&u, k))?] {
                assert_eq!(kth.dims(), [4, 5, 1]);
                let (u, kth) = (u.flatten_to(1)?.to_vec2::<f32>()?, kth.flatten_all()?);
                for (u, kth) in u.iter().zip(kth.to_vec1::<f32>()?) {
                    assert!(u.iter().filter(|&&u| u > kth).count() < k, "{k}: {kth} of {u:?}");
                    assert!(u.iter().filter(|&&u| u >= kth).count() >= k, "{k}: {kth} of {u:?}");
                }
            }
        }
        Ok(())
    }
}
