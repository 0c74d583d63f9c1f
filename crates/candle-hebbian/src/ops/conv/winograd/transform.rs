//! The transforms of Winograd's filtering, in vectors of channels or units.

use super::super::correlation::Correlation;
use super::{OUT, SIDE, TILE};
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

/// The points 0, ±a, ±b and ∞ at which the polynomials of the transforms are evaluated. `a = 5/8` and `b = 3/2` have
/// smaller rounding errors than 1 and 2 (see the [module](super)).
const A: f64 = 0.625;
const B: f64 = 1.5;
const A2: f64 = A * A;
const B2: f64 = B * B;

/// The coefficients of Lagrange's interpolation, `1 / Π (p − pⱼ)` over all finite points `pⱼ` other than `p`: for 0,
/// for ±a, and for ±b.
const AT_ZERO: f64 = 1.0 / (A2 * B2);
const AT_A: f64 = 1.0 / (2.0 * A2 * (A2 - B2));
const AT_B: f64 = 1.0 / (2.0 * B2 * (B2 - A2));

/// `A`, whose line of a point `p` is `1, p, p², p³`.
const RESPONSES: [[f64; OUT]; SIDE] = [
    [1.0, 0.0, 0.0, 0.0],
    [1.0, A, A2, A2 * A],
    [1.0, -A, A2, -A2 * A],
    [1.0, B, B2, B2 * B],
    [1.0, -B, B2, -B2 * B],
    [0.0, 0.0, 0.0, 1.0],
];

/// `factor·a + b`
#[inline(always)]
fn add<S: Simd, T: Real>(simd: S, factor: f64, a: T::Vector<S>, b: T::Vector<S>) -> T::Vector<S> {
    T::multiply_add(simd, T::splat(simd, T::of(factor)), a, b)
}

/// `factor·a`
#[inline(always)]
fn times<S: Simd, T: Real>(simd: S, factor: f64, a: T::Vector<S>) -> T::Vector<S> {
    add::<S, T>(simd, factor, a, T::splat(simd, T::zero()))
}

/// `even + point·odd` and `even − point·odd`: a polynomial at a point and at its negative.
#[inline(always)]
fn at_both<S: Simd, T: Real>(
    simd: S,
    point: f64,
    odd: T::Vector<S>,
    even: T::Vector<S>,
) -> [T::Vector<S>; 2] {
    [add::<S, T>(simd, point, odd, even), add::<S, T>(simd, -point, odd, even)]
}

/// `a + b` and `a − b`
#[inline(always)]
fn even_odd<S: Simd, T: Real>(simd: S, a: T::Vector<S>, b: T::Vector<S>) -> [T::Vector<S>; 2] {
    [T::plus(simd, a, b), T::minus(simd, a, b)]
}

/// `Bᵀ·d`, whose line of a point are the coefficients of the product of `x − pⱼ` over all other finite points `pⱼ`.
struct OfInputs;

impl Transform<SIDE, SIDE> for OfInputs {
    #[inline(always)]
    fn apply<S: Simd, T: Real>(simd: S, d: [T::Vector<S>; SIDE]) -> [T::Vector<S>; SIDE] {
        let add = add::<S, T>;
        let first = add(simd, A2 * B2, d[0], add(simd, -A2 - B2, d[2], d[4]));
        let [a, minus_a] =
            at_both::<S, T>(simd, A, add(simd, -B2, d[1], d[3]), add(simd, -B2, d[2], d[4]));
        let [b, minus_b] =
            at_both::<S, T>(simd, B, add(simd, -A2, d[1], d[3]), add(simd, -A2, d[2], d[4]));
        let last = add(simd, A2 * B2, d[1], add(simd, -A2 - B2, d[3], d[5]));
        [first, a, minus_a, b, minus_b, last]
    }
}

/// `G·g`, whose line of a point `p` is `1, p, p²` times the coefficient of the interpolation.
struct OfKernels;

impl Transform<3, SIDE> for OfKernels {
    #[inline(always)]
    fn apply<S: Simd, T: Real>(simd: S, g: [T::Vector<S>; 3]) -> [T::Vector<S>; SIDE] {
        let (add, times) = (add::<S, T>, times::<S, T>);
        let even_a = times(simd, AT_A, add(simd, A2, g[2], g[0]));
        let even_b = times(simd, AT_B, add(simd, B2, g[2], g[0]));
        let [a, minus_a] = at_both::<S, T>(simd, A * AT_A, g[1], even_a);
        let [b, minus_b] = at_both::<S, T>(simd, B * AT_B, g[1], even_b);
        [times(simd, AT_ZERO, g[0]), a, minus_a, b, minus_b, g[2]]
    }
}

/// `Aᵀ·m`
struct OfProducts;

impl Transform<SIDE, OUT> for OfProducts {
    #[inline(always)]
    fn apply<S: Simd, T: Real>(simd: S, m: [T::Vector<S>; SIDE]) -> [T::Vector<S>; OUT] {
        let (add, times) = (add::<S, T>, times::<S, T>);
        let [even_a, odd_a] = even_odd::<S, T>(simd, m[1], m[2]);
        let [even_b, odd_b] = even_odd::<S, T>(simd, m[3], m[4]);
        [
            T::plus(simd, m[0], T::plus(simd, even_a, even_b)),
            add(simd, A, odd_a, times(simd, B, odd_b)),
            add(simd, A2, even_a, times(simd, B2, even_b)),
            add(simd, A2 * A, odd_a, add(simd, B2 * B, odd_b, m[5])),
        ]
    }
}

/// `A·δ`
struct OfErrors;

impl Transform<OUT, SIDE> for OfErrors {
    #[inline(always)]
    fn apply<S: Simd, T: Real>(simd: S, delta: [T::Vector<S>; OUT]) -> [T::Vector<S>; SIDE] {
        let (add, [first, second, third, last]) = (add::<S, T>, delta);
        let [a, minus_a] =
            at_both::<S, T>(simd, A, add(simd, A2, last, second), add(simd, A2, third, first));
        let [b, minus_b] =
            at_both::<S, T>(simd, B, add(simd, B2, last, second), add(simd, B2, third, first));
        [first, a, minus_a, b, minus_b, last]
    }
}

/// `Gᵀ·s`
struct OfSums;

impl Transform<SIDE, 3> for OfSums {
    #[inline(always)]
    fn apply<S: Simd, T: Real>(simd: S, s: [T::Vector<S>; SIDE]) -> [T::Vector<S>; 3] {
        let (add, times) = (add::<S, T>, times::<S, T>);
        let [even_a, odd_a] = even_odd::<S, T>(simd, s[1], s[2]);
        let [even_b, odd_b] = even_odd::<S, T>(simd, s[3], s[4]);
        let even = add(simd, AT_A, even_a, times(simd, AT_B, even_b));
        [
            add(simd, AT_ZERO, s[0], even),
            add(simd, A * AT_A, odd_a, times(simd, B * AT_B, odd_b)),
            add(simd, A2 * AT_A, even_a, add(simd, B2 * AT_B, even_b, s[5])),
        ]
    }
}

/// Writes the transformed kernels `G·g·Gᵀ` of some units, `(36, C, width)`. Those of units that are not there are
/// zeros.
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
                unsafe {
                    store_matrix::<S, T, SIDE>(kernel, out, c * width + lane, channels * width)
                };
            }
        }
    }
}

/// Writes the transforms `Bᵀ·d·B` of some tiles of padded images, `(36, tiles, step)`, where a step holds the channels,
/// followed by values that mean nothing. Places beyond the edge of an image are zeros.
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
        let (channels, row) = (correlation.channels, correlation.width * correlation.channels);
        let ((lines, columns), count) = (correlation.out, tiles.len());
        let vector = lanes::<S, T>();
        assert!(channels <= step && step.is_multiple_of(vector));
        assert_eq!(out.len(), TILE * count * step);
        for (at, tile) in tiles.enumerate() {
            let (b, y, x) = correlation.place(tile);
            let first = b * image + y * row + x * channels;
            let inside = (SIDE.min(lines + 2 - y), SIDE.min(columns + 2 - x));
            let last = first + (inside.0 - 1) * row + (inside.1 - 1) * channels;
            assert!(last + step <= padded.len());
            for c in (0..step).step_by(vector) {
                let mut seen = [[T::splat(simd, T::zero()); SIDE]; SIDE];
                for (i, seen) in seen.iter_mut().enumerate() {
                    for (j, seen) in seen.iter_mut().enumerate() {
                        if i < inside.0 && j < inside.1 {
                            // SAFETY: the last place that is read is in bounds, as asserted.
                            *seen =
                                unsafe { load::<S, T>(padded, first + i * row + j * channels + c) };
                        }
                    }
                }
                let seen = OfInputs::both_ways::<S, T>(simd, seen);
                // SAFETY: `out` has a step, a multiple of the lanes, for each entry and tile.
                unsafe { store_matrix::<S, T, SIDE>(seen, out, at * step + c, count * step) };
            }
        }
    }
}

/// Writes the responses `Aᵀ·m·A` of some units at some tiles from the products `m (36, tiles, width)`, and returns
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
                    load_matrix::<S, T, SIDE>(simd, products, at * width + lane, count * width)
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

/// Writes line `line` of the transforms `A·δ·Aᵀ` of the gradients at some tiles, `(6, tiles, width)`. Responses and
/// units that are not there have a gradient of 0.
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
        assert_eq!(out.len(), SIDE * count * width);
        let zero = T::splat(simd, T::zero());
        for (at, tile) in tiles.enumerate() {
            let (b, y, x) = correlation.place(tile);
            for lane in (0..width).step_by(lanes) {
                let there = lanes.min(units.len().saturating_sub(lane));
                let mut seen = [zero; OUT];
                for (i, &factor) in RESPONSES[line].iter().enumerate() {
                    for (j, seen) in seen.iter_mut().enumerate() {
                        if factor == 0.0 || y + i >= lines || x + j >= columns || there == 0 {
                            continue;
                        }
                        let place = ((b * lines + y + i) * columns + x + j) * correlation.units;
                        let grad = &grad[place + units.start + lane..][..there];
                        let error = if there == lanes {
                            // SAFETY: the slice is as long as a vector.
                            unsafe { load::<S, T>(grad, 0) }
                        } else {
                            let mut some = [T::zero(); MOST_LANES];
                            some[..there].copy_from_slice(grad);
                            // SAFETY: it has room for the values of any vector, as asserted.
                            unsafe { load::<S, T>(&some, 0) }
                        };
                        *seen = add::<S, T>(simd, factor, error, *seen);
                    }
                }
                let transformed = OfErrors::apply::<S, T>(simd, seen);
                for (j, vector) in transformed.into_iter().enumerate() {
                    // SAFETY: `out` has `width` places, a multiple of the lanes, for each of six entries and each tile.
                    unsafe { store::<S, T>(vector, out, (j * count + at) * width + lane) };
                }
            }
        }
    }
}

/// Writes the taps `Gᵀ·s·G` of some units, `(units, C, 3, 3)`, from the sums `s (36, C, width)`, and returns whether
/// all are finite.
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
                    load_matrix::<S, T, SIDE>(simd, sums, c * width + lane, channels * width)
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
