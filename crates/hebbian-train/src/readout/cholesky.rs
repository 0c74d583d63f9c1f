//! Solves symmetric positive definite systems, in f64 on the host.

use candle::{Device, Tensor};
use rayon::prelude::*;

use crate::{Error, Result};

/// Columns factored at a time. Wide enough that nearly all work is in the matrix products.
const BLOCK: usize = 128;
/// Rows of the remainder updated at a time: bounds the memory, and skips most of the upper half.
const STRIP: usize = 1024;

/// Replaces the lower half of the symmetric `n × n` matrix `a` (row-major) by L with L·Lᵀ = a.
///
/// Right-looking, block column by block column: factor the diagonal block, solve for the rows below
/// it, and take their product off the remainder.
pub(super) fn factor(a: &mut [f64], n: usize) -> Result<()> {
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let width = end - start;
        let (above, below) = a.split_at_mut(end * n);
        for j in start..end {
            let (upper, row) = above.split_at_mut(j * n);
            for i in start..j {
                let done = &upper[i * n..][..n];
                row[i] = (row[i] - dot(&row[start..i], &done[start..i])) / done[i];
            }
            let value = row[j] - dot(&row[start..j], &row[start..j]);
            if value.is_nan() || value <= 0.0 {
                return Err(Error::NotPositiveDefinite { pivot: j, size: n, value });
            }
            row[j] = value.sqrt();
        }
        let block = &above[start * n..];
        below.par_chunks_mut(n).for_each(|row| {
            for j in start..end {
                let done = &block[(j - start) * n..][..n];
                row[j] = (row[j] - dot(&row[start..j], &done[start..j])) / done[j];
            }
        });

        let panel: Vec<f64> =
            below.chunks_exact(n).flat_map(|row| &row[start..end]).copied().collect();
        let panel = Tensor::from_vec(panel, (n - end, width), &Device::Cpu)?;
        for first in (0..n - end).step_by(STRIP) {
            let last = (first + STRIP).min(n - end);
            let rows = panel.narrow(0, first, last - first)?;
            let product = rows.matmul(&panel.narrow(0, 0, last)?.t()?)?.flatten_all()?;
            let product = product.to_vec1::<f64>()?;
            let strip = below[first * n..last * n].par_chunks_mut(n);
            strip.zip(product.par_chunks(last)).for_each(|(row, product)| {
                row[end..].iter_mut().zip(product).for_each(|(value, part)| *value -= part);
            });
        }
    }
    Ok(())
}

/// Replaces each column of `b` (`n × m`, row-major) by the solution of L·Lᵀ·x = b.
pub(super) fn solve(l: &[f64], n: usize, b: &mut [f64], m: usize) {
    for i in 0..n {
        let (done, rest) = b.split_at_mut(i * m);
        for j in 0..i {
            subtract(&mut rest[..m], l[i * n + j], &done[j * m..][..m]);
        }
        rest[..m].iter_mut().for_each(|value| *value /= l[i * n + i]);
    }
    for i in (0..n).rev() {
        let (rest, done) = b.split_at_mut(i * m);
        done[..m].iter_mut().for_each(|value| *value /= l[i * n + i]);
        for j in 0..i {
            subtract(&mut rest[j * m..][..m], l[i * n + j], &done[..m]);
        }
    }
}

fn subtract(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to -= factor * from);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_made_by_hand() {
        // L = [[2, 0, 0], [6, 1, 0], [-8, 5, 3]], so L·Lᵀ is the well-known matrix below.
        let mut a = [4., 12., -16., 12., 37., -43., -16., -43., 98.];
        factor(&mut a, 3).unwrap();
        assert_eq!([a[0], a[3], a[4], a[6], a[7], a[8]], [2., 6., 1., -8., 5., 3.]);
        // a · (1, 2, 3) = (-20, -43, 192).
        let mut b = [-20., -43., 192.];
        solve(&a, 3, &mut b, 1);
        assert_eq!(b, [1., 2., 3.]);
    }

    #[test]
    fn blocks_and_strips_fit_together() {
        // L of known entries, larger than a block and a strip; sums of few small integers are exact.
        let n = 1300;
        let l = |i: usize, j: usize| match i - j {
            0 => 4.0,
            distance => ((i * 7 + j * 3) % 5) as f64 * f64::from(u8::from(distance % 13 == 1)),
        };
        let full: Vec<f64> =
            (0..n * n).map(|at| if at % n > at / n { 0.0 } else { l(at / n, at % n) }).collect();
        let full = Tensor::from_vec(full, (n, n), &Device::Cpu).unwrap();
        let product = full.matmul(&full.t().unwrap()).unwrap();
        let mut a: Vec<f64> = product.flatten_all().unwrap().to_vec1().unwrap();
        factor(&mut a, n).unwrap();
        let worst = (0..n)
            .flat_map(|i| (0..=i).map(move |j| (i, j)))
            .map(|(i, j)| (a[i * n + j] - l(i, j)).abs())
            .fold(0.0, f64::max);
        assert!(worst < 1e-9, "{worst}");
    }

    #[test]
    fn a_matrix_that_has_no_factor() {
        let error = factor(&mut [1., 2., 2., 1.], 2).unwrap_err().to_string();
        assert!(error.contains("pivot 1 of 2 is -3"), "{error}");
    }
}
