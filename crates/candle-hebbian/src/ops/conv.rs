//! Convolution on the CPU without unfolding.
//!
//! An image is padded into a buffer with channels last. There the taps of a window's line lie side
//! by side, so a block of neighbouring positions and a block of units is a small matrix product
//! whose operands need no copying: [`tile`] keeps it in registers. The response, the gradient of
//! the weights and the gradient of the input are that same tile walked in three orders. Against
//! unfolding this saves writing and reading every pixel once per tap.
//!
//! Images are independent, so they run in parallel; gradients of the weights are summed over a
//! number of parts that depends on the batch alone, so results do not depend on the threads.

use super::layout::view;
use super::response::Asymmetry;
use crate::cpu::{self, ARCH, Real, slice, with_real};
use crate::memory::{self, clear, filled_with};
use crate::window::{Axis, Conv2dConfig, PaddingMode};
use candle::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// The response `(B, OH, OW, K)` of a convolution of `x (B, H, W, C)` with `weight (K, C/groups,
/// kh, kw)`. The error goes back through `feedback`, of the same shape. CPU only.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    feedback: &Tensor,
    config: &Conv2dConfig,
    asymmetry: Asymmetry,
) -> Result<Tensor> {
    let plan = Plan::new(x, weight, config)?;
    let op = Conv { plan, asymmetry };
    x.apply_op3(&weight.contiguous()?, &feedback.contiguous()?, op)
}

/// The sizes of one convolution.
#[derive(Debug, Clone, Copy)]
struct Plan {
    batch: usize,
    channels: usize,
    groups: usize,
    units: usize,
    rows: Axis,
    columns: Axis,
}

impl Plan {
    /// # Errors
    /// Windows that the image does not have, channels or units that do not fit the groups, and sizes
    /// that no memory holds.
    fn new(x: &Tensor, weight: &Tensor, config: &Conv2dConfig) -> Result<Self> {
        let (batch, height, width, channels) = x.dims4()?;
        let (units, fan, kh, kw) = weight.dims4()?;
        let (rows, columns) = (config.axis(height, kh)?, config.axis(width, kw)?);
        let groups = config.groups;
        if fan.checked_mul(groups) != Some(channels) {
            candle::bail!("conv2d: {channels} channels for weights of {fan} in {groups} groups")
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
        // Packing makes whole vectors of the units of a group, of at most 64 elements.
        let filled_up = groups.saturating_mul(64);
        memory::count("packed weights", &[units.saturating_add(filled_up), fan, kh, kw], bytes)?;
        let turned = [channels.saturating_add(filled_up), units / groups, kh, kw];
        memory::count("packed weights", &turned, bytes)?;
        Ok(plan)
    }

    fn kernel(&self) -> (usize, usize) {
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

    /// The correlation that makes the response from a padded image.
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

    /// What the gradient of the input covers, the image or with reflection the padded image, and how
    /// much of the padded image lies in front of it.
    fn covered(&self) -> (usize, (usize, usize)) {
        match self.padding_mode() {
            PaddingMode::Zeros => (self.rows.window.before, self.size()),
            PaddingMode::Reflect => (0, self.padded()),
        }
    }

    /// The correlation that makes the gradient of the input from a [`spread`](Self::spread) one of
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

    /// Image `b` with its padding, channels last.
    fn pad<T: Real>(
        &self,
        x: &[T],
        [sb, sh, sw, sc]: [usize; 4],
        b: usize,
        padded: &mut Vec<T>,
    ) -> Result<()> {
        let (height, width) = self.padded();
        clear("padded image", padded, height * width * self.channels)?;
        for (line, padded) in padded.chunks_exact_mut((width * self.channels).max(1)).enumerate() {
            let Some(h) = self.rows.source(line) else { continue };
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
        Ok(())
    }

    /// The gradient at one image's output, spread so that correlating it with the turned kernel
    /// gives the gradient of what [`covered`](Self::covered) says.
    fn spread<T: Real>(&self, grad: &[T], spread: &mut Vec<T>) -> Result<()> {
        let (cut, _) = self.covered();
        let (height, width) = (self.spread_height(), self.adjoint().width);
        clear("spread gradient", spread, height * width * self.units)?;
        let place = |axis: &Axis, o: usize, size: usize| {
            let last = axis.position(o, axis.window.kernel - 1);
            last.checked_sub(cut).filter(|&at| at < size)
        };
        for oh in 0..self.rows.out {
            let Some(h) = place(&self.rows, oh, height) else { continue };
            for ow in 0..self.columns.out {
                let Some(w) = place(&self.columns, ow, width) else { continue };
                let grad = &grad[(oh * self.columns.out + ow) * self.units..][..self.units];
                spread[(h * width + w) * self.units..][..self.units].copy_from_slice(grad);
            }
        }
        Ok(())
    }

    fn respond<T: Real>(&self, x: &[T], strides: [usize; 4], weight: &[T]) -> Result<Vec<T>> {
        let correlation = self.response();
        let (kh, kw) = self.kernel();
        let fan = self.channels / self.groups;
        let weight =
            correlation.pack(|unit, c, i, j| weight[((unit * fan + c) * kh + i) * kw + j])?;
        let sizes = [self.batch, self.rows.out, self.columns.out, self.units];
        filled_with("response", &sizes, self.responses(), Vec::new, |padded, b, out| {
            self.pad(x, strides, b, padded)?;
            ARCH.dispatch(Respond { correlation, image: padded, weight: &weight, out });
            Ok(())
        })
    }

    /// The gradient of the input, `(B, H, W, C)`, through the weights `feedback`.
    fn input_gradient<T: Real>(&self, grad: &[T], feedback: &[T]) -> Result<Vec<T>> {
        let correlation = self.adjoint();
        let ((kh, kw), groups) = (self.kernel(), self.groups);
        let (fan, group) = (self.channels / groups, self.units / groups);
        // The kernel turned, and its units and channels exchanged within each group.
        let feedback = correlation.pack(|channel, k, i, j| {
            let unit = channel / fan * group + k;
            feedback[((unit * fan + channel % fan) * kh + kh - 1 - i) * kw + kw - 1 - j]
        })?;
        let ((height, width), channels) = (self.size(), self.channels);
        let init = || (Vec::new(), Vec::new());
        let sizes = [self.batch, height, width, channels];
        let image = height * width * channels;
        filled_with("gradient of an image", &sizes, image, init, |(spread, padded), b, out| {
            self.spread(&grad[b * self.responses()..][..self.responses()], spread)?;
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
                    self.pad(x, strides, b, &mut padded)?;
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

/// At most this many partial sums of a weight gradient.
const PARTS: usize = 16;

/// A correlation of images, channels last, with kernels: at each position and for each unit, the
/// sum over the taps of the window.
#[derive(Debug, Clone, Copy)]
struct Correlation {
    /// Pixels in a line of the image.
    width: usize,
    channels: usize,
    groups: usize,
    kernel: (usize, usize),
    dilation: (usize, usize),
    stride: (usize, usize),
    units: usize,
    out: (usize, usize),
}

impl Correlation {
    /// How many units one vector tile holds, and how many vectors that is.
    fn block<T: Real>(&self) -> (usize, usize) {
        struct Lanes<T>(std::marker::PhantomData<T>);
        impl<T: Real> WithSimd for Lanes<T> {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> usize {
                lanes::<S, T>()
            }
        }
        let lanes = ARCH.dispatch(Lanes::<T>(std::marker::PhantomData));
        let vectors = if self.units / self.groups > lanes { 2 } else { 1 };
        (vectors * lanes, vectors)
    }

    /// Multiplications per position and unit.
    fn depth(&self) -> usize {
        self.channels / self.groups * self.kernel.0 * self.kernel.1
    }

    fn packed_len<T: Real>(&self) -> usize {
        let (block, _) = self.block::<T>();
        self.groups * (self.units / self.groups).div_ceil(block) * self.depth() * block
    }

    /// Stretches of a window that are contiguous in the image: where each starts from the window's
    /// first pixel, in channels of group 0, and how long they are.
    fn runs(&self) -> (impl Iterator<Item = usize> + Clone, usize) {
        let (kh, kw) = self.kernel;
        let whole_lines = self.dilation.1 == 1 && self.groups == 1;
        let (columns, length) =
            if whole_lines { (1, kw * self.channels) } else { (kw, self.channels / self.groups) };
        let (line, step) =
            (self.dilation.0 * self.width * self.channels, self.dilation.1 * self.channels);
        let starts = (0..kh * columns).map(move |at| at / columns * line + at % columns * step);
        (starts, length)
    }

    /// Kernels as the tile reads them: by group, block of units, tap, channel, unit. `value` takes
    /// the unit among all, the channel in its group, and the tap.
    fn pack<T: Real>(&self, value: impl Fn(usize, usize, usize, usize) -> T) -> Result<Vec<T>> {
        let mut packed = Vec::new();
        clear("packed weights", &mut packed, self.packed_len::<T>())?;
        self.for_packed::<T>(|at, unit, c, i, j| packed[at] = value(unit, c, i, j));
        Ok(packed)
    }

    /// The inverse: `(K, C/groups, kh, kw)`.
    fn unpack<T: Real>(&self, packed: &[T]) -> Result<Vec<T>> {
        let (fan, (kh, kw)) = (self.channels / self.groups, self.kernel);
        let mut kernels = Vec::new();
        clear("gradient of the weights", &mut kernels, self.units * self.depth())?;
        self.for_packed::<T>(|at, unit, c, i, j| {
            kernels[((unit * fan + c) * kh + i) * kw + j] = packed[at];
        });
        Ok(kernels)
    }

    /// `grad`, channels last, with the units of each group filled up by zeros to whole vectors, as the
    /// tile reads them; and the elements of a position.
    fn whole_vectors<'a, T: Real>(
        &self,
        grad: &'a [T],
        buffer: &'a mut Vec<T>,
    ) -> Result<(&'a [T], usize)> {
        let (block, _) = self.block::<T>();
        let group = self.units / self.groups;
        if group.is_multiple_of(block) {
            return Ok((grad, self.units));
        }
        let whole = group.next_multiple_of(block);
        let (positions, step) = (self.out.0 * self.out.1, self.groups * whole);
        clear("gradient in whole vectors", buffer, positions * step)?;
        for (whole, units) in buffer.chunks_exact_mut(whole).zip(grad.chunks_exact(group)) {
            whole[..group].copy_from_slice(units);
        }
        Ok((buffer, step))
    }

    /// Calls `visit(place in the packed kernels, unit, channel, tap line, tap column)` for each.
    fn for_packed<T: Real>(&self, mut visit: impl FnMut(usize, usize, usize, usize, usize)) {
        let (block, _) = self.block::<T>();
        let (fan, group) = (self.channels / self.groups, self.units / self.groups);
        let blocks = group.div_ceil(block);
        for at in 0..self.groups * blocks {
            let (g, first) = (at / blocks, at % blocks * block);
            for d in 0..self.depth() {
                let (i, j, c) = (d / fan / self.kernel.1, d / fan % self.kernel.1, d % fan);
                for lane in 0..block.min(group - first) {
                    visit(
                        (at * self.depth() + d) * block + lane,
                        g * group + first + lane,
                        c,
                        i,
                        j,
                    );
                }
            }
        }
    }
}

fn lanes<S: Simd, T: Real>() -> usize {
    size_of::<T::Vector<S>>() / size_of::<T>()
}

/// `sum[m][n] += Σ_d left[m·left_row + d·left_step] · right[d·right_step + n·lanes..]`: a product of
/// `M` scalars with `N` vectors, `depth` times, in registers.
///
/// # Safety
/// All these places must be readable.
#[inline(always)]
unsafe fn tile<S: Simd, T: Real, const M: usize, const N: usize>(
    simd: S,
    sum: &mut [[T::Vector<S>; N]; M],
    (mut left, left_row, left_step): (*const T, usize, usize),
    (mut right, right_step): (*const T, usize),
    depth: usize,
) {
    let mut acc = *sum;
    for _ in 0..depth {
        // SAFETY: the caller's.
        unsafe {
            let right_vectors: [T::Vector<S>; N] =
                std::array::from_fn(|n| right.cast::<T::Vector<S>>().add(n).read_unaligned());
            for (m, acc) in acc.iter_mut().enumerate() {
                let scalar = T::splat(simd, *left.add(m * left_row));
                for (acc, &vector) in acc.iter_mut().zip(&right_vectors) {
                    *acc = T::multiply_add(simd, scalar, vector, *acc);
                }
            }
            left = left.add(left_step);
            right = right.add(right_step);
        }
    }
    *sum = acc;
}

/// Covers `0..$count` with tiles of 8, 4, 2 and 1 (from 4 where registers are few): `$body` with
/// `$M` the size and `$at` the start.
macro_rules! in_tiles {
    ($simd:ty, $count:expr, $at:ident, $M:ident => $body:expr) => {{
        let count = $count;
        let mut $at = 0;
        in_tiles!(@size 8, <$simd>::REGISTER_COUNT >= 32, count, $at, $M, $body);
        in_tiles!(@size 4, true, count, $at, $M, $body);
        in_tiles!(@size 2, true, count, $at, $M, $body);
        in_tiles!(@size 1, true, count, $at, $M, $body);
    }};
    (@size $size:literal, $when:expr, $count:ident, $at:ident, $M:ident, $body:expr) => {
        if $when {
            const $M: usize = $size;
            while $at + $M <= $count {
                $body;
                $at += $M;
            }
        }
    };
}

/// One image's responses, from the padded image and packed weights.
struct Respond<'a, T> {
    correlation: Correlation,
    image: &'a [T],
    weight: &'a [T],
    out: &'a mut [T],
}

impl<T: Real> WithSimd for Respond<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.correlation.block::<T>().1 {
            1 => self.run::<S, 1>(simd),
            _ => self.run::<S, 2>(simd),
        }
    }
}

impl<T: Real> Respond<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const N: usize>(self, simd: S) {
        let Self { correlation: plan, image, weight, out } = self;
        let block = N * lanes::<S, T>();
        let group = plan.units / plan.groups;
        let blocks = group.div_ceil(block);
        let (starts, length) = plan.runs();
        for at in 0..plan.groups * blocks {
            let (g, first) = (at / blocks, at % blocks * block);
            let weight = &weight[at * plan.depth() * block..][..plan.depth() * block];
            let units = block.min(group - first);
            for y in 0..plan.out.0 {
                let line = &image[y * plan.stride.0 * plan.width * plan.channels..];
                let line = &line[g * (plan.channels / plan.groups)..];
                in_tiles!(S, plan.out.1, x, M => {
                    let mut sum = [[T::splat(simd, T::zero()); N]; M];
                    let step = plan.stride.1 * plan.channels;
                    for (run, start) in starts.clone().enumerate() {
                        let last = start + (x + M - 1) * step + length;
                        assert!(last <= line.len() && (run + 1) * length * block <= weight.len());
                        // SAFETY: the last pixel and the last weight read are in bounds, as asserted.
                        unsafe {
                            let left = line.as_ptr().add(start + x * step);
                            let right = weight.as_ptr().add(run * length * block);
                            tile::<S, T, M, N>(simd, &mut sum, (left, step, 1), (right, block), length);
                        }
                    }
                    for (m, sum) in sum.iter().enumerate() {
                        let at = (y * plan.out.1 + x + m) * plan.units + g * group + first;
                        // SAFETY: the vectors hold `block` elements, of which `units` are used.
                        let sum = unsafe { std::slice::from_raw_parts(sum.as_ptr().cast::<T>(), units) };
                        out[at..][..units].copy_from_slice(sum);
                    }
                });
            }
        }
    }
}

/// Adds one image's gradient of the packed weights to `sum`.
struct Correlate<'a, T> {
    correlation: Correlation,
    image: &'a [T],
    /// In [whole vectors](Correlation::whole_vectors).
    grad: &'a [T],
    grad_step: usize,
    sum: &'a mut [T],
}

impl<T: Real> WithSimd for Correlate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.correlation.block::<T>().1 {
            1 => self.run::<S, 1>(simd),
            _ => self.run::<S, 2>(simd),
        }
    }
}

/// About this many bytes of the image and its gradient are gone over before the sums are put away,
/// so that they stay in the first cache.
const BAND_BYTES: usize = 32 << 10;

impl<T: Real> Correlate<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const N: usize>(self, simd: S) {
        let Self { correlation: plan, image, grad, grad_step, sum: sums } = self;
        let block = N * lanes::<S, T>();
        let group = plan.units / plan.groups;
        let blocks = group.div_ceil(block);
        let (starts, length) = plan.runs();
        let line_elements = plan.width * plan.channels * plan.stride.0 + plan.out.1 * grad_step;
        let band = (BAND_BYTES / size_of::<T>() / line_elements.max(1)).max(1);
        let step = plan.stride.1 * plan.channels;
        for y in (0..plan.out.0).step_by(band) {
            let lines = y..(y + band).min(plan.out.0);
            for at in 0..plan.groups * blocks {
                let channel = at / blocks * (plan.channels / plan.groups);
                let sums = &mut sums[at * plan.depth() * block..][..plan.depth() * block];
                for (run, start) in starts.clone().enumerate() {
                    let start = start + channel;
                    let sums = &mut sums[run * length * block..][..length * block];
                    in_tiles!(S, length, d, M => {
                        let stored = sums[d * block..][..M * block].as_mut_ptr();
                        let stored = stored.cast::<[[T::Vector<S>; N]; M]>();
                        // SAFETY: `M·block` elements, as the slice above has.
                        let mut sum = unsafe { stored.read_unaligned() };
                        for y in lines.clone() {
                            let left = y * plan.stride.0 * plan.width * plan.channels + start + d;
                            let right = y * plan.out.1 * grad_step + at * block;
                            let last = plan.out.1 - 1;
                            assert!(left + last * step + M <= image.len());
                            assert!(right + last * grad_step + block <= grad.len());
                            // SAFETY: the last places read are in bounds, as asserted.
                            unsafe {
                                let left = image.as_ptr().add(left);
                                let right = grad.as_ptr().add(right);
                                tile::<S, T, M, N>(
                                    simd,
                                    &mut sum,
                                    (left, 1, step),
                                    (right, grad_step),
                                    plan.out.1,
                                );
                            }
                        }
                        // SAFETY: as above.
                        unsafe { stored.write_unaligned(sum) };
                    });
                }
            }
        }
    }
}

struct Conv {
    plan: Plan,
    asymmetry: Asymmetry,
}

impl CustomOp3 for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Plan { batch, rows, columns, units, .. } = self.plan;
        with_real!(x, "conv2d", T => {
            let (x, strides) = view::<T>(x, x_layout)?;
            let out = self.plan.respond(x, strides, slice(weight, weight_layout)?)?;
            Ok((cpu::owned(out), (batch, rows.out, columns.out, units).into()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        feedback: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.detach().contiguous()?;
        let grad_x = || {
            let op = InputGradient(self.plan);
            grad.apply_op2_no_bwd(&feedback.detach(), &op)
        };
        let product = || x.detach().apply_op2_no_bwd(&grad, &WeightGradient(self.plan));
        let grad_x = if x.track_op() { Some(grad_x()?) } else { None };
        let (grad_weight, grad_feedback) =
            self.asymmetry.weight_gradients(weight, feedback, product)?;
        Ok((grad_x, grad_weight, grad_feedback))
    }
}

struct InputGradient(Plan);

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

struct WeightGradient(Plan);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Sites, linear_response, unfold};
    use crate::{Geometry, Rng};
    use candle::{DType, Device, Var};

    /// The convolution as unfolded rows and matrix products, which other devices use.
    fn composed(
        x: &Tensor,
        w: &Tensor,
        r: &Tensor,
        config: &Conv2dConfig,
        asymmetry: Asymmetry,
    ) -> Result<Tensor> {
        let kernel = (w.dim(2)?, w.dim(3)?);
        let rows = unfold(x, kernel, config, Sites::Groups(config.groups))?;
        let u = linear_response(&rows, w, r, asymmetry)?;
        Geometry::Conv2d(*config).fold(&u, x.dims(), w.dims())
    }

    /// Kernel and composition, forward and backward, in both memory orders, over windows, widths
    /// that fill no vector, and tiles of every size.
    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let mut rng = Rng::new(23);
        let plain = Conv2dConfig::default();
        let reflect = PaddingMode::Reflect;
        let configs = [
            (plain, (3, 3)),
            (Conv2dConfig::same(5), (5, 5)),
            (Conv2dConfig::same(2), (2, 2)),
            (Conv2dConfig { stride: 2, padding: 1, ..plain }, (3, 2)),
            (Conv2dConfig { stride: 3, padding: 3, ..plain }, (2, 2)),
            (Conv2dConfig { dilation: 2, padding: 2, ..plain }, (3, 3)),
            (Conv2dConfig { groups: 2, padding: 1, ..plain }, (3, 3)),
            (Conv2dConfig { padding: 2, stride: 2, padding_mode: reflect, ..plain }, (4, 4)),
            (Conv2dConfig { groups: 2, padding: 1, padding_mode: reflect, ..plain }, (3, 3)),
        ];
        for (config, (kh, kw)) in configs {
            for (channels, units) in [(2, 6), (4, 16), (6, 34), (20, 8)] {
                let mut normal = |shape: (usize, usize, usize, usize)| {
                    rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu)
                };
                let x = Var::from_tensor(&normal((3, channels, 9, 17))?)?;
                let kernel = (units, channels / config.groups, kh, kw);
                let (w, r) =
                    (Var::from_tensor(&normal(kernel)?)?, Var::from_tensor(&normal(kernel)?)?);
                let last = x.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2))?;
                for seen in [x.as_tensor().clone(), last] {
                    let asymmetry = Asymmetry { rate: 0.25, ..Default::default() };
                    let got =
                        conv2d(&seen.permute((0, 2, 3, 1))?, &w, &r, &config, asymmetry.clone())?;
                    let got = got.permute((0, 3, 1, 2))?;
                    let want = composed(&seen, &w, &r, &config, asymmetry)?;
                    assert_eq!(got.dims(), want.dims());
                    let close = |a: &Tensor, b: &Tensor| -> Result<bool> {
                        let difference = (a - b)?.abs()?.max_all()?.to_scalar::<f64>()?;
                        Ok(difference <= 1e-13 * b.abs()?.max_all()?.to_scalar::<f64>()?)
                    };
                    assert!(close(&got, &want)?, "{config:?} {channels} {units}");
                    let shape = want.dims4()?;
                    let upstream = rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu)?;
                    let got = (got * &upstream)?.sum_all()?.backward()?;
                    let want = (want * &upstream)?.sum_all()?.backward()?;
                    for (name, var) in [("x", &x), ("w", &w), ("r", &r)] {
                        let (Some(got), Some(want)) = (got.get(var), want.get(var)) else {
                            candle::bail!("no gradient of {name}")
                        };
                        assert!(close(got, want)?, "{name} {config:?} {channels} {units}");
                    }
                }
            }
        }
        Ok(())
    }
}
