//! Products of tiles by vector instructions for bf16 (AVX-512-BF16), on processors without a matrix unit.

use super::tile::{DEPTH, LINES, SIDE, Tile, steps};
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Rows of the result that are summed in registers together, two vectors each.
const ROWS: usize = 8;

/// Whether the processor has the instructions.
pub fn are_there() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// As [`unit::multiply`](super::unit::multiply).
///
/// # Safety
/// All tiles must have been written, the lines of `out` must be readable and writable, and the processor must have the
/// instructions, see [`are_there`].
///
/// # Panics
/// If the numbers of tiles do not match.
#[target_feature(enable = "avx512f,avx512bf16")]
pub unsafe fn multiply<const PARTS: usize>(
    left: &[MaybeUninit<Tile>],
    right: &[MaybeUninit<Tile>],
    out: *mut f32,
    width: usize,
    adds: bool,
) {
    let steps = steps::<PARTS>(left, right);
    for first in (0..SIDE).step_by(ROWS) {
        // SAFETY: the lines of `out` have `SIDE` values.
        let place =
            |row: usize, half: usize| unsafe { out.add((first + row) * width + half * LINES) };
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        if adds {
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as the caller ensures.
                *sums = unsafe { [_mm512_loadu_ps(place(row, 0)), _mm512_loadu_ps(place(row, 1))] };
            }
        }
        for step in 0..steps {
            for parts in 0..PARTS * PARTS {
                let (i, j) = (parts / PARTS, parts % PARTS);
                if i + j >= PARTS {
                    continue;
                }
                let lower = 2 * (step * PARTS + i) + first / LINES;
                let right = &right[2 * (step * PARTS + j)..][..2];
                // SAFETY: all tiles have been written.
                let (left, [right, next]) = unsafe {
                    (
                        left[lower].assume_init_ref(),
                        [right[0].assume_init_ref(), right[1].assume_init_ref()],
                    )
                };
                let left: &[u32; ROWS * LINES] =
                    left.0[first % LINES * LINES..].first_chunk().expect("rows of a tile");
                for pair in 0..DEPTH / 2 {
                    // SAFETY: a line of a tile has the values of a vector.
                    let columns = unsafe {
                        [right, next]
                            .map(|tile| _mm512_load_si512(tile.0.as_ptr().add(pair * LINES).cast()))
                    };
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let value =
                            pairs(_mm512_set1_epi32(left[row * LINES + pair].cast_signed()));
                        for (sum, column) in sums.iter_mut().zip(columns) {
                            *sum = _mm512_dpbf16_ps(*sum, value, pairs(column));
                        }
                    }
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (half, sum) in sums.into_iter().enumerate() {
                // SAFETY: as the caller ensures.
                unsafe { _mm512_storeu_ps(place(row, half), sum) };
            }
        }
    }
}

/// 16 pairs of bf16.
fn pairs(bits: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes.
    unsafe { std::mem::transmute(bits) }
}
