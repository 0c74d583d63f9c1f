//! A check for values that must stay finite.

use candle::{DType, Device, Tensor};

use crate::{Error, Result};

/// Returns an error with their counts if `tensor` holds NaN or infinities; `step` is for the message.
///
/// A finite tensor costs one sum and one number read back, so this can run every few steps.
///
/// ```
/// use candle::{Device, Tensor};
/// let weight = Tensor::new(&[1f32, f32::NAN], &Device::Cpu)?;
/// let message = hebbian_train::check_finite("layers.0.weight", 7, &weight).unwrap_err().to_string();
/// assert!(message.starts_with("layers.0.weight is not finite at step 7: 1 NaN and 0 infinite"));
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// If `tensor` holds NaN or infinities, or cannot be read back from its device.
pub fn check_finite(name: &str, step: u64, tensor: &Tensor) -> Result<()> {
    // The narrow types would overflow in the sum.
    let tensor = match tensor.dtype() {
        DType::F32 | DType::F64 => tensor.clone(),
        _ => tensor.to_dtype(DType::F32)?,
    };
    // A single NaN or infinity makes the sum non-finite, but so can an overflow of large finite
    // values: count.
    if tensor.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?.is_finite() {
        return Ok(());
    }
    // Counted on the host, because Metal's kernels are compiled as if there were no NaN.
    let tensor = tensor.to_device(&Device::Cpu)?;
    let count = |mask: Tensor| -> Result<usize> {
        let ones = mask.flatten_all()?.to_dtype(DType::U32)?.to_vec1::<u32>()?;
        Ok(ones.iter().filter(|&&one| one != 0).count())
    };
    let nan = count(tensor.ne(&tensor)?)?;
    let infinite = count(tensor.abs()?.eq(f64::INFINITY)?)?;
    if nan + infinite == 0 {
        return Ok(());
    }
    let total = tensor.elem_count();
    Err(Error::NotFinite { name: name.to_string(), step, nan, infinite, total })
}
