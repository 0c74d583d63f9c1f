//! Random changes to images, made on the host before a batch becomes a tensor.

use candle_hebbian::Rng;
use candle_hebbian::ops::reflect;

use crate::{Error, Result};

/// A random crop of the native size after reflection padding, then a horizontal flip for every other
/// image on average. The edge pixel itself is not repeated: a row `1 2 3 4` padded by 2 is
/// `3 2 1 2 3 4 3 2`.
///
/// The published recipes for CIFAR-10 and STL-10 use a padding of 4, the default.
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
