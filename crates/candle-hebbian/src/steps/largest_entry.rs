//! Steps of a known size.

use super::descent::Descent;
use super::part::{Dependence, Part};
use crate::cpu::{self, Real, RowKernel, fold, for_row_blocks, slice, with_real};
use crate::ops::has_kernels;
use candle::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// Divides the direction of every site (the layer, a channel group, or a position) by its largest
/// entry: `u ← u / (max|u| + 1e-30)`, so that the largest entry of the step is the learning rate.
///
/// The step does not change when the gradient is scaled, so sums and means over a batch give the
/// same step. A NaN makes the whole site NaN.
///
/// Source: the released code of Journé et al. 2023 (`delta_weight`); it is not in the paper's Eq. 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargestEntry;

impl Part for LargestEntry {
    fn dependence(&self) -> Dependence {
        Dependence::None
    }

    fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
        descent.divide(&(largest_entries(&descent.direction()?)? + 1e-30)?)
    }
}

/// `max|u|` of every site, `(S, K, F)` to `(S, 1)`: 0 for an empty site, NaN if the site has a NaN.
pub(crate) fn largest_entries(direction: &Tensor) -> Result<Tensor> {
    if has_kernels(direction.device()) {
        return direction.contiguous()?.apply_op1_no_bwd(&Largest);
    }
    composed(direction)
}

/// The same by candle's own ops, for devices without a kernel in this crate.
fn composed(direction: &Tensor) -> Result<Tensor> {
    let sites = direction.dim(0)?;
    if direction.elem_count() == 0 {
        return Tensor::zeros((sites, 1), direction.dtype(), direction.device());
    }
    let entries = direction.flatten_from(1)?;
    let largest = entries.abs()?.max_keepdim(1)?;
    // candle's maximum ignores NaN.
    let is_nan = entries.ne(&entries)?.max_keepdim(1)?;
    is_nan.where_cond(&largest.affine(0.0, f64::NAN)?, &largest)
}

/// The number of entries over which one maximum of the first round is taken.
const CHUNK: usize = 1 << 14;

struct Largest;

impl CustomOp1 for Largest {
    fn name(&self) -> &'static str {
        "largest_entry"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (sites, units, fan_in) = layout.shape().dims3()?;
        with_real!(storage, "largest_entry", T => {
            let entries = slice::<T>(storage, layout)?;
            let site = units * fan_in;
            let chunks = site.div_ceil(CHUNK);
            let mut partial = vec![0 as T; sites * chunks];
            for_row_blocks(&mut partial, 1, CHUNK, &Chunks { entries, site, chunks });
            let mut out = vec![0 as T; sites];
            for (out, partial) in out.iter_mut().zip(partial.chunks(chunks.max(1))) {
                *out = partial.iter().fold(0 as T, |a, &b| larger(a, b));
            }
            Ok((cpu::owned(out), (sites, 1).into()))
        })
    }
}

struct Chunks<'a, T> {
    entries: &'a [T],
    site: usize,
    chunks: usize,
}

impl<T: Real> RowKernel<T> for Chunks<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        for (i, out) in block.iter_mut().enumerate() {
            let (site, chunk) = ((first + i) / self.chunks, (first + i) % self.chunks);
            let entries = &self.entries[site * self.site..][..self.site];
            let entries = &entries[chunk * CHUNK..entries.len().min((chunk + 1) * CHUNK)];
            *out = fold(entries, T::zero(), |x| x.abs(), larger);
        }
    }
}

/// The larger of two values, or NaN if either is NaN.
#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if b <= a || a.is_nan() { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use candle::{DType, Device};

    /// Compares both with a search by the definition, for sites larger and smaller than a chunk.
    #[test]
    fn kernel_and_composition_are_the_definition() -> Result<()> {
        let mut rng = Rng::new(23);
        for (sites, units, fan_in) in [(1, 3, 7), (3, 2, 1), (2, 20, 1000), (1, 2, CHUNK)] {
            let x = rng.normal(0.0, 1.0, (sites, units, fan_in), DType::F64, &Device::Cpu)?;
            let values = x.flatten_all()?.to_vec1::<f64>()?;
            let want: Vec<f64> = values
                .chunks(units * fan_in)
                .map(|site| site.iter().fold(0f64, |most, x| most.max(x.abs())))
                .collect();
            for got in [largest_entries(&x)?, composed(&x)?] {
                assert_eq!(got.dims(), [sites, 1]);
                assert_eq!(got.flatten_all()?.to_vec1::<f64>()?, want);
            }
        }
        Ok(())
    }

    #[test]
    fn a_nan_is_the_largest_of_its_site() -> Result<()> {
        let infinity = f32::INFINITY;
        for at in [0, 5, 17, 39] {
            let mut values = [1f32; 80];
            (values[at], values[41]) = (f32::NAN, -infinity);
            let x = Tensor::new(&values, &Device::Cpu)?.reshape((2, 4, 10))?;
            for got in [largest_entries(&x)?, composed(&x)?] {
                let got = got.flatten_all()?.to_vec1::<f32>()?;
                assert!(got[0].is_nan() && got[1] == infinity, "{got:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn of_nothing_it_is_zero() -> Result<()> {
        let x = Tensor::zeros((2, 0, 3), DType::F32, &Device::Cpu)?;
        for got in [largest_entries(&x)?, composed(&x)?] {
            assert_eq!(got.to_vec2::<f32>()?, [[0.0], [0.0]]);
        }
        Ok(())
    }
}
