//! Convolutions as products of windows by the matrix unit or vectors of bf16, if there are any and they pay. Windows
//! are packed in tiles directly from the padded images.

use super::correlation::Correlation;
use crate::cpu::Real;
use crate::memory::{clear, filled};
use crate::ops::factor::{Entries, Factor, Windows};
use crate::ops::matrix::Matrix;
use crate::ops::tiles;
use candle::Result;
use rayon::prelude::*;
use std::ops::Range;

/// About this many positions go through one product.
const POSITIONS: usize = 4096;

impl Correlation {
    fn positions(&self) -> usize {
        self.out.0 * self.out.1
    }

    /// Whether windows cover all channels and consist of stretches whose length is a multiple of `count`, so that they
    /// can be read without being copied first.
    fn suits(&self, count: usize) -> bool {
        self.groups == 1 && self.runs().1.is_multiple_of(count)
    }

    /// How many positions of `batch` images go through one product.
    fn together(&self, batch: usize) -> usize {
        (batch * self.positions()).min(POSITIONS)
    }

    /// Whether a product of these sizes pays. Vectors of bf16 are slower than [filtering](super::winograd).
    fn pays<T: Real>(&self, sizes: [usize; 3]) -> bool {
        tiles::pays::<T>(sizes) && (tiles::has_unit() || !self.suits_tiles::<T>())
    }

    /// Whether it pays to compute the responses to `batch` images as products.
    pub(super) fn suits_a_product<T: Real>(&self, batch: usize) -> bool {
        self.suits(32) && self.pays::<T>([self.together(batch), self.units, self.depth()])
    }

    /// Calls `multiply` with the positions and windows of a few images at a time, until it fails or all images are
    /// done, and returns whether it always succeeded. `image` is the length of a padded image, and `pad` writes it over
    /// zeros.
    fn in_windows<T: Real>(
        &self,
        batch: usize,
        (image, pad): (usize, impl Fn(usize, &mut [T]) + Sync),
        mut multiply: impl FnMut(Range<usize>, &Windows<T>) -> bool,
    ) -> Result<bool> {
        let (starts, length) = self.runs();
        let starts: Vec<usize> = starts.collect();
        let line = self.stride.0 * self.width * self.channels;
        let (positions, together) = (self.positions(), (POSITIONS / self.positions()).max(1));
        for first in (0..batch).step_by(together) {
            let count = together.min(batch - first);
            let images = filled("padded images", &[count, image], image, |b, padded| {
                pad(first + b, padded);
                Ok(())
            })?;
            let windows = Windows {
                images: &images,
                image,
                out: self.out,
                step: (line, self.stride.1 * self.channels),
                starts: starts.clone(),
                length,
            };
            if !multiply(first * positions..(first + count) * positions, &windows) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// As [`many::respond`](super::many::respond); `None` if this does not pay, or if there are values that bf16 cannot
/// hold.
///
/// # Errors
/// If there is not enough memory.
pub(super) fn respond<T: Real>(
    correlation: &Correlation,
    batch: usize,
    value: impl Fn(usize, usize, usize, usize) -> T + Sync,
    padded: (usize, impl Fn(usize, &mut [T]) + Sync),
) -> Result<Option<Vec<T>>> {
    let (units, depth) = (correlation.units, correlation.depth());
    let (positions, kw) = (correlation.positions(), correlation.kernel.1);
    if !correlation.suits_a_product::<T>(batch) {
        return Ok(None);
    }
    let channels = correlation.channels;
    let weight = filled("weights", &[units, depth], depth, |unit, weight| {
        for (tap, weight) in weight.chunks_exact_mut(channels).enumerate() {
            for (c, weight) in weight.iter_mut().enumerate() {
                *weight = value(unit, c, tap / kw, tap % kw);
            }
        }
        Ok(())
    })?;
    let right = Factor::rows(Matrix::rows(&weight, depth), units, depth);
    let mut out = filled("response", &[batch, positions, units], positions * units, |_, _| Ok(()))?;
    let whole = correlation.in_windows(batch, padded, |at, windows| {
        let entries = Entries::Windows(windows);
        let left = Factor { entries, lines: at.len(), depth, scale: T::one() };
        tiles::product(left, right, false, &mut out[at.start * units..at.end * units]) == depth
    })?;
    Ok(whole.then_some(out))
}

/// As [`many::correlate`](super::many::correlate); otherwise like [`respond`].
///
/// # Errors
/// If there is not enough memory.
pub(super) fn correlate<T: Real>(
    correlation: &Correlation,
    batch: usize,
    grad: &[T],
    padded: (usize, impl Fn(usize, &mut [T]) + Sync),
) -> Result<Option<Vec<T>>> {
    let (units, depth) = (correlation.units, correlation.depth());
    let sizes = [units, depth, correlation.together(batch)];
    if !correlation.suits(16) || !correlation.pays::<T>(sizes) {
        return Ok(None);
    }
    let mut sum = Vec::new();
    clear("gradient of the weights", &mut sum, units * depth)?;
    let whole = correlation.in_windows(batch, padded, |at, windows| {
        let grad = Matrix::rows(&grad[at.start * units..at.end * units], units);
        let left = Factor::rows(grad.t(), units, at.len());
        let entries = Entries::TurnedWindows(windows);
        let right = Factor { entries, lines: depth, depth: at.len(), scale: T::one() };
        tiles::product(left, right, at.start > 0, &mut sum) == at.len()
    })?;
    if !whole {
        return Ok(None);
    }
    let taps = correlation.kernel.0 * correlation.kernel.1;
    let mut turned = Vec::new();
    clear("gradient of the weights", &mut turned, units * depth)?;
    turned.par_chunks_exact_mut(depth).zip(sum.par_chunks_exact(depth)).for_each(|(out, sum)| {
        for (c, out) in out.chunks_exact_mut(taps).enumerate() {
            for (tap, out) in out.iter_mut().enumerate() {
                *out = sum[tap * correlation.channels + c];
            }
        }
    });
    Ok(Some(turned))
}
