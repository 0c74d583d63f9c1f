//! Convolution on the CPU without unfolding.
//!
//! An image is padded into a buffer with channels last, in which the taps of a line of a window lie side by
//! side. So the responses of a block of units at a block of neighbouring positions are a small matrix
//! product whose operands need no copying; `registers::tile` keeps it in registers. The response, the
//! gradient of the weights and the gradient of the input all use this tile, in three different orders.
//! Compared with unfolding, this saves writing and reading every pixel once per tap.
//!
//! Images are independent, so they run in parallel. Gradients of the weights are summed over a number of
//! parts that depends on the batch alone, so results do not depend on the number of threads.

use super::correlation::{Correlate, Correlation, Respond};
use super::many;
use crate::cpu::{self, ARCH, Real, RowKernel, for_row_blocks, slice, with_real};
use crate::memory::{self, clear, filled_with};
use crate::ops::layout::view;
use crate::ops::ramp::Ramp;
use crate::window::{Axis, Conv2dConfig, PaddingMode};
use candle::{CpuStorage, CustomOp2, InplaceOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// The sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    batch: usize,
    channels: usize,
    groups: usize,
    units: usize,
    rows: Axis,
    columns: Axis,
}

impl Plan {
    /// # Errors
    /// If the windows do not fit the image, the channels or units do not fit the groups, or the sizes
    /// exceed any memory.
    pub(super) fn new(x: &Tensor, weight: &Tensor, config: &Conv2dConfig) -> Result<Self> {
        let (batch, height, width, channels) = x.dims4()?;
        let (units, fan, kh, kw) = weight.dims4()?;
        let (rows, columns) = (config.axis(height, kh)?, config.axis(width, kw)?);
        let groups = config.groups;
        if fan.checked_mul(groups) != Some(channels) {
            candle::bail!("conv2d: {channels} input channels, expected {groups} groups of {fan}")
        }
        if groups == 0 || !units.is_multiple_of(groups) {
            candle::bail!("{units} output channels do not divide into {groups} groups")
        }
        let plan = Self { batch, channels, groups, units, rows, columns };
        let bytes = x.dtype().size_in_bytes();
        memory::count("padded image", &[rows.padded(), columns.padded(), channels], bytes)?;
        memory::count("response", &[batch, rows.out, columns.out, units], bytes)?;
        let (adjoint, spread) = (plan.adjoint(), plan.spread_height());
        memory::count("spread gradient", &[spread, adjoint.width, units], bytes)?;
        // Packing pads the units of each group to whole vectors, of at most 64 elements.
        let filled_up = groups.saturating_mul(64);
        memory::count("packed weights", &[units.saturating_add(filled_up), fan, kh, kw], bytes)?;
        let turned = [channels.saturating_add(filled_up), units / groups, kh, kw];
        memory::count("packed weights", &turned, bytes)?;
        Ok(plan)
    }

    /// Whether response and gradient of the weights in f32 take fewer multiplications than windows and units have.
    pub(super) fn filters(&self) -> bool {
        let correlation = self.response();
        !correlation.suits_a_product::<f32>(self.batch) && correlation.suits_tiles::<f32>()
    }

    /// The shape `(1, P, F)` of the windows as rows.
    pub(super) fn dims(&self) -> [usize; 3] {
        [1, self.batch * self.rows.out * self.columns.out, self.response().depth()]
    }

    pub(super) fn kernel(&self) -> (usize, usize) {
        (self.rows.window.kernel, self.columns.window.kernel)
    }

    fn size(&self) -> (usize, usize) {
        (self.rows.size, self.columns.size)
    }

    fn out(&self) -> (usize, usize) {
        (self.rows.out, self.columns.out)
    }

    fn padded(&self) -> (usize, usize) {
        (self.rows.padded(), self.columns.padded())
    }

    fn padding_mode(&self) -> PaddingMode {
        self.rows.window.mode
    }

    fn dilation(&self) -> (usize, usize) {
        (self.rows.window.dilation, self.columns.window.dilation)
    }

    /// Elements of one image's response.
    fn responses(&self) -> usize {
        self.rows.out * self.columns.out * self.units
    }

    /// The correlation that computes the response from a padded image.
    fn response(&self) -> Correlation {
        Correlation {
            width: self.columns.padded(),
            channels: self.channels,
            groups: self.groups,
            kernel: self.kernel(),
            dilation: self.dilation(),
            stride: (self.rows.window.stride, self.columns.window.stride),
            units: self.units,
            out: self.out(),
        }
    }

    /// How many pixels of the padded image lie in front of the area that the gradient of the input covers,
    /// and the size of that area: the image, or with reflection the padded image.
    fn covered(&self) -> (usize, (usize, usize)) {
        match self.padding_mode() {
            PaddingMode::Zeros => (self.rows.window.before, self.size()),
            PaddingMode::Reflect => (0, self.padded()),
        }
    }

    /// The correlation that computes the gradient of the input from a [`spread`](Self::spread) gradient of
    /// the output.
    fn adjoint(&self) -> Correlation {
        let (_, out) = self.covered();
        Correlation {
            width: out.1 + self.dilation().1 * (self.kernel().1 - 1),
            channels: self.units,
            groups: self.groups,
            kernel: self.kernel(),
            dilation: self.dilation(),
            stride: (1, 1),
            units: self.channels,
            out,
        }
    }

    /// Lines of a spread gradient.
    fn spread_height(&self) -> usize {
        self.covered().1.0 + self.dilation().0 * (self.kernel().0 - 1)
    }

    /// Elements of a padded image.
    fn padded_len(&self) -> usize {
        let (height, width) = self.padded();
        height * width * self.channels
    }

    /// Writes image `b` with its padding, channels last, over zeros.
    fn pad<T: Real>(&self, x: &[T], [sb, sh, sw, sc]: [usize; 4], b: usize, padded: &mut [T]) {
        let (_, width) = self.padded();
        for (line, padded) in padded.chunks_exact_mut((width * self.channels).max(1)).enumerate() {
            let Some(h) = self.rows.source(line) else { continue };
            if sc == 1 && sw == self.channels && self.padding_mode() == PaddingMode::Zeros {
                // The pixels of a line lie side by side in both.
                let (before, pixels) = (self.columns.window.before, self.columns.size);
                padded[before * self.channels..][..pixels * self.channels]
                    .copy_from_slice(&x[b * sb + h * sh..][..pixels * self.channels]);
                continue;
            }
            for (at, padded) in padded.chunks_exact_mut(self.channels.max(1)).enumerate() {
                let Some(w) = self.columns.source(at) else { continue };
                let start = b * sb + h * sh + w * sw;
                if sc == 1 {
                    padded.copy_from_slice(&x[start..][..self.channels]);
                } else {
                    for (c, padded) in padded.iter_mut().enumerate() {
                        *padded = x[start + c * sc];
                    }
                }
            }
        }
    }

    /// Elements of a spread gradient.
    fn spread_len(&self) -> usize {
        self.spread_height() * self.adjoint().width * self.units
    }

    /// Spreads the gradient at one image's output over zeros, so that its correlation with the flipped
    /// kernel is the gradient of the area that [`covered`](Self::covered) describes.
    fn spread<T: Real>(&self, grad: &[T], spread: &mut [T]) {
        let (cut, _) = self.covered();
        let (height, width) = (self.spread_height(), self.adjoint().width);
        let place = |axis: &Axis, o: usize, size: usize| {
            let last = axis.position(o, axis.window.kernel - 1);
            last.checked_sub(cut).filter(|&at| at < size)
        };
        for oh in 0..self.rows.out {
            let Some(h) = place(&self.rows, oh, height) else { continue };
            if self.columns.window.stride == 1 {
                // The positions of a line lie side by side in both.
                let reach = self.dilation().1 * (self.kernel().1 - 1);
                let (first, at) = (cut.saturating_sub(reach), reach.saturating_sub(cut));
                if first >= self.columns.out {
                    continue; // every window of the line is in the padding
                }
                let positions = (self.columns.out - first).min(width - at);
                spread[(h * width + at) * self.units..][..positions * self.units].copy_from_slice(
                    &grad[(oh * self.columns.out + first) * self.units..][..positions * self.units],
                );
                continue;
            }
            for ow in 0..self.columns.out {
                let Some(w) = place(&self.columns, ow, width) else { continue };
                let grad = &grad[(oh * self.columns.out + ow) * self.units..][..self.units];
                spread[(h * width + w) * self.units..][..self.units].copy_from_slice(grad);
            }
        }
    }

    fn respond<T: Real>(&self, x: &[T], strides: [usize; 4], weight: &[T]) -> Result<Vec<T>> {
        let correlation = self.response();
        let (kh, kw) = self.kernel();
        let fan = self.channels / self.groups;
        let value = |unit: usize, c: usize, i: usize, j: usize| {
            weight[((unit * fan + c) * kh + i) * kw + j]
        };
        let padded = (self.padded_len(), |b, padded: &mut [T]| self.pad(x, strides, b, padded));
        if let Some(out) = many::respond(&correlation, self.batch, value, padded)? {
            return Ok(out);
        }
        let weight = correlation.pack(value)?;
        let sizes = [self.batch, self.rows.out, self.columns.out, self.units];
        filled_with("response", &sizes, self.responses(), Vec::new, |padded, b, out| {
            clear("padded image", padded, self.padded_len())?;
            self.pad(x, strides, b, padded);
            ARCH.dispatch(Respond { correlation, image: padded, weight: &weight, out });
            Ok(())
        })
    }

    /// The gradient of the input, `(B, H, W, C)`, through the weights `feedback`.
    fn input_gradient<T: Real>(&self, grad: &[T], feedback: &[T]) -> Result<Vec<T>> {
        let correlation = self.adjoint();
        let ((kh, kw), groups) = (self.kernel(), self.groups);
        let (fan, group) = (self.channels / groups, self.units / groups);
        // The flipped kernel, with its units and channels exchanged within each group.
        let value = |channel: usize, k: usize, i: usize, j: usize| {
            let unit = channel / fan * group + k;
            feedback[((unit * fan + channel % fan) * kh + kh - 1 - i) * kw + kw - 1 - j]
        };
        let grad_of = |b: usize| &grad[b * self.responses()..][..self.responses()];
        let spread = (self.spread_len(), |b, spread: &mut [T]| self.spread(grad_of(b), spread));
        if self.padding_mode() == PaddingMode::Zeros
            && let Some(out) = many::respond(&correlation, self.batch, value, spread)?
        {
            return Ok(out);
        }
        let feedback = correlation.pack(value)?;
        let ((height, width), channels) = (self.size(), self.channels);
        let init = || (Vec::new(), Vec::new());
        let sizes = [self.batch, height, width, channels];
        let image = height * width * channels;
        filled_with("gradient of an image", &sizes, image, init, |(spread, padded), b, out| {
            clear("spread gradient", spread, self.spread_len())?;
            self.spread(grad_of(b), spread);
            let respond = |out: &mut [T]| {
                ARCH.dispatch(Respond { correlation, image: spread, weight: &feedback, out });
            };
            if self.padding_mode() == PaddingMode::Zeros {
                respond(out);
                return Ok(());
            }
            let lines = correlation.out.1;
            clear("padded gradient", padded, correlation.out.0 * lines * channels)?;
            respond(padded);
            for (at, grad) in padded.chunks_exact(channels).enumerate() {
                let source = self.rows.source(at / lines).zip(self.columns.source(at % lines));
                let Some((h, w)) = source else { continue };
                let out = &mut out[(h * width + w) * channels..][..channels];
                for (out, &grad) in out.iter_mut().zip(grad) {
                    *out += grad;
                }
            }
            Ok(())
        })
    }

    /// The gradient of the weights, in their shape.
    fn weight_gradient<T: Real>(&self, x: &[T], strides: [usize; 4], grad: &[T]) -> Result<Vec<T>> {
        let correlation = self.response();
        let image = self.responses();
        let padded = (self.padded_len(), |b, padded: &mut [T]| self.pad(x, strides, b, padded));
        if let Some(sum) = many::correlate(&correlation, self.batch, grad, padded)? {
            return Ok(sum);
        }
        let per_part = self.batch.div_ceil(PARTS).max(1);
        let zeros = || -> Result<Vec<T>> {
            let mut zeros = Vec::new();
            clear("gradient of the weights", &mut zeros, correlation.packed_len::<T>())?;
            Ok(zeros)
        };
        let mut parts: Vec<Vec<T>> = (0..self.batch.div_ceil(per_part))
            .into_par_iter()
            .map(|part| {
                let mut sum = zeros()?;
                let (mut padded, mut whole) = (Vec::new(), Vec::new());
                for b in part * per_part..((part + 1) * per_part).min(self.batch) {
                    clear("padded image", &mut padded, self.padded_len())?;
                    self.pad(x, strides, b, &mut padded);
                    let grad = &grad[b * image..][..image];
                    let (grad, grad_step) = correlation.whole_vectors(grad, &mut whole)?;
                    let image = &padded;
                    ARCH.dispatch(Correlate { correlation, image, grad, grad_step, sum: &mut sum });
                }
                Ok(sum)
            })
            .collect::<Result<_>>()?;
        let mut sum = parts.pop().map_or_else(zeros, Ok)?;
        sum.par_chunks_mut(1 << 12).enumerate().for_each(|(at, sum)| {
            for part in &parts {
                for (sum, &part) in sum.iter_mut().zip(&part[at << 12..]) {
                    *sum += part;
                }
            }
        });
        correlation.unpack(&sum)
    }
}

/// The largest number of partial sums of a weight gradient.
const PARTS: usize = 16;

/// The response `(B, OH, OW, K)` to images `(B, H, W, C)`, or a ramp of it.
pub(super) struct Conv {
    pub plan: Plan,
    pub ramp: Option<Ramp>,
}

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Plan { batch, rows, columns, units, .. } = self.plan;
        with_real!(x, "conv2d", T => {
            let (x, strides) = view::<T>(x, x_layout)?;
            let mut out = self.plan.respond(x, strides, slice(weight, weight_layout)?)?;
            if let Some(ramp) = self.ramp {
                ramp.overwrite(&mut out);
            }
            Ok((cpu::owned(out), (batch, rows.out, columns.out, units).into()))
        })
    }
}

/// The gradient of the images, `(B, H, W, C)`, from the gradient of the response and the feedback weights.
pub(super) struct InputGradient(pub Plan);

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "conv2d_input_gradient"
    }

    fn cpu_fwd(
        &self,
        grad: &CpuStorage,
        grad_layout: &Layout,
        feedback: &CpuStorage,
        feedback_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Plan { batch, channels, rows, columns, .. } = self.0;
        with_real!(grad, "conv2d_input_gradient", T => {
            let (grad, feedback) =
                (slice::<T>(grad, grad_layout)?, slice::<T>(feedback, feedback_layout)?);
            let grad_x = self.0.input_gradient(grad, feedback)?;
            Ok((cpu::owned(grad_x), (batch, rows.size, columns.size, channels).into()))
        })
    }
}

/// Adds a tensor to another in place, both contiguous.
pub(super) struct AddTo;

impl InplaceOp2 for AddTo {
    fn name(&self) -> &'static str {
        "add_to"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        _: &Layout,
        other: &CpuStorage,
        layout: &Layout,
    ) -> Result<()> {
        with_real!(sum, "add_to", T => {
            let other = slice::<T>(other, layout)?;
            for_row_blocks(T::storage_mut(sum)?, 1, 1, &Add(other));
            Ok(())
        })
    }
}

struct Add<'a, T>(&'a [T]);

impl<T: Real> RowKernel<T> for Add<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        for (sum, &other) in block.iter_mut().zip(&self.0[first..]) {
            *sum += other;
        }
    }
}

pub(super) struct WeightGradient(pub Plan);

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "conv2d_weight_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (Plan { channels, groups, units, .. }, (kh, kw)) = (self.0, self.0.kernel());
        with_real!(x, "conv2d_weight_gradient", T => {
            let (x, strides) = view::<T>(x, x_layout)?;
            let product = self.0.weight_gradient(x, strides, slice(grad, grad_layout)?)?;
            Ok((cpu::owned(product), (units, channels / groups, kh, kw).into()))
        })
    }
}
