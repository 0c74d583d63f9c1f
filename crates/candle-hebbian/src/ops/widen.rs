//! Half precision: f16 and bf16 are computed in f32.

use super::backend::has_kernels;
use candle::{DType, Result, Tensor};

/// Applies `op` to `x`. If `x` is f16 or bf16, `op` sees it in f32 and its result is rounded back once,
/// so that no sum within `op` is computed in half precision. The same holds for the gradient: `op`'s
/// backward pass runs in f32, and the gradient that reaches `x` is rounded once.
///
/// Only `x` is converted: `op` has to widen the half-precision tensors that it captures. On a device without kernels
/// here, an `x` without elements is not converted either: CUDA refuses to launch a cast of nothing.
///
/// # Errors
/// If `x` holds integers, as in [`expect_real`].
pub(crate) fn widened(x: &Tensor, op: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    expect_real(x)?;
    match x.dtype() {
        narrow @ (DType::F16 | DType::BF16) if x.elem_count() > 0 || has_kernels(x.device()) => {
            op(&x.to_dtype(wide_dtype(narrow))?)?.to_dtype(narrow)
        }
        _ => op(x),
    }
}

/// Returns the type in which values of `dtype` are added up: f32 for f16 and bf16, in which sums lose small terms and
/// exceed the range, and `dtype` itself otherwise.
pub fn wide_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// Detaches `tensor`, and converts it to the type in which its values are added up.
pub(crate) fn wide(tensor: &Tensor) -> Result<Tensor> {
    tensor.detach().to_dtype(wide_dtype(tensor.dtype()))
}

/// Refuses weights of another type than the input `x`, for the op `name`.
///
/// # Errors
/// If the types differ.
pub(crate) fn same_types(name: &str, x: &Tensor, weight: &Tensor, feedback: &Tensor) -> Result<()> {
    if [weight.dtype(), feedback.dtype()] != [x.dtype(); 2] {
        candle::bail!(
            "{name}: an input of type {:?} needs weights of that type, found {:?} and feedback of {:?}",
            x.dtype(),
            weight.dtype(),
            feedback.dtype()
        )
    }
    Ok(())
}

/// Refuses a tensor, called `what`, of another type or on another device than `like`, called `of`.
pub(crate) fn check_like(what: &str, tensor: &Tensor, of: &str, like: &Tensor) -> Result<()> {
    if tensor.dtype() != like.dtype() || !tensor.device().same_device(like.device()) {
        candle::bail!(
            "{what} in {:?} on {:?} for {of} in {:?} on {:?}: expected the same",
            tensor.dtype(),
            tensor.device().location(),
            like.dtype(),
            like.device().location()
        )
    }
    Ok(())
}

/// Refuses tensors of integers before they reach candle, which panics where it has no function for
/// them, and divides integers silently.
///
/// # Errors
/// Types other than f16, bf16, f32 and f64.
pub(crate) fn expect_real(x: &Tensor) -> Result<()> {
    match x.dtype() {
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Ok(()),
        other => candle::bail!(
            "a tensor {:?} of {other:?}: expected f16, bf16, f32 or f64, see Tensor::to_dtype",
            x.dims()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{Device, Var};

    /// In f16, whose numbers are 2 apart above 2048, 2048 + 1 + 1 is 2048 if each sum is rounded and
    /// 2050 if only the last is. The same holds for the gradient of a value that is used three times,
    /// and for 256 in bf16.
    #[test]
    fn half_precision_is_rounded_once() -> Result<()> {
        for (dtype, large) in [(DType::F16, 2048.0), (DType::BF16, 256.0)] {
            let x = Tensor::new(&[large, 1.0, 1.0], &Device::Cpu)?.to_dtype(dtype)?;
            let x = Var::from_tensor(&x)?;
            let part = |x: &Tensor, at| x.narrow(0, at, 1);
            let sum = widened(&x, |x| (part(x, 0)? + part(x, 1)?)? + part(x, 2)?)?;
            assert_eq!(sum.dtype(), dtype);
            assert_eq!(sum.to_dtype(DType::F64)?.to_vec1::<f64>()?, [large + 2.0]);

            let one = Var::from_tensor(&Tensor::ones(1, dtype, &Device::Cpu)?)?;
            let thrice = widened(&one, |one| ((one * large)? + one)? + one)?;
            let grads = thrice.backward()?;
            let grad = grads.get(&one).ok_or_else(|| candle::Error::msg("no gradient"))?;
            assert_eq!(grad.dtype(), dtype);
            assert_eq!(grad.to_dtype(DType::F64)?.to_vec1::<f64>()?, [large + 2.0]);
        }
        Ok(())
    }

    /// A device would have to launch a kernel for the cast, with no threads.
    #[test]
    fn nothing_is_not_converted_on_a_device() -> Result<()> {
        for dtype in [DType::F16, DType::BF16] {
            let nothing = Tensor::zeros((0, 3), dtype, &Device::Cpu)?;
            let seen = crate::ops::composed(|| widened(&nothing, |seen| Ok(seen.clone())))?;
            assert_eq!(seen.id(), nothing.id());
        }
        Ok(())
    }

    #[test]
    fn other_types_are_taken_as_they_are() -> Result<()> {
        for dtype in [DType::F32, DType::F64] {
            let x = Tensor::ones(2, dtype, &Device::Cpu)?;
            let seen = widened(&x, |seen| {
                assert_eq!(seen.id(), x.id());
                Ok(seen.clone())
            })?;
            assert_eq!(seen.dtype(), dtype);
        }
        Ok(())
    }
}
