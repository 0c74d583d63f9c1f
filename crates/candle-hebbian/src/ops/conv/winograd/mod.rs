//! Convolutions with 3×3 kernels by Winograd's minimal filtering, F(2×2, 3×3), with 16 instead of 36 multiplications for
//! four positions, an input and a unit (A. Lavin and S. Gray, 2016, Fast algorithms for convolutional neural networks,
//! arXiv:1509.09308, section 4.1). In one dimension, two responses `y` of a kernel `g` to four inputs `d` are
//!
//! ```text
//! y = Aᵀ·(G·g ⊙ Bᵀ·d):   y₀ = m₀ + m₁ + m₂,   y₁ = m₁ − m₂ − m₃
//! m₀ = (d₀ − d₂)·g₀              m₁ = (d₁ + d₂)·(g₀ + g₁ + g₂)/2
//! m₃ = (d₁ − d₃)·g₂              m₂ = (d₂ − d₁)·(g₀ − g₁ + g₂)/2
//! ```
//!
//! and in two dimensions the same is done with the lines and then with the columns of a tile of 4×4 inputs. Each of the
//! 16 products of a tile is summed over the channels, which makes 16 products of matrices of tiles and of units.
//!
//! The gradients of the kernels are `Gᵀ·Σ (A·δ ⊙ Bᵀ·d)`, and need as few multiplications.
//!
//! A response depends only on the inputs that its window sees, since `d₀` is only in `m₀` and `d₃` only in `m₃`. Rounding
//! errors are a few times those of a direct sum.

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

/// The inputs or products of a tile.
const TILE: usize = 16;
/// About this many tiles are transformed before they are multiplied, so that they stay in the second-level cache.
const TOGETHER: usize = 64;
/// The number of tiles that are summed in registers.
const DEPTH: usize = 128;
/// About this many inputs are transformed at a time for the gradient of the weights.
const MOST_INPUTS: usize = 1 << 20;

impl Correlation {
    /// Whether this is a correlation of f32 with 3×3 kernels at every position, with so many channels and units that the
    /// transforms cost less than they save. Never in WebAssembly, where the kernels would make a page a tenth larger.
    pub(super) fn suits_tiles<T: Real>(&self) -> bool {
        !cfg!(target_family = "wasm")
            && T::DTYPE == DType::F32
            && (self.kernel, self.stride, self.dilation, self.groups) == ((3, 3), (1, 1), (1, 1), 1)
            && self.channels.min(self.units) >= 16
            && self.channels.max(self.units) >= 32
    }

    /// The lines and columns of tiles in an image. The last ones may reach over its edge.
    fn tiles(&self) -> (usize, usize) {
        (self.out.0.div_ceil(2), self.out.1.div_ceil(2))
    }

    /// The image of a tile, counted from the first of a block of images, and the line and column of its first response.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (lines, columns) = self.tiles();
        (tile / (lines * columns), tile / columns % lines * 2, tile % columns * 2)
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
    /// The values that the last tiles read beyond the last image, at most.
    beyond: usize,
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
            beyond: (correlation.width + 1) * channels + step,
            tiles: lines * columns,
            responses: out.0 * out.1 * units,
        }
    }

    fn blocks(&self) -> usize {
        self.units.div_ceil(self.width)
    }

    fn units_of(&self, block: usize) -> Range<usize> {
        block * self.width..((block + 1) * self.width).min(self.units)
    }
}

/// As [`many::respond`](super::many::respond); `None` if this does not suit the correlation, or if a result is not
/// finite.
///
/// # Errors
/// If there is not enough memory.
pub(super) fn respond<T: Real>(
    correlation: &Correlation,
    batch: usize,
    value: impl Fn(usize, usize, usize, usize) -> T + Sync,
    (image, pad): (usize, impl Fn(usize, &mut [T]) + Sync),
) -> Result<Option<Vec<T>>> {
    if !correlation.suits_tiles::<T>() {
        return Ok(None);
    }
    let sizes = Sizes::of::<T>(correlation);
    let Sizes { channels, width, step, tiles, responses, .. } = sizes;
    let block = TILE * channels * width;
    let shape = [sizes.blocks(), TILE, channels, width];
    let kernels = filled("transformed kernels", &shape, block, |block, out| {
        let units = sizes.units_of(block);
        ARCH.dispatch(Kernels { value: &value, channels, units, width, out });
        Ok(())
    })?;
    let images = images_together(batch, tiles);
    let finite = AtomicBool::new(true);
    let shape = [batch, correlation.out.0, correlation.out.1, sizes.units];
    let init = || [const { Vec::new() }; 3];
    let out = filled_with("response", &shape, images * responses, init, |buffers, at, out| {
        let [padded, inputs, products] = buffers;
        let count = out.len() / responses;
        clear("padded images", padded, count * image + sizes.beyond)?;
        for (b, padded) in padded.chunks_exact_mut(image).take(count).enumerate() {
            pad(at * images + b, padded);
        }
        let all = count * tiles;
        let together = all.div_ceil(all.div_ceil(2 * TOGETHER)).next_multiple_of(8);
        for first in (0..all).step_by(together) {
            let tiles = first..(first + together).min(all);
            resize("transformed tiles", inputs, TILE * tiles.len() * step)?;
            let seen = tiles.clone();
            ARCH.dispatch(Inputs { correlation, padded, image, tiles: seen, step, out: inputs });
            resize("products of tiles", products, TILE * tiles.len() * width)?;
            for (block, kernels) in kernels.chunks_exact(block).enumerate() {
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
                let (units, tiles) = (sizes.units_of(block), tiles.clone());
                let responses = Responses { correlation, products, width, tiles, units, out };
                finite.fetch_and(ARCH.dispatch(responses), Ordering::Relaxed);
            }
        }
        Ok(())
    })?;
    Ok(finite.into_inner().then_some(out))
}

/// As [`many::correlate`](super::many::correlate); otherwise like [`respond`].
///
/// # Errors
/// If there is not enough memory.
pub(super) fn correlate<T: Real>(
    correlation: &Correlation,
    batch: usize,
    grad: &[T],
    (image, pad): (usize, impl Fn(usize, &mut [T]) + Sync),
) -> Result<Option<Vec<T>>> {
    if !correlation.suits_tiles::<T>() {
        return Ok(None);
    }
    let sizes = Sizes::of::<T>(correlation);
    let Sizes { channels, width, step, tiles, responses, .. } = sizes;
    // The sums over tiles, `(blocks of units, 16, C, width)`, of which each item below has a fourth of a block.
    let mut sums = Vec::new();
    let fourth = 4 * channels * width;
    clear("gradient of the kernels", &mut sums, sizes.blocks() * 4 * fourth)?;
    let images = (MOST_INPUTS / (TILE * tiles * step)).max(1);
    for start in (0..batch).step_by(images) {
        let count = images.min(batch - start);
        let length = [count * image + sizes.beyond];
        let padded = filled("padded images", &length, image, |b, padded| {
            if b < count {
                pad(start + b, padded);
            }
            Ok(())
        })?;
        let group = TILE * DEPTH * step;
        let tiles_of =
            |at: usize, inputs: &[T]| at * DEPTH..at * DEPTH + inputs.len() / (TILE * step);
        let inputs =
            filled("transformed tiles", &[count * tiles, TILE, step], group, |at, out| {
                let tiles = tiles_of(at, out);
                ARCH.dispatch(Inputs { correlation, padded: &padded, image, tiles, step, out });
                Ok(())
            })?;
        let grad = &grad[start * responses..][..count * responses];
        let fourths = sums.par_chunks_exact_mut(fourth).enumerate();
        fourths.try_for_each_init(Vec::new, |errors, (at, sums)| {
            let (block, line) = (at / 4, at % 4);
            for (at, inputs) in inputs.chunks(group).enumerate() {
                let (tiles, units) = (tiles_of(at, inputs), sizes.units_of(block));
                let depth = tiles.len();
                resize("transformed gradient", errors, 4 * depth * width)?;
                ARCH.dispatch(Errors { correlation, grad, line, width, tiles, units, out: errors });
                let products_of_a_line = Products {
                    runs: &[(0, 0)],
                    depth,
                    left: &inputs[4 * line * depth * step..][..4 * depth * step],
                    left_row: 1,
                    left_step: step,
                    right: errors,
                    right_step: width,
                    width,
                    adds: true,
                    out: sums,
                };
                multiply(4, products_of_a_line);
            }
            Ok::<_, candle::Error>(())
        })?;
    }
    let finite = AtomicBool::new(true);
    let shape = [sizes.units, channels, 3, 3];
    let out = filled("gradient of the weights", &shape, 9 * channels * width, |block, out| {
        let sums = &sums[block * 4 * fourth..][..4 * fourth];
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

/// How many images are processed at a time: so many that there are enough tiles, and about equally many for each thread.
/// A response does not depend on the images beside it, so neither does it on the number of threads.
fn images_together(batch: usize, tiles: usize) -> usize {
    let threads = rayon::current_num_threads();
    let parts = batch.div_ceil(TOGETHER.div_ceil(tiles));
    batch.div_ceil((parts / threads).max(1) * threads)
}

#[cfg(test)]
mod tests {
    use super::super::conv2d;
    use super::*;
    use crate::window::Conv2dConfig;
    use crate::{PaddingMode, Rng};
    use candle::{Device, Tensor, Var};

    /// Whole numbers from −4 to 4 of a shape.
    fn whole(rng: &mut Rng, shape: &[usize], dtype: DType) -> Result<Var> {
        let numbers = rng.uniform(-4.5, 4.5, shape, DType::F64, &Device::Cpu)?.round()?;
        Var::from_tensor(&numbers.to_dtype(dtype)?)
    }

    fn wide(var: &Var) -> Result<Var> {
        Var::from_tensor(&var.to_dtype(DType::F64)?)
    }

    /// f32 holds all sums and halves of these whole numbers, so responses and gradients equal those of f64, which are
    /// summed directly. The sizes have tiles over the edge, vectors that are not full, more tiles than are multiplied
    /// at a time, more images than are transformed at a time, and more blocks of units than one.
    #[test]
    fn whole_numbers_are_exact() -> Result<()> {
        let mut rng = Rng::new(31);
        let plain = Conv2dConfig::default();
        let reflect = Conv2dConfig { padding_mode: PaddingMode::Reflect, ..Conv2dConfig::same(3) };
        for (config, batch, (height, width), channels, units) in [
            (Conv2dConfig::same(3), 3, (8, 8), 32, 32),
            (Conv2dConfig::same(3), 2, (21, 23), 16, 70),
            (Conv2dConfig::same(3), 41, (13, 14), 35, 17),
            (plain, 3, (3, 3), 64, 33),
            (plain, 1, (4, 35), 33, 40),
            (Conv2dConfig { trailing_padding: 2, ..plain }, 5, (6, 5), 32, 16),
            (reflect, 2, (7, 6), 32, 48),
        ] {
            let x = whole(&mut rng, &[batch, height, width, channels], DType::F32)?;
            let kernel = [units, channels, 3, 3];
            let (w, r) =
                (whole(&mut rng, &kernel, DType::F32)?, whole(&mut rng, &kernel, DType::F32)?);
            let (x64, w64, r64) = (wide(&x)?, wide(&w)?, wide(&r)?);
            let got = conv2d(&x, &w, &r, &config, &[])?;
            let want = conv2d(&x64, &w64, &r64, &config, &[])?;
            let same = |got: &Tensor, want: &Tensor| -> Result<bool> {
                Ok((got.to_dtype(DType::F64)? - want)?.abs()?.max_all()?.to_scalar::<f64>()? == 0.0)
            };
            let case = format!("{batch}×{height}×{width}×{channels}, {units} units");
            assert!(same(&got, &want)?, "response, {case}");
            let delta = whole(&mut rng, got.dims(), DType::F32)?;
            let grads = (got * delta.as_tensor())?.sum_all()?.backward()?;
            let wants = (want * wide(&delta)?.as_tensor())?.sum_all()?.backward()?;
            for (name, var, wide) in [("x", &x, &x64), ("w", &w, &w64)] {
                let (Some(got), Some(want)) = (grads.get(var), wants.get(wide)) else {
                    candle::bail!("no gradient of {name}")
                };
                assert!(same(got, want)?, "{name}, {case}");
            }
        }
        Ok(())
    }

    /// One infinity in the corner of the first of two images: the four positions that see it are infinite or, where its
    /// weight is 0, NaN; all others are finite. A direct sum gives this; differences of infinities would not.
    #[test]
    fn infinities_are_those_of_a_direct_sum() -> Result<()> {
        let mut rng = Rng::new(32);
        let x = whole(&mut rng, &[2, 6, 6, 32], DType::F32)?;
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
