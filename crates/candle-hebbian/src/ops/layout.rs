//! Memory order. Functions take images `(B, C, H, W)`; the kernels want channels last.

use crate::cpu::Real;
use candle::{CpuStorage, Layout, Result, Tensor};

/// `(B, C, H, W)` seen as `(B, H, W, C)`.
pub(crate) fn to_channels_last(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 2, 3, 1))
}

/// `(B, H, W, C)` seen as `(B, C, H, W)`.
pub(crate) fn to_channels_first(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))
}

/// The orders of dimensions that bring dimension `axis` of a tensor of this rank to the last place, and back.
pub(super) fn axis_last(rank: usize, axis: usize) -> (Vec<usize>, Vec<usize>) {
    let mut to_last: Vec<usize> = (0..rank).filter(|&dim| dim != axis).collect();
    to_last.push(axis);
    let mut back: Vec<usize> = (0..rank - 1).collect();
    back.insert(axis, rank - 1);
    (to_last, back)
}

/// Runs an element-wise `op` over contiguous memory, without a copy when channels come last.
pub(crate) fn elementwise(
    x: &Tensor,
    op: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    if x.is_contiguous() {
        return op(x);
    }
    if x.rank() == 4 {
        let last = to_channels_last(x)?;
        if last.is_contiguous() {
            return to_channels_first(&op(&last)?);
        }
    }
    op(&x.contiguous()?)
}

/// The number of values in a line of the cache.
pub(super) const fn in_a_line<T>() -> usize {
    64 / size_of::<T>()
}

/// Writes the columns of a matrix of `rows` times `columns` values as rows of `out_row` values. The strides are the
/// steps from one row of the matrix to the next, and from one of its columns to the next.
#[inline(always)]
pub(super) fn turn<T: Real>(
    matrix: &[T],
    [row, column]: [usize; 2],
    (rows, columns): (usize, usize),
    out: &mut [T],
    out_row: usize,
) {
    // Writes a cache line of a column at a time, from rows that stay in the cache meanwhile.
    let together = in_a_line::<T>();
    for first in (0..rows).step_by(together) {
        let count = together.min(rows - first);
        for c in 0..columns {
            let out = &mut out[c * out_row + first..][..count];
            for (r, out) in (first..).zip(out) {
                *out = matrix[r * row + c * column];
            }
        }
    }
}

/// Returns the elements from the first one of a four-dimensional view on, and the strides of the
/// view. A view without elements may start anywhere, also behind the last element.
pub(crate) fn view<'a, T: Real>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<(&'a [T], [usize; 4])> {
    let &[a, b, c, d] = layout.stride() else {
        candle::bail!("expected four dimensions, found {:?}", layout.shape())
    };
    let elements = storage.as_slice::<T>()?;
    Ok((elements.get(layout.start_offset()..).unwrap_or_default(), [a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For fewer rows than a cache line has values, as many, and more; a matrix with gaps. What lies between the rows
    /// that are written stays.
    #[test]
    fn columns_are_written_as_rows() {
        for rows in [0, 1, 15, 16, 17, 33] {
            let (columns, out_row) = (3, rows + 2);
            let matrix: Vec<f32> = (0..7 * (rows + 1)).map(|at| at as f32).collect();
            let mut out = vec![-1f32; columns * out_row];
            turn(&matrix, [7, 2], (rows, columns), &mut out, out_row);
            for (at, out) in out.into_iter().enumerate() {
                let (column, row) = (at / out_row, at % out_row);
                let want = if row < rows { (7 * row + 2 * column) as f32 } else { -1.0 };
                assert_eq!(out, want, "{rows} rows: {row}, {column}");
            }
        }
    }

    #[test]
    fn an_axis_goes_to_the_last_place_and_back() {
        assert_eq!(axis_last(4, 1), (vec![0, 2, 3, 1], vec![0, 3, 1, 2]));
        assert_eq!(axis_last(3, 2), (vec![0, 1, 2], vec![0, 1, 2]));
    }
}
