//! Sums over the rows of a batch of matrices, from which rules compute their decay.

use super::backend::has_kernels;
use super::widen::widened;
use crate::cpu::{self, Real, RowKernel, rows_per_block, slice, sum, vectorised, with_real};
use crate::memory::filled_rows;
use candle::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Computes `Σ_p a[s,p,k]`, from `(S, P, K)` to `(S, K)`; 0 if there are no rows.
///
/// # Errors
/// If `a` does not have three dimensions or has no columns.
pub fn column_sums(a: &Tensor) -> Result<Tensor> {
    reduced("column_sums", a, 2, |a| {
        if has_kernels(a.device()) {
            let a = a.contiguous()?;
            return a.apply_op2_no_bwd(&a, &ColumnReduce::Sum);
        }
        a.sum(1)
    })
}

/// Counts the `a[s,p,k]` above 0 in each column, from `(S, P, K)` to `(S, K)` of the same type. The
/// count of a column that holds a NaN is NaN, since it is unknown whether that value is above 0.
///
/// # Errors
/// If `a` does not have three dimensions or has no columns.
pub fn column_counts(a: &Tensor) -> Result<Tensor> {
    reduced("column_counts", a, 2, |a| {
        if has_kernels(a.device()) {
            let a = a.contiguous()?;
            return a.apply_op2_no_bwd(&a, &ColumnReduce::Count);
        }
        let above = a.gt(0.0)?;
        let known = (&above + a.le(0.0)?)?;
        known.where_cond(&above.to_dtype(a.dtype())?, a)?.sum(1)
    })
}

/// Computes `Σ_p a[s,p,k]·b[s,p,k]`, from two tensors `(S, P, K)` to `(S, K)`.
///
/// # Errors
/// If the shapes or types differ, or `a` does not have three dimensions or has no columns.
pub fn column_dots(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if (a.dims(), a.dtype()) != (b.dims(), b.dtype()) {
        candle::bail!(
            "column_dots: {:?} of {:?} and {:?} of {:?}: expected one shape and one type",
            a.dims(),
            a.dtype(),
            b.dims(),
            b.dtype()
        )
    }
    reduced("column_dots", a, 2, |a| {
        let b = b.detach().to_dtype(a.dtype())?;
        if has_kernels(a.device()) {
            return a.contiguous()?.apply_op2_no_bwd(&b.contiguous()?, &ColumnReduce::Dot);
        }
        (a * b)?.sum(1)
    })
}

/// Computes `Σ_f w[s,k,f]²`, the squared radius of each unit, from `(S, K, F)` to `(S, K)`.
///
/// # Errors
/// If `w` does not have three dimensions or has no units.
pub fn squared_norms(w: &Tensor) -> Result<Tensor> {
    reduced("squared_norms", w, 1, |w| {
        if has_kernels(w.device()) {
            let w = w.contiguous()?;
            return w.apply_op2_no_bwd(&w, &SquaredNorms);
        }
        w.sqr()?.sum(2)
    })
}

/// Applies `reduce`, which keeps the sites and dimension `kept`, to `a (S, ·, ·)`; sums are in f32
/// or f64.
fn reduced(
    name: &str,
    a: &Tensor,
    kept: usize,
    reduce: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let sites = match a.dims() {
        &[sites, _, _] if a.dims()[kept] > 0 => sites,
        dims => candle::bail!(
            "{name}: expected three dimensions, of which dimension {kept} is not 0, found {dims:?}"
        ),
    };
    if a.elem_count() == 0 {
        return Tensor::zeros((sites, a.dims()[kept]), a.dtype(), a.device());
    }
    widened(&a.detach(), reduce)
}

#[derive(Clone, Copy)]
enum ColumnReduce {
    Sum,
    Count,
    Dot,
}

impl ColumnReduce {
    fn run<T: Real>(
        &self,
        a: &[T],
        b: &[T],
        (sites, rows, columns): (usize, usize, usize),
    ) -> Vec<T> {
        let step = rows_per_block(columns);
        let mut out = vec![T::zero(); sites * columns];
        for (site, out) in out.chunks_mut(columns.max(1)).enumerate() {
            let span = site * rows * columns..(site + 1) * rows * columns;
            let partial = |a: &[T], b: &[T]| {
                let mut sums = vec![T::zero(); columns];
                // A loop for each, since the compiler makes no vectors of one that decides for each value.
                vectorised(|| match self {
                    Self::Sum => add_rows(&mut sums, a, b, |a, _| a),
                    Self::Count => add_rows(&mut sums, a, b, |a, _| is_above(a)),
                    Self::Dot => add_rows(&mut sums, a, b, |a, b| a * b),
                });
                sums
            };
            let partials: Vec<Vec<T>> = a[span.clone()]
                .par_chunks(step * columns.max(1))
                .zip(b[span].par_chunks(step * columns.max(1)))
                .map(|(a, b)| partial(a, b))
                .collect();
            for sums in partials {
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out += sum;
                }
            }
        }
        out
    }
}

/// Adds the `term`s of each row to the sums.
#[inline(always)]
fn add_rows<T: Real>(sums: &mut [T], a: &[T], b: &[T], term: impl Fn(T, T) -> T) {
    let columns = sums.len();
    for (a, b) in a.chunks_exact(columns).zip(b.chunks_exact(columns)) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(a, b);
        }
    }
}

/// 1 for a value above 0, 0 for any other, and NaN for NaN.
#[inline(always)]
fn is_above<T: Real>(a: T) -> T {
    let above = if a > T::zero() { T::one() } else { T::zero() };
    if a.is_nan() { a } else { above }
}

impl CustomOp2 for ColumnReduce {
    fn name(&self) -> &'static str {
        "column_reduce"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dims = a_layout.shape().dims3()?;
        with_real!(a, "column_reduce", T => {
            let out = self.run::<T>(slice(a, a_layout)?, slice(b, b_layout)?, dims);
            Ok((cpu::owned(out), (dims.0, dims.2).into()))
        })
    }
}

struct SquaredNorms;

impl CustomOp2 for SquaredNorms {
    fn name(&self) -> &'static str {
        "squared_norms"
    }

    fn cpu_fwd(
        &self,
        w: &CpuStorage,
        layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (sites, units, fan_in) = layout.shape().dims3()?;
        with_real!(w, "squared_norms", T => {
            let w = slice::<T>(w, layout)?;
            let kernel = RowNorms { w, fan_in };
            let out = filled_rows("squared norms", (sites * units, 1), fan_in, &kernel)?;
            Ok((cpu::owned(out), (sites, units).into()))
        })
    }
}

struct RowNorms<'a, T> {
    w: &'a [T],
    fan_in: usize,
}

impl<T: Real> RowKernel<T> for RowNorms<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        for (i, out) in block.iter_mut().enumerate() {
            *out = sum(&self.w[(first + i) * self.fan_in..][..self.fan_in], |x| x * x);
        }
    }
}
