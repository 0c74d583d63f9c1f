//! The product of activities when few units are active, as after a k-winners-take-all.

use crate::cpu::{Real, RowKernel, for_row_blocks, rows_per_block, slice, vectorised, with_real};
use candle::{Result, Storage, Tensor};
use rayon::prelude::*;

/// Activity counts as dense if more than one value in this many is not 0: a product of two matrices is
/// faster then.
const SPARSE: usize = 16;

/// The values of `y (P, K)` that are not 0, unit by unit, in the order of rows.
pub(super) struct Active<T> {
    /// Where each unit's values start, followed by the number of all values.
    starts: Vec<usize>,
    rows: Vec<u32>,
    values: Vec<T>,
}

/// Whether so few of the values `y (…, K)`, which are contiguous, are not 0 that their product with rows is computed
/// from these alone.
pub(super) fn is_sparse(y: &Tensor) -> Result<bool> {
    let (storage, layout) = y.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { return Ok(false) };
    with_real!(storage, "a count of active units", T => {
        Ok(slice::<T>(storage, layout)?.par_chunks(rows_per_block(1)).all(|y| {
            let active = vectorised(|| count_active(y));
            active <= y.len() / SPARSE
        }))
    })
}

#[inline(always)]
fn count_active<T: Real>(y: &[T]) -> usize {
    y.iter().fold(0, |count, &y| count + usize::from(y != T::zero()))
}

impl<T: Real> Active<T> {
    /// Finds the active units of `y`, rows of `units` values, for a product with `x`, rows of `fan_in`
    /// values. `None` if too many are active, or if a row of `x` in which no unit is active holds a NaN
    /// or an infinity, since 0 times these is not 0.
    pub fn of(y: &[T], units: usize, x: &[T], fan_in: usize) -> Option<Self> {
        let step = rows_per_block(units);
        let blocks: Vec<_> = y
            .par_chunks(step * units.max(1))
            .enumerate()
            .map(|(block, y)| vectorised(|| active(y, block * step, units, x, fan_in)))
            .collect::<Option<_>>()?;
        let mut starts = vec![0; units + 1];
        for &(unit, ..) in blocks.iter().flatten() {
            starts[unit as usize + 1] += 1;
        }
        for unit in 0..units {
            starts[unit + 1] += starts[unit];
        }
        let mut next = starts.clone();
        let count = starts[units];
        let (mut rows, mut values) = (vec![0; count], vec![T::zero(); count]);
        for &(unit, row, value) in blocks.iter().flatten() {
            let at = &mut next[unit as usize];
            (rows[*at], values[*at]) = (row, value);
            *at += 1;
        }
        Some(Self { starts, rows, values })
    }

    /// Computes `out (K, F) += scale · yᵀ·x` for the rows `x (P, F)`, and returns whether the sum is
    /// finite. If it is not, `x` may hold a NaN or an infinity, which has to reach the inactive units
    /// too.
    pub fn add_product(&self, x: &[T], fan_in: usize, scale: T, out: &mut [T]) -> bool {
        let units = self.starts.len() - 1;
        let cost = fan_in * (1 + self.rows.len() / units.max(1));
        for_row_blocks(out, fan_in, cost, &Units { active: self, x, fan_in, scale });
        out.par_chunks(rows_per_block(1)).all(|out| vectorised(|| all_finite(out)))
    }
}

#[inline(always)]
fn all_finite<T: Real>(values: &[T]) -> bool {
    // Looks at all values, since an early exit would not vectorise.
    values.iter().fold(true, |all, x| all & x.is_finite())
}

/// The unit, row and value of each entry of `y` that is not 0, where the first row of `y` is row `first`;
/// `None` as for [`Active::of`].
#[inline(always)]
fn active<T: Real>(
    y: &[T],
    first: usize,
    units: usize,
    x: &[T],
    fan_in: usize,
) -> Option<Vec<(u32, u32, T)>> {
    let most = y.len() / SPARSE;
    let mut found = Vec::with_capacity(most);
    for (row, y) in y.chunks_exact(units.max(1)).enumerate() {
        let before = found.len();
        for (chunk, y) in y.chunks(16).enumerate() {
            if y.iter().fold(false, |any, &y| any | (y != T::zero())) {
                for (at, &value) in y.iter().enumerate().filter(|(_, y)| **y != T::zero()) {
                    found.push(((chunk * 16 + at) as u32, (first + row) as u32, value));
                }
            }
        }
        let idle = found.len() == before;
        if found.len() > most || (idle && !all_finite(&x[(first + row) * fan_in..][..fan_in])) {
            return None;
        }
    }
    Some(found)
}

struct Units<'a, T> {
    active: &'a Active<T>,
    x: &'a [T],
    fan_in: usize,
    scale: T,
}

impl<T: Real> RowKernel<T> for Units<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        let Active { starts, rows, values } = self.active;
        for (i, out) in block.chunks_exact_mut(self.fan_in).enumerate() {
            let span = starts[first + i]..starts[first + i + 1];
            for (&row, &value) in rows[span.clone()].iter().zip(&values[span]) {
                let factor = self.scale * value;
                let x = &self.x[row as usize * self.fan_in..][..self.fan_in];
                for (out, &x) in out.iter_mut().zip(x) {
                    *out += factor * x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One unit of 32 is active, in the first of two rows. A value that is not finite is found at once in
    /// the second row, and by the product in the first.
    #[test]
    fn what_is_not_finite_is_not_skipped() {
        let mut y = [0.0; 64];
        y[5] = 1.0;
        let finite = |x: &[f64]| {
            let mut out = [0.0; 64];
            Active::of(&y, 32, x, 2).map(|active| active.add_product(x, 2, 1.0, &mut out))
        };
        assert_eq!(finite(&[1.0, 2.0, 3.0, 4.0]), Some(true));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(finite(&[1.0, 2.0, 3.0, bad]), None, "{bad}");
            assert_eq!(finite(&[1.0, bad, 3.0, 4.0]), Some(false), "{bad}");
        }
    }
}
