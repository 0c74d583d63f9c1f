//! Products of f32 matrices by the matrix unit (AMX) of newer x86 processors, or by their vectors of bf16.
//!
//! Both multiply bf16 and sum in f32. A value in f32 is a sum of three in bf16, `x = h + m + l`, so a product of two
//! values is six products of bf16, `hh + hm + mh + hl + lh + mm`; the omitted products are below 2⁻²⁴ of it, the
//! rounding of f32. Six of the unit's products still take less time than one of f32 in vectors. The vectors multiply
//! bf16 twice as fast as f32, so they are used where one product is enough, at [`MatmulPrecision::Medium`].
//!
//! Both factors are split into parts and brought into the order of tiles once, in bands of their depth that stay in the
//! cache. Bands and tiles do not depend on the number of threads, so neither do the results.

mod pack;
mod tile;
mod unit;
mod vectors;

use super::factor::Factor;
use crate::cpu::Real;
use crate::precision::{MatmulPrecision, matmul_precision};
use candle::DType;
use pack::{Order, pack};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use tile::{DEPTH, SIDE, Tile, room};

/// The number of tiles along the depth of a band.
const STEPS: usize = 16;
/// The number of rows of the left factor's band that stay in the second-level cache while the right factor passes.
const ROWS: usize = 256;

/// What multiplies tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Unit,
    Vectors,
}

impl Engine {
    /// The faster one that this processor has, if any.
    fn here() -> Option<Self> {
        if unit::is_there() {
            return Some(Self::Unit);
        }
        vectors::are_there().then_some(Self::Vectors)
    }

    /// # Safety
    /// As [`unit::multiply`] and [`vectors::multiply`].
    #[inline]
    unsafe fn multiply<const PARTS: usize>(
        self,
        left: &[MaybeUninit<Tile>],
        right: &[MaybeUninit<Tile>],
        out: *mut f32,
        width: usize,
        adds: bool,
    ) {
        // SAFETY: as the caller ensures.
        unsafe {
            match self {
                Self::Unit => unit::multiply::<PARTS>(left, right, out, width, adds),
                Self::Vectors => vectors::multiply::<PARTS>(left, right, out, width, adds),
            }
        }
    }
}

/// Whether there is a matrix unit.
pub(super) fn has_unit() -> bool {
    unit::is_there()
}

/// Whether the values are f32, and the matrix unit, or vectors of bf16 at the precision that is set, make a product of
/// these sizes faster.
pub(super) fn pays<T: Real>([m, n, depth]: [usize; 3]) -> bool {
    let products = m.saturating_mul(n).saturating_mul(depth);
    T::DTYPE == DType::F32
        && match Engine::here() {
            Some(Engine::Unit) => m.min(n) >= 256 && depth >= 256 && products >= 1 << 23,
            Some(Engine::Vectors) => {
                // A factor in memory takes longer to bring into tiles than few lines of the other one save.
                let in_memory = m.max(n).saturating_mul(depth) >= 1 << 24;
                let least = if in_memory { 128 } else { 64 };
                let large = m.min(n) >= least && depth >= 128 && products >= 1 << 20;
                large && matmul_precision() == MatmulPrecision::Medium
            }
            None => false,
        }
}

/// Computes `out (M, N)`, the product of `M` lines and `N` lines, up to the depth that it returns. If `adds`, the
/// product is added to `out` instead. The returned depth is the whole depth unless a band holds what bf16 cannot:
/// infinities, NaN, values near the largest of f32, or only values near the smallest.
///
/// # Panics
/// If the factors do not hold their lines or have different depths, or there is nothing that multiplies bf16, see
/// [`pays`].
pub(super) fn product<T: Real>(
    left: Factor<T>,
    right: Factor<T>,
    adds: bool,
    out: &mut [T],
) -> usize {
    assert_eq!(T::DTYPE, DType::F32, "the type of a product of tiles");
    // SAFETY: `T` is f32.
    let (left, right, out) = unsafe {
        let factor = |of: Factor<T>| (&raw const of).cast::<Factor<f32>>().read();
        let out = std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<f32>(), out.len());
        (factor(left), factor(right), out)
    };
    let engine = Engine::here().expect("instructions for bf16");
    match matmul_precision() {
        MatmulPrecision::Highest => in_parts::<3>(engine, left, right, adds, out),
        MatmulPrecision::High => in_parts::<2>(engine, left, right, adds, out),
        MatmulPrecision::Medium => in_parts::<1>(engine, left, right, adds, out),
    }
}

fn in_parts<const PARTS: usize>(
    engine: Engine,
    a: Factor<f32>,
    b: Factor<f32>,
    adds: bool,
    out: &mut [f32],
) -> usize {
    let (m, n, depth) = (a.lines, b.lines, a.depth);
    assert_eq!(depth, b.depth, "the depth of both factors");
    assert_eq!(out.len(), m * n, "the result of a product of {m}, {depth} and {depth}, {n}");
    let (rows, columns) = (m.div_ceil(SIDE), n.div_ceil(SIDE));
    let panel = |steps: usize| steps * PARTS * 2;
    let longest = panel(depth.div_ceil(DEPTH).min(STEPS));
    let (Some(mut left), Some(mut right)) = (room(rows * longest), room(columns * longest)) else {
        return 0;
    };
    let out = Shared(out.as_mut_ptr());
    for first in (0..depth).step_by(STEPS * DEPTH) {
        let steps = (depth - first).div_ceil(DEPTH).min(STEPS);
        let panel = panel(steps);
        let fill = |of: Factor<f32>, order, tiles: &mut [MaybeUninit<Tile>]| {
            let panels = tiles.par_chunks_exact_mut(panel).enumerate();
            let all = panels.map(|(at, panel)| pack::<PARTS>(of, (at * SIDE, first), order, panel));
            all.reduce(|| 0, u32::max)
        };
        let (left, right) = (&mut left[..rows * panel], &mut right[..columns * panel]);
        let largest = [fill(a, Order::Rows, left), fill(b, Order::Pairs, right)];
        if !largest.into_iter().all(fits) {
            return first;
        }
        let (left, right, out) = (&*left, &*right, &out);
        let adds = adds || first > 0;
        let bands = m.div_ceil(ROWS);
        (0..bands * columns).into_par_iter().for_each(|item| {
            let (band, column) = (item / columns, item % columns);
            let right = &right[column * panel..][..panel];
            let _ready = (engine == Engine::Unit).then(unit::Ready::new);
            for row in (band * ROWS / SIDE..rows).take(ROWS / SIDE) {
                let (i, j) = (row * SIDE, column * SIDE);
                let left = &left[row * panel..][..panel];
                let (height, width) = (SIDE.min(m - i), SIDE.min(n - j));
                // SAFETY: all tiles have been filled; the place is in `out`, whose size is asserted above, and no other
                // item writes to it. The unit is ready, or `pack` has asserted that there are vectors.
                unsafe {
                    let place = out.0.add(i * n + j);
                    if (height, width) == (SIDE, SIDE) {
                        engine.multiply::<PARTS>(left, right, place, n, adds);
                        continue;
                    }
                    let mut whole = [0f32; SIDE * SIDE];
                    engine.multiply::<PARTS>(left, right, whole.as_mut_ptr(), SIDE, false);
                    for (i, whole) in whole.chunks_exact(SIDE).take(height).enumerate() {
                        let line = std::slice::from_raw_parts_mut(place.add(i * n), width);
                        for (out, &whole) in line.iter_mut().zip(whole) {
                            *out = if adds { *out + whole } else { whole };
                        }
                    }
                }
            }
        });
    }
    depth
}

/// Whether the parts of values whose largest magnitude has these bits keep their precision: all values are finite, also
/// when rounded up, and not all are so small that products of their parts count as 0, as they do below 2⁻¹²⁶. If both
/// factors fit, what is lost so is below 2⁻²⁴ of the product of their largest values.
fn fits(largest: u32) -> bool {
    let range = 1e-15f32.to_bits()..1.7e38f32.to_bits();
    largest == 0 || range.contains(&largest)
}

/// A result that several threads write, each its own tiles.
struct Shared(*mut f32);

// SAFETY: each thread writes its own tiles, and nothing reads through the pointer before all threads have finished.
unsafe impl Sync for Shared {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::ops::factor::{Entries, Windows};
    use crate::ops::gemm::gemm;
    use crate::ops::matrix::Matrix;
    use candle::{Device, Result};
    use gemm::Parallelism;

    /// What this processor has.
    fn engines() -> Vec<Engine> {
        let unit = unit::is_there().then_some(Engine::Unit);
        let vectors = vectors::are_there().then_some(Engine::Vectors);
        if unit.is_none() {
            eprintln!("skipped: this processor has no matrix unit (AMX), or not for this system");
        }
        if vectors.is_none() {
            eprintln!("skipped: this processor has no vectors of bf16 (AVX-512-BF16)");
        }
        unit.into_iter().chain(vectors).collect()
    }

    fn normal(count: usize, seed: u64) -> Result<Vec<f32>> {
        Rng::new(seed).normal(0.0, 1.0, count, DType::F32, &Device::Cpu)?.to_vec1()
    }

    /// `(row, column)` strides of a matrix of `rows × columns` in each memory order.
    fn orders(rows: usize, columns: usize) -> [(usize, usize); 3] {
        [(columns, 1), (1, rows), (2 * columns, 2)]
    }

    /// For whole tiles and parts of them, one band of depth and more, factors in both orders and with gaps, added and
    /// not, the result is the sum of the products in f64, up to the error that each precision may make for `Σ |a|·|b|`.
    /// The unit adds the products of 32 depths by themselves; the vectors add each product to the whole sum and round
    /// it six times as often as in f32.
    #[test]
    fn products_have_their_precision() -> Result<()> {
        for engine in engines() {
            for (m, n, depth) in
                [(32, 32, 32), (33, 70, 41), (64, 48, 600), (5, 3, 1030), (300, 40, 64)]
            {
                let (a, b) = (normal(2 * m * depth, 1)?, normal(2 * n * depth, 2)?);
                let before = normal(m * n, 3)?;
                for (i, &(ar, ac)) in orders(m, depth).iter().enumerate() {
                    let (br, bc) = orders(depth, n)[(i + m) % 3];
                    for (scale, adds) in [(1.0, false), (-0.5, true)] {
                        let left = Matrix { data: &a, row: ar, column: ac };
                        let right = Matrix { data: &b, row: br, column: bc };
                        let left = Factor { scale, ..Factor::rows(left, m, depth) };
                        let right = Factor::rows(right.t(), n, depth);
                        let mut seen = [before.clone(), before.clone(), before.clone()];
                        let [highest, high, medium] = &mut seen;
                        let sizes = [m, n, depth];
                        assert_eq!(in_parts::<3>(engine, left, right, adds, highest), depth);
                        assert_eq!(in_parts::<2>(engine, left, right, adds, high), depth);
                        assert_eq!(in_parts::<1>(engine, left, right, adds, medium), depth);
                        for at in 0..m * n {
                            let terms = (0..depth).map(|d| {
                                let (a, b) = (a[at / n * ar + d * ac], b[d * br + at % n * bc]);
                                f64::from(scale) * f64::from(a) * f64::from(b)
                            });
                            let start = if adds { f64::from(before[at]) } else { 0.0 };
                            let size = terms.clone().map(f64::abs).sum::<f64>() + start.abs();
                            let want = start + terms.sum::<f64>();
                            let highest = if engine == Engine::Unit { 22 } else { 20 };
                            for (seen, bits) in seen.iter().zip([highest, 15, 7]) {
                                let error = (f64::from(seen[at]) - want).abs();
                                let most = size * 0.5f64.powi(bits);
                                assert!(
                                    error <= most,
                                    "{sizes:?}, {bits} bits: {error} over {most}"
                                );
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Windows, as lines and turned, give the same products as their rows written out: for stretches that are whole
    /// steps of the unit and others that are not, more than one band, and parts of tiles.
    #[test]
    fn windows_are_their_rows() -> Result<()> {
        for engine in engines() {
            for (channels, kernel, step) in [(32, 3, 1), (5, 4, 1), (48, 3, 2), (64, 3, 1)] {
                let (batch, size, units) = (3, 10, 40);
                let images = normal(batch * size * size * channels, 8)?;
                let side = (size - kernel) / step + 1;
                let windows = Windows {
                    images: &images,
                    image: size * size * channels,
                    out: (side, side),
                    step: (step * size * channels, step * channels),
                    starts: (0..kernel).map(|line| line * size * channels).collect(),
                    length: kernel * channels,
                };
                let (positions, depth) = (batch * side * side, kernel * kernel * channels);
                let mut rows = vec![0f32; positions * depth];
                for (at, row) in rows.chunks_exact_mut(depth).enumerate() {
                    let (image, y, x) =
                        (at / side / side, at / side % side * step, at % side * step);
                    for (value, row) in row.iter_mut().enumerate() {
                        let (tap, channel) = (value / channels, value % channels);
                        let (i, j) = (tap / kernel, tap % kernel);
                        *row = images[((image * size + y + i) * size + x + j) * channels + channel];
                    }
                }
                let rows = Matrix::rows(&rows, depth);
                let of = |entries, lines, depth| Factor { entries, lines, depth, scale: 1.0 };
                let both = |windows: Factor<f32>, rows: Factor<f32>, other: Factor<f32>| {
                    let mut seen =
                        [vec![0f32; windows.lines * units], vec![0f32; rows.lines * units]];
                    for (seen, factor) in seen.iter_mut().zip([windows, rows]) {
                        assert_eq!(in_parts::<3>(engine, factor, other, false, seen), other.depth);
                    }
                    assert_eq!(seen[0], seen[1], "{channels} channels");
                    for (seen, factor) in seen.iter_mut().zip([windows, rows]) {
                        assert_eq!(in_parts::<3>(engine, other, factor, false, seen), other.depth);
                    }
                    assert_eq!(seen[0], seen[1], "{channels} channels, on the right");
                };
                let weight = normal(units * depth.max(positions), 9)?;
                let other = |depth| Factor::rows(Matrix::rows(&weight, depth), units, depth);
                let seen = of(Entries::Windows(&windows), positions, depth);
                both(seen, Factor::rows(rows, positions, depth), other(depth));
                let seen = of(Entries::TurnedWindows(&windows), depth, positions);
                both(seen, Factor::rows(rows.t(), depth, positions), other(positions));
            }
        }
        Ok(())
    }

    /// `1 + 2⁻⁸` lies between two values of bf16 and goes to the even one, 1; `2⁻⁸` is the second part.
    /// `1 + 2⁻⁸ + 2⁻¹⁶` goes to the upper one, `1 + 2⁻⁷`; then `−2⁻⁸ + 2⁻¹⁶` is a value of bf16, so two parts hold it
    /// too.
    #[test]
    fn values_are_rounded_to_the_nearest_and_split() {
        for engine in engines() {
            let eighth = 0.5f32.powi(8);
            let tie = 1.0 + eighth;
            let above = tie + 0.5f32.powi(16);
            for (value, medium) in
                [(tie, 1.0), (-tie, -1.0), (above, 1.0 + 2.0 * eighth), (255.0, 255.0)]
            {
                let (a, b) = (vec![value; 32 * 64], vec![1f32; 32 * 64]);
                let rows = |of| Factor::rows(Matrix::rows(of, 64), 32, 64);
                let (a, b) = (rows(&a), rows(&b));
                let mut out = vec![0f32; 32 * 32];
                in_parts::<1>(engine, a, b, false, &mut out);
                assert!(out.iter().all(|&out| out == 64.0 * medium), "{value}: {}", out[0]);
                in_parts::<2>(engine, a, b, false, &mut out);
                assert!(out.iter().all(|&out| out == 64.0 * value), "{value}: {}", out[0]);
                in_parts::<3>(engine, a, b, false, &mut out);
                assert!(out.iter().all(|&out| out == 64.0 * value), "{value}: {}", out[0]);
            }
        }
    }

    /// From the first band with a value that bf16 cannot hold, the product is left to vectors of f32. The whole product
    /// is what f64 gives, also if the first band was computed in tiles.
    #[test]
    fn infinities_nan_and_the_smallest_values_are_left_out() -> Result<()> {
        for engine in engines() {
            let (m, n, depth) = (256, 256, 1024);
            let sizes = [m, n, depth];
            let (a, b) = (normal(m * depth, 4)?, normal(depth * n, 5)?);
            let mut out = vec![0f32; m * n];
            for (value, row, column) in [
                (f32::INFINITY, 3, 700),
                (f32::NAN, 95, 512),
                (f32::MAX, 0, 1023),
                (f32::NEG_INFINITY, 9, 600),
            ] {
                let mut a = a.clone();
                a[row * depth + column] = value;
                let mut want = vec![0f64; m * n];
                for (a, want) in a.chunks_exact(depth).zip(want.chunks_exact_mut(n)) {
                    for (&a, b) in a.iter().zip(b.chunks_exact(n)) {
                        for (want, &b) in want.iter_mut().zip(b) {
                            *want += f64::from(a) * f64::from(b);
                        }
                    }
                }
                let (a, b) = (Matrix::rows(&a, depth), Matrix::rows(&b, n));
                let (left, right) = (Factor::rows(a, m, depth), Factor::rows(b.t(), n, depth));
                assert_eq!(in_parts::<3>(engine, left, right, false, &mut out), 512, "{value}");
                let mut seen = vec![0f32; m * n];
                gemm(sizes, a, b, (1.0, false), &mut seen, Parallelism::Rayon(0));
                for (at, (&seen, &want)) in seen.iter().zip(&want).enumerate() {
                    let want = want as f32;
                    let same = seen == want
                        || (seen - want).abs() < 1e-3
                        || seen.is_nan() && want.is_nan();
                    assert!(
                        same || at / n == row && (seen / want - 1.0).abs() < 1e-5,
                        "{seen} for {want}"
                    );
                }
            }
            let tiny: Vec<f32> = a.iter().map(|a| a * 1e-30).collect();
            let rows = |of| Factor::rows(Matrix::rows(of, depth), m, depth);
            let right = Factor::rows(Matrix::rows(&b, n).t(), n, depth);
            assert_eq!(in_parts::<3>(engine, rows(&tiny), right, false, &mut out), 0);
            // Parts of these are not 0, but products of two such parts are.
            let small: Vec<f32> = a.iter().map(|a| a * 1e-17).collect();
            assert_eq!(in_parts::<3>(engine, rows(&small), rows(&small), false, &mut out), 0);
            assert_eq!(
                in_parts::<3>(engine, rows(&vec![0f32; m * depth]), right, false, &mut out),
                depth
            );
            assert!(out.iter().all(|&out| out == 0.0));
        }
        Ok(())
    }

    /// What is infinite, or becomes it when it is rounded to bf16, does not fit, and neither do values so small that
    /// 2⁻²⁴ of a product of two is below 2⁻¹²⁶.
    #[test]
    fn what_parts_can_hold() {
        let cases: [(f32, bool); 8] = [
            (0.0, true),
            (1.0, true),
            (0.5f32.powi(40), true),
            (0.5f32.powi(52), false),
            (f32::MIN_POSITIVE, false),
            (f32::MAX, false),
            (f32::INFINITY, false),
            (f32::NAN, false),
        ];
        for (value, fit) in cases {
            assert_eq!(fits(value.to_bits()), fit, "{value}");
        }
    }

    /// The same bits with one thread and with many.
    #[test]
    fn threads_do_not_change_the_bits() -> Result<()> {
        for engine in engines() {
            let (a, b) = (normal(300 * 700, 6)?, normal(700 * 200, 7)?);
            let product = |threads: usize| {
                let mut out = vec![0f32; 300 * 200];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                pool.expect("threads").install(|| {
                    let left = Factor::rows(Matrix::rows(&a, 700), 300, 700);
                    let right = Factor::rows(Matrix::rows(&b, 200).t(), 200, 700);
                    assert_eq!(in_parts::<3>(engine, left, right, false, &mut out), 700);
                });
                out
            };
            assert_eq!(product(1), product(4));
        }
        Ok(())
    }
}
