//! Images as rows.

use super::backend::has_kernels;
use super::layout::{to_channels_first, to_channels_last, turn};
use super::widen::{expect_real, widened};
use crate::cpu::{self, slice, vectorised, with_real};
use crate::memory::filled;
use candle::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// Returns `x (B, …)` as rows `(B, F)`, like [`Tensor::flatten_from`]`(1)`. Images `(B, C, H, W)` whose channels come
/// last in memory, as convolutions return them, have to be copied; here all threads copy them, unless they are part of
/// a graph.
///
/// ```
/// use candle::{Device, Tensor};
/// let x = Tensor::arange(0f32, 12., &Device::Cpu)?.reshape((1, 2, 3, 2))?; // (B, H, W, C)
/// let rows = candle_hebbian::ops::flatten(&x.permute((0, 3, 1, 2))?)?;
/// assert_eq!(rows.to_vec2::<f32>()?, [[0., 2., 4., 6., 8., 10., 1., 3., 5., 7., 9., 11.]]);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// A tensor of integers, or without dimensions.
pub fn flatten(x: &Tensor) -> Result<Tensor> {
    expect_real(x)?;
    if x.rank() == 0 {
        candle::bail!("flatten: found a tensor without dimensions, expected a batch (B, …)")
    }
    if x.rank() == 4 && !x.track_op() && !x.is_contiguous() {
        let last = to_channels_last(x)?;
        if last.is_contiguous() {
            return channels_last::flatten(&last);
        }
    }
    x.flatten_from(1)
}

pub(super) mod channels_last {
    use super::*;

    /// Returns `x (B, H, W, C)` as rows `(B, C·H·W)`, which hold one channel after the other, like the weights of a
    /// dense layer above images `(B, C, H, W)`.
    ///
    /// # Errors
    /// A tensor of integers, or of other than four dimensions.
    pub fn flatten(x: &Tensor) -> Result<Tensor> {
        expect_real(x)?;
        let (_, height, width, channels) = x.dims4()?;
        if x.elem_count() == 0 || !has_kernels(x.device()) {
            return to_channels_first(x)?.flatten_from(1);
        }
        widened(x, |x| x.contiguous()?.apply_op1(Flat { height, width, channels, back: false }))
    }
}

/// Images `(B, H, W, C)` to rows `(B, C·H·W)` or, if `back`, rows to images.
#[derive(Debug, Clone, Copy)]
struct Flat {
    height: usize,
    width: usize,
    channels: usize,
    back: bool,
}

impl CustomOp1 for Flat {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Self { height, width, channels, back } = *self;
        let (batch, pixels) = (layout.dims()[0], height * width);
        let image = pixels * channels;
        let (rows, columns, shape) = match back {
            false => (pixels, channels, Shape::from((batch, image))),
            true => (channels, pixels, Shape::from((batch, height, width, channels))),
        };
        with_real!(x, "flatten", T => {
            let x = slice::<T>(x, layout)?;
            let out = filled("images as rows", &[batch, image], image, |at, out| {
                let image = &x[at * image..][..image];
                vectorised(|| turn(image, [columns, 1], (rows, columns), out, rows));
                Ok(())
            })?;
            Ok((cpu::owned(out), shape))
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let other = Self { back: !self.back, ..*self };
        grad.detach().contiguous()?.apply_op1_no_bwd(&other).map(Some)
    }
}
