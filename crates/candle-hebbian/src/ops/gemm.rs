//! Matrix products on the CPU with checked sizes: by the matrix unit if the processor has one, else by the crate gemm.
//! Products of many sites run side by side.

use super::factor::Factor;
use super::tiles;
use crate::cpu::{self, Real, with_real};
use candle::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;

/// A matrix in memory: entry `(i, j)` is at `i·row + j·column`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    pub data: &'a [T],
    pub row: usize,
    pub column: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix with rows of `columns` entries, one after the other.
    pub fn rows(data: &'a [T], columns: usize) -> Self {
        Self { data, row: columns, column: 1 }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// The matrix without the columns before `first`, a column that must exist.
    fn after_column(self, first: usize) -> Self {
        Self { data: &self.data[first * self.column..], ..self }
    }

    /// Whether `data` holds all entries of `rows` rows and `columns` columns, neither of which may be 0.
    pub fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = (rows - 1).checked_mul(self.row).zip((columns - 1).checked_mul(self.column));
        last.and_then(|(i, j)| i.checked_add(j)).is_some_and(|last| last < self.data.len())
    }
}

/// Computes `out (M, N) = scale·a·b`, summed over `depth`. If `adds`, the product is added to `out` instead.
///
/// # Panics
/// If the matrices do not have these sizes.
pub(super) fn gemm<T: Real>(
    [m, n, depth]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    (scale, adds): (T, bool),
    out: &mut [T],
    parallelism: Parallelism,
) {
    assert_eq!(out.len(), m * n, "the result of a product of {m}, {depth} and {depth}, {n}");
    if out.is_empty() {
        return;
    }
    if depth == 0 {
        if !adds {
            out.fill(T::zero());
        }
        return;
    }
    assert!(a.holds(m, depth) && b.holds(depth, n), "factors of {m}, {depth} and {depth}, {n}");
    let done = if tiles::pays::<T>([m, n, depth]) {
        let left = Factor { scale, ..Factor::rows(a, m, depth) };
        tiles::product(left, Factor::rows(b.t(), n, depth), adds, out)
    } else {
        0
    };
    if done == depth {
        return;
    }
    let (a, b, adds) = (a.after_column(done), b.t().after_column(done).t(), adds || done > 0);
    let depth = depth - done;
    // SAFETY: all entries of the factors are in bounds, as asserted; `out` is of its size and, being
    // borrowed to write, overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            depth,
            out.as_mut_ptr(),
            1,
            n as isize,
            adds,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            T::one(),
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// The threads for one of `sites` products that are computed side by side: only its own if there is a site for each
/// thread, all threads if there are fewer sites. How a product is divided among threads does not change its bits.
pub(super) fn threads_of_a_site(sites: usize) -> Parallelism {
    if sites < rayon::current_num_threads() { Parallelism::Rayon(0) } else { Parallelism::None }
}

/// Computes `a·b` for each site, of `a (S, M, D)` and `b (S, D, N)`.
///
/// candle's own product computes one site after the other, with all threads for each; with hundreds of small sites, the
/// threads mostly wait. Here, sites on the CPU are computed side by side, and large products by the matrix unit.
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let ((sites, m, depth), (_, _, n)) = (a.dims3()?, b.dims3()?);
    // candle refuses empty products.
    if sites * m * depth * n == 0 {
        return Tensor::zeros((sites, m, n), a.dtype(), a.device());
    }
    let by_unit = a.dtype() == DType::F32 && tiles::pays::<f32>([m, n, depth]);
    if a.device().is_cpu() && (sites > 1 || by_unit) {
        return a.apply_op2_no_bwd(b, &Sites);
    }
    a.matmul(b)
}

struct Sites;

impl CustomOp2 for Sites {
    fn name(&self) -> &'static str {
        "matmul_of_sites"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((sites, m, _), (_, _, n)) = (a_layout.shape().dims3()?, b_layout.shape().dims3()?);
        Ok((multiply(a, a_layout, b, b_layout)?, (sites, m, n).into()))
    }
}

/// [`matmul`] for storages on the CPU.
pub(super) fn multiply(
    a: &CpuStorage,
    a_layout: &Layout,
    b: &CpuStorage,
    b_layout: &Layout,
) -> Result<CpuStorage> {
    let ((sites, m, depth), (b_sites, b_depth, n)) =
        (a_layout.shape().dims3()?, b_layout.shape().dims3()?);
    if (b_sites, b_depth) != (sites, depth) {
        candle::bail!("products of {:?} and {:?}", a_layout.dims(), b_layout.dims())
    }
    with_real!(a, "matmul", T => {
        let (a, b) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
        let mut out = vec![0 as T; sites * m * n];
        let threads = threads_of_a_site(sites);
        out.par_chunks_mut((m * n).max(1)).enumerate().for_each(|(site, out)| {
            let matrix = |data, layout: &Layout| {
                let stride = layout.stride();
                let data: &[T] = data;
                let (row, column) = (stride[1], stride[2]);
                Matrix { data: &data[layout.start_offset() + site * stride[0]..], row, column }
            };
            let (a, b) = (matrix(a, a_layout), matrix(b, b_layout));
            gemm([m, n, depth], a, b, (1 as T, false), out, threads);
        });
        Ok(cpu::owned(out))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use candle::{DType, Device};

    /// Products of sites side by side equal those of each site alone, also for views.
    #[test]
    fn sites_are_products_of_each() -> Result<()> {
        let mut rng = Rng::new(31);
        let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu);
        let (a, b) = (normal((3, 5, 4))?, normal((3, 6, 4))?);
        let seen = matmul(&a, &b.transpose(1, 2)?)?;
        assert_eq!(seen.dims(), [3, 5, 6]);
        for site in 0..3 {
            let (a, b) = (a.get(site)?.to_vec2::<f64>()?, b.get(site)?.to_vec2::<f64>()?);
            for (a, seen) in a.iter().zip(seen.get(site)?.to_vec2::<f64>()?) {
                for (b, seen) in b.iter().zip(seen) {
                    let want: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    assert!((seen - want).abs() < 1e-12, "{seen} for {want}");
                }
            }
        }
        let nothing = matmul(&a.narrow(1, 0, 0)?, &b.transpose(1, 2)?)?;
        assert_eq!(nothing.dims(), [3, 0, 6]);
        Ok(())
    }

    #[test]
    #[should_panic(expected = "factors of 2, 3 and 3, 2")]
    fn a_factor_that_is_too_small_is_refused() {
        let (short, whole, mut out) = ([0f32; 5], [0f32; 6], [0f32; 4]);
        let (a, b) = (Matrix::rows(&short, 3), Matrix::rows(&whole, 2));
        gemm([2, 2, 3], a, b, (1.0, false), &mut out, Parallelism::None);
    }
}
