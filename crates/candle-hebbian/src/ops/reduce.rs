//! Sums over the rows of a batch of matrices: what a rule's decay is made of.

use super::backend::has_kernels;
use crate::cpu::{
    self, Real, RowKernel, for_row_blocks, rows_per_block, slice, sum, vectorised, with_real,
};
use candle::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// `Σ_p a[s,p,k]`: `(S, P, K)` to `(S, K)`.
pub fn column_sums(a: &Tensor) -> Result<Tensor> {
    if has_kernels(a.device()) {
        let a = a.detach().contiguous()?;
        return a.apply_op2_no_bwd(&a, &ColumnReduce::Sum);
    }
    a.detach().sum(1)
}

/// How many `a[s,p,k]` are above 0 in each column: `(S, P, K)` to `(S, K)`, of the same type.
pub fn column_counts(a: &Tensor) -> Result<Tensor> {
    if has_kernels(a.device()) {
        let a = a.detach().contiguous()?;
        return a.apply_op2_no_bwd(&a, &ColumnReduce::Count);
    }
    a.detach().gt(0.0)?.to_dtype(a.dtype())?.sum(1)
}

/// `Σ_p a[s,p,k]·b[s,p,k]`: two tensors `(S, P, K)` to `(S, K)`.
pub fn column_dots(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if has_kernels(a.device()) {
        let (a, b) = (a.detach().contiguous()?, b.detach().contiguous()?);
        return a.apply_op2_no_bwd(&b, &ColumnReduce::Dot);
    }
    (a.detach() * b.detach())?.sum(1)
}

/// `Σ_f w[s,k,f]²`: `(S, K, F)` to `(S, K)`, the squared radius of each unit.
pub fn squared_norms(w: &Tensor) -> Result<Tensor> {
    if has_kernels(w.device()) {
        let w = w.detach().contiguous()?;
        return w.apply_op2_no_bwd(&w, &SquaredNorms);
    }
    w.detach().sqr()?.sum(2)
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
                vectorised(|| {
                    for (a, b) in a.chunks_exact(columns).zip(b.chunks_exact(columns)) {
                        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
                            *sum += match self {
                                Self::Sum => a,
                                Self::Count if a > T::zero() => T::one(),
                                Self::Count => T::zero(),
                                Self::Dot => a * b,
                            };
                        }
                    }
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
        if b_layout.shape().dims3()? != dims {
            candle::bail!("column_dots: shapes {dims:?} and {:?} differ", b_layout.shape().dims());
        }
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
            let mut out = vec![0 as T; sites * units];
            for_row_blocks(&mut out, 1, fan_in, &RowNorms { w, fan_in });
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
