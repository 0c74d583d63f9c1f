//! The surrogate loss, and the one matrix product that is its gradient.

use super::attach::attach2;
use super::reduce::{column_dots, squared_norms};
use crate::cpu::{self, Real, RowKernel, for_row_blocks, slice, with_real};
use candle::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

/// `L = −Σ sg(y)·u + ½ Σ_k sg(d_k)·‖w_k‖²`, a scalar whose gradient in `weight` is
/// `−(Σ y_k x − d_k w_k)`.
///
/// `pre (S, P, F)`, `u` and `y (S, P, K)`, `d (S, K)` or `None` for 0; `weight` of any shape that
/// holds `(S, K, F)`. Sums, not means. `u` gives the loss its value; its graph, if any, is not
/// followed. The gradient reads `weight` when `backward` runs: call it before the next `Var::set`.
pub(crate) fn surrogate_loss(
    pre: &Tensor,
    u: &Tensor,
    y: &Tensor,
    d: Option<&Tensor>,
    weight: &Tensor,
) -> Result<Tensor> {
    let (pre, y, d) = (pre.detach(), y.detach(), d.map(Tensor::detach));
    let drive = column_dots(&y, u)?;
    let value = match &d {
        Some(d) => {
            let dims = (pre.dim(0)?, y.dim(2)?, pre.dim(2)?);
            ((squared_norms(&weight.detach().reshape(dims)?)? * d)? * 0.5)?.sub(&drive)?
        }
        None => drive.neg()?,
    }
    .sum_all()?;
    let frozen = weight.detach();
    let rows = pre.clone();
    attach2("surrogate_loss", weight, &rows, &value, move |grad| {
        let update = hebbian_update(&pre, &y, d.as_ref(), &frozen)?;
        Ok((Some(update.broadcast_mul(&grad.neg()?)?), None))
    })
}

/// `D = yᵀ·x − diag(d)·w` for each site, in the shape of `weight`: the update the surrogate's
/// gradient is minus.
pub(crate) fn hebbian_update(
    pre: &Tensor,
    y: &Tensor,
    d: Option<&Tensor>,
    weight: &Tensor,
) -> Result<Tensor> {
    let product = y.detach().transpose(1, 2)?.matmul(&pre.detach())?;
    let Some(d) = d else { return product.reshape(weight.shape()) };
    let weight = weight.detach().contiguous()?;
    let matrices = weight.reshape(product.shape())?;
    let update = if product.device().is_cpu() {
        product.apply_op3_no_bwd(&d.detach().contiguous()?, &matrices, &Decay)?
    } else {
        (product - matrices.broadcast_mul(&d.detach().unsqueeze(2)?)?)?
    };
    update.reshape(weight.shape())
}

/// `a_k − d_k·w_k` over rows.
struct Decay;

impl CustomOp3 for Decay {
    fn name(&self) -> &'static str {
        "decay"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        d: &CpuStorage,
        d_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let fan_in = a_layout.shape().dims3()?.2;
        with_real!(a, "decay", T => {
            let (a, d, w) = (
                slice::<T>(a, a_layout)?,
                slice::<T>(d, d_layout)?,
                slice::<T>(w, w_layout)?,
            );
            if d.len() * fan_in != w.len() || w.len() != a.len() {
                candle::bail!(
                    "decay: expected one value for each of {} units, found {}",
                    w.len() / fan_in.max(1),
                    d.len()
                );
            }
            let mut out = vec![0 as T; a.len()];
            for_row_blocks(&mut out, fan_in, fan_in, &DecayRows { a, d, w, fan_in });
            Ok((cpu::owned(out), a_layout.shape().clone()))
        })
    }
}

struct DecayRows<'a, T> {
    a: &'a [T],
    d: &'a [T],
    w: &'a [T],
    fan_in: usize,
}

impl<T: Real> RowKernel<T> for DecayRows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        for (i, out) in block.chunks_exact_mut(self.fan_in).enumerate() {
            let row = (first + i) * self.fan_in..(first + i + 1) * self.fan_in;
            let (a, w, d) = (&self.a[row.clone()], &self.w[row], self.d[first + i]);
            for ((out, &a), &w) in out.iter_mut().zip(a).zip(w) {
                *out = a - d * w;
            }
        }
    }
}
