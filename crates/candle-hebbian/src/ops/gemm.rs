//! Matrix products on the CPU with checked sizes: by the matrix unit if the processor has one, else by the crate gemm.
//! Products of many sites run side by side.

use super::factor::Factor;
use super::matrix::Matrix;
use super::tiles;
use super::widen::{wide, widened};
use crate::cpu::{self, Real, with_real};
use crate::memory::{filled, room};
use candle::backend::BackendStorage;
use candle::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;

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
    let size = m.checked_mul(n);
    assert_eq!(Some(out.len()), size, "the result of a product of {m}, {depth} and {depth}, {n}");
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
    let sizes = [m, n, depth - done];
    if is_deep(sizes) {
        in_parts(sizes, a, b, (scale, adds), out);
    } else {
        // SAFETY: `out` holds the entries of the result, as asserted.
        unsafe { by_vectors(sizes, a, b, (scale, adds), out.as_mut_ptr(), parallelism) };
    }
}

/// Whether a product has few entries and a great depth. The crate gemm divides only the entries among its threads, and
/// runs such a product on one of them.
fn is_deep([m, n, depth]: [usize; 3]) -> bool {
    m.saturating_mul(n) <= 1 << 14 && depth >= 1 << 12
}

/// Computes a [deep](is_deep) product in parts of its depth, side by side. Their number depends on the depth alone, so
/// the result does not depend on the number of threads.
fn in_parts<T: Real>(
    [m, n, depth]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    (scale, adds): (T, bool),
    out: &mut [T],
) {
    let each = depth.div_ceil((depth >> 10).min(16));
    let mut sums = vec![T::zero(); depth.div_ceil(each) * m * n];
    sums.par_chunks_exact_mut(m * n).enumerate().for_each(|(part, sum)| {
        let first = part * each;
        let sizes = [m, n, each.min(depth - first)];
        let (a, b) = (a.after_column(first), b.t().after_column(first).t());
        // SAFETY: a sum holds the entries of the result.
        unsafe { by_vectors(sizes, a, b, (scale, false), sum.as_mut_ptr(), Parallelism::None) };
    });
    if !adds {
        out.fill(T::zero());
    }
    for sum in sums.chunks_exact(m * n) {
        for (out, &sum) in out.iter_mut().zip(sum) {
            *out += sum;
        }
    }
}

/// Computes a product by the crate gemm.
///
/// # Safety
/// `out` is valid for writes of all entries of the result, and for reads too if `adds`.
///
/// # Panics
/// If a factor does not have these sizes, or one of them is 0.
unsafe fn by_vectors<T: Real>(
    [m, n, depth]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    (scale, adds): (T, bool),
    out: *mut T,
    parallelism: Parallelism,
) {
    let is_empty = [m, n, depth].contains(&0);
    assert!(!is_empty && a.holds(m, depth) && b.holds(depth, n), "the sizes of a product");
    // SAFETY: all entries of the factors are in bounds, as asserted, and those of `out` are, as the caller says; being
    // borrowed to write, `out` overlaps neither factor.
    unsafe {
        gemm::gemm(
            m,
            n,
            depth,
            out,
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

/// Computes `a·b` in new memory. candle's product fills its array with zeros first, on one thread; here, nothing is
/// written before the product itself.
fn product<T: Real>([m, n, depth]: [usize; 3], a: Matrix<T>, b: Matrix<T>) -> Result<Vec<T>> {
    let threads = Parallelism::Rayon(0);
    let sizes = [m, n, depth];
    if sizes.contains(&0) || tiles::pays::<T>(sizes) || is_deep(sizes) {
        return filled("product", &[m, n], m.saturating_mul(n), |_, out| {
            gemm(sizes, a, b, (T::one(), false), out, threads);
            Ok(())
        });
    }
    let mut out = room("product", &[m, n])?;
    // SAFETY: there is room for all entries of the result, and the product writes each without reading it.
    unsafe {
        by_vectors(sizes, a, b, (T::one(), false), out.as_mut_ptr(), threads);
        out.set_len(m * n);
    }
    Ok(out)
}

/// Whether candle computes products on the CPU by the crate gemm too, and not by a library chosen by a feature.
const BY_GEMM: bool = !cfg!(any(feature = "mkl", feature = "accelerate"));

/// The threads for one of `sites` products that are computed side by side: only its own if there is a site for each
/// thread, all threads if there are fewer sites. How a product is divided among threads does not change its bits.
pub(super) fn threads_of_a_site(sites: usize) -> Parallelism {
    if sites < rayon::current_num_threads() { Parallelism::Rayon(0) } else { Parallelism::None }
}

/// Computes `a·b` for each site, of `a (S, M, D)` and `b (S, D, N)`. f16 and bf16 are summed in f32 and rounded once.
///
/// candle's own product computes one site after the other, with all threads for each; with hundreds of small sites, the
/// threads mostly wait. Here, sites on the CPU are computed side by side, and so are parts of deep products; large
/// products are computed by the matrix unit.
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let ((sites, m, depth), (_, _, n)) = (a.dims3()?, b.dims3()?);
    // There is nothing to add up. The product of all sizes may wrap, and then be 0 too.
    if [sites, m, depth, n].contains(&0) {
        return Tensor::zeros((sites, m, n), a.dtype(), a.device());
    }
    // GPUs sum half precision in f32 themselves. candle has no product of bf16 on the CPU.
    match a.device().is_cpu() {
        true => widened(a, |a| a.apply_op2_no_bwd(&wide(b)?, &Sites)),
        false => a.matmul(b),
    }
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
        let sizes = [m, n, depth];
        if sites == 1 && !BY_GEMM && !tiles::pays::<T>(sizes) && !is_deep(sizes) {
            return a.matmul(b, (sites, m, n, depth), a_layout, b_layout);
        }
        let (a, b) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
        let factors = |site| {
            let matrix = |data, layout: &Layout| {
                let stride = layout.stride();
                let data: &[T] = data;
                let (row, column) = (stride[1], stride[2]);
                Matrix { data: &data[layout.start_offset() + site * stride[0]..], row, column }
            };
            (matrix(a, a_layout), matrix(b, b_layout))
        };
        let out = if sites == 1 {
            let (a, b) = factors(0);
            product(sizes, a, b)?
        } else {
            let threads = threads_of_a_site(sites);
            filled("product", &[sites, m, n], m.saturating_mul(n), |site, out| {
                let (a, b) = factors(site);
                gemm(sizes, a, b, (1 as T, false), out, threads);
                Ok(())
            })?
        };
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

    /// The product of all sizes is 2⁶⁴, which wraps to 0. Its result is no empty one, but larger than is allowed here.
    #[test]
    fn sizes_whose_product_wraps_are_not_empty() -> Result<()> {
        let (long, one) = (1usize << 31, Tensor::ones((1, 1, 1), DType::F32, &Device::Cpu)?);
        let (a, b) = (one.broadcast_as((1, long, long))?, one.broadcast_as((1, long, 4))?);
        let product = crate::with_most_bytes(1 << 20, || matmul(&a, &b));
        let error = product.expect_err("too much").to_string();
        assert!(error.contains("product") && error.contains("34359738368 bytes"), "{error}");
        Ok(())
    }

    /// A product of a great depth equals the sums in f64, in each order of the factors, added and not, and has the same
    /// bits with one thread and with three.
    #[test]
    fn deep_products_are_sums() -> Result<()> {
        let (m, n, depth) = (3, 5, 9001);
        assert!(is_deep([m, n, depth]) && !is_deep([m, n, 4095]) && !is_deep([129, 128, depth]));
        let mut rng = Rng::new(32);
        let mut normal =
            |count| rng.normal(0.0, 1.0, count, DType::F64, &Device::Cpu)?.to_vec1::<f64>();
        let (a, b, before) = (normal(m * depth)?, normal(depth * n)?, normal(m * n)?);
        let a_matrices = [Matrix::rows(&a, depth), Matrix::rows(&a, m).t()];
        let b_matrices = [Matrix::rows(&b, n), Matrix::rows(&b, depth).t()];
        for (a, b, adds) in
            a_matrices.into_iter().zip(b_matrices).flat_map(|(a, b)| [(a, b, false), (a, b, true)])
        {
            let product = |threads: usize| {
                let mut out = before.clone();
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                pool.expect("threads").install(|| {
                    gemm([m, n, depth], a, b, (-2.0, adds), &mut out, Parallelism::Rayon(0));
                });
                out
            };
            let seen = product(1);
            assert_eq!(seen, product(3));
            for (at, seen) in seen.iter().enumerate() {
                let terms = (0..depth).map(|d| {
                    a.data[at / n * a.row + d * a.column] * b.data[d * b.row + at % n * b.column]
                });
                let want = -2.0 * terms.sum::<f64>() + if adds { before[at] } else { 0.0 };
                assert!((seen - want).abs() < 1e-9, "{seen} for {want}");
            }
        }
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
