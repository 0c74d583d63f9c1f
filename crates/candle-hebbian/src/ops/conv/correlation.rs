//! Correlations of a padded image with kernels, channels last, as small matrix products in registers.

use crate::cpu::Real;
use crate::memory::clear;
use crate::ops::registers::{in_tiles, lanes, lanes_here, tile};
use candle::Result;
use pulp::{Simd, WithSimd};

/// A correlation of images, channels last, with kernels: at each position and for each unit, the
/// sum over the taps of the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Correlation {
    /// Pixels in a line of the image.
    pub width: usize,
    pub channels: usize,
    pub groups: usize,
    pub kernel: (usize, usize),
    pub dilation: (usize, usize),
    pub stride: (usize, usize),
    pub units: usize,
    pub out: (usize, usize),
}

impl Correlation {
    /// The number of units that one vector tile holds, and the number of vectors that it consists of.
    pub(super) fn block<T: Real>(&self) -> (usize, usize) {
        let lanes = lanes_here::<T>();
        let vectors = if self.units / self.groups > lanes { 2 } else { 1 };
        (vectors * lanes, vectors)
    }

    /// Multiplications per position and unit.
    pub(super) fn depth(&self) -> usize {
        self.channels / self.groups * self.kernel.0 * self.kernel.1
    }

    pub(super) fn packed_len<T: Real>(&self) -> usize {
        let (block, _) = self.block::<T>();
        self.groups * (self.units / self.groups).div_ceil(block) * self.depth() * block
    }

    /// The stretches of a window that are contiguous in the image: where each starts, counted from the
    /// window's first pixel and for the channels of group 0, and their common length.
    pub(super) fn runs(&self) -> (impl Iterator<Item = usize> + Clone, usize) {
        let (kh, kw) = self.kernel;
        let whole_lines = self.dilation.1 == 1 && self.groups == 1;
        let (columns, length) =
            if whole_lines { (1, kw * self.channels) } else { (kw, self.channels / self.groups) };
        let (line, step) =
            (self.dilation.0 * self.width * self.channels, self.dilation.1 * self.channels);
        let starts = (0..kh * columns).map(move |at| at / columns * line + at % columns * step);
        (starts, length)
    }

    /// Packs the kernels in the order in which the tile reads them: by group, block of units, tap,
    /// channel and unit. `value` takes the unit among all units, the channel in its group, and the
    /// line and column of the tap.
    pub(super) fn pack<T: Real>(
        &self,
        value: impl Fn(usize, usize, usize, usize) -> T,
    ) -> Result<Vec<T>> {
        let mut packed = Vec::new();
        clear("packed weights", &mut packed, self.packed_len::<T>())?;
        self.for_packed::<T>(|at, unit, c, i, j| packed[at] = value(unit, c, i, j));
        Ok(packed)
    }

    /// The inverse of [`pack`](Self::pack): returns `(K, C/groups, kh, kw)`.
    pub(super) fn unpack<T: Real>(&self, packed: &[T]) -> Result<Vec<T>> {
        let (fan, (kh, kw)) = (self.channels / self.groups, self.kernel);
        let mut kernels = Vec::new();
        clear("gradient of the weights", &mut kernels, self.units * self.depth())?;
        self.for_packed::<T>(|at, unit, c, i, j| {
            kernels[((unit * fan + c) * kh + i) * kw + j] = packed[at];
        });
        Ok(kernels)
    }

    /// Returns `grad`, channels last, with the units of each group padded with zeros to whole vectors,
    /// as the tile reads them, and the number of elements of a position.
    pub(super) fn whole_vectors<'a, T: Real>(
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

    /// Calls `visit(place in the packed kernels, unit, channel, tap line, tap column)` for each
    /// weight.
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

/// One image's responses, from the padded image and packed weights.
pub(super) struct Respond<'a, T> {
    pub correlation: Correlation,
    pub image: &'a [T],
    pub weight: &'a [T],
    pub out: &'a mut [T],
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
pub(super) struct Correlate<'a, T> {
    pub correlation: Correlation,
    pub image: &'a [T],
    /// The gradient of the response, in [whole vectors](Correlation::whole_vectors).
    pub grad: &'a [T],
    pub grad_step: usize,
    pub sum: &'a mut [T],
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

/// About this many bytes of the image and its gradient are processed before the sums are stored, so
/// that they stay in the first-level cache.
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
