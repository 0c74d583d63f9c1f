//! Convolutions with 3×3 kernels by Winograd's minimal filtering, F(4×4, 3×3), with 36 instead of 144 multiplications
//! for 16 positions, an input and a unit (A. Lavin and S. Gray, 2016, Fast algorithms for convolutional neural
//! networks, arXiv:1509.09308, section 4). In one dimension, the four responses `y` of a kernel `g` to six inputs `d`
//! are the coefficients of the product of two polynomials, computed from their values at six points:
//!
//! ```text
//! y = Aᵀ·(G·g ⊙ Bᵀ·d)
//! ```
//!
//! and in two dimensions the same is done with the lines and then with the columns of a tile of 6×6 inputs. Each of the
//! 36 products of a tile is summed over the channels, which makes 36 products of matrices of tiles and of units.
//!
//! The gradients of the kernels are `Gᵀ·Σ (A·δ ⊙ Bᵀ·d)`, and need as few multiplications.
//!
//! The points are 0, ±5/8, ±3/2 and ∞, with which rounding errors are about six times those of a direct sum: for
//! normally distributed inputs and weights and 384 channels, 1.2·10⁻⁶ of the responses' standard deviation. With the
//! points 0, ±1, ±2 and ∞ of the paper they would be 2.7·10⁻⁶. The inputs of a tile that a window does not see cancel
//! but for rounding, which is relative to the largest of them. A window that sees only zeros is told apart: its
//! responses are exactly 0, so that no unit wins there.

mod transform;

use super::correlation::Correlation;
use crate::cpu::{ARCH, Real};
use crate::memory::{clear, filled, filled_with};
use crate::ops::registers::{Products, lanes_here};
use candle::{DType, Result};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use transform::{Errors, Inputs, Kernels, Responses, Taps};

/// The responses of a tile along an axis.
const OUT: usize = 4;
/// The inputs of a tile along an axis.
const SIDE: usize = 6;
/// The inputs or products of a tile.
const TILE: usize = SIDE * SIDE;
/// The number of tiles that are summed in registers.
const DEPTH: usize = 128;
/// About this many values stay in a cache while they are read again and again.
const CACHED: usize = 1 << 20;

impl Correlation {
    /// Whether this is a correlation of f32 with 3×3 kernels at every position, with so many channels and units that
    /// the transforms cost less than they save. Never in WebAssembly, where the kernels would make a page a tenth
    /// larger.
    pub(super) fn suits_tiles<T: Real>(&self) -> bool {
        !cfg!(target_family = "wasm")
            && T::DTYPE == DType::F32
            && (self.kernel, self.stride, self.dilation, self.groups) == ((3, 3), (1, 1), (1, 1), 1)
            && self.channels.min(self.units) >= 16
            && self.channels.max(self.units) >= 32
    }

    /// The lines and columns of tiles in an image. The last ones may reach over its edge.
    fn tiles(&self) -> (usize, usize) {
        (self.out.0.div_ceil(OUT), self.out.1.div_ceil(OUT))
    }

    /// The image of a tile, counted from the first of a block of images, and the line and column of its first response.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (lines, columns) = self.tiles();
        (tile / (lines * columns), tile / columns % lines * OUT, tile % columns * OUT)
    }
}

/// The sizes of what is computed.
struct Sizes {
    channels: usize,
    units: usize,
    /// The units of a block: whole vectors.
    width: usize,
    /// The channels of a transformed tile with those that fill its last vector.
    step: usize,
    /// The tiles of an image.
    tiles: usize,
    /// The responses to an image.
    responses: usize,
}

impl Sizes {
    fn of<T: Real>(correlation: &Correlation) -> Self {
        let Correlation { channels, units, out, .. } = *correlation;
        let (lines, columns) = correlation.tiles();
        let step = channels.next_multiple_of(lanes_here::<T>());
        Self {
            channels,
            units,
            width: correlation.block::<T>().0,
            step,
            tiles: lines * columns,
            responses: out.0 * out.1 * units,
        }
    }

    fn blocks(&self) -> usize {
        self.units.div_ceil(self.width)
    }

    /// How many transformed weights a block of units has, `(36, C, width)`.
    fn kernels(&self) -> usize {
        TILE * self.channels * self.width
    }

    /// How many tiles are transformed before they are multiplied with all kernels: few, which stay in the second-level
    /// cache, or more if the kernels have to be read from memory. A multiple of the rows that are multiplied together.
    fn together(&self) -> usize {
        if self.blocks() * self.kernels() <= CACHED { 24 } else { 120 }
    }

    /// How many values a group of transformed tiles has, `(36, DEPTH, step)`.
    fn group(&self) -> usize {
        TILE * DEPTH * self.step
    }

    /// The tiles of a group whose number is `at`; the last group may have fewer.
    fn tiles_of<T>(&self, at: usize, group: &[T]) -> Range<usize> {
        at * DEPTH..at * DEPTH + group.len() / (TILE * self.step)
    }

    fn groups<'a, T>(&self, inputs: &'a [T]) -> impl Iterator<Item = (Range<usize>, &'a [T])> {
        let groups = inputs.chunks(self.group()).enumerate();
        groups.map(|(at, inputs)| (self.tiles_of(at, inputs), inputs))
    }

    fn units_of(&self, block: usize) -> Range<usize> {
        block * self.width..((block + 1) * self.width).min(self.units)
    }
}

/// As [`many::respond`](super::many::respond); `None` if this does not suit the correlation, or if a result is not
/// finite. Then all images are summed directly, so that an infinity or NaN in one also changes the last bits of others.
///
/// # Errors
/// If there is not enough memory.
pub(super) fn respond<T: Real>(
    correlation: &Correlation,
    batch: usize,
    value: impl Fn(usize, usize, usize, usize) -> T + Sync,
    padded: (usize, impl Fn(usize, &mut [T]) + Sync),
) -> Result<Option<Vec<T>>> {
    if !correlation.suits_tiles::<T>() {
        return Ok(None);
    }
    let sizes = Sizes::of::<T>(correlation);
    let transform = |block, out: &mut [T]| {
        let (channels, units, width) = (sizes.channels, sizes.units_of(block), sizes.width);
        ARCH.dispatch(Kernels { value: &value, channels, units, width, out });
    };
    let finite = AtomicBool::new(true);
    // The larger factor is transformed piece by piece, just before it is multiplied.
    let all = batch * sizes.tiles;
    let out = if all < sizes.units && TILE * all * sizes.step <= CACHED {
        respond_by_units(correlation, &sizes, batch, transform, padded, &finite)?
    } else {
        respond_by_images(correlation, &sizes, batch, transform, padded, &finite)?
    };
    Ok(finite.into_inner().then_some(out))
}

/// Transforms all kernels, and then computes the responses to some images at a time.
fn respond_by_images<T: Real>(
    correlation: &Correlation,
    sizes: &Sizes,
    batch: usize,
    transform: impl Fn(usize, &mut [T]) + Sync,
    (image, pad): (usize, impl Fn(usize, &mut [T]) + Sync),
    finite: &AtomicBool,
) -> Result<Vec<T>> {
    let Sizes { step, tiles, responses, .. } = *sizes;
    let block = sizes.kernels();
    let shape = [sizes.blocks(), block];
    let kernels = filled("transformed kernels", &shape, block, |at, kernels| {
        transform(at, kernels);
        Ok(())
    })?;
    let images = images_together(batch, tiles, sizes.together() / 2);
    let shape = [batch, correlation.out.0, correlation.out.1, sizes.units];
    let init = || [const { Vec::new() }; 3];
    filled_with("response", &shape, images * responses, init, |buffers, at, out| {
        let [padded, inputs, products] = buffers;
        let count = out.len() / responses;
        clear("padded images", padded, count * image + step)?;
        for (b, padded) in padded.chunks_exact_mut(image).take(count).enumerate() {
            pad(at * images + b, padded);
        }
        let all = count * tiles;
        for first in (0..all).step_by(sizes.together()) {
            let tiles = first..(first + sizes.together()).min(all);
            resize("transformed tiles", inputs, TILE * tiles.len() * step)?;
            let seen = tiles.clone();
            ARCH.dispatch(Inputs { correlation, padded, image, tiles: seen, step, out: inputs });
            for (block, kernels) in kernels.chunks_exact(block).enumerate() {
                let (tiles, units) = (tiles.clone(), sizes.units_of(block));
                let found =
                    filter(correlation, sizes, (tiles, inputs), (units, kernels), products, out)?;
                finite.fetch_and(found, Ordering::Relaxed);
            }
        }
        for (padded, out) in padded.chunks_exact(image).zip(out.chunks_exact_mut(responses)) {
            silence(correlation, padded, out);
        }
        Ok(())
    })
}

/// Transforms all images, and then computes the responses of a block of units at a time.
fn respond_by_units<T: Real>(
    correlation: &Correlation,
    sizes: &Sizes,
    batch: usize,
    transform: impl Fn(usize, &mut [T]) + Sync,
    padded: (usize, impl Fn(usize, &mut [T]) + Sync),
    finite: &AtomicBool,
) -> Result<Vec<T>> {
    let width = sizes.width;
    let inputs = transformed_images(correlation, sizes, 0..batch, &padded)?;
    // The responses of a block of units, as if there were no other units.
    let of_a_block = Correlation { units: width, ..*correlation };
    let (lines, columns) = correlation.out;
    let (positions, init) = (batch * lines * columns, || [const { Vec::new() }; 2]);
    let shape = [sizes.blocks(), positions, width];
    let blocks =
        filled_with("responses", &shape, positions * width, init, |buffers, block, out| {
            let [kernels, products] = buffers;
            resize("transformed kernels", kernels, sizes.kernels())?;
            transform(block, kernels);
            for (tiles, inputs) in sizes.groups(&inputs) {
                let units = 0..sizes.units_of(block).len();
                let found =
                    filter(&of_a_block, sizes, (tiles, inputs), (units, kernels), products, out)?;
                finite.fetch_and(found, Ordering::Relaxed);
            }
            Ok(())
        })?;
    let (image, pad) = padded;
    let shape = [batch, lines, columns, sizes.units];
    filled_with("response", &shape, sizes.responses, Vec::new, |padded, b, out| {
        for (at, out) in out.chunks_exact_mut(sizes.units).enumerate() {
            let position = b * lines * columns + at;
            for (block, out) in out.chunks_mut(width).enumerate() {
                out.copy_from_slice(&blocks[(block * positions + position) * width..][..out.len()]);
            }
        }
        clear("padded images", padded, image)?;
        pad(b, padded);
        silence(correlation, padded, out);
        Ok(())
    })
}

/// Sets the responses to a padded image to 0 at every position whose window sees only zeros.
fn silence<T: Real>(correlation: &Correlation, padded: &[T], out: &mut [T]) {
    let Correlation { width, channels, units, out: (lines, columns), .. } = *correlation;
    // Compares several values before it looks at the outcome, for which there are vector instructions.
    let zeros = |values: &[T]| values.iter().fold(true, |all, value| all & value.is_zero());
    let blank = |pixel: &[T]| pixel.chunks(16).all(zeros);
    let blank: Vec<bool> = padded.chunks_exact(channels).map(blank).collect();
    for (at, out) in out.chunks_exact_mut(units).take(lines * columns).enumerate() {
        let first = at / columns * width + at % columns;
        if (0..3).all(|line| blank[first + line * width..][..3].iter().all(|&blank| blank)) {
            out.fill(T::zero());
        }
    }
}

/// Writes the responses of a block of units at some tiles, from transformed tiles `(36, tiles, step)` and kernels
/// `(36, C, width)`, and returns whether all are finite.
fn filter<T: Real>(
    correlation: &Correlation,
    sizes: &Sizes,
    (tiles, inputs): (Range<usize>, &[T]),
    (units, kernels): (Range<usize>, &[T]),
    products: &mut Vec<T>,
    out: &mut [T],
) -> Result<bool> {
    let Sizes { channels, width, step, .. } = *sizes;
    resize("products of tiles", products, TILE * tiles.len() * width)?;
    let products_of_tiles = Products {
        runs: &[(0, 0)],
        depth: channels,
        left: inputs,
        left_row: step,
        left_step: 1,
        right: kernels,
        right_step: width,
        width,
        adds: false,
        out: products,
    };
    multiply(TILE, products_of_tiles);
    Ok(ARCH.dispatch(Responses { correlation, products, width, tiles, units, out }))
}

/// The transformed tiles of some images, in [groups](Sizes::groups).
fn transformed_images<T: Real>(
    correlation: &Correlation,
    sizes: &Sizes,
    images: Range<usize>,
    (image, pad): &(usize, impl Fn(usize, &mut [T]) + Sync),
) -> Result<Vec<T>> {
    let (image, count, step) = (*image, images.len(), sizes.step);
    let padded = filled("padded images", &[count * image + step], image, |b, padded| {
        if b < count {
            pad(images.start + b, padded);
        }
        Ok(())
    })?;
    let shape = [count * sizes.tiles, TILE, step];
    filled("transformed tiles", &shape, sizes.group(), |at, out| {
        let tiles = sizes.tiles_of(at, out);
        ARCH.dispatch(Inputs { correlation, padded: &padded, image, tiles, step, out });
        Ok(())
    })
}

/// As [`many::correlate`](super::many::correlate); otherwise like [`respond`].
///
/// # Errors
/// If there is not enough memory.
pub(super) fn correlate<T: Real>(
    correlation: &Correlation,
    batch: usize,
    grad: &[T],
    padded: (usize, impl Fn(usize, &mut [T]) + Sync),
) -> Result<Option<Vec<T>>> {
    if !correlation.suits_tiles::<T>() {
        return Ok(None);
    }
    let sizes = Sizes::of::<T>(correlation);
    let Sizes { channels, width, step, tiles, responses, .. } = sizes;
    // The sums over tiles, `(blocks of units, 36, C, width)`, of which each item below has a line of a block.
    let mut sums = Vec::new();
    let line_of_sums = SIDE * channels * width;
    let images = (CACHED / (TILE * tiles * step)).max(1);
    for start in (0..batch.max(1)).step_by(images) {
        let count = images.min(batch - start);
        let inputs = transformed_images(correlation, &sizes, start..start + count, &padded)?;
        let grad = &grad[start * responses..][..count * responses];
        let add = |errors: &mut Vec<T>, at: usize, sums: &mut [T]| {
            let (block, line) = (at / SIDE, at % SIDE);
            for (tiles, inputs) in sizes.groups(&inputs) {
                let (depth, units) = (tiles.len(), sizes.units_of(block));
                resize("transformed gradient", errors, SIDE * depth * width)?;
                ARCH.dispatch(Errors { correlation, grad, line, width, tiles, units, out: errors });
                let products_of_a_line = Products {
                    runs: &[(0, 0)],
                    depth,
                    left: &inputs[SIDE * line * depth * step..][..SIDE * depth * step],
                    left_row: 1,
                    left_step: step,
                    right: errors,
                    right_step: width,
                    width,
                    adds: true,
                    out: sums,
                };
                multiply(SIDE, products_of_a_line);
            }
            Ok(())
        };
        if start == 0 {
            let shape = [sizes.blocks() * SIDE, line_of_sums];
            sums = filled_with("sums over tiles", &shape, line_of_sums, Vec::new, add)?;
        } else {
            let lines = sums.par_chunks_exact_mut(line_of_sums).enumerate();
            lines.try_for_each_init(Vec::new, |errors, (at, sums)| add(errors, at, sums))?;
        }
    }
    let finite = AtomicBool::new(true);
    let shape = [sizes.units, channels, 3, 3];
    let out = filled("gradient of the weights", &shape, 9 * channels * width, |block, out| {
        let sums = &sums[block * SIDE * line_of_sums..][..SIDE * line_of_sums];
        finite.fetch_and(ARCH.dispatch(Taps { sums, channels, width, out }), Ordering::Relaxed);
        Ok(())
    })?;
    Ok(finite.into_inner().then_some(out))
}

/// Computes products of `entries` matrices each, which lie one after the other in both factors and in the result.
fn multiply<T: Real>(entries: usize, all: Products<T>) {
    let left = all.left.chunks_exact(all.left.len() / entries);
    let right = all.right.chunks_exact(all.right.len() / entries);
    let out = all.out.chunks_exact_mut(all.out.len() / entries);
    for ((left, right), out) in left.zip(right).zip(out) {
        ARCH.dispatch(Products { left, right, out, ..all });
    }
}

/// Gives a buffer whose values do not matter another length.
fn resize<T: Real>(what: &str, buffer: &mut Vec<T>, length: usize) -> Result<()> {
    if buffer.len() != length { clear(what, buffer, length) } else { Ok(()) }
}

/// How many images are processed at a time: so many that they have at least `least` tiles, and about equally many for
/// each thread. A response does not depend on the images beside it, so neither does it on the number of threads.
fn images_together(batch: usize, tiles: usize, least: usize) -> usize {
    let threads = rayon::current_num_threads();
    let parts = batch.div_ceil(least.div_ceil(tiles));
    batch.div_ceil((parts / threads).max(1) * threads)
}

#[cfg(test)]
mod tests {
    use super::super::conv2d;
    use super::*;
    use crate::largest::largest;
    use crate::window::Conv2dConfig;
    use crate::{PaddingMode, Rng};
    use candle::{Device, Tensor, Var};

    /// A difference that is allowed between f32 and f64, as a part of the standard deviation of all values. In NumPy,
    /// the same transforms of normally distributed tiles differ by 10⁻⁵ at most.
    const ROUNDING: f64 = 3e-5;

    fn close(name: &str, got: &Tensor, want: &Tensor) -> Result<()> {
        let deviation = want.sqr()?.mean_all()?.sqrt()?.to_scalar::<f64>()?;
        let difference = largest(&(got.to_dtype(DType::F64)? - want)?)? / deviation;
        assert!(difference <= ROUNDING, "{name}: {difference:.1e}");
        Ok(())
    }

    /// Responses and gradients are those of f64, which are summed directly. The sizes have tiles over the edge, vectors
    /// that are not full, fewer tiles than units, more tiles than are multiplied at a time, more images than are
    /// transformed at a time, more blocks of units than one, and kernels that do not stay in a cache.
    #[test]
    fn responses_and_gradients_are_those_of_f64() -> Result<()> {
        let mut rng = Rng::new(31);
        let plain = Conv2dConfig::default();
        let reflect = Conv2dConfig { padding_mode: PaddingMode::Reflect, ..Conv2dConfig::same(3) };
        for (config, batch, (height, width), channels, units) in [
            (Conv2dConfig::same(3), 3, (8, 8), 32, 32),
            (Conv2dConfig::same(3), 2, (21, 23), 16, 70),
            (Conv2dConfig::same(3), 41, (13, 14), 35, 17),
            (plain, 3, (3, 3), 64, 33),
            (Conv2dConfig::same(3), 50, (4, 4), 640, 48),
            (plain, 1, (4, 35), 33, 40),
            (Conv2dConfig { trailing_padding: 2, ..plain }, 5, (6, 5), 32, 16),
            (reflect, 2, (7, 6), 32, 48),
        ] {
            let mut normal = |shape: &[usize]| -> Result<(Var, Var)> {
                let values = rng.normal(0.0, 1.0, shape, DType::F32, &Device::Cpu)?;
                let wide = values.to_dtype(DType::F64)?;
                Ok((Var::from_tensor(&values)?, Var::from_tensor(&wide)?))
            };
            let kernel = [units, channels, 3, 3];
            let (x, x64) = normal(&[batch, height, width, channels])?;
            let ((w, w64), (r, r64)) = (normal(&kernel)?, normal(&kernel)?);
            let got = conv2d(&x, &w, &r, &config, &[])?;
            let want = conv2d(&x64, &w64, &r64, &config, &[])?;
            let case = format!("{batch}×{height}×{width}×{channels}, {units} units");
            close(&format!("response, {case}"), &got, &want)?;
            let (delta, delta64) = normal(got.dims())?;
            let grads = (got * delta.as_tensor())?.sum_all()?.backward()?;
            let wants = (want * delta64.as_tensor())?.sum_all()?.backward()?;
            for (name, var, wide) in [("x", &x, &x64), ("w", &w, &w64)] {
                let (Some(got), Some(want)) = (grads.get(var), wants.get(wide)) else {
                    candle::bail!("no gradient of {name}")
                };
                close(&format!("{name}, {case}"), got, want)?;
            }
        }
        Ok(())
    }

    /// One pixel of an image is not 0. Only the nine positions that see it respond, and the others do so with exactly
    /// 0, of either sign of a sum of zeros: no unit wins there. Few images are computed block by block of the units,
    /// many image by image. The gradient of the images is such a response too.
    #[test]
    fn windows_of_zeros_have_no_response() -> Result<()> {
        let mut rng = Rng::new(35);
        let mut normal = |shape: &[usize]| rng.normal(0.0, 1.0, shape, DType::F32, &Device::Cpu);
        let (w, pixel) = (normal(&[80, 40, 3, 3])?, normal(&[40])?.to_vec1::<f32>()?);
        for batch in [1, 50] {
            let mut values = vec![0f32; batch * 36 * 40];
            let (b, line, column) = (batch - 1, 2, 3);
            values[((b * 6 + line) * 6 + column) * 40..][..40].copy_from_slice(&pixel);
            let x = Var::from_vec(values.clone(), (batch, 6, 6, 40), &Device::Cpu)?;
            let u = conv2d(&x, &w, &w, &Conv2dConfig::same(3), &[])?;
            let seen = |at: usize| {
                let near = |at: usize, of: usize| at.abs_diff(of) <= 1;
                at / 36 == b && near(at / 6 % 6, line) && near(at % 6, column)
            };
            let answers = |values: &Tensor, units: usize| -> Result<Vec<bool>> {
                let values = values.flatten_all()?.to_vec1::<f32>()?;
                let some = |values: &[f32]| values.iter().any(|&value| value != 0.0);
                Ok(values.chunks_exact(units).map(some).collect())
            };
            let expected: Vec<bool> = (0..batch * 36).map(seen).collect();
            assert_eq!(answers(&u, 80)?, expected, "{batch}");
            // The response of one unit at the same position, as the loss.
            let error = x.zeros_like()?.narrow(3, 0, 1)?.broadcast_as((batch, 6, 6, 80))?;
            let mut errors = error.flatten_all()?.to_vec1::<f32>()?;
            errors[((b * 6 + line) * 6 + column) * 80 + 7] = 1.0;
            let error = Tensor::from_vec(errors, (batch, 6, 6, 80), &Device::Cpu)?;
            let grads = (u * error)?.sum_all()?.backward()?;
            assert_eq!(answers(grads.get(&x).expect("a gradient"), 40)?, expected, "{batch}");
        }
        Ok(())
    }

    /// The response to an image has the same bits whether or not others are beside it, though the kernels are
    /// transformed block by block for the one, and as a whole for all.
    #[test]
    fn other_images_do_not_change_bits() -> Result<()> {
        let mut rng = Rng::new(34);
        let mut normal = |shape: &[usize]| rng.normal(0.0, 1.0, shape, DType::F32, &Device::Cpu);
        let (x, w) = (normal(&[11, 7, 9, 40])?, normal(&[50, 40, 3, 3])?);
        let bits = |x: &Tensor| -> Result<Vec<u32>> {
            let y = conv2d(x, &w, &w, &Conv2dConfig::same(3), &[])?;
            Ok(y.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
        };
        let all = bits(&x)?;
        for b in 0..11 {
            let alone = bits(&x.narrow(0, b, 1)?)?;
            assert!(alone == all[b * alone.len()..][..alone.len()], "image {b}");
        }
        Ok(())
    }

    /// One infinity in the corner of the first of two images: the four positions that see it are infinite or, where its
    /// weight is 0, NaN; all others are finite. A direct sum gives this; differences of infinities would not.
    #[test]
    fn infinities_are_those_of_a_direct_sum() -> Result<()> {
        let x = Rng::new(32).normal(0.0, 1.0, &[2, 6, 6, 32], DType::F32, &Device::Cpu)?;
        let mut values = x.flatten_all()?.to_vec1::<f32>()?;
        values[0] = f32::INFINITY;
        let x = Tensor::from_vec(values, (2, 6, 6, 32), &Device::Cpu)?;
        let w = Tensor::ones((32, 32, 3, 3), DType::F32, &Device::Cpu)?;
        let seen =
            conv2d(&x, &w, &w, &Conv2dConfig::same(3), &[])?.flatten_all()?.to_vec1::<f32>()?;
        for (at, value) in seen.into_iter().enumerate() {
            let (image, line, column) = (at / 32 / 36, at / 32 / 6 % 6, at / 32 % 6);
            if image == 0 && line < 2 && column < 2 {
                assert_eq!(value, f32::INFINITY, "{line}, {column}");
            } else {
                assert!(value.is_finite(), "{image}, {line}, {column}");
            }
        }
        Ok(())
    }

    /// Responses and gradients have the same bits with one to four threads.
    #[test]
    fn threads_do_not_change_bits() -> Result<()> {
        let mut rng = Rng::new(33);
        let mut normal = |shape: &[usize]| {
            Var::from_tensor(&rng.normal(0.0, 1.0, shape, DType::F32, &Device::Cpu)?)
        };
        let (x, w) = (normal(&[11, 9, 8, 40])?, normal(&[70, 40, 3, 3])?);
        let bits = |threads: usize| -> Result<Vec<u32>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.map_err(candle::Error::wrap)?.install(|| {
                let y = conv2d(&x, &w, &w, &Conv2dConfig::same(3), &[])?;
                let grads = y.sqr()?.sum_all()?.backward()?;
                let mut all = y.flatten_all()?.to_vec1::<f32>()?;
                for var in [&x, &w] {
                    all.extend(
                        grads.get(var).expect("a gradient").flatten_all()?.to_vec1::<f32>()?,
                    );
                }
                Ok(all.into_iter().map(f32::to_bits).collect())
            })
        };
        let one = bits(1)?;
        assert!([2, 3, 4].into_iter().all(|threads| bits(threads).is_ok_and(|bits| bits == one)));
        Ok(())
    }
}
