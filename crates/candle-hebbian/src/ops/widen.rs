//! Half precision: f16 and bf16 are taken in f32.

use candle::{DType, Result, Tensor};

/// `op` of `x`. Where `x` is f16 or bf16, `op` sees it in f32 and its result is rounded back once, so
/// that no sum within `op` is taken in half precision. The gradient takes the same way: `op`'s
/// backward pass runs in f32, and what reaches `x` is rounded once.
///
/// `op` is given no other half-precision tensors: it has to widen those it captures itself.
///
/// # Errors
/// Integers, as [`expect_real`] says.
pub(crate) fn widened(x: &Tensor, op: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    expect_real(x)?;
    match x.dtype() {
        narrow @ (DType::F16 | DType::BF16) => op(&x.to_dtype(DType::F32)?)?.to_dtype(narrow),
        _ => op(x),
    }
}

/// Refuses tensors of integers before candle does, which panics where it has no such function, and
/// divides integers without a word.
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

    /// 2048 + 1 + 1 in f16, whose numbers lie 2 apart there, is 2048 when each sum is rounded and 2050
    /// when only the last is. So is the gradient of a value that is used three times, with 256 in bf16.
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
