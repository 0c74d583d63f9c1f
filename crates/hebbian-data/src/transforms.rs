//! Changes to images: random ones, made on the host before a batch becomes a tensor, and a filter for
//! batches.

use candle::{Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::ops::reflect;

use crate::{Error, Result};

/// A random crop of the native size after reflection padding, then a horizontal flip for every other
/// image on average. The edge pixel itself is not repeated: a row `1 2 3 4` padded by 2 is
/// `3 2 1 2 3 4 3 2`.
///
/// The published recipes for CIFAR-10 and STL-10 use a padding of 4, the default. With a padding of 0
/// there is no crop, only the flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropAndFlip {
    /// Pixels reflected at each side; the crop's corner is drawn from `0..=2 * padding`, each way.
    pub padding: usize,
}

impl Default for CropAndFlip {
    fn default() -> Self {
        Self { padding: 4 }
    }
}

impl CropAndFlip {
    /// Appends the changed C·H·W pixels of one image, given channel by channel with `shape` (C, H, W),
    /// to `output`. Draws row offset, column offset and flip, in this order.
    ///
    /// # Errors
    /// When height or width is not above the padding, or `image` has not C·H·W pixels.
    pub fn apply(
        &self,
        image: &[u8],
        (channels, height, width): (usize, usize, usize),
        rng: &mut Rng,
        output: &mut Vec<u8>,
    ) -> Result<()> {
        let padding = self.padding;
        if padding >= height.min(width) {
            return Err(Error::Padding { padding, height, width });
        }
        let expected = channels * height * width;
        if image.len() != expected {
            return Err(Error::Size { what: "pixels of an image", found: image.len(), expected });
        }
        let top = rng.below(2 * padding + 1);
        let left = rng.below(2 * padding + 1);
        let flip = rng.below(2) == 1;
        let source = |padded: usize, size| reflect(padded as isize - padding as isize, size);
        let rows: Vec<usize> = (top..top + height).map(|y| source(y, height)).collect();
        let mut columns: Vec<usize> = (left..left + width).map(|x| source(x, width)).collect();
        if flip {
            columns.reverse();
        }
        for plane in image.chunks_exact(height * width) {
            for &y in &rows {
                let row = &plane[y * width..(y + 1) * width];
                output.extend(columns.iter().map(|&x| row[x]));
            }
        }
        Ok(())
    }
}

/// Pixels a side of the filter of [`difference_of_gaussians`], and the index of its middle.
const FILTER: usize = 12;
const MIDDLE: usize = FILTER / 2;

/// A centre-surround filter on each channel by itself: the images blurred by a Gaussian of standard
/// deviation 0.5 less those blurred by one of 1, `(B, C, H, W)` to `(B, C, H + 1, W + 1)`.
///
/// Each Gaussian is the product of a column and a row, `exp(−d²/2σ²)` at distances d of up to 4σ,
/// scaled to a sum of 1. The difference sums to 0 and lies in a filter of 12×12 with its middle at
/// index 6, so that images padded by 6 zeros a side gain a row and a column, at the end.
///
/// Source: the input of the network for grey images in the code of Miconi (2021).
///
/// # Errors
/// When `images` has not four dimensions, or a type without convolution.
pub fn difference_of_gaussians(images: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = images.dims4()?;
    let (centre, surround) = (gaussian(0.5), gaussian(1.));
    let filter: Vec<f64> = (0..FILTER * FILTER)
        .map(|i| (i / FILTER, i % FILTER))
        .map(|(y, x)| centre[y] * centre[x] - surround[y] * surround[x])
        .collect();
    let filter = Tensor::from_vec(filter, (1, 1, FILTER, FILTER), &Device::Cpu)?
        .to_dtype(images.dtype())?
        .to_device(images.device())?;
    let planes = images.reshape((batch * channels, 1, height, width))?;
    let filtered = planes.conv2d(&filter, MIDDLE, 1, 1, 1)?;
    Ok(filtered.reshape((batch, channels, height + 1, width + 1))?)
}

/// A Gaussian of that standard deviation around [`MIDDLE`], cut off beyond 4 of them, of sum 1.
fn gaussian(deviation: f64) -> [f64; FILTER] {
    let values: [f64; FILTER] = std::array::from_fn(|i| {
        let distance = i.abs_diff(MIDDLE) as f64 / deviation;
        if distance > 4. { 0. } else { (-0.5 * distance * distance).exp() }
    });
    let sum: f64 = values.iter().sum();
    values.map(|value| value / sum)
}
