//! The linear response `u = x·wᵀ` of every unit to every row, with a backward pass that forms only
//! the gradients somebody asked for.

use candle::backend::BackendStorage;
use candle::{CpuStorage, CudaStorage, CustomOp2, Layout, MetalStorage, Result, Shape, Tensor};

/// `u (S, P, K)` from rows `pre (S, P, F)` and a contiguous `weight` of any shape that holds
/// `(S, K, F)`. One matrix product per site; one more in the backward pass for the weights, and
/// one for the rows only when they are part of a graph (candle's own `matmul` always does both).
pub(crate) fn linear_response(pre: &Tensor, weight: &Tensor) -> Result<Tensor> {
    pre.contiguous()?.apply_op2(&weight.contiguous()?, LinearResponse)
}

struct LinearResponse;

fn product<S: BackendStorage>(
    pre: &S,
    pre_layout: &Layout,
    weight: &S,
    weight_layout: &Layout,
) -> Result<(S, Shape)> {
    let (sites, rows, fan_in) = pre_layout.shape().dims3()?;
    let units = weight_layout.shape().elem_count() / (sites * fan_in).max(1);
    let matrices =
        Layout::contiguous_with_offset((sites, units, fan_in), weight_layout.start_offset())
            .transpose(1, 2)?;
    let u = pre.matmul(weight, (sites, rows, units, fan_in), pre_layout, &matrices)?;
    Ok((u, (sites, rows, units).into()))
}

impl CustomOp2 for LinearResponse {
    fn name(&self) -> &'static str {
        "linear_response"
    }

    fn cpu_fwd(
        &self,
        pre: &CpuStorage,
        pre_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        product(pre, pre_layout, weight, weight_layout)
    }

    fn cuda_fwd(
        &self,
        pre: &CudaStorage,
        pre_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        product(pre, pre_layout, weight, weight_layout)
    }

    fn metal_fwd(
        &self,
        pre: &MetalStorage,
        pre_layout: &Layout,
        weight: &MetalStorage,
        weight_layout: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        product(pre, pre_layout, weight, weight_layout)
    }

    fn bwd(
        &self,
        pre: &Tensor,
        weight: &Tensor,
        u: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (sites, _, units) = u.dims3()?;
        let grad = grad.detach().contiguous()?;
        let grad_pre = if pre.track_op() {
            let matrices = weight.detach().reshape((sites, units, pre.dim(2)?))?;
            Some(grad.matmul(&matrices)?)
        } else {
            None
        };
        let grad_weight = if weight.track_op() {
            let product = grad.transpose(1, 2)?.matmul(&pre.detach())?;
            Some(product.reshape(weight.shape())?)
        } else {
            None
        };
        Ok((grad_pre, grad_weight))
    }
}
