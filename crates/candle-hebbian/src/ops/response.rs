//! The linear response `u = x·wᵀ` of every unit to every row, with a backward pass that may use
//! other weights than the forward pass and forms only the gradients somebody asked for.

use candle::backend::BackendStorage;
use candle::{CpuStorage, CudaStorage, CustomOp3, Layout, MetalStorage, Result, Shape, Tensor};

/// How the gradients of weights and feedback weights differ from the plain one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asymmetry {
    /// `ε`: the feedback weights' gradient is this times the weights'.
    pub rate: f64,
    /// The connections that exist, 1, among the weights, else 0.
    pub weight_mask: Option<Tensor>,
    /// The same of the feedback weights.
    pub feedback_mask: Option<Tensor>,
}

impl Asymmetry {
    /// The gradients of `weight` and `feedback`, those of them that are tracked, from the one
    /// `product` of activities that both use.
    pub(crate) fn weight_gradients(
        &self,
        weight: &Tensor,
        feedback: &Tensor,
        product: impl FnOnce() -> Result<Tensor>,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if !weight.track_op() && !feedback.track_op() {
            return Ok((None, None));
        }
        let product = product()?.reshape(weight.shape())?;
        let of_feedback = if !feedback.track_op() {
            None
        } else if self.rate == 1.0 {
            Some(masked(&product, &self.feedback_mask)?)
        } else {
            Some(masked(&(&product * self.rate)?, &self.feedback_mask)?)
        };
        let of_weight =
            if weight.track_op() { Some(masked(&product, &self.weight_mask)?) } else { None };
        Ok((of_weight, of_feedback))
    }
}

/// What of `values` has a connection: all, or where the mask is 1.
pub(crate) fn masked(values: &Tensor, mask: &Option<Tensor>) -> Result<Tensor> {
    match mask {
        Some(mask) => values * mask,
        None => Ok(values.clone()),
    }
}

/// `u (S, P, K)` from rows `pre (S, P, F)` and a `weight` of any shape that holds `(S, K, F)`; the
/// error goes back to the rows through `feedback`, of the same shape. One matrix product per site;
/// one more in the backward pass for the weights, and one for the rows only when they are part of a
/// graph (candle's own `matmul` always does both).
pub(crate) fn linear_response(
    pre: &Tensor,
    weight: &Tensor,
    feedback: &Tensor,
    asymmetry: Asymmetry,
) -> Result<Tensor> {
    let (weight, feedback) = (weight.contiguous()?, feedback.contiguous()?);
    pre.contiguous()?.apply_op3(&weight, &feedback, LinearResponse(asymmetry))
}

struct LinearResponse(Asymmetry);

fn product<S: BackendStorage>(
    pre: &S,
    pre_layout: &Layout,
    weight: &S,
    weight_layout: &Layout,
) -> Result<(S, Shape)> {
    let (sites, rows, fan_in, units) = sizes(pre_layout, weight_layout)?;
    let matrices =
        Layout::contiguous_with_offset((sites, units, fan_in), weight_layout.start_offset())
            .transpose(1, 2)?;
    let u = pre.matmul(weight, (sites, rows, units, fan_in), pre_layout, &matrices)?;
    Ok((u, (sites, rows, units).into()))
}

/// [`product`] as the transpose of `w·xᵀ`. Both factors are contiguous along the sum, so the CPU's
/// product has to turn one of them round: the one that the result's last axis comes from. Here that
/// is the rows.
fn turned_product(
    pre: &CpuStorage,
    pre_layout: &Layout,
    weight: &CpuStorage,
    weight_layout: &Layout,
) -> Result<(CpuStorage, Shape)> {
    let (sites, rows, fan_in, units) = sizes(pre_layout, weight_layout)?;
    let matrices =
        Layout::contiguous_with_offset((sites, units, fan_in), weight_layout.start_offset());
    let dims = (sites, units, rows, fan_in);
    let turned = weight.matmul(pre, dims, &matrices, &pre_layout.transpose(1, 2)?)?;
    let layout = Layout::contiguous((sites, units, rows)).transpose(1, 2)?;
    let mut u = turned.try_clone(&layout)?;
    turned.copy_strided_src(&mut u, 0, &layout)?;
    Ok((u, (sites, rows, units).into()))
}

/// Sites, rows, inputs and units.
fn sizes(pre: &Layout, weight: &Layout) -> Result<(usize, usize, usize, usize)> {
    let (sites, rows, fan_in) = pre.shape().dims3()?;
    Ok((sites, rows, fan_in, weight.shape().elem_count() / (sites * fan_in).max(1)))
}

impl CustomOp3 for LinearResponse {
    fn name(&self) -> &'static str {
        "linear_response"
    }

    fn cpu_fwd(
        &self,
        pre: &CpuStorage,
        pre_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, rows, _, units) = sizes(pre_layout, weight_layout)?;
        let product = if units > rows { turned_product } else { product };
        product(pre, pre_layout, weight, weight_layout)
    }

    fn cuda_fwd(
        &self,
        pre: &CudaStorage,
        pre_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        product(pre, pre_layout, weight, weight_layout)
    }

    fn metal_fwd(
        &self,
        pre: &MetalStorage,
        pre_layout: &Layout,
        weight: &MetalStorage,
        weight_layout: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        product(pre, pre_layout, weight, weight_layout)
    }

    fn bwd(
        &self,
        pre: &Tensor,
        weight: &Tensor,
        feedback: &Tensor,
        u: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (sites, _, units) = u.dims3()?;
        let grad = grad.detach().contiguous()?;
        let grad_pre = if pre.track_op() {
            let matrices = feedback.detach().reshape((sites, units, pre.dim(2)?))?;
            Some(grad.matmul(&matrices)?)
        } else {
            None
        };
        let product = || grad.transpose(1, 2)?.matmul(&pre.detach());
        let (grad_weight, grad_feedback) = self.0.weight_gradients(weight, feedback, product)?;
        Ok((grad_pre, grad_weight, grad_feedback))
    }
}
