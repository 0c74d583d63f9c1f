//! Splitting values of f32 into parts of bf16, in the order of tiles.

use super::tile::{DEPTH, SIDE, Tile};
use super::vectors;
use crate::ops::factor::Factor;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// The order of the values in a tile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A line of the tile is a line of the factor. This is the order of the left factor.
    Rows,
    /// A line of the tile has, for all lines of the factor, a pair of neighbours in depth. This is the order of the
    /// right factor.
    Pairs,
}

/// Fills a panel with lines `line..line + SIDE`: two tiles for each step of the depth from `first` on and each part.
/// Values outside of the factor are 0. Returns the bits of the largest magnitude.
///
/// # Panics
/// If there are no vectors for bf16, or the factor does not hold its lines.
pub fn pack<const PARTS: usize>(
    factor: Factor<f32>,
    (line, first): (usize, usize),
    order: Order,
    panel: &mut [MaybeUninit<Tile>],
) -> u32 {
    assert!(vectors::are_there(), "vectors for bf16");
    factor.check();
    // SAFETY: the processor has the instructions, as asserted.
    unsafe { pack_in_vectors::<PARTS>(factor, (line, first), order, panel) }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn pack_in_vectors<const PARTS: usize>(
    factor: Factor<f32>,
    (line, first): (usize, usize),
    order: Order,
    panel: &mut [MaybeUninit<Tile>],
) -> u32 {
    let Factor { lines, depth, scale, .. } = factor;
    let mut largest = _mm512_setzero_si512();
    let mut split = Split { scale: _mm512_set1_ps(scale), largest: &mut largest };
    for (step, tiles) in panel.chunks_exact_mut(2 * PARTS).enumerate() {
        let k = first + step * DEPTH;
        for half in 0..2 {
            let i = line + half * SIDE / 2;
            let whole = i + SIDE / 2 <= lines && k + DEPTH <= depth;
            let (along, across) = if whole {
                (factor.along::<16, DEPTH>(i, k), factor.across::<16, DEPTH>(i, k))
            } else {
                (None, None)
            };
            let parts = if let Some(from) = along {
                split.along::<PARTS>(from, order)
            } else if let Some(from) = across {
                split.across::<PARTS>(from, order)
            } else {
                let mut copy = [[0f32; DEPTH]; SIDE / 2];
                for (i, copy) in (i..lines).zip(&mut copy) {
                    factor.copy(i, k, copy);
                }
                split.along::<PARTS>(copy.each_ref(), order)
            };
            for (part, lines) in parts.into_iter().enumerate() {
                // SAFETY: both are 16 lines of 64 bytes.
                tiles[2 * part + half]
                    .write(unsafe { std::mem::transmute::<Register, Tile>(lines) });
            }
        }
    }
    _mm512_reduce_max_epu32(largest)
}

/// A tile's lines.
type Register = [__m512i; 16];

struct Split<'a> {
    scale: __m512,
    /// The bits of the largest magnitude so far, in each lane.
    largest: &'a mut __m512i,
}

impl Split<'_> {
    /// The tiles of 16 lines, each of 32 values.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn along<const PARTS: usize>(
        &mut self,
        from: [&[f32; DEPTH]; 16],
        order: Order,
    ) -> [Register; PARTS] {
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
        let mut tiles = [[_mm512_setzero_si512(); 16]; PARTS];
        for (at, line) in from.map(|line| line.as_ptr()).into_iter().enumerate() {
            // SAFETY: a line has the values of two vectors.
            let (x, y) = unsafe { (_mm512_loadu_ps(line), _mm512_loadu_ps(line.add(16))) };
            let pairs = (_mm512_permutex2var_ps(x, even, y), _mm512_permutex2var_ps(x, odd, y));
            self.line(pairs, at, &mut tiles);
        }
        if order == Order::Pairs { tiles.map(|tile| transpose(tile)) } else { tiles }
    }

    /// The tiles of 32 depths, each with the values of 16 lines.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn across<const PARTS: usize>(
        &mut self,
        from: [&[f32; 16]; DEPTH],
        order: Order,
    ) -> [Register; PARTS] {
        let from = from.map(|values| values.as_ptr());
        let mut tiles = [[_mm512_setzero_si512(); 16]; PARTS];
        for at in 0..16 {
            // SAFETY: a depth has the values of a vector.
            let pairs =
                unsafe { (_mm512_loadu_ps(from[2 * at]), _mm512_loadu_ps(from[2 * at + 1])) };
            self.line(pairs, at, &mut tiles);
        }
        if order == Order::Rows { tiles.map(|tile| transpose(tile)) } else { tiles }
    }

    /// Writes line `at` of each part's tile, from the first and the second values of its pairs: the nearest value of
    /// bf16, then the nearest to the remainder, and so on.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn line<const PARTS: usize>(
        &mut self,
        (first, second): (__m512, __m512),
        at: usize,
        tiles: &mut [Register; PARTS],
    ) {
        let (mut first, mut second) =
            (_mm512_mul_ps(first, self.scale), _mm512_mul_ps(second, self.scale));
        let magnitude = _mm512_set1_epi32(i32::MAX);
        for values in [first, second] {
            let bits = _mm512_and_si512(_mm512_castps_si512(values), magnitude);
            *self.largest = _mm512_max_epu32(*self.largest, bits);
        }
        for tile in tiles {
            let (low, high) = (upper_bits(first), upper_bits(second));
            tile[at] = _mm512_or_si512(_mm512_srli_epi32::<16>(low), high);
            first = _mm512_sub_ps(first, _mm512_castsi512_ps(low));
            second = _mm512_sub_ps(second, _mm512_castsi512_ps(high));
        }
    }
}

/// The nearest values of bf16, as the upper bits of f32.
#[target_feature(enable = "avx512f,avx512bf16")]
fn upper_bits(values: __m512) -> __m512i {
    // SAFETY: both are 16 times 16 bits.
    let nearest: __m256i = unsafe { std::mem::transmute(_mm512_cvtneps_pbh(values)) };
    _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(nearest))
}

/// Transposes 16 lines of 16 values of 32 bits.
#[target_feature(enable = "avx512f")]
fn transpose(lines: Register) -> Register {
    let mut pairs = lines;
    for i in 0..8 {
        let (x, y) = (lines[2 * i], lines[2 * i + 1]);
        pairs[2 * i] = _mm512_unpacklo_epi32(x, y);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(x, y);
    }
    // Line `4·g + j` has in its quarter `q` the values of column `4·q + j` in lines `4·g` to `4·g + 3`.
    let mut fours = pairs;
    for g in 0..4 {
        for j in 0..2 {
            let (x, y) = (pairs[4 * g + j], pairs[4 * g + 2 + j]);
            fours[4 * g + 2 * j] = _mm512_unpacklo_epi64(x, y);
            fours[4 * g + 2 * j + 1] = _mm512_unpackhi_epi64(x, y);
        }
    }
    let mut columns = fours;
    for j in 0..4 {
        let even = |x, y| _mm512_shuffle_i32x4::<0b10_00_10_00>(x, y);
        let odd = |x, y| _mm512_shuffle_i32x4::<0b11_01_11_01>(x, y);
        let (upper, lower) = ((fours[j], fours[4 + j]), (fours[8 + j], fours[12 + j]));
        let evens = (even(upper.0, upper.1), even(lower.0, lower.1));
        let odds = (odd(upper.0, upper.1), odd(lower.0, lower.1));
        columns[j] = even(evens.0, evens.1);
        columns[4 + j] = even(odds.0, odds.1);
        columns[8 + j] = odd(evens.0, evens.1);
        columns[12 + j] = odd(odds.0, odds.1);
    }
    columns
}
