//! A computed value that owns its memory.

use candle::backend::{BackendDevice, BackendStorage};
use candle::op::{BinaryOpT, UnaryOpT};
use candle::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, MetalStorage,
    Result, Shape, Storage, Tensor,
};
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

/// The value that a forward pass gives to [`custom_vjp`](super::custom_vjp).
///
/// A [`Tensor`] shares its memory with every clone, view and detached tensor made of it, and there is no
/// way to tell whether any exist. So its memory can be copied into a node of a graph but not handed over,
/// since another tensor may still read it. Memory that one operation wrote and nothing else has seen can
/// be handed over. Hence a value is one of two things:
///
/// - the result of one of the operations below, in its own memory: it becomes a node without a copy;
/// - any tensor, by `into()`: it is copied when it becomes a node, and left as it is if there is no
///   graph.
///
/// ```
/// use candle::{Device, Tensor, op};
/// use candle_hebbian::ops::Value;
/// let h = Tensor::new(&[[1f32, -2.0], [-3.0, 4.0]], &Device::Cpu)?;
/// let rectified = Value::unary::<op::Relu>(&h)?.into_tensor();
/// assert_eq!(rectified.to_vec2::<f32>()?, [[1.0, 0.0], [0.0, 4.0]]);
/// let bias = Tensor::new(&[10f32, 20.0], &Device::Cpu)?;
/// let shifted = Value::binary::<op::Add>(&h, &bias)?.into_tensor();
/// assert_eq!(shifted.to_vec2::<f32>()?, [[11.0, 18.0], [7.0, 24.0]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug)]
pub struct Value(Memory);

#[derive(Debug)]
enum Memory {
    /// Contiguous memory that nothing else can see.
    Own(Storage, Shape),
    Shared(Tensor),
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self(Memory::Shared(tensor))
    }
}

impl Value {
    /// Applies `B`, for instance [`candle::op::Exp`], to each entry.
    ///
    /// # Errors
    /// If the device has no kernel for `B` and the type of the tensor, as for integers on a GPU, or no memory for the
    /// result.
    ///
    /// # Panics
    /// If the tensor is on the CPU and holds integers, and candle has no `B` for these: most of its ops,
    /// [`candle::op::Exp`] for example, are for floating-point numbers only.
    pub fn unary<B: UnaryOpT>(tensor: &Tensor) -> Result<Self> {
        if tensor.elem_count() == 0 {
            return Ok(tensor.clone().into());
        }
        Self::op1(tensor, &Unary::<B>(PhantomData))
    }

    /// Applies `B`, for instance [`candle::op::Mul`], to each pair of entries; the shapes are broadcast.
    ///
    /// # Errors
    /// If the shapes do not fit, or the types or devices differ.
    pub fn binary<B: BinaryOpT>(a: &Tensor, b: &Tensor) -> Result<Self> {
        let shape = a.shape().broadcast_shape_binary_op(b.shape(), B::NAME)?;
        if a.dtype() != b.dtype() {
            candle::bail!(
                "{}: expected one type, found {:?} and {:?}",
                B::NAME,
                a.dtype(),
                b.dtype()
            )
        }
        let (a, b) = (a.broadcast_as(&shape)?, b.broadcast_as(&shape)?);
        if shape.elem_count() == 0 {
            return Ok(a.into());
        }
        Self::op2(&a, &b, &Binary::<B>(PhantomData))
    }

    /// Runs the forward pass of a custom op of one argument, whose result candle hands over as new
    /// memory.
    ///
    /// # Errors
    /// If the op fails, or has no forward pass for the device of the tensor.
    pub fn op1(tensor: &Tensor, op: &impl CustomOp1) -> Result<Self> {
        let op = Kept::new(op);
        tensor.apply_op1_no_bwd(&op)?;
        op.value()
    }

    /// Runs the forward pass of a custom op of two arguments.
    ///
    /// # Errors
    /// If the arguments are on different devices, or the op fails or has no forward pass for their device.
    pub fn op2(a: &Tensor, b: &Tensor, op: &impl CustomOp2) -> Result<Self> {
        let op = Kept::new(op);
        a.apply_op2_no_bwd(b, &op)?;
        op.value()
    }

    /// Runs the forward pass of a custom op of three arguments.
    ///
    /// # Errors
    /// As for [`op2`](Self::op2).
    pub fn op3(a: &Tensor, b: &Tensor, c: &Tensor, op: &impl CustomOp3) -> Result<Self> {
        let op = Kept::new(op);
        a.apply_op3_no_bwd(b, c, &op)?;
        op.value()
    }

    /// The device of the value.
    pub fn device(&self) -> Device {
        match &self.0 {
            Memory::Own(storage, _) => storage.device(),
            Memory::Shared(tensor) => tensor.device().clone(),
        }
    }

    /// Converts the value to a tensor without a graph, in the same memory.
    pub fn into_tensor(self) -> Tensor {
        match self.0 {
            Memory::Own(storage, shape) => {
                Tensor::from_storage(storage, shape, candle::op::BackpropOp::none(), false)
            }
            Memory::Shared(tensor) => tensor.detach(),
        }
    }

    /// Gives the value another shape of as many elements.
    pub(super) fn reshape(self, to: &Shape) -> Result<Self> {
        Ok(match self.0 {
            Memory::Own(storage, shape) if shape.elem_count() == to.elem_count() => {
                Self(Memory::Own(storage, to.clone()))
            }
            Memory::Own(_, shape) => candle::bail!("a value of {shape:?} as one of {to:?}"),
            Memory::Shared(tensor) => tensor.reshape(to)?.into(),
        })
    }

    /// Returns the memory of the value, or of a copy if other tensors can see it.
    pub(super) fn into_own(self) -> Result<(Storage, Shape)> {
        match self.0 {
            Memory::Own(storage, shape) => Ok((storage, shape)),
            Memory::Shared(tensor) => Self::op1(&tensor, &Copied)?.into_own(),
        }
    }
}

/// A custom op that keeps its result back from candle, which would put it in a tensor whose memory can be
/// shared; candle gets one byte in its place.
struct Kept<'a, C> {
    op: &'a C,
    value: Mutex<Option<Value>>,
}

impl<'a, C> Kept<'a, C> {
    fn new(op: &'a C) -> Self {
        Self { op, value: Mutex::new(None) }
    }

    fn keep<S>(
        &self,
        (storage, shape): (S, Shape),
        wrap: impl FnOnce(S) -> Storage,
    ) -> Result<(S, Shape)>
    where
        S: BackendStorage,
        S::Device: BackendDevice<Storage = S>,
    {
        let byte = Shape::from(1);
        let instead = storage.device().zeros_impl(&byte, DType::U8)?;
        let value = Value(Memory::Own(wrap(storage), shape));
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok((instead, byte))
    }

    fn value(self) -> Result<Value> {
        match self.value.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(value) => Ok(value),
            None => candle::bail!("a custom op's forward pass did not run"),
        }
    }
}

macro_rules! keep {
    ($op:ident: $($storage:ident $layout:ident),+) => {
        impl<C: $op> $op for Kept<'_, C> {
            fn name(&self) -> &'static str {
                self.op.name()
            }

            fn cpu_fwd(
                &self,
                $($storage: &CpuStorage, $layout: &Layout),+
            ) -> Result<(CpuStorage, Shape)> {
                self.keep(self.op.cpu_fwd($($storage, $layout),+)?, Storage::Cpu)
            }

            fn cuda_fwd(
                &self,
                $($storage: &CudaStorage, $layout: &Layout),+
            ) -> Result<(CudaStorage, Shape)> {
                self.keep(self.op.cuda_fwd($($storage, $layout),+)?, Storage::Cuda)
            }

            fn metal_fwd(
                &self,
                $($storage: &MetalStorage, $layout: &Layout),+
            ) -> Result<(MetalStorage, Shape)> {
                self.keep(self.op.metal_fwd($($storage, $layout),+)?, Storage::Metal)
            }
        }
    };
}

keep!(CustomOp1: a la);
keep!(CustomOp2: a la, b lb);
keep!(CustomOp3: a la, b lb, c lc);

/// Copies the elements of `storage` that `layout` covers, in its order, to new memory.
fn gathered<S>(storage: &S, layout: &Layout) -> Result<S>
where
    S: BackendStorage,
    S::Device: BackendDevice<Storage = S>,
{
    let mut out = storage.device().zeros_impl(layout.shape(), storage.dtype())?;
    if layout.shape().elem_count() > 0 {
        storage.copy_strided_src(&mut out, 0, layout)?;
    }
    Ok(out)
}

/// Implements a custom op that makes the same call for the storage of every device.
macro_rules! everywhere {
    ($op:ident for $name:ident $(<$b:ident: $bound:ident>)?, $label:expr,
     |$($storage:ident $layout:ident),+| $value:expr) => {
        impl $(<$b: $bound>)? $op for $name $(<$b>)? {
            fn name(&self) -> &'static str {
                $label
            }

            fn cpu_fwd(
                &self,
                $($storage: &CpuStorage, $layout: &Layout),+
            ) -> Result<(CpuStorage, Shape)> {
                $value
            }

            fn cuda_fwd(
                &self,
                $($storage: &CudaStorage, $layout: &Layout),+
            ) -> Result<(CudaStorage, Shape)> {
                $value
            }

            fn metal_fwd(
                &self,
                $($storage: &MetalStorage, $layout: &Layout),+
            ) -> Result<(MetalStorage, Shape)> {
                $value
            }
        }
    };
}

struct Copied;
everywhere!(CustomOp1 for Copied, "copy", |a la| Ok((gathered(a, la)?, la.shape().clone())));

struct Unary<B>(PhantomData<B>);
everywhere!(CustomOp1 for Unary<B: UnaryOpT>, B::NAME, |a la| {
    Ok((a.unary_impl::<B>(la)?, la.shape().clone()))
});

struct Binary<B>(PhantomData<B>);
everywhere!(CustomOp2 for Binary<B: BinaryOpT>, B::NAME, |a la, b lb| {
    Ok((a.binary_impl::<B>(b, la, lb)?, la.shape().clone()))
});

#[cfg(test)]
mod tests {
    use super::*;
    use candle::op::{Add, Exp};

    /// A copy holds exactly what its layout covers: a whole tensor, one from an offset, a transpose, a
    /// broadcast and an empty one, in every type, down to the sign of 0.
    #[test]
    fn a_copy_is_what_its_layout_sees() -> Result<()> {
        let x = Tensor::new(&[[-0.0f64, 1.0, 2.0], [3.0, 4.0, 5.0]], &Device::Cpu)?;
        let bits = |x: &Tensor| -> Result<Vec<u64>> {
            let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            Ok(values.into_iter().map(f64::to_bits).collect())
        };
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
            let x = x.to_dtype(dtype)?;
            for view in [
                x.clone(),
                x.narrow(0, 1, 1)?,
                x.narrow(1, 1, 2)?,
                x.t()?,
                x.get(1)?.broadcast_as((2, 2, 3))?,
                x.narrow(0, 2, 0)?,
            ] {
                let (storage, shape) = Value::from(view.clone()).into_own()?;
                let copy = Value(Memory::Own(storage, shape)).into_tensor();
                assert_eq!((copy.dims(), copy.dtype()), (view.dims(), dtype));
                assert_eq!(bits(&copy)?, bits(&view)?);
            }
        }
        Ok(())
    }

    #[test]
    fn operations_take_views_and_broadcast() -> Result<()> {
        let x = Tensor::new(&[[0f64, 1.0], [2.0, 3.0]], &Device::Cpu)?;
        let exp = Value::unary::<Exp>(&x.t()?)?.into_tensor();
        assert_eq!(exp.to_vec2::<f64>()?, x.t()?.exp()?.to_vec2::<f64>()?);
        let sum = Value::binary::<Add>(&x.narrow(1, 1, 1)?, &x.narrow(0, 1, 1)?)?.into_tensor();
        assert_eq!(sum.to_vec2::<f64>()?, [[3.0, 4.0], [5.0, 6.0]]);
        assert!(
            Value::binary::<Add>(&x, &x.get(0)?.narrow(0, 0, 1)?.to_dtype(DType::F32)?).is_err()
        );
        assert!(Value::binary::<Add>(&x, &Tensor::ones(3, DType::F64, &Device::Cpu)?).is_err());
        Ok(())
    }
}
