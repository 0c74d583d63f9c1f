//! A value computed outside the graph, put into it with a backward pass of its own.
//!
//! candle's custom ops want a forward kernel per device. Here the forward value is ordinary tensor
//! code on detached inputs, so it runs wherever candle does; the op only copies it.

use candle::backend::BackendStorage;
use candle::{CpuStorage, CudaStorage, CustomOp3, Layout, MetalStorage, Result, Shape, Tensor};

type Gradients = (Option<Tensor>, Option<Tensor>);

/// `value` as a node that depends on `a` and `b`. `backward(grad)` returns the gradients of `a`
/// and `b`; `None` is allowed only for an argument that is a variable or untracked.
pub(crate) fn attach2(
    name: &'static str,
    a: &Tensor,
    b: &Tensor,
    value: &Tensor,
    backward: impl Fn(&Tensor) -> Result<Gradients> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !a.track_op() && !b.track_op() {
        return Ok(value.detach());
    }
    a.apply_op3(b, &value.detach(), Attached { name, backward })
}

/// [`attach2`] for a value of one argument.
pub(crate) fn attach(
    name: &'static str,
    a: &Tensor,
    value: &Tensor,
    backward: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    attach2(name, a, &value.detach(), value, move |grad| Ok((Some(backward(grad)?), None)))
}

struct Attached<F> {
    name: &'static str,
    backward: F,
}

fn copy<S: BackendStorage>(value: &S, layout: &Layout) -> Result<(S, Shape)> {
    Ok((value.affine(layout, 1.0, 0.0)?, layout.shape().clone()))
}

impl<F: Fn(&Tensor) -> Result<Gradients>> CustomOp3 for Attached<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        value: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        copy(value, layout)
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        value: &CudaStorage,
        layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        copy(value, layout)
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        value: &MetalStorage,
        layout: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        copy(value, layout)
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (a, b) = (self.backward)(&grad.detach())?;
        Ok((a, b, None))
    }
}
