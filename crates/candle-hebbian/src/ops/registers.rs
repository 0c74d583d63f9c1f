//! Small matrix products in registers.

use crate::cpu::{ARCH, Real};
use pulp::{Simd, WithSimd};

/// The number of values in a vector of the instruction set `S`.
pub(super) fn lanes<S: Simd, T: Real>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

/// The number of values in a vector of this processor.
pub(super) fn lanes_here<T: Real>() -> usize {
    struct Lanes<T>(std::marker::PhantomData<T>);
    impl<T: Real> WithSimd for Lanes<T> {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            lanes::<S, T>()
        }
    }
    ARCH.dispatch(Lanes::<T>(std::marker::PhantomData))
}

/// `sum[m][n] += Σ_d left[m·left_row + d·left_step] · right[d·right_step + n·lanes..]`: a product of
/// `M` scalars with `N` vectors, `depth` times, in registers.
///
/// # Safety
/// All these places must be readable.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, T: Real, const M: usize, const N: usize>(
    simd: S,
    sum: &mut [[T::Vector<S>; N]; M],
    (mut left, left_row, left_step): (*const T, usize, usize),
    (mut right, right_step): (*const T, usize),
    depth: usize,
) {
    let mut acc = *sum;
    // The pointer to the lower half of the rows, hidden from the compiler, which would otherwise compute the address of
    // every row from that of the row before: a chain of additions as long as the products of a step.
    let mut lower = std::hint::black_box(left.wrapping_add(M / 2 * left_row));
    for _ in 0..depth {
        // SAFETY: ensured by the caller.
        unsafe {
            let right_vectors: [T::Vector<S>; N] =
                std::array::from_fn(|n| right.cast::<T::Vector<S>>().add(n).read_unaligned());
            for (m, acc) in acc.iter_mut().enumerate() {
                let scalar = match m.checked_sub(M / 2) {
                    None => left.add(m * left_row),
                    Some(m) => lower.add(m * left_row),
                };
                let scalar = T::splat(simd, *scalar);
                for (acc, &vector) in acc.iter_mut().zip(&right_vectors) {
                    *acc = T::multiply_add(simd, scalar, vector, *acc);
                }
            }
        }
        // After the last step they may lie beyond what they point into.
        left = left.wrapping_add(left_step);
        lower = lower.wrapping_add(left_step);
        right = right.wrapping_add(right_step);
    }
    *sum = acc;
}

/// Covers `0..$count` with tiles of 8 (6 if there are only 16 registers, of which two vectors for each row take 12), 4,
/// 2 and 1, and runs `$body` for each, with `$M` as its size and `$at` as its start. In WebAssembly there are no tiles
/// of 6, which would make the module larger.
macro_rules! in_tiles {
    ($simd:ty, $count:expr, $at:ident, $M:ident => $body:expr) => {{
        let count = $count;
        let mut $at = 0;
        in_tiles!(@size 8, <$simd>::REGISTER_COUNT >= 32, count, $at, $M, $body);
        in_tiles!(
            @size 6, <$simd>::REGISTER_COUNT < 32 && !cfg!(target_family = "wasm"),
            count, $at, $M, $body
        );
        in_tiles!(@size 4, true, count, $at, $M, $body);
        in_tiles!(@size 2, true, count, $at, $M, $body);
        in_tiles!(@size 1, true, count, $at, $M, $body);
    }};
    (@size $size:literal, $when:expr, $count:ident, $at:ident, $M:ident, $body:expr) => {
        if $when {
            const $M: usize = $size;
            while $at + $M <= $count {
                $body;
                $at += $M;
            }
        }
    };
}
pub(super) use in_tiles;

/// The sums `out[m] = Σ_runs Σ_d left[m, d]·right[d]`, where `out` and `right` have rows of `width` values: sums of
/// products of a matrix and rows, neither of which has to be contiguous as a whole. If `adds`, they are added to `out`.
pub(super) struct Products<'a, T> {
    /// Where each run begins, in `left` and in `right`.
    pub runs: &'a [(usize, usize)],
    /// The length of each run.
    pub depth: usize,
    pub left: &'a [T],
    /// The step from one row of the matrix to the next.
    pub left_row: usize,
    /// The step from one of its columns to the next.
    pub left_step: usize,
    pub right: &'a [T],
    /// The step from one row of `right` to the next.
    pub right_step: usize,
    /// The values in a row of `out`: a whole number of vectors, see [`lanes_here`].
    pub width: usize,
    pub adds: bool,
    pub out: &'a mut [T],
}

impl<T: Real> WithSimd for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = lanes::<S, T>();
        assert!(
            self.width.is_multiple_of(lanes) && self.out.len().is_multiple_of(self.width.max(1))
        );
        let mut at = 0;
        while at < self.width {
            // Three vectors at a time where there are registers for them and no single one is left over by it.
            let vectors = match (self.width - at) / lanes {
                1 => 1,
                3 | 5.. if S::REGISTER_COUNT >= 32 => 3,
                _ => 2,
            };
            match vectors {
                1 => self.columns::<S, 1>(simd, at),
                2 => self.columns::<S, 2>(simd, at),
                _ => self.columns::<S, 3>(simd, at),
            }
            at += vectors * lanes;
        }
    }
}

impl<T: Real> Products<'_, T> {
    /// Computes `N` vectors of every row of `out`, from column `first` on.
    #[inline(always)]
    fn columns<S: Simd, const N: usize>(&mut self, simd: S, first: usize) {
        let last = self.depth.saturating_sub(1);
        let rows = self.out.len() / self.width;
        in_tiles!(S, rows, m, M => {
            let mut sum = [[T::splat(simd, T::zero()); N]; M];
            if self.adds {
                for (m, sum) in (m..).zip(&mut sum) {
                    let out = &self.out[m * self.width + first..][..N * lanes::<S, T>()];
                    // SAFETY: the slice is as long as the vectors.
                    *sum = unsafe { out.as_ptr().cast::<[T::Vector<S>; N]>().read_unaligned() };
                }
            }
            for &(left, right) in if self.depth > 0 { self.runs } else { &[] } {
                let (left, right) = (left + m * self.left_row, right + first);
                assert!(left + (M - 1) * self.left_row + last * self.left_step < self.left.len());
                assert!(right + last * self.right_step + N * lanes::<S, T>() <= self.right.len());
                // SAFETY: the last places read are in bounds, as asserted.
                unsafe {
                    let left = (self.left.as_ptr().add(left), self.left_row, self.left_step);
                    let right = (self.right.as_ptr().add(right), self.right_step);
                    tile::<S, T, M, N>(simd, &mut sum, left, right, self.depth);
                }
            }
            for (m, sum) in (m..).zip(&sum) {
                let out = &mut self.out[m * self.width + first..][..N * lanes::<S, T>()];
                // SAFETY: the slice is as long as the vectors.
                unsafe { out.as_mut_ptr().cast::<[T::Vector<S>; N]>().write_unaligned(*sum) };
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, whose sums are exact in any order.
    fn whole<T: Real>(count: usize, modulus: usize) -> Vec<T> {
        let value = |at: usize| (at * 7919 % modulus) as f64 - (modulus / 2) as f64;
        (0..count).map(|at| T::of(value(at))).collect()
    }

    fn are_their_definition<T: Real>() {
        let (depth, left_row, left_step) = (5, 50, 3);
        for vectors in 1..=5 {
            let width = vectors * lanes_here::<T>();
            let right_step = width + 2;
            let runs = [(0, 0), (1, depth * right_step)];
            let right: Vec<T> = whole(2 * depth * right_step, 7);
            for rows in 1..=15 {
                let left: Vec<T> = whole(rows * left_row, 11);
                let before: Vec<T> = whole(rows * width, 5);
                for adds in [false, true] {
                    let mut out = before.clone();
                    ARCH.dispatch(Products {
                        runs: &runs,
                        depth,
                        left: &left,
                        left_row,
                        left_step,
                        right: &right,
                        right_step,
                        width,
                        adds,
                        out: &mut out,
                    });
                    for (at, (&out, &before)) in out.iter().zip(&before).enumerate() {
                        let (m, n) = (at / width, at % width);
                        let mut want = if adds { before } else { T::zero() };
                        for (first_left, first_right) in runs {
                            for d in 0..depth {
                                want += left[first_left + m * left_row + d * left_step]
                                    * right[first_right + d * right_step + n];
                            }
                        }
                        assert!(out == want, "{rows} × {vectors} vectors, adds: {adds}, {m}, {n}");
                    }
                }
            }
        }
    }

    /// For one to five vectors, every remainder of rows, two runs, rows with gaps, added and not.
    #[test]
    fn products_are_their_definition() {
        are_their_definition::<f32>();
        are_their_definition::<f64>();
    }
}
