use super::select::select;
use super::widen::widened;
use crate::window::{Conv2dConfig, PaddingMode};
use candle::{Result, Tensor};

/// Pads the last two dimensions of `x (…, H, W)` by mirroring: `1234` becomes `32|1234|32` for
/// `padding` 2. The edge itself is not repeated. Differentiable; where a pixel is repeated, its gradient is
/// summed in f32 also for f16 and bf16.
///
/// # Errors
/// `padding` of the image's size or more; an image without pixels; not enough memory.
pub fn pad_reflect(x: &Tensor, padding: usize) -> Result<Tensor> {
    let &[.., height, width] = x.dims() else {
        candle::bail!("pad_reflect: expected (…, H, W), found {:?}", x.dims())
    };
    let mirror =
        Conv2dConfig { padding, padding_mode: PaddingMode::Reflect, ..Conv2dConfig::default() };
    // A window of one tap reads every place of the padded side once.
    let (rows, columns) = (mirror.axis(height, 1)?, mirror.axis(width, 1)?);
    let dim = x.rank() - 2;
    if x.elem_count() == 0 {
        let mut shape = x.dims().to_vec();
        (shape[dim], shape[dim + 1]) = (rows.out, columns.out);
        return x.reshape(shape);
    }
    widened(x, |x| select(&select(x, dim, &rows.taps()?)?, dim + 1, &columns.taps()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    /// Padding that is too large for the image or for any memory is an error, not a panic.
    #[test]
    fn hostile_padding_is_refused() -> Result<()> {
        let x = Tensor::zeros((1, 1, 3, 4), candle::DType::F32, &Device::Cpu)?;
        for padding in [3, 1_000_000, 1 << 62, usize::MAX] {
            let error = pad_reflect(&x, padding).expect_err("more than there is to mirror");
            let says = format!("reflection padding of {padding} needs");
            assert!(error.to_string().contains(&says), "{error}");
        }
        // One number, seen as 10¹² of them.
        let wide = Tensor::zeros((1, 1), candle::DType::F32, &Device::Cpu)?;
        let wide = wide.broadcast_as((1_000_000, 1_000_000))?;
        let error = pad_reflect(&wide, 1).expect_err("more than there is memory for");
        assert!(error.to_string().contains("4000008000000 bytes"), "{error}");
        Ok(())
    }
}
