//! The pass that moves weights.

use super::descent::Scale;
use super::place::Place;
use super::scaling::{to_unit_norm, unit_norm};
use crate::cpu::{Real, RowKernel, for_row_blocks, slice, with_real};
use crate::ops::has_kernels;
use candle::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

/// `w_k ← keep·w_k − scale_k·u_k`, then scaled to norm 1 if `unit_norm`.
pub(super) struct Descend {
    pub(super) scale: Scale,
    pub(super) keep: f64,
    pub(super) unit_norm: bool,
}

impl Descend {
    /// Moves the weights down `direction (S, K, F)`.
    pub(super) fn run(&self, place: &mut Place, direction: &Tensor) -> Result<()> {
        if has_kernels(direction.device()) {
            return place.weight().inplace_op2(&place.apart(direction)?, self);
        }
        let moved = self.composed(place.weight(), direction)?;
        place.write(&moved)?;
        if self.unit_norm { unit_norm(place) } else { Ok(()) }
    }

    /// The same move by candle's own ops, for devices without a kernel in this crate.
    fn composed(&self, weight: &Tensor, direction: &Tensor) -> Result<Tensor> {
        let change = match &self.scale {
            Scale::Whole(rate) => direction * *rate,
            Scale::Units(scale) => direction.broadcast_mul(&scale.unsqueeze(2)?),
        }?;
        if self.keep == 1.0 { weight - change } else { (weight * self.keep)? - change }
    }
}

impl InplaceOp2 for Descend {
    fn name(&self) -> &'static str {
        "steps"
    }

    fn cpu_fwd(
        &self,
        weight: &mut CpuStorage,
        weight_layout: &Layout,
        direction: &CpuStorage,
        direction_layout: &Layout,
    ) -> Result<()> {
        let (sites, units, fan_in) = weight_layout.shape().dims3()?;
        let Some((start, end)) = weight_layout.contiguous_offsets() else {
            candle::bail!("steps: the variable is not contiguous")
        };
        with_real!(weight, "steps", T => {
            let direction = slice::<T>(direction, direction_layout)?;
            let weight = &mut T::storage_mut(weight)?[start..end];
            let keep = self.keep as T;
            let scale = match &self.scale {
                Scale::Whole(rate) if !self.unit_norm => {
                    let kernel = Entries { direction, scale: *rate as T, keep };
                    for_row_blocks(weight, 1, 1, &kernel);
                    return Ok(());
                }
                Scale::Whole(rate) => vec![*rate as T; sites * units],
                Scale::Units(scale) => scale.flatten_all()?.to_vec1::<T>()?,
            };
            let kernel =
                Units { direction, scale: &scale, keep, unit_norm: self.unit_norm, fan_in };
            for_row_blocks(weight, fan_in, fan_in, &kernel);
            Ok(())
        })
    }
}

#[inline(always)]
fn descend<T: Real>(weight: &mut [T], direction: &[T], scale: T, keep: T) {
    if keep == T::one() {
        for (w, &u) in weight.iter_mut().zip(direction) {
            *w -= scale * u;
        }
    } else {
        for (w, &u) in weight.iter_mut().zip(direction) {
            *w = keep * *w - scale * u;
        }
    }
}

/// Moves all entries alike, in blocks that ignore units.
struct Entries<'a, T> {
    direction: &'a [T],
    scale: T,
    keep: T,
}

impl<T: Real> RowKernel<T> for Entries<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        descend(block, &self.direction[first..], self.scale, self.keep);
    }
}

/// Moves the weights unit by unit: a row is a unit.
struct Units<'a, T> {
    direction: &'a [T],
    scale: &'a [T],
    keep: T,
    unit_norm: bool,
    fan_in: usize,
}

impl<T: Real> RowKernel<T> for Units<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        for (i, weight) in block.chunks_exact_mut(self.fan_in).enumerate() {
            let unit = first + i;
            let direction = &self.direction[unit * self.fan_in..];
            descend(weight, direction, self.scale[unit], self.keep);
            if self.unit_norm {
                to_unit_norm(weight);
            }
        }
    }
}
