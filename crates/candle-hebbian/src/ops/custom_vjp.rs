//! Custom backward passes.

use super::value::Value;
use candle::{
    CpuStorage, CudaStorage, CustomOp3, Layout, MetalStorage, Result, Shape, Storage, Tensor,
};
use std::sync::{Mutex, PoisonError};

/// The arguments of the backward pass of a [`custom_vjp`].
#[derive(Debug)]
pub struct Pass<'a, R, const N: usize> {
    /// What the forward pass kept for the backward pass.
    pub residuals: &'a R,
    /// The value of the forward pass, without a graph.
    pub output: &'a Tensor,
    /// The error at the output, `∂L/∂output`: of its shape and type, contiguous or not.
    pub grad: &'a Tensor,
    /// For each argument, whether its gradient is asked for, i.e. whether it is or depends on a variable.
    /// The other gradients need not be computed; they are dropped.
    pub wanted: [bool; N],
}

/// Applies a function of tensors that has a backward pass of its own, in the manner of JAX's `custom_vjp`.
///
/// ```text
/// forward    (y, r) = forward(x₁ … x_N)                 r: residuals
/// backward   (∂L/∂x₁ … ∂L/∂x_N) = backward(r, y, ∂L/∂y)
/// ```
///
/// `forward` receives the `args` detached, so it is ordinary tensor code that runs on every device and
/// leaves no trace in the graph. It returns the value `y` and whatever else `backward` needs. The result
/// is one node of the graph with `args` as its parents. `backward` returns a gradient for each of them, or
/// `None` if no gradient goes back. It need not be the derivative of `forward`: stop-gradients,
/// straight-through estimators, surrogate losses and feedback weights can all be written this way. If no
/// argument is part of a graph, neither is the result, and `backward` is dropped.
///
/// A square whose derivative is clipped to ±1:
///
/// ```
/// use candle::{Device, Tensor, Var, op};
/// use candle_hebbian::ops::{Value, custom_vjp};
/// let x = Var::new(&[0.25f64, 3.0, -2.0], &Device::Cpu)?;
/// let y = custom_vjp(
///     "clipped_square",
///     [&x],
///     |[x]| Ok((Value::unary::<op::Sqr>(x)?, x.clone())),
///     |pass| Ok([Some((pass.grad * (pass.residuals * 2.0)?.clamp(-1.0, 1.0)?)?)]),
/// )?;
/// assert_eq!(y.to_vec1::<f64>()?, [0.0625, 9.0, 4.0]);
/// let grads = (y * 10.0)?.sum_all()?.backward()?;
/// assert_eq!(grads.get(&x).unwrap().to_vec1::<f64>()?, [5.0, 10.0, -10.0]);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// - **Memory.** A [`Value`] that one operation made is handed over to the node without a copy. Any tensor
///   is accepted too, by `into()`, but copied, since other tensors may share its memory. The value need
///   not be a residual: `backward` receives it as [`Pass::output`].
/// - **Residuals** that are arguments, or views of them, share memory with the variable: a `Var::set`
///   between the passes changes them. Run `backward()` before the step, or keep a copy.
/// - **More arguments** than three (candle's limit): concatenate those of one kind into one
///   ([`Tensor::cat`] splits the gradient again), or chain two nodes. A tensor that needs no gradient need
///   not be an argument: `forward` and `backward` may capture it.
/// - **Second order.** Gradients are constants: what `backward` returns is detached, as candle detaches
///   the gradients of its own ops, so a gradient of a gradient does not pass through it.
///
/// # Errors
/// Those of `forward`; arguments on different devices, or a value on another device than the arguments. In
/// the backward pass, those of `backward`, and a gradient of another shape or type than its argument.
pub fn custom_vjp<R, const N: usize>(
    name: &'static str,
    args: [&Tensor; N],
    forward: impl FnOnce(&[Tensor; N]) -> Result<(Value, R)>,
    backward: impl Fn(&Pass<R, N>) -> Result<[Option<Tensor>; N]> + Send + Sync + 'static,
) -> Result<Tensor>
where
    R: Send + Sync + 'static,
{
    const { assert!(N >= 1 && N <= 3, "custom_vjp takes one to three arguments") };
    let (value, residuals) = forward(&args.map(Tensor::detach))?;
    if !value.device().same_device(args[0].device()) {
        candle::bail!(
            "{name}: a value on {:?} of arguments on {:?}, expected one device",
            value.device().location(),
            args[0].device().location()
        )
    }
    if !args.iter().any(|arg| arg.track_op()) {
        return Ok(value.into_tensor());
    }
    // candle's op of three arguments also serves for one and two: the last argument is repeated, and no
    // gradient is returned for the repetition.
    let [a, b, c] = [0, 1, 2].map(|at| args[at.min(N - 1)]);
    let value = Mutex::new(Some(value.into_own()?));
    a.apply_op3(b, c, Node { name, value, residuals, backward })
}

struct Node<R, F, const N: usize>
where
    F: Fn(&Pass<R, N>) -> Result<[Option<Tensor>; N]>,
{
    name: &'static str,
    /// The value, until the forward pass has taken it.
    value: Mutex<Option<(Storage, Shape)>>,
    residuals: R,
    backward: F,
}

impl<R, F, const N: usize> Node<R, F, N>
where
    F: Fn(&Pass<R, N>) -> Result<[Option<Tensor>; N]>,
{
    fn take(&self) -> Result<(Storage, Shape)> {
        match self.value.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(value) => Ok(value),
            None => candle::bail!("{}: the forward pass ran twice", self.name),
        }
    }

    fn misplaced<T>(&self) -> Result<T> {
        candle::bail!("{}: the value is not on the device of the arguments", self.name)
    }

    /// The gradient to give to candle for an argument; 0 if there is none, because candle panics if the
    /// gradient of a computed argument is missing.
    fn checked(&self, at: usize, arg: &Tensor, grad: Option<Tensor>) -> Result<Option<Tensor>> {
        match grad {
            _ if !arg.track_op() => Ok(None),
            Some(grad) if grad.shape() != arg.shape() || grad.dtype() != arg.dtype() => {
                candle::bail!(
                    "{}: the backward pass gave argument {at} a gradient of {:?} in {:?}, expected \
                     the argument's {:?} in {:?}",
                    self.name,
                    grad.dims(),
                    grad.dtype(),
                    arg.dims(),
                    arg.dtype()
                )
            }
            Some(grad) => Ok(Some(grad.detach())),
            None if arg.is_variable() => Ok(None),
            None => arg.zeros_like().map(Some),
        }
    }
}

impl<R, F, const N: usize> CustomOp3 for Node<R, F, N>
where
    F: Fn(&Pass<R, N>) -> Result<[Option<Tensor>; N]>,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match self.take()? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            _ => self.misplaced(),
        }
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        match self.take()? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            _ => self.misplaced(),
        }
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        match self.take()? {
            (Storage::Metal(storage), shape) => Ok((storage, shape)),
            _ => self.misplaced(),
        }
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        output: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let args = [a, b, c];
        let (output, grad) = (&output.detach(), &grad.detach());
        let wanted = std::array::from_fn(|at| args[at].track_op());
        let grads = (self.backward)(&Pass { residuals: &self.residuals, output, grad, wanted })?;
        let mut all = [None, None, None];
        for ((at, grad), arg) in grads.into_iter().enumerate().zip(args) {
            all[at] = self.checked(at, arg, grad)?;
        }
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::op::{Exp, Mul};
    use candle::{CustomOp1, DType, Device, Var};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn var(values: &[f64]) -> Result<Var> {
        Var::new(values, &Device::Cpu)
    }

    /// The address of a tensor's first element.
    fn address(tensor: &Tensor) -> Result<usize> {
        let (storage, layout) = tensor.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => {
                Ok(storage.as_slice::<f64>()?[layout.start_offset()..].as_ptr().addr())
            }
            _ => candle::bail!("expected a tensor on the CPU"),
        }
    }

    /// Squares its input, and records where it wrote the result.
    struct Noted(Arc<AtomicUsize>);

    impl CustomOp1 for Noted {
        fn name(&self) -> &'static str {
            "noted"
        }

        fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
            let out: Vec<f64> = x.as_slice::<f64>()?.iter().map(|x| x * x).collect();
            self.0.store(out.as_ptr().addr(), Ordering::Relaxed);
            Ok((CpuStorage::F64(out), layout.shape().clone()))
        }
    }

    /// The node of the graph uses the memory that the operation wrote; so does a value without a graph.
    #[test]
    fn memory_is_handed_over() -> Result<()> {
        let written = Arc::new(AtomicUsize::new(0));
        for tracked in [true, false] {
            let x = var(&[1.0, 2.0, 3.0])?;
            let x = if tracked { x.as_tensor().clone() } else { x.as_detached_tensor() };
            let noted = Noted(Arc::clone(&written));
            let y = custom_vjp(
                "square",
                [&x],
                |[x]| Ok((Value::op1(x, &noted)?, ())),
                |pass| Ok([Some(pass.grad.clone())]),
            )?;
            assert_eq!(y.track_op(), tracked);
            assert_eq!(address(&y)?, written.load(Ordering::Relaxed));
            assert_eq!(y.to_vec1::<f64>()?, [1.0, 4.0, 9.0]);
        }
        Ok(())
    }

    /// A value whose memory is shared is copied: the other tensors keep their values, and the node keeps
    /// its own when they change. Here the value is an argument, a residual, a view and a captured clone.
    #[test]
    fn shared_memory_is_copied() -> Result<()> {
        let x = var(&[1.0, 2.0])?;
        let held = Tensor::new(&[5f64, 6.0, 7.0], &Device::Cpu)?;
        let pass_on = |value: &dyn Fn(&Tensor) -> Result<Tensor>| {
            custom_vjp(
                "identity",
                [x.as_tensor()],
                |[x]| {
                    let value = value(x)?;
                    Ok((value.clone().into(), value))
                },
                |pass| Ok([Some((pass.grad * pass.residuals)?)]),
            )
        };
        let (argument, view) = (pass_on(&|x| Ok(x.clone()))?, pass_on(&|_| held.narrow(0, 1, 2))?);
        assert_ne!(address(&argument)?, address(&x)?);
        assert_ne!(address(&view)?, address(&held.narrow(0, 1, 2)?)?);
        assert_eq!(held.to_vec1::<f64>()?, [5.0, 6.0, 7.0]);
        let grads = view.sum_all()?.backward()?;
        assert_eq!(grads.get(&x).expect("a gradient").to_vec1::<f64>()?, [6.0, 7.0]);
        x.set(&Tensor::new(&[3f64, 4.0], &Device::Cpu)?)?;
        assert_eq!(argument.to_vec1::<f64>()?, [1.0, 2.0]);
        Ok(())
    }

    /// candle panics if the gradient of a computed argument is missing. Here it is 0, and gradients that
    /// reach the variable by another path remain; an argument that is a variable itself has no gradient at
    /// all.
    #[test]
    fn no_gradient_is_safe() -> Result<()> {
        let (x, v) = (var(&[1.0, 2.0])?, var(&[3.0])?);
        let computed = (x.as_tensor() * 3.0)?;
        let y = custom_vjp(
            "stopped",
            [&computed, &v],
            |[x, v]| Ok((x.broadcast_mul(v)?.into(), ())),
            |_| Ok([None, None]),
        )?;
        let grads = y.sum_all()?.backward()?;
        assert_eq!(grads.get(&x).expect("a gradient").to_vec1::<f64>()?, [0.0, 0.0]);
        assert!(grads.get(&v).is_none());
        let grads = (y + (x.as_tensor() * 7.0)?)?.sum_all()?.backward()?;
        assert_eq!(grads.get(&x).expect("a gradient").to_vec1::<f64>()?, [7.0, 7.0]);
        Ok(())
    }

    /// Three arguments, one of which depends on no variable: each gets its own gradient, the value and the
    /// residuals are available, and a second backward pass gives the same.
    #[test]
    fn each_argument_gets_its_gradient() -> Result<()> {
        let (a, c) = (var(&[1.0, 2.0])?, var(&[5.0, 7.0])?);
        let b = Tensor::new(&[3f64, 4.0], &Device::Cpu)?;
        let doubled = (c.as_tensor() * 2.0)?;
        let y = custom_vjp(
            "product",
            [&a, &b, &doubled],
            |[a, b, c]| {
                let ab = (a * b)?;
                Ok((Value::binary::<Mul>(&ab, c)?, (a.clone(), b.clone(), ab)))
            },
            |pass| {
                assert_eq!(pass.wanted, [true, false, true]);
                let (a, b, ab) = pass.residuals;
                assert!(!pass.grad.track_op() && !pass.output.track_op());
                Ok([
                    Some(((pass.grad * pass.output)? / a)?),
                    Some(b.clone()), // not wanted, and dropped
                    Some((pass.grad * ab)?),
                ])
            },
        )?;
        assert_eq!(y.to_vec1::<f64>()?, [30.0, 112.0]);
        for _ in 0..2 {
            let grads = y.sum_all()?.backward()?;
            assert_eq!(grads.get(&a).expect("of a").to_vec1::<f64>()?, [30.0, 56.0]); // b·2c
            assert_eq!(grads.get(&c).expect("of c").to_vec1::<f64>()?, [6.0, 16.0]); // 2ab
            assert!(grads.get(&b).is_none());
        }
        Ok(())
    }

    /// One tensor given twice gets the sum of both gradients.
    #[test]
    fn an_argument_given_twice_gets_both() -> Result<()> {
        let x = var(&[2.0])?;
        let y = custom_vjp(
            "twice",
            [&x, &x],
            |[a, b]| Ok((Value::binary::<Mul>(a, b)?, ())),
            |pass| Ok([Some(pass.grad.clone()), Some((pass.grad * 10.0)?)]),
        )?;
        let grads = y.sum_all()?.backward()?;
        assert_eq!(grads.get(&x).expect("a gradient").to_vec1::<f64>()?, [11.0]);
        Ok(())
    }

    /// A gradient is a constant even if the backward pass computes it from variables.
    #[test]
    fn gradients_are_constants() -> Result<()> {
        let (x, w) = (var(&[1.0])?, var(&[4.0])?);
        let tracked = w.as_tensor().clone();
        let y = custom_vjp(
            "scaled",
            [&x],
            |[x]| Ok((Value::unary::<Exp>(x)?, ())),
            move |pass| Ok([Some((pass.grad * &tracked)?)]),
        )?;
        let grads = y.backward()?;
        let grad = grads.get(&x).expect("a gradient");
        assert_eq!(grad.to_vec1::<f64>()?, [4.0]);
        assert!(grad.backward()?.get(&w).is_none());
        Ok(())
    }

    #[test]
    fn a_gradient_that_does_not_fit_is_named() -> Result<()> {
        let x = var(&[1.0, 2.0])?;
        for wrong in
            [Tensor::ones(3, DType::F64, &Device::Cpu)?, Tensor::ones(2, DType::F32, &Device::Cpu)?]
        {
            let found = format!("{:?} in {:?}", wrong.dims(), wrong.dtype());
            let y = custom_vjp(
                "misfit",
                [&x],
                |[x]| Ok((Value::unary::<Exp>(x)?, ())),
                move |_| Ok([Some(wrong.clone())]),
            )?;
            let error = y.sum_all()?.backward().unwrap_err().to_string();
            for part in ["misfit", "argument 0", &found, "[2] in F64"] {
                assert!(error.contains(part), "{error}");
            }
        }
        Ok(())
    }
}
