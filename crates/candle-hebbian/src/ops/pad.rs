use super::widen::widened;
use candle::{Result, Tensor};

/// Pads the last two dimensions of `x (…, H, W)` by mirroring: `1234` becomes `32|1234|32` for
/// `padding` 2. The edge itself is not repeated. Differentiable; where a pixel is repeated, its gradient is
/// summed in f32 also for f16 and bf16.
///
/// # Errors
/// `padding` of the image's size or more.
pub fn pad_reflect(x: &Tensor, padding: usize) -> Result<Tensor> {
    let rank = x.rank();
    if rank < 2 {
        candle::bail!("pad_reflect: expected (…, H, W), found {:?}", x.dims())
    }
    widened(x, |x| padded(x, padding))
}

fn padded(x: &Tensor, padding: usize) -> Result<Tensor> {
    let mut x = x.clone();
    for dim in [x.rank() - 2, x.rank() - 1] {
        let size = x.dim(dim)?;
        if padding >= size {
            candle::bail!(
                "pad_reflect: padding {padding} needs more than {padding} pixels, found {size}"
            )
        }
        let source: Vec<u32> = (0..size + 2 * padding)
            .map(|at| reflect(at as isize - padding as isize, size) as u32)
            .collect();
        let source = Tensor::new(source, x.device())?;
        x = x.contiguous()?.index_select(&source, dim)?;
    }
    Ok(x)
}

/// Which of `0..size` mirroring puts at position `at` of an axis, the edge itself not repeated:
/// −1 reads 1, and `size` reads `size − 2`. Right for `at` from `1 − size` to `2·size − 2`.
pub fn reflect(at: isize, size: usize) -> usize {
    let last = size as isize - 1;
    let at = at.abs();
    (if at > last { 2 * last - at } else { at }) as usize
}
