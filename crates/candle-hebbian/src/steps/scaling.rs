//! The pass that scales the weights of each unit to norm 1.

use super::place::Place;
use crate::cpu::{Real, RowKernel, for_row_blocks, sum, with_real};
use crate::ops::{has_kernels, squared_norms};
use candle::{CpuStorage, InplaceOp1, Layout, Result};

/// Keeps a unit whose weights are all 0 at 0.
const TINY: f64 = 1e-10;

/// Imposes the constraint in a pass of its own.
pub(super) fn unit_norm(place: &mut Place) -> Result<()> {
    let weight = place.weight();
    if has_kernels(weight.device()) {
        return weight.inplace_op1(&ToUnitNorm);
    }
    let norms = (squared_norms(weight)?.sqrt()? + TINY)?.unsqueeze(2)?;
    let norms = (&norms + norms.affine(0.0, 0.0)?)?; // 0·∞ is NaN, see `to_unit_norm`
    let scaled = weight.broadcast_div(&norms)?;
    place.write(&scaled)
}

struct ToUnitNorm;

impl InplaceOp1 for ToUnitNorm {
    fn name(&self) -> &'static str {
        "unit_norm"
    }

    fn cpu_fwd(&self, weight: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (_, _, fan_in) = layout.shape().dims3()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle::bail!("unit norm: the variable is not contiguous")
        };
        with_real!(weight, "unit_norm", T => {
            let weight = &mut T::storage_mut(weight)?[start..end];
            for_row_blocks(weight, fan_in, fan_in, &Rows { fan_in });
            Ok(())
        })
    }
}

struct Rows {
    fan_in: usize,
}

impl<T: Real> RowKernel<T> for Rows {
    #[inline(always)]
    fn run(&self, _: usize, block: &mut [T]) {
        block.chunks_exact_mut(self.fan_in).for_each(to_unit_norm);
    }
}

/// Scales one unit. If the sum of the squares is infinite, finite weights divided by it would be 0 without a notice, so
/// they become NaN.
#[inline(always)]
pub(super) fn to_unit_norm<T: Real>(weight: &mut [T]) {
    let norm = sum(weight, |w| w * w).sqrt() + T::of(TINY);
    let norm = if norm.is_infinite() { T::nan() } else { norm };
    for w in weight {
        *w /= norm;
    }
}
