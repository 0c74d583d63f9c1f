use super::widen::expect_real;
use candle::{Result, Tensor};

/// Returns −1, 0 or 1 for each entry, and NaN for NaN, for which candle's `sign` returns 0. No
/// gradient.
///
/// # Errors
/// If `x` holds integers.
pub fn sign(x: &Tensor) -> Result<Tensor> {
    expect_real(x)?;
    let x = x.detach();
    x.ne(&x)?.where_cond(&x, &x.sign()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    #[test]
    fn nan_stays() -> Result<()> {
        let x = Tensor::new(&[-2f32, -0.0, 0.0, 1e-30, f32::INFINITY, f32::NAN], &Device::Cpu)?;
        let found = sign(&x)?.to_vec1::<f32>()?;
        assert_eq!(found[..5], [-1.0, 0.0, 0.0, 1.0, 1.0]);
        assert!(found[5].is_nan());
        let error = sign(&Tensor::new(&[1u32], &Device::Cpu)?).unwrap_err().to_string();
        assert!(error.contains("[1] of U32: expected f16, bf16, f32 or f64"), "{error}");
        Ok(())
    }
}
