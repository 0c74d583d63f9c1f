//! What the competitions share: the conversion of a tensor into rows and back.

use crate::cpu::{self, Real, RowKernel, holds_nan, slice, with_real};
use crate::memory::filled_rows;
use crate::ops::widen::{expect_real, widened};
use crate::ops::{has_kernels, over_nan_rows};
use candle::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

/// Applies `compete` to the response `u (…, K)`, for a competition that is made of candle's ops.
///
/// `compete` receives `u` without its graph, contiguous, in f32 or f64 (f16 and bf16 are rounded
/// once, at the end), with at least one row and without NaN: a row that holds a NaN is replaced by
/// zeros, and its result is NaN for all units. `compete` has to return a tensor of the same shape.
///
/// # Errors
/// No units; a result of another shape.
pub fn over_rows(u: &Tensor, compete: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    units(u)?;
    prepared(u, |u| {
        let y = over_nan_rows(u, compete)?;
        if y.shape() != u.shape() {
            candle::bail!(
                "competition: an activity of {:?}, expected {:?}, the shape of the response",
                y.dims(),
                u.dims()
            )
        }
        Ok(y.detach())
    })
}

/// A competition with a kernel for the CPU and a composition of candle's ops for other devices.
pub(super) trait Rows: Send + Sync {
    /// Checks that the parameters fit this number of units.
    fn check(&self, units: usize) -> Result<()>;

    /// Writes `y` for the response `u` of one row, in which there is no NaN. `scratch` is a buffer
    /// to reuse.
    fn row<T: Real>(&self, u: &[T], y: &mut [T], scratch: &mut Vec<T>);

    /// The same for the rows of a tensor, by candle's ops.
    fn composed(&self, u: &Tensor) -> Result<Tensor>;
}

/// Computes `y` for the response `u`, by the kernel or the composition, whichever its device has.
pub(super) fn compete(competition: &impl Rows, u: &Tensor) -> Result<Tensor> {
    competition.check(units(u)?)?;
    prepared(u, |u| match has_kernels(u.device()) {
        true => u.apply_op1_no_bwd(&Kernel(competition)),
        false => over_nan_rows(u, |u| competition.composed(u)),
    })
}

/// How many units compete for the response `u`.
pub(super) fn units(u: &Tensor) -> Result<usize> {
    expect_real(u)?;
    match u.dim(D::Minus1)? {
        0 => candle::bail!("competition: there are no units to compete in {:?}", u.dims()),
        units => Ok(units),
    }
}

fn prepared(u: &Tensor, op: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let u = u.detach();
    if u.elem_count() == 0 {
        return Ok(u);
    }
    widened(&u, |u| op(&u.contiguous()?))
}

struct Kernel<'a, C>(&'a C);

impl<C: Rows> CustomOp1 for Kernel<'_, C> {
    fn name(&self) -> &'static str {
        "competition"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = layout.shape();
        let units = shape.dims().last().copied().unwrap_or(1);
        with_real!(storage, "competition", T => {
            let u = slice::<T>(storage, layout)?;
            let block = Block { competition: self.0, u, units };
            let out = filled_rows("activity", (u.len(), units), units, &block)?;
            Ok((cpu::owned(out), shape.clone()))
        })
    }
}

struct Block<'a, C, T> {
    competition: &'a C,
    u: &'a [T],
    units: usize,
}

impl<C: Rows, T: Real> RowKernel<T> for Block<'_, C, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        let mut scratch = Vec::new();
        for (i, y) in block.chunks_exact_mut(self.units).enumerate() {
            let u = &self.u[(first + i) * self.units..][..self.units];
            if holds_nan(u) {
                y.fill(T::nan());
            } else {
                self.competition.row(u, y, &mut scratch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Competition, HardWta, KWta, RankedWta, SoftWta, SoftWtaAntiHebbian};
    use super::*;
    use crate::Rng;
    use crate::largest::largest;
    use crate::ops::composed;
    use candle::{DType, Device};

    /// Kernels and compositions agree, also for equal values.
    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let u = Rng::new(1).normal(0.0, 3.0, (2, 37, 19), DType::F64, &Device::Cpu)?;
        let competitions: [&dyn Competition; 10] = [
            &HardWta,
            &KWta::binary(1),
            &KWta::binary(3),
            &KWta::graded(19),
            &SoftWta { inverse_temperature: 1.3 },
            &SoftWta { inverse_temperature: -0.4 },
            &SoftWtaAntiHebbian { inverse_temperature: 0.7 },
            &RankedWta { k: 2, delta: 0.4 },
            &RankedWta { k: 7, delta: 0.25 },
            &RankedWta { k: 19, delta: -1.5 },
        ];
        for competition in competitions {
            for u in [&u, &u.round()?, &u.zeros_like()?] {
                let (kernel, ops) = (competition.compete(u)?, composed(|| competition.compete(u))?);
                let largest = largest(&(kernel - ops)?)?;
                assert!(largest < 1e-12, "{competition:?}: {largest}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_result_of_another_shape_is_refused() -> Result<()> {
        let u = Tensor::ones((4, 3), DType::F32, &Device::Cpu)?;
        let error = over_rows(&u, |u| u.narrow(1, 0, 2)).expect_err("another shape").to_string();
        assert!(error.contains("[4, 2]") && error.contains("[4, 3]"), "{error}");
        Ok(())
    }
}
