//! The transforms of Winograd's filtering, in vectors of channels or units.

use super::super::correlation::Correlation;
use super::TILE;
use crate::cpu::Real;
use crate::ops::registers::lanes;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// The most values that a vector holds.
const MOST_LANES: usize = 16;

/// The vector that begins with entry `at`.
///
/// # Safety
/// All its values must be there.
#[inline(always)]
unsafe fn load<S: Simd, T: Real>(from: &[T], at: usize) -> T::Vector<S> {
    // SAFETY: ensured by the caller.
    unsafe { from.as_ptr().add(at).cast::<T::Vector<S>>().read_unaligned() }
}

/// Writes a vector from entry `at` on.
///
/// # Safety
/// There must be a place for each of its values.
#[inline(always)]
unsafe fn store<S: Simd, T: Real>(vector: T::Vector<S>, to: &mut [T], at: usize) {
    // SAFETY: ensured by the caller.
    unsafe { to.as_mut_ptr().add(at).cast::<T::Vector<S>>().write_unaligned(vector) }
}

/// A matrix of vectors, whose entries begin at `first` and lie `step` apart, line by line.
///
/// # Safety
/// All their values must be there.
#[inline(always)]
unsafe fn load_matrix<S: Simd, T: Real, const N: usize>(
    simd: S,
    from: &[T],
    first: usize,
    step: usize,
) -> [[T::Vector<S>; N]; N] {
    let mut matrix = [[T::splat(simd, T::zero()); N]; N];
    for (i, line) in matrix.iter_mut().enumerate() {
        for (j, entry) in line.iter_mut().enumerate() {
            // SAFETY: ensured by the caller.
            *entry = unsafe { load::<S, T>(from, first + (N * i + j) * step) };
        }
    }
    matrix
}

/// The inverse of [`load_matrix`].
///
/// # Safety
/// There must be places for all values.
#[inline(always)]
unsafe fn store_matrix<S: Simd, T: Real, const N: usize>(
    matrix: [[T::Vector<S>; N]; N],
    to: &mut [T],
    first: usize,
    step: usize,
) {
    for (i, line) in matrix.into_iter().enumerate() {
        for (j, entry) in line.into_iter().enumerate() {
            // SAFETY: ensured by the caller.
            unsafe { store::<S, T>(entry, to, first + (N * i + j) * step) };
        }
    }
}

/// The first `count` values of a vector.
///
/// # Panics
/// If it has fewer.
#[inline(always)]
fn values<S: Simd, T: Real>(vector: &T::Vector<S>, count: usize) -> &[T] {
    assert!(count <= lanes::<S, T>());
    // SAFETY: a vector consists of its values, and has so many.
    unsafe { std::slice::from_raw_parts((&raw const *vector).cast::<T>(), count) }
}

/// A transform of one axis of a tile.
trait Transform<const FROM: usize, const TO: usize> {
    fn apply<S: Simd, T: Real>(simd: S, from: [T::Vector<S>; FROM]) -> [T::Vector<S>; TO];

    /// Transforms the columns of a matrix and then its lines.
    #[inline(always)]
    fn both_ways<S: Simd, T: Real>(
        simd: S,
        from: [[T::Vector<S>; FROM]; FROM],
    ) -> [[T::Vector<S>; TO]; TO] {
        let zero = T::splat(simd, T::zero());
        let mut half = [[zero; FROM]; TO];
        for j in 0..FROM {
            let mut column = [zero; FROM];
            for (entry, line) in column.iter_mut().zip(&from) {
                *entry = line[j];
            }
            let column = Self::apply::<S, T>(simd, column);
            for (line, entry) in half.iter_mut().zip(column) {
                line[j] = entry;
            }
        }
        let mut out = [[zero; TO]; TO];
        for (out, line) in out.iter_mut().zip(half) {
            *out = Self::apply::<S, T>(simd, line);
        }
        out
    }
}

/// `Bᵀ·d`
struct OfInputs;

impl Transform<4, 4> for OfInputs {
    #[inline(always)]
    fn apply<S: Simd, T: Real>(simd: S, [a, b, c, d]: [T::Vector<S>; 4]) -> [T::Vector<S>; 4] {
        [T::minus(simd, a, c), T::plus(simd, b, c), T::minus(simd, c, b), T::minus(simd, b, d)]
    }
}

/// `G·g`
struct OfKernels;

impl Transform<3, 4> for OfKernels {
    #[inline(always)]
    fn apply<S: Simd, T: Real>(simd: S, [a, b, c]: [T::Vector<S>; 3]) -> [T::Vector<S>; 4] {
        let ends = half::<S, T>(simd, T::plus(simd, a, c));
        let middle = half::<S, T>(simd, b);
        [a, T::plus(simd, ends, middle), T::minus(simd, ends, middle), c]
    }
}

/// `Aᵀ·m`
struct OfProducts;

impl Transform<4, 2> for OfProducts {
    #[inline(always)]
    fn apply<S: Simd, T: Real>(simd: S, [a, b, c, d]: [T::Vector<S>; 4]) -> [T::Vector<S>; 2] {
        [T::plus(simd, a, T::plus(simd, b, c)), T::minus(simd, T::minus(simd, b, c), d)]
    }
}

/// `A·δ`
struct OfErrors;

impl Transform<2, 4> for OfErrors {
    #[inline(always)]
    fn apply<S: Simd, T: Real>(simd: S, [a, b]: [T::Vector<S>; 2]) -> [T::Vector<S>; 4] {
        let zero = T::splat(simd, T::zero());
        [a, T::plus(simd, a, b), T::minus(simd, a, b), T::minus(simd, zero, b)]
    }
}

/// `Gᵀ·s`
struct OfSums;

impl Transform<4, 3> for OfSums {
    #[inline(always)]
    fn apply<S: Simd, T: Real>(simd: S, [a, b, c, d]: [T::Vector<S>; 4]) -> [T::Vector<S>; 3] {
        let sum = half::<S, T>(simd, T::plus(simd, b, c));
        let difference = half::<S, T>(simd, T::minus(simd, b, c));
        [T::plus(simd, a, sum), difference, T::plus(simd, sum, d)]
    }
}

#[inline(always)]
fn half<S: Simd, T: Real>(simd: S, vector: T::Vector<S>) -> T::Vector<S> {
    T::multiply_add(simd, T::splat(simd, T::of(0.5)), vector, T::splat(simd, T::zero()))
}

/// Writes the transformed kernels `G·g·Gᵀ` of some units, `(16, C, width)`. Those of units that are not there are zeros.
pub(super) struct Kernels<'a, T, V> {
    /// Returns the weight of a unit, channel and tap.
    pub value: &'a V,
    pub channels: usize,
    pub units: Range<usize>,
    pub width: usize,
    pub out: &'a mut [T],
}

impl<T: Real, V: Fn(usize, usize, usize, usize) -> T> WithSimd for Kernels<'_, T, V> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { value, channels, units, width, out } = self;
        let lanes = lanes::<S, T>();
        assert!(lanes <= MOST_LANES && width.is_multiple_of(lanes));
        assert_eq!(out.len(), TILE * channels * width);
        for lane in (0..width).step_by(lanes) {
            let first = units.start + lane;
            let there = lanes.min(units.end.saturating_sub(first));
            for c in 0..channels {
                let mut taps = [[[T::zero(); MOST_LANES]; 3]; 3];
                for at in 0..there {
                    for (i, taps) in taps.iter_mut().enumerate() {
                        for (j, tap) in taps.iter_mut().enumerate() {
                            tap[at] = value(first + at, c, i, j);
                        }
                    }
                }
                let mut kernel = [[T::splat(simd, T::zero()); 3]; 3];
                for (kernel, taps) in kernel.iter_mut().zip(&taps) {
                    for (kernel, tap) in kernel.iter_mut().zip(taps) {
                        // SAFETY: a tap has room for the values of any vector, as asserted.
                        *kernel = unsafe { load::<S, T>(tap, 0) };
                    }
                }
                let kernel = OfKernels::both_ways::<S, T>(simd, kernel);
                // SAFETY: `out` has `width` places, a multiple of the lanes, for each entry and channel.
                unsafe { store_matrix::<S, T, 4>(kernel, out, c * width + lane, channels * width) };
            }
        }
    }
}

/// Writes the transforms `Bᵀ·d·B` of some tiles of padded images, `(16, tiles, step)`, where a step holds the channels,
/// followed by values that mean nothing. The last tiles read a pixel beyond the line or the image, which reaches only
/// responses that are not there.
pub(super) struct Inputs<'a, T> {
    pub correlation: &'a Correlation,
    pub padded: &'a [T],
    /// The length of a padded image.
    pub image: usize,
    pub tiles: Range<usize>,
    pub step: usize,
    pub out: &'a mut [T],
}

impl<T: Real> WithSimd for Inputs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { correlation, padded, image, tiles, step, out } = self;
        let (channels, line) = (correlation.channels, correlation.width * correlation.channels);
        let (count, lanes) = (tiles.len(), lanes::<S, T>());
        assert!(channels <= step && step.is_multiple_of(lanes));
        assert_eq!(out.len(), TILE * count * step);
        for (at, tile) in tiles.enumerate() {
            let (b, y, x) = correlation.place(tile);
            let first = b * image + y * line + x * channels;
            assert!(first + 3 * (line + channels) + step <= padded.len());
            for c in (0..step).step_by(lanes) {
                let mut seen = [[T::splat(simd, T::zero()); 4]; 4];
                for (i, seen) in seen.iter_mut().enumerate() {
                    for (j, seen) in seen.iter_mut().enumerate() {
                        // SAFETY: the last place that is read is in bounds, as asserted.
                        *seen =
                            unsafe { load::<S, T>(padded, first + i * line + j * channels + c) };
                    }
                }
                let seen = OfInputs::both_ways::<S, T>(simd, seen);
                // SAFETY: `out` has a step, a multiple of the lanes, for each entry and tile.
                unsafe { store_matrix::<S, T, 4>(seen, out, at * step + c, count * step) };
            }
        }
    }
}

/// Writes the responses `Aᵀ·m·A` of some units at some tiles from the products `m (16, tiles, width)`, and returns
/// whether all are finite.
pub(super) struct Responses<'a, T> {
    pub correlation: &'a Correlation,
    pub products: &'a [T],
    pub width: usize,
    pub tiles: Range<usize>,
    pub units: Range<usize>,
    pub out: &'a mut [T],
}

impl<T: Real> WithSimd for Responses<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self { correlation, products, width, tiles, units, out } = self;
        let (lines, columns) = correlation.out;
        let (count, lanes) = (tiles.len(), lanes::<S, T>());
        assert!(width.is_multiple_of(lanes) && units.len() <= width);
        assert_eq!(products.len(), TILE * count * width);
        let zero = T::splat(simd, T::zero());
        let mut nothing = zero;
        for (at, tile) in tiles.enumerate() {
            let (b, y, x) = correlation.place(tile);
            for lane in (0..units.len()).step_by(lanes) {
                // SAFETY: there are `width` products, a multiple of the lanes, for each entry and tile.
                let found = unsafe {
                    load_matrix::<S, T, 4>(simd, products, at * width + lane, count * width)
                };
                let found = OfProducts::both_ways::<S, T>(simd, found);
                let there = lanes.min(units.len() - lane);
                for (i, line) in found.iter().enumerate() {
                    for (j, vector) in line.iter().enumerate() {
                        if y + i >= lines || x + j >= columns {
                            continue;
                        }
                        nothing = T::multiply_add(simd, *vector, zero, nothing);
                        let place = ((b * lines + y + i) * columns + x + j) * correlation.units;
                        let out = &mut out[place + units.start + lane..][..there];
                        if there == lanes {
                            // SAFETY: the slice is as long as a vector.
                            unsafe { store::<S, T>(*vector, out, 0) };
                        } else {
                            out.copy_from_slice(values::<S, T>(vector, there));
                        }
                    }
                }
            }
        }
        is_nothing::<S, T>(nothing)
    }
}

/// Whether a sum of values times 0 is 0: whether all these values were finite.
#[inline(always)]
fn is_nothing<S: Simd, T: Real>(sum: T::Vector<S>) -> bool {
    values::<S, T>(&sum, lanes::<S, T>()).iter().all(|value| value.is_zero())
}

/// Writes line `line` of the transforms `A·δ·Aᵀ` of the gradients at some tiles, `(4, tiles, width)`. Responses and units
/// that are not there have a gradient of 0.
pub(super) struct Errors<'a, T> {
    pub correlation: &'a Correlation,
    pub grad: &'a [T],
    pub line: usize,
    pub width: usize,
    pub tiles: Range<usize>,
    pub units: Range<usize>,
    pub out: &'a mut [T],
}

impl<T: Real> WithSimd for Errors<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { correlation, grad, line, width, tiles, units, out } = self;
        let (lines, columns) = correlation.out;
        let (count, lanes) = (tiles.len(), lanes::<S, T>());
        assert!(lanes <= MOST_LANES && width.is_multiple_of(lanes));
        assert_eq!(out.len(), 4 * count * width);
        let zero = T::splat(simd, T::zero());
        for (at, tile) in tiles.enumerate() {
            let (b, y, x) = correlation.place(tile);
            for lane in (0..width).step_by(lanes) {
                let there = lanes.min(units.len().saturating_sub(lane));
                let mut seen = [[zero; 2]; 2];
                for (i, seen) in seen.iter_mut().enumerate() {
                    for (j, seen) in seen.iter_mut().enumerate() {
                        if y + i >= lines || x + j >= columns || there == 0 {
                            continue;
                        }
                        let place = ((b * lines + y + i) * columns + x + j) * correlation.units;
                        let grad = &grad[place + units.start + lane..][..there];
                        if there == lanes {
                            // SAFETY: the slice is as long as a vector.
                            *seen = unsafe { load::<S, T>(grad, 0) };
                        } else {
                            let mut some = [T::zero(); MOST_LANES];
                            some[..there].copy_from_slice(grad);
                            // SAFETY: it has room for the values of any vector, as asserted.
                            *seen = unsafe { load::<S, T>(&some, 0) };
                        }
                    }
                }
                let [[a, b], [c, d]] = seen;
                let left = OfErrors::apply::<S, T>(simd, [a, c])[line];
                let right = OfErrors::apply::<S, T>(simd, [b, d])[line];
                let transformed = OfErrors::apply::<S, T>(simd, [left, right]);
                for (j, vector) in transformed.into_iter().enumerate() {
                    // SAFETY: `out` has `width` places, a multiple of the lanes, for each of four entries and each tile.
                    unsafe { store::<S, T>(vector, out, (j * count + at) * width + lane) };
                }
            }
        }
    }
}

/// Writes the taps `Gᵀ·s·G` of some units, `(units, C, 3, 3)`, from the sums `s (16, C, width)`, and returns whether all
/// are finite.
pub(super) struct Taps<'a, T> {
    pub sums: &'a [T],
    pub channels: usize,
    pub width: usize,
    pub out: &'a mut [T],
}

impl<T: Real> WithSimd for Taps<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self { sums, channels, width, out } = self;
        let lanes = lanes::<S, T>();
        let units = out.len() / (9 * channels);
        assert!(width.is_multiple_of(lanes) && units <= width);
        assert_eq!(sums.len(), TILE * channels * width);
        let zero = T::splat(simd, T::zero());
        let mut nothing = zero;
        for lane in (0..units).step_by(lanes) {
            let there = lanes.min(units - lane);
            for c in 0..channels {
                // SAFETY: there are `width` sums, a multiple of the lanes, for each entry and channel.
                let sum = unsafe {
                    load_matrix::<S, T, 4>(simd, sums, c * width + lane, channels * width)
                };
                let taps = OfSums::both_ways::<S, T>(simd, sum);
                for (tap, vector) in taps.iter().flatten().enumerate() {
                    nothing = T::multiply_add(simd, *vector, zero, nothing);
                    for (at, &value) in values::<S, T>(vector, there).iter().enumerate() {
                        out[((lane + at) * channels + c) * 9 + tap] = value;
                    }
                }
            }
        }
        is_nothing::<S, T>(nothing)
    }
}
