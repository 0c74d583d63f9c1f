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

use super::response::Asymmetry;
use crate::cpu::{self, ARCH, Real, slice, with_real};
use crate::geometry::{Conv2dConfig, PaddingMode};
use crate::ops::reflect;
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
    let op = Conv { plan: Plan::new(x.dims4()?, weight.dims4()?, config)?, asymmetry };
    x.apply_op3(&weight.contiguous()?, &feedback.contiguous()?, op)
}

/// The sizes of one convolution.
#[derive(Debug, Clone, Copy)]
struct Plan {
    config: Conv2dConfig,
    batch: usize,
    channels: usize,
    size: (usize, usize),
    kernel: (usize, usize),
    units: usize,
    out: (usize, usize),
}

impl Plan {
    fn new(
        (batch, height, width, channels): (usize, usize, usize, usize),
        (units, fan, kh, kw): (usize, usize, usize, usize),
        config: &Conv2dConfig,
    ) -> Result<Self> {
        let out = (config.output_size(height, kh)?, config.output_size(width, kw)?);
        if fan * config.groups != channels {
            candle::bail!(
                "conv2d: {channels} channels for weights of {fan} in {} groups",
                config.groups
            )
        }
        let (size, kernel) = ((height, width), (kh, kw));
        Ok(Self { config: *config, batch, channels, size, kernel, units, out })
    }

    fn padded(&self) -> (usize, usize) {
        (self.config.padded(self.size.0), self.config.padded(self.size.1))
    }

    /// The correlation that makes the response from a padded image.
    fn response(&self) -> Correlation {
        let Conv2dConfig { groups, dilation, stride, .. } = self.config;
        Correlation {
            width: self.padded().1,
            channels: self.channels,
            groups,
            kernel: self.kernel,
            dilation,
            stride,
            units: self.units,
            out: self.out,
        }
    }

    /// What the gradient of the input covers: the image, or with reflection the padded image.
    fn covered(&self) -> (usize, (usize, usize)) {
        match self.config.padding_mode {
            PaddingMode::Zeros => (self.config.padding, self.size),
            PaddingMode::Reflect => (0, self.padded()),
        }
    }

    /// The correlation that makes the gradient of the input from a [`spread`](Self::spread) one of
    /// the output.
    fn adjoint(&self) -> Correlation {
        let Conv2dConfig { groups, dilation, .. } = self.config;
        let (_, out) = self.covered();
        Correlation {
            width: out.1 + dilation * (self.kernel.1 - 1),
            channels: self.units,
            groups,
            kernel: self.kernel,
            dilation,
            stride: 1,
            units: self.channels,
            out,
        }
    }

    /// Image `b` with its padding, channels last.
    fn pad<T: Real>(&self, x: &[T], strides: [usize; 4], b: usize, padded: &mut Vec<T>) {
        let (height, width) = self.padded();
        padded.clear();
        padded.resize(height * width * self.channels, T::zero());
        let source = |at: usize, size: usize| {
            let at = at as isize - self.config.padding as isize;
            match self.config.padding_mode {
                PaddingMode::Zeros => usize::try_from(at).ok().filter(|&at| at < size),
                PaddingMode::Reflect => Some(reflect(at, size)),
            }
        };
        let columns: Vec<_> = (0..width).map(|at| source(at, self.size.1)).collect();
        let [sb, sc, sh, sw] = strides;
        for (line, padded) in padded.chunks_exact_mut((width * self.channels).max(1)).enumerate() {
            let Some(h) = source(line, self.size.0) else { continue };
            for (padded, column) in padded.chunks_exact_mut(self.channels.max(1)).zip(&columns) {
                let Some(w) = *column else { continue };
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

    /// The gradient at one image's output, spread so that correlating it with the turned kernel
    /// gives the gradient of what [`covered`](Self::covered) says.
    fn spread<T: Real>(&self, grad: &[T], spread: &mut Vec<T>) {
        let Conv2dConfig { dilation, stride, .. } = self.config;
        let (cut, (height, _)) = self.covered();
        let (height, width) = (height + dilation * (self.kernel.0 - 1), self.adjoint().width);
        spread.clear();
        spread.resize(height * width * self.units, T::zero());
        let place = |o: usize, kernel: usize, size: usize| {
            (o * stride + dilation * (kernel - 1)).checked_sub(cut).filter(|&at| at < size)
        };
        for oh in 0..self.out.0 {
            let Some(h) = place(oh, self.kernel.0, height) else { continue };
            for ow in 0..self.out.1 {
                let Some(w) = place(ow, self.kernel.1, width) else { continue };
                let grad = &grad[(oh * self.out.1 + ow) * self.units..][..self.units];
                spread[(h * width + w) * self.units..][..self.units].copy_from_slice(grad);
            }
        }
    }

    fn respond<T: Real>(&self, x: &[T], strides: [usize; 4], weight: &[T]) -> Vec<T> {
        let correlation = self.response();
        let [kh, kw] = [self.kernel.0, self.kernel.1];
        let fan = self.channels / self.config.groups;
        let weight = correlation.pack(|unit, c, i, j| weight[((unit * fan + c) * kh + i) * kw + j]);
        let image = self.out.0 * self.out.1 * self.units;
        let mut out = vec![T::zero(); self.batch * image];
        out.par_chunks_mut(image.max(1)).enumerate().for_each_init(Vec::new, |padded, (b, out)| {
            self.pad(x, strides, b, padded);
            ARCH.dispatch(Respond { correlation, image: padded, weight: &weight, out });
        });
        out
    }

    /// The gradient of the input, `(B, H, W, C)`, through the weights `feedback`.
    fn input_gradient<T: Real>(&self, grad: &[T], feedback: &[T]) -> Vec<T> {
        let correlation = self.adjoint();
        let ([kh, kw], groups) = ([self.kernel.0, self.kernel.1], self.config.groups);
        let (fan, group) = (self.channels / groups, self.units / groups);
        // The kernel turned, and its units and channels exchanged within each group.
        let feedback = correlation.pack(|channel, k, i, j| {
            let unit = channel / fan * group + k;
            feedback[((unit * fan + channel % fan) * kh + kh - 1 - i) * kw + kw - 1 - j]
        });
        let (height, width) = self.size;
        let mut out = vec![T::zero(); self.batch * height * width * self.channels];
        let image = self.out.0 * self.out.1 * self.units;
        out.par_chunks_mut((height * width * self.channels).max(1)).enumerate().for_each_init(
            || (Vec::new(), Vec::new()),
            |(spread, padded), (b, out)| {
                self.spread(&grad[b * image..][..image], spread);
                let respond = |out: &mut [T]| {
                    ARCH.dispatch(Respond { correlation, image: spread, weight: &feedback, out });
                };
                if self.config.padding_mode == PaddingMode::Zeros {
                    return respond(out);
                }
                padded.clear();
                padded.resize(correlation.out.0 * correlation.out.1 * self.channels, T::zero());
                respond(padded);
                let source = |at: usize, size: usize| {
                    reflect(at as isize - self.config.padding as isize, size)
                };
                for (at, grad) in padded.chunks_exact(self.channels).enumerate() {
                    let h = source(at / correlation.out.1, height);
                    let w = source(at % correlation.out.1, width);
                    let out = &mut out[(h * width + w) * self.channels..][..self.channels];
                    for (out, &grad) in out.iter_mut().zip(grad) {
                        *out += grad;
                    }
                }
            },
        );
        out
    }

    /// The gradient of the weights, in their shape.
    fn weight_gradient<T: Real>(&self, x: &[T], strides: [usize; 4], grad: &[T]) -> Vec<T> {
        let correlation = self.response();
        let image = self.out.0 * self.out.1 * self.units;
        let per_part = self.batch.div_ceil(PARTS).max(1);
        let mut parts: Vec<Vec<T>> = (0..self.batch.div_ceil(per_part))
            .into_par_iter()
            .map(|part| {
                let mut sum = vec![T::zero(); correlation.packed_len::<T>()];
                let mut padded = Vec::new();
                for b in part * per_part..((part + 1) * per_part).min(self.batch) {
                    self.pad(x, strides, b, &mut padded);
                    let grad = &grad[b * image..][..image];
                    ARCH.dispatch(Correlate { correlation, image: &padded, grad, sum: &mut sum });
                }
                sum
            })
            .collect();
        let mut sum = parts.pop().unwrap_or_else(|| vec![T::zero(); correlation.packed_len::<T>()]);
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
    dilation: usize,
    stride: usize,
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
        let whole_lines = self.dilation == 1 && self.groups == 1;
        let (columns, length) =
            if whole_lines { (1, kw * self.channels) } else { (kw, self.channels / self.groups) };
        let (line, step) =
            (self.dilation * self.width * self.channels, self.dilation * self.channels);
        let starts = (0..kh * columns).map(move |at| at / columns * line + at % columns * step);
        (starts, length)
    }

    /// Kernels as the tile reads them: by group, block of units, tap, channel, unit. `value` takes
    /// the unit among all, the channel in its group, and the tap.
    fn pack<T: Real>(&self, value: impl Fn(usize, usize, usize, usize) -> T) -> Vec<T> {
        let mut packed = vec![T::zero(); self.packed_len::<T>()];
        self.for_packed::<T>(|at, unit, c, i, j| packed[at] = value(unit, c, i, j));
        packed
    }

    /// The inverse: `(K, C/groups, kh, kw)`.
    fn unpack<T: Real>(&self, packed: &[T]) -> Vec<T> {
        let (fan, (kh, kw)) = (self.channels / self.groups, self.kernel);
        let mut kernels = vec![T::zero(); self.units * self.depth()];
        self.for_packed::<T>(|at, unit, c, i, j| {
            kernels[((unit * fan + c) * kh + i) * kw + j] = packed[at];
        });
        kernels
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
                let line = &image[y * plan.stride * plan.width * plan.channels..];
                let line = &line[g * (plan.channels / plan.groups)..];
                in_tiles!(S, plan.out.1, x, M => {
                    let mut sum = [[T::splat(simd, T::zero()); N]; M];
                    let step = plan.stride * plan.channels;
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
    grad: &'a [T],
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
        let Self { correlation: plan, image, grad, sum: sums } = self;
        let block = N * lanes::<S, T>();
        let group = plan.units / plan.groups;
        let blocks = group.div_ceil(block);
        // The tile reads whole vectors of units: make them so.
        let whole: Vec<T>;
        let (grad, grad_step) = if group.is_multiple_of(block) {
            (grad, plan.units)
        } else {
            whole = grad
                .chunks_exact(group)
                .flat_map(|units| {
                    units
                        .iter()
                        .copied()
                        .chain(std::iter::repeat_n(T::zero(), blocks * block - group))
                })
                .collect();
            (&whole[..], plan.groups * blocks * block)
        };
        let (starts, length) = plan.runs();
        let line_bytes =
            (plan.width * plan.channels * plan.stride + plan.out.1 * grad_step) * size_of::<T>();
        let band = (BAND_BYTES / line_bytes.max(1)).max(1);
        let step = plan.stride * plan.channels;
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
                            let left = y * plan.stride * plan.width * plan.channels + start + d;
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

/// The steps in memory between images, channels, lines and columns.
fn strides(layout: &Layout) -> Result<[usize; 4]> {
    match layout.stride() {
        &[b, h, w, c] => Ok([b, c, h, w]),
        other => candle::bail!("expected four dimensions, found strides {other:?}"),
    }
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
        let Plan { batch, out: (oh, ow), units, .. } = self.plan;
        with_real!(x, "conv2d", T => {
            let x = &x.as_slice::<T>()?[x_layout.start_offset()..];
            let out = self.plan.respond::<T>(x, strides(x_layout)?, slice(weight, weight_layout)?);
            Ok((cpu::owned(out), (batch, oh, ow, units).into()))
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
        let wanted = (weight.track_op(), feedback.track_op());
        let (grad_weight, grad_feedback) =
            self.asymmetry.weight_gradients(wanted, weight.shape(), product)?;
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
        let Plan { batch, channels, size: (height, width), .. } = self.0;
        with_real!(grad, "conv2d_input_gradient", T => {
            let (grad, feedback) =
                (slice::<T>(grad, grad_layout)?, slice::<T>(feedback, feedback_layout)?);
            let grad_x = self.0.input_gradient(grad, feedback);
            Ok((cpu::owned(grad_x), (batch, height, width, channels).into()))
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
        let Plan { channels, kernel: (kh, kw), units, config, .. } = self.0;
        with_real!(x, "conv2d_weight_gradient", T => {
            let x = &x.as_slice::<T>()?[x_layout.start_offset()..];
            let product =
                self.0.weight_gradient::<T>(x, strides(x_layout)?, slice(grad, grad_layout)?);
            Ok((cpu::owned(product), (units, channels / config.groups, kh, kw).into()))
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
