//! Pooling with padding and any stride, and exact gradients.
//!
//! A window's maximum is the largest of its values in an order in which NaN is above +∞ and all NaNs are
//! equal: a window that holds a NaN is NaN, and its gradient goes to the NaNs as to any other maxima. A
//! mean that includes a NaN is NaN by arithmetic. Kernel and composition agree on this. candle's kernels
//! for Metal are compiled on the assumption that NaN and infinities do not occur: there they may be lost,
//! but pooling itself makes none.

mod composed;
mod kernel;

use super::backend::has_kernels;
use super::layout::{to_channels_first, to_channels_last};
use super::widen::widened;
use crate::memory;
use crate::window::{Axis, PaddingMode, Window};
use candle::{Module, Result, Tensor};
use serde::{Deserialize, Serialize};

/// Which of several equal maxima of a window gets the gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// The first in row order gets all of it, as in PyTorch.
    #[default]
    First,
    /// Each gets all of it (Amit 2019).
    All,
}

/// What a window of [`max_pool2d_same`] reads beyond the edge of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Zeros, which compete for the maximum. A window whose maximum is one of these zeros sends no
    /// gradient back, unless a pixel equals it.
    Zeros,
    /// Nothing, as if it were −∞.
    #[default]
    Excluded,
}

/// A pooling layer, as presets describe it.
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
    /// [`max_pool2d_same`]
    MaxSame {
        /// Side of the window, in pixels.
        kernel: usize,
        /// Step between windows, in pixels.
        stride: usize,
        /// What a window reads beyond the lower and right edge. Default: nothing.
        #[serde(default)]
        edge: Edge,
        /// Which of equal maxima gets the gradient. Default: the first.
        #[serde(default)]
        ties: Ties,
    },
}

impl Pool {
    /// The side of the output for an image of side `size`: `⌊(size + 2p − k) / s⌋ + 1`, or `⌈size / s⌉` if
    /// windows reach over the edge.
    ///
    /// # Errors
    /// As for [`max_pool2d`].
    pub fn output_size(&self, size: usize) -> Result<usize> {
        Ok(self.pooling().axis(size)?.out)
    }

    fn pooling(&self) -> Pooling {
        match *self {
            Self::Max { kernel, stride, padding } => {
                let reduce = Reduce::Maximum(Ties::First);
                Pooling { kernel, stride, padding, over: None, reduce }
            }
            Self::Avg { kernel, stride, padding } => average(kernel, stride, padding),
            Self::MaxSame { kernel, stride, edge, ties } => same(kernel, stride, edge, ties),
        }
    }

    /// The windows for images `x (B, H, W, C)`.
    pub(super) fn windows(&self, x: &Tensor) -> Result<Windows> {
        let (_, height, width, _) = x.dims4()?;
        self.pooling().windows(x, height, width)
    }

    /// Pools images `(B, H, W, C)`.
    pub(crate) fn forward_channels_last(&self, x: &Tensor) -> Result<Tensor> {
        self.pooling().apply_channels_last(x)
    }
}

/// Pools images `(B, C, H, W)`. The first of several equal maxima gets the gradient, unless the layer says
/// otherwise.
impl Module for Pool {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.pooling().apply(x)
    }
}

/// The largest value of each window of `x (B, C, H, W)`; padding counts as −∞.
///
/// # Errors
/// A kernel or stride of 0, padding of more than half the kernel, an image smaller than the window, or not
/// enough memory.
pub fn max_pool2d(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    padding: usize,
    ties: Ties,
) -> Result<Tensor> {
    Pooling { kernel, stride, padding, over: None, reduce: Reduce::Maximum(ties) }.apply(x)
}

/// The largest value of each window of `x (B, C, H, W)`, for an output of `⌈size / stride⌉`: windows
/// start at the multiples of the stride, and the last may reach over the lower and right edge.
///
/// Source: Amit 2019, with 3×3 windows, stride 2, [`Edge::Zeros`] and [`Ties::All`].
///
/// # Errors
/// A kernel or stride of 0, an image without pixels.
pub fn max_pool2d_same(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    edge: Edge,
    ties: Ties,
) -> Result<Tensor> {
    same(kernel, stride, edge, ties).apply(x)
}

/// The mean of each window of `x (B, C, H, W)`; padding counts as 0, and the sum is always divided by
/// `kernel²` (PyTorch's `count_include_pad`).
///
/// # Errors
/// A kernel or stride of 0, padding of more than half the kernel, an image smaller than the window, or not
/// enough memory.
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

fn same(kernel: usize, stride: usize, edge: Edge, ties: Ties) -> Pooling {
    Pooling { kernel, stride, padding: 0, over: Some(edge), reduce: Reduce::Maximum(ties) }
}

fn average(kernel: usize, stride: usize, padding: usize) -> Pooling {
    Pooling { kernel, stride, padding, over: None, reduce: Reduce::Average }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reduce {
    Maximum(Ties),
    Average,
}

/// The parameters of a pooling, whatever the image.
#[derive(Debug, Clone, Copy)]
struct Pooling {
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Whether windows may reach over the lower and right edge, and what they read there.
    over: Option<Edge>,
    reduce: Reduce,
}

impl Pooling {
    /// The windows along a side of `size` pixels.
    fn axis(&self, size: usize) -> Result<Axis> {
        let Self { kernel, stride, padding, over, .. } = *self;
        if kernel == 0 || stride == 0 || padding > kernel / 2 {
            candle::bail!(
                "pool: kernel {kernel}, stride {stride}, padding {padding}: kernel and stride must \
                 be at least 1 and padding at most half the kernel"
            )
        }
        if over.is_some() {
            return Axis::reaching_over(size, kernel, stride);
        }
        let (before, after, mode) = (padding, padding, PaddingMode::Zeros);
        Axis::new(size, Window { kernel, stride, dilation: 1, before, after, mode })
    }

    /// The windows for images of one size, after a check that there is memory for the pooled values.
    fn windows(&self, x: &Tensor, height: usize, width: usize) -> Result<Windows> {
        let (rows, columns) = (self.axis(height)?, self.axis(width)?);
        let images = x.elem_count() / (height * width);
        memory::count("pool", &[images, rows.out, columns.out], x.dtype().size_in_bytes())?;
        let zeros_compete = self.over == Some(Edge::Zeros);
        let area = self.kernel as f64 * self.kernel as f64;
        Ok(Windows { rows, columns, zeros_compete, area, reduce: self.reduce })
    }

    fn apply(self, x: &Tensor) -> Result<Tensor> {
        widened(x, |x| {
            let (batch, channels, height, width) = x.dims4()?;
            let windows = self.windows(x, height, width)?;
            let shape = (batch, channels, windows.rows.out, windows.columns.out);
            if x.elem_count() == 0 {
                return x.reshape(shape);
            }
            if !has_kernels(x.device()) {
                return windows.composed(x);
            }
            // The kernel expects channels last; planes of a single channel satisfy that too.
            let last = to_channels_last(x)?;
            if last.is_contiguous() {
                return to_channels_first(&last.apply_op1(windows)?);
            }
            let planes = x.reshape((batch * channels, height, width, 1))?;
            planes.apply_op1(windows)?.reshape(shape)
        })
    }

    /// [`apply`](Self::apply) for `x (B, H, W, C)`.
    fn apply_channels_last(self, x: &Tensor) -> Result<Tensor> {
        if x.elem_count() == 0 || !has_kernels(x.device()) {
            return to_channels_last(&self.apply(&to_channels_first(x)?)?);
        }
        widened(x, |x| {
            let (_, height, width, _) = x.dims4()?;
            x.contiguous()?.apply_op1(self.windows(x, height, width)?)
        })
    }
}

/// The windows of one pooling over images of one size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    rows: Axis,
    columns: Axis,
    /// Whether the zeros beyond the lower and right edge compete for a maximum.
    zeros_compete: bool,
    /// The divisor of a mean.
    area: f64,
    reduce: Reduce,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::largest::largest;
    use crate::ops::composed;
    use candle::{DType, Device, Var};

    /// Kernel and composition agree, forward and backward, with ties.
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
                let pooling = Pooling { kernel, stride, padding, over, reduce };
                let var = Var::from_tensor(&x)?;
                let out = pooling.apply(&var)?;
                let upstream = rng.normal(0.0, 1.0, out.shape(), DType::F64, &device)?;
                let gradient = |out: &Tensor| -> Result<Tensor> {
                    let grads = (out * &upstream)?.sum_all()?.backward()?;
                    grads.get(&var).cloned().ok_or_else(|| candle::Error::msg("no gradient"))
                };
                let composition = composed(|| pooling.apply(&var))?;
                let difference = largest(&(&out - &composition)?)?;
                assert!(difference < 1e-12, "{pooling:?}: {difference}");
                let difference = largest(&(gradient(&out)? - gradient(&composition)?)?)?;
                assert!(difference < 1e-12, "{pooling:?}: {difference}");
            }
        }
        Ok(())
    }
}
