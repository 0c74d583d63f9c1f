//! Pooling with padding and any stride, and exact gradients.

use super::backend::has_kernels;
use super::custom_vjp::custom_vjp;
use super::layout::{to_channels_first, to_channels_last};
use crate::cpu::{self, ARCH, Real, slice, with_real};
use candle::{CpuStorage, CustomOp1, CustomOp3, DType, Layout, Result, Shape, Tensor};
use pulp::NullaryFnOnce;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Who gets the gradient of a window with several equal maxima.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// The first in row order gets all of it, as in PyTorch.
    #[default]
    First,
    /// Each gets all of it (Amit 2019).
    All,
}

/// What a window of [`max_pool2d_same`] reads where it reaches over the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Zeros, which compete for the maximum; a window that they win sends no gradient back.
    Zeros,
    /// Nothing, as if it were −∞.
    #[default]
    Excluded,
}

/// A pooling layer, as presets name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Pool {
    /// [`max_pool2d`]
    Max {
        /// Side of the window, in pixels.
        kernel: usize,
        /// Step between windows, in pixels.
        stride: usize,
        /// Pixels of −∞ added on each side.
        padding: usize,
    },
    /// [`avg_pool2d`]
    Avg {
        /// Side of the window, in pixels.
        kernel: usize,
        /// Step between windows, in pixels.
        stride: usize,
        /// Pixels of 0 added on each side.
        padding: usize,
    },
}

impl Pool {
    /// Pools `x (B, C, H, W)`; ties of a maximum give their gradient to the first.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        match *self {
            Self::Max { kernel, stride, padding } => {
                max_pool2d(x, kernel, stride, padding, Ties::First)
            }
            Self::Avg { kernel, stride, padding } => avg_pool2d(x, kernel, stride, padding),
        }
    }

    /// The side of the output for an image of side `size`: `⌊(size + 2p − k) / s⌋ + 1`.
    pub fn output_size(&self, size: usize) -> Result<usize> {
        let (Self::Max { kernel, stride, padding } | Self::Avg { kernel, stride, padding }) = *self;
        average(kernel, stride, padding).output_size(size)
    }
}

/// The largest value of each window of `x (B, C, H, W)`; padding counts as −∞.
///
/// # Errors
/// A kernel or stride of 0, padding of more than half the kernel, an image smaller than the window.
pub fn max_pool2d(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    padding: usize,
    ties: Ties,
) -> Result<Tensor> {
    Window { kernel, stride, padding, over: None, reduce: Reduce::Maximum(ties) }.apply(x)
}

/// The largest value of each window of `x (B, C, H, W)`, for an output of `⌈size / stride⌉`: windows
/// start at the multiples of the stride, and the last may reach over the lower and right edge.
///
/// Source: Amit 2019 pools so, 3×3 with stride 2, [`Edge::Zeros`] and [`Ties::All`].
///
/// # Errors
/// A kernel or stride of 0.
pub fn max_pool2d_same(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    edge: Edge,
    ties: Ties,
) -> Result<Tensor> {
    same(kernel, stride, edge, ties).apply(x)
}

/// The mean of each window of `x (B, C, H, W)`; padding counts as 0 and always divides by
/// `kernel²` (PyTorch's `count_include_pad`).
///
/// # Errors
/// A kernel or stride of 0, padding of more than half the kernel, an image smaller than the window.
pub fn avg_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    average(kernel, stride, padding).apply(x)
}

pub(super) mod channels_last {
    use super::*;

    /// [`max_pool2d_same`](super::max_pool2d_same) of `x (B, H, W, C)`.
    ///
    /// # Errors
    /// The same.
    pub fn max_pool2d_same(
        x: &Tensor,
        kernel: usize,
        stride: usize,
        edge: Edge,
        ties: Ties,
    ) -> Result<Tensor> {
        same(kernel, stride, edge, ties).apply_channels_last(x)
    }

    /// [`avg_pool2d`](super::avg_pool2d) of `x (B, H, W, C)`.
    ///
    /// # Errors
    /// The same.
    pub fn avg_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
        average(kernel, stride, padding).apply_channels_last(x)
    }
}

fn same(kernel: usize, stride: usize, edge: Edge, ties: Ties) -> Window {
    Window { kernel, stride, padding: 0, over: Some(edge), reduce: Reduce::Maximum(ties) }
}

fn average(kernel: usize, stride: usize, padding: usize) -> Window {
    Window { kernel, stride, padding, over: None, reduce: Reduce::Average }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reduce {
    Maximum(Ties),
    Average,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Whether windows may reach over the lower and right edge, and what they read there.
    over: Option<Edge>,
    reduce: Reduce,
}

impl Window {
    fn output_size(&self, size: usize) -> Result<usize> {
        let Self { kernel, stride, padding, .. } = *self;
        if kernel == 0 || stride == 0 || padding * 2 > kernel {
            candle::bail!(
                "pool: kernel {kernel}, stride {stride}, padding {padding}: kernel and stride must \
                 be at least 1 and padding at most half the kernel"
            )
        }
        if self.over.is_some() {
            return Ok(size.div_ceil(stride));
        }
        match (size + 2 * padding).checked_sub(kernel) {
            Some(room) => Ok(room / stride + 1),
            None => candle::bail!(
                "image too small: {size} pixels with padding {padding} is less than a pooling \
                 window of {kernel}"
            ),
        }
    }

    fn apply(self, x: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        let (oh, ow) = (self.output_size(height)?, self.output_size(width)?);
        if !has_kernels(x.device()) {
            return custom_vjp(
                "pool",
                [x],
                |[x]| Ok((self.composed(x)?.into(), x.clone())),
                move |pass| {
                    let grad = self.composed_gradient(pass.residuals, pass.output, pass.grad)?;
                    Ok([Some(grad)])
                },
            );
        }
        // The kernel wants channels last; planes of one channel are that too.
        let last = to_channels_last(x)?;
        if last.is_contiguous() {
            return to_channels_first(&last.apply_op1(self)?);
        }
        let planes = x.reshape((batch * channels, height, width, 1))?;
        planes.apply_op1(self)?.reshape((batch, channels, oh, ow))
    }

    /// The same for `x (B, H, W, C)`.
    fn apply_channels_last(self, x: &Tensor) -> Result<Tensor> {
        if has_kernels(x.device()) {
            return x.contiguous()?.apply_op1(self);
        }
        to_channels_last(&self.apply(&to_channels_first(x)?)?)
    }

    /// The part of `0..size` that window `o` covers.
    #[inline(always)]
    fn span(&self, o: usize, size: usize) -> std::ops::Range<usize> {
        let start = o * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(size)
    }

    /// Whether window `o` sees zeros beyond the edge that compete.
    fn sees_zeros(&self, o: usize, size: usize) -> bool {
        self.over == Some(Edge::Zeros) && o * self.stride + self.kernel > size
    }

    /// Pixels that windows reach beyond the lower or right edge.
    fn trailing(&self, out: usize, size: usize) -> usize {
        match self.over {
            Some(_) => ((out - 1) * self.stride + self.kernel).saturating_sub(size),
            None => self.padding,
        }
    }

    fn forward<T: Real>(&self, x: &[T], dims: (usize, usize, usize, usize)) -> Result<Vec<T>> {
        let (batch, height, width, channels) = dims;
        let (oh, ow) = (self.output_size(height)?, self.output_size(width)?);
        let mut out = vec![T::zero(); batch * oh * ow * channels];
        out.par_chunks_mut((ow * channels).max(1)).enumerate().for_each(|(line, out)| {
            let x = &x[line / oh * height * width * channels..][..height * width * channels];
            let size = (height, width, channels);
            ARCH.dispatch(Line { window: *self, x, size, line: line % oh, out });
        });
        Ok(out)
    }

    fn backward<T: Real>(
        &self,
        x: &[T],
        out: &[T],
        grad: &[T],
        dims: (usize, usize, usize, usize),
    ) -> Result<Vec<T>> {
        let (_, height, width, channels) = dims;
        let (oh, ow) = (self.output_size(height)?, self.output_size(width)?);
        let (image, pooled) = ((height * width * channels).max(1), oh * ow * channels);
        let mut grad_x = vec![T::zero(); x.len()];
        grad_x.par_chunks_mut(image).enumerate().for_each(|(b, grad_x)| {
            ARCH.dispatch(Image {
                window: *self,
                x: &x[b * image..][..image],
                out: &out[b * pooled..][..pooled],
                grad: &grad[b * pooled..][..pooled],
                size: (height, width, channels),
                width: ow,
                grad_x,
            });
        });
        Ok(grad_x)
    }

    fn share<T: Real>(&self) -> T {
        T::one() / T::of((self.kernel * self.kernel) as f64)
    }

    /// Along one axis, where tap `i` of every window reads in the padded image.
    fn tap(&self, out: usize, i: usize, x: &Tensor) -> Result<Tensor> {
        let at: Vec<u32> = (0..out).map(|o| (o * self.stride + i) as u32).collect();
        Tensor::new(at, x.device())
    }

    fn padded(&self, x: &Tensor) -> Result<Tensor> {
        let fill = match (self.reduce, self.over) {
            (Reduce::Average, _) | (_, Some(Edge::Zeros)) => 0.0,
            // Not −∞: candle's Metal kernels are compiled to do without infinities.
            (Reduce::Maximum(_), _) if x.dtype() == DType::F64 => f64::MIN,
            (Reduce::Maximum(_), _) => f64::from(f32::MIN),
        };
        let edge = |x: &Tensor, dim: usize, size: usize| {
            let mut shape = x.dims().to_vec();
            shape[dim] = size;
            Tensor::ones(shape, x.dtype(), x.device())? * fill
        };
        let mut x = x.contiguous()?;
        for dim in [2, 3] {
            let size = x.dim(dim)?;
            let trailing = self.trailing(self.output_size(size)?, size);
            if self.padding > 0 {
                x = Tensor::cat(&[&edge(&x, dim, self.padding)?, &x], dim)?;
            }
            if trailing > 0 {
                x = Tensor::cat(&[&x, &edge(&x, dim, trailing)?], dim)?;
            }
        }
        Ok(x)
    }

    /// The same from candle's own ops, for the devices that have no kernel here.
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let (oh, ow) = (self.output_size(height)?, self.output_size(width)?);
        let padded = self.padded(x)?;
        let mut out: Option<Tensor> = None;
        for i in 0..self.kernel {
            let rows = padded.index_select(&self.tap(oh, i, x)?, 2)?;
            for j in 0..self.kernel {
                let tap = rows.index_select(&self.tap(ow, j, x)?, 3)?;
                out = Some(match (out, self.reduce) {
                    (None, _) => tap,
                    (Some(out), Reduce::Maximum(_)) => out.maximum(&tap)?,
                    (Some(out), Reduce::Average) => (out + tap)?,
                });
            }
        }
        match (out, self.reduce) {
            (Some(out), Reduce::Average) => out / (self.kernel * self.kernel) as f64,
            (Some(out), Reduce::Maximum(_)) => Ok(out),
            (None, _) => candle::bail!("pool: the kernel is empty"),
        }
    }

    fn composed_gradient(&self, x: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        let (_, _, oh, ow) = out.dims4()?;
        let padded = self.padded(x)?;
        let (_, _, _, padded_width) = padded.dims4()?;
        let mut open = out.ones_like()?;
        let mut grad_x = padded.zeros_like()?;
        for i in 0..self.kernel {
            let row = self.tap(oh, i, x)?;
            let rows = padded.index_select(&row, 2)?;
            let mut grad_rows =
                Tensor::zeros((batch, channels, oh, padded_width), x.dtype(), x.device())?;
            for j in 0..self.kernel {
                let column = self.tap(ow, j, x)?;
                let share = match self.reduce {
                    Reduce::Average => (grad / (self.kernel * self.kernel) as f64)?,
                    Reduce::Maximum(ties) => {
                        let tap = rows.index_select(&column, 3)?;
                        let chosen = (tap.eq(out)?.to_dtype(x.dtype())? * &open)?;
                        if ties == Ties::First {
                            open = (open - &chosen)?;
                        }
                        (chosen * grad)?
                    }
                };
                grad_rows = grad_rows.index_add(&column, &share.contiguous()?, 3)?;
            }
            grad_x = grad_x.index_add(&row, &grad_rows, 2)?;
        }
        grad_x.narrow(2, self.padding, height)?.narrow(3, self.padding, width)
    }
}

/// One line of the output, from the image `x`.
struct Line<'a, T> {
    window: Window,
    x: &'a [T],
    size: (usize, usize, usize),
    line: usize,
    out: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Line<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { window, x, size: (height, width, channels), line, out } = self;
        let rows = window.span(line, height);
        for (o, out) in out.chunks_exact_mut(channels).enumerate() {
            let columns = window.span(o, width);
            match window.reduce {
                Reduce::Maximum(_)
                    if !window.sees_zeros(line, height) && !window.sees_zeros(o, width) =>
                {
                    out.fill(T::neg_infinity());
                }
                _ => out.fill(T::zero()),
            }
            for h in rows.clone() {
                for w in columns.clone() {
                    let x = &x[(h * width + w) * channels..][..channels];
                    match window.reduce {
                        Reduce::Maximum(_) => {
                            for (out, &x) in out.iter_mut().zip(x) {
                                *out = if x > *out { x } else { *out };
                            }
                        }
                        Reduce::Average => {
                            for (out, &x) in out.iter_mut().zip(x) {
                                *out += x;
                            }
                        }
                    }
                }
            }
            if window.reduce == Reduce::Average {
                let share = window.share();
                for out in out.iter_mut() {
                    *out *= share;
                }
            }
        }
    }
}

/// The gradient of one image.
struct Image<'a, T> {
    window: Window,
    x: &'a [T],
    out: &'a [T],
    grad: &'a [T],
    size: (usize, usize, usize),
    /// Of the output.
    width: usize,
    grad_x: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Image<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { window, x, out, grad, size: (height, width, channels), grad_x, .. } = self;
        let share = window.share();
        // What a window has not given away yet.
        let mut left = vec![T::zero(); channels];
        for (o, (out, grad)) in
            out.chunks_exact(channels).zip(grad.chunks_exact(channels)).enumerate()
        {
            if window.reduce == Reduce::Maximum(Ties::First) {
                left.copy_from_slice(grad);
            }
            for h in window.span(o / self.width, height) {
                for w in window.span(o % self.width, width) {
                    let at = (h * width + w) * channels;
                    let (x, grad_x) = (&x[at..][..channels], &mut grad_x[at..][..channels]);
                    match window.reduce {
                        Reduce::Average => {
                            for (grad_x, &grad) in grad_x.iter_mut().zip(grad) {
                                *grad_x += grad * share;
                            }
                        }
                        Reduce::Maximum(Ties::All) => {
                            let pixels = grad_x.iter_mut().zip(x).zip(out).zip(grad);
                            for (((grad_x, &x), &out), &grad) in pixels {
                                *grad_x += if x == out { grad } else { T::zero() };
                            }
                        }
                        Reduce::Maximum(Ties::First) => {
                            let pixels = grad_x.iter_mut().zip(x).zip(out).zip(&mut left);
                            for (((grad_x, &x), &out), left) in pixels {
                                let chosen = x == out;
                                *grad_x += if chosen { *left } else { T::zero() };
                                *left = if chosen { T::zero() } else { *left };
                            }
                        }
                    }
                }
            }
        }
    }
}

impl CustomOp1 for Window {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dims = layout.shape().dims4()?;
        with_real!(x, "pool", T => {
            let out = self.forward::<T>(slice(x, layout)?, dims)?;
            let (oh, ow) = (self.output_size(dims.1)?, self.output_size(dims.2)?);
            Ok((cpu::owned(out), (dims.0, oh, ow, dims.3).into()))
        })
    }

    fn bwd(&self, x: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.detach().contiguous()?;
        x.detach().apply_op3_no_bwd(&out.detach(), &grad, &Gradient(*self)).map(Some)
    }
}

/// The gradient of [`Window`], from its input, its output and the gradient at the output.
struct Gradient(Window);

impl CustomOp3 for Gradient {
    fn name(&self) -> &'static str {
        "pool_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        out: &CpuStorage,
        out_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dims = x_layout.shape().dims4()?;
        with_real!(x, "pool_gradient", T => {
            let grad_x = self.0.backward::<T>(
                slice(x, x_layout)?,
                slice(out, out_layout)?,
                slice(grad, grad_layout)?,
                dims,
            )?;
            Ok((cpu::owned(grad_x), dims.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use candle::{DType, Device, Var};

    /// Kernel and composition, forward and backward, with ties.
    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let device = Device::Cpu;
        let mut rng = Rng::new(3);
        let x = rng.uniform(-2.0, 3.0, (2, 3, 7, 6), DType::F64, &device)?.round()?;
        for reduce in [Reduce::Average, Reduce::Maximum(Ties::First), Reduce::Maximum(Ties::All)] {
            let same = [None, Some(Edge::Zeros), Some(Edge::Excluded)];
            let plain = [(2, 2, 0), (3, 2, 1), (4, 2, 1), (3, 1, 0)].map(|window| (window, None));
            let same = same.map(|over| ((3, 2, 0), over)).into_iter().chain(
                // The last windows lie within the edge, or the stride leaves pixels out.
                [((2, 3, 0), Some(Edge::Zeros)), ((3, 3, 0), Some(Edge::Excluded))],
            );
            for ((kernel, stride, padding), over) in plain.into_iter().chain(same) {
                if over.is_some() && reduce == Reduce::Average {
                    continue;
                }
                let window = Window { kernel, stride, padding, over, reduce };
                let var = Var::from_tensor(&x)?;
                let out = window.apply(&var)?;
                let upstream = rng.normal(0.0, 1.0, out.shape(), DType::F64, &device)?;
                let composed = window.composed(&x)?;
                let difference = (&out - &composed)?.abs()?.max_all()?.to_scalar::<f64>()?;
                assert!(difference < 1e-12, "{window:?}: {difference}");
                let grads = (&out * &upstream)?.sum_all()?.backward()?;
                let want = window.composed_gradient(&x, &composed, &upstream)?;
                let got = grads.get(&var).ok_or_else(|| candle::Error::msg("no gradient"))?;
                let difference = (got - want)?.abs()?.max_all()?.to_scalar::<f64>()?;
                assert!(difference < 1e-12, "{window:?}: {difference}");
            }
        }
        Ok(())
    }
}
