//! Patches of images.

use std::collections::HashSet;

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;

use crate::{Error, ImageSet, Result};

/// How many draws for each patch are made before giving up on finding enough different ones.
const DRAWS: usize = 1000;
/// How many images are read together, unless their values take more than [`TOGETHER_BYTES`].
const TOGETHER: usize = 1000;
const TOGETHER_BYTES: usize = 1 << 26;

impl ImageSet {
    /// Draws square patches `(count, C, side, side)` of `f64`, from 0 to 1, each from a random image at a random
    /// place, without replacement: of patches with equal pixels only the first is kept.
    ///
    /// # Errors
    /// If there are no images, if `side` is 0 or larger than the images, or if there are too few different
    /// patches.
    pub fn draw_patches(&self, count: usize, side: usize, rng: &mut Rng) -> Result<Tensor> {
        let (channels, height, width) = self.shape();
        if self.is_empty() {
            let what = "images to draw patches of";
            return Err(Error::Size { what, found: 0, expected: 1 });
        }
        if side == 0 || side > height.min(width) {
            let (what, found, expected) = ("the side of a patch", side, height.min(width));
            return Err(Error::Size { what, found, expected });
        }
        let (mut known, mut values) = (HashSet::new(), Vec::new());
        let mut left_to_draw = count.saturating_mul(DRAWS);
        while known.len() < count && left_to_draw > 0 {
            // At most as many as are missing: all of these would also be drawn one by one.
            let together = self.together().min(count - known.len()).min(left_to_draw);
            left_to_draw -= together;
            let drawn: Vec<[usize; 3]> = (0..together)
                .map(|_| [self.len(), height - side + 1, width - side + 1].map(|n| rng.below(n)))
                .collect();
            let images =
                self.levels(&drawn.iter().map(|&[image, ..]| image).collect::<Vec<_>>())?;
            for (image, [_, top, left]) in images.chunks_exact(self.values()).zip(drawn) {
                let lines = (0..channels * side)
                    .map(|line| (line / side * height + top + line % side) * width + left);
                let patch: Vec<f64> = lines.flat_map(|at| &image[at..at + side]).copied().collect();
                if known.insert(patch.iter().map(|level| level.to_bits()).collect::<Vec<_>>()) {
                    values.extend(patch.into_iter().map(|level| level / 255.));
                }
            }
        }
        if known.len() < count {
            let what = "different patches in the images (give more images, or a preset that takes fewer patches)";
            let found = known.len();
            return Err(Error::Size { what, found, expected: count });
        }
        Ok(Tensor::from_vec(values, (count, channels, side, side), &Device::Cpu)?)
    }

    /// Computes the mean and the standard deviation of each channel over all pixels, as they are in a batch.
    ///
    /// # Errors
    /// If images cannot be read or transformed.
    pub fn channel_moments(&self) -> Result<(Vec<f64>, Vec<f64>)> {
        let (_, height, width) = self.shape();
        let count = self.len() * height * width;
        Ok(self.sums()?.into_iter().map(|sums| moments(sums, count)).unzip())
    }

    /// Computes the mean and the standard deviation of all values of all images, as they are in a batch.
    ///
    /// # Errors
    /// As [`channel_moments`](Self::channel_moments).
    pub fn moments(&self) -> Result<(f64, f64)> {
        let sums = self.sums()?.into_iter();
        let all = sums.fold((0., 0.), |all, sums| (all.0 + sums.0, all.1 + sums.1));
        Ok(moments(all, self.len() * self.values()))
    }

    /// The sum of the [levels](Self::levels) and the sum of their squares, for each channel.
    fn sums(&self) -> Result<Vec<(f64, f64)>> {
        let (channels, height, width) = self.shape();
        let mut sums = vec![(0f64, 0f64); channels];
        for indices in self.in_order(self.together())? {
            for image in self.levels(&indices)?.chunks_exact(self.values()) {
                for (plane, (sum, squares)) in image.chunks_exact(height * width).zip(&mut sums) {
                    *sum += plane.iter().sum::<f64>();
                    *squares += plane.iter().map(|level| level * level).sum::<f64>();
                }
            }
        }
        Ok(sums)
    }

    /// How many images are read together, at least one.
    fn together(&self) -> usize {
        (TOGETHER_BYTES / (size_of::<f64>() * self.values().max(1))).clamp(1, TOGETHER)
    }

    /// The values of these images in a batch, times 255. Without transforms these are whole numbers, whose sums
    /// are exact.
    fn levels(&self, indices: &[usize]) -> Result<Vec<f64>> {
        if self.transforms().is_empty() {
            return Ok(self.pixels(indices)?.into_iter().map(f64::from).collect());
        }
        let (images, _) = self.batch(indices, DType::F64, &Device::Cpu)?;
        Ok((images.flatten_all()? * 255.)?.to_vec1()?)
    }
}

/// The mean and the standard deviation of `count` levels, scaled to values from 0 to 1.
fn moments((sum, squares): (f64, f64), count: usize) -> (f64, f64) {
    let count = count.max(1) as f64;
    let mean = sum / count;
    (mean / 255., (squares / count - mean * mean).max(0.).sqrt() / 255.)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of 2x3 pixels and one channel, whose pixels encode their places.
    fn images() -> ImageSet {
        ImageSet::new(vec![0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112], vec![0, 0], 1, 2, 3)
            .unwrap()
    }

    #[test]
    fn every_patch_is_drawn_once() -> Result<()> {
        let mut found = Vec::new();
        let patches = images().draw_patches(4, 2, &mut Rng::new(0))?;
        assert_eq!(patches.dims(), [4, 1, 2, 2]);
        for patch in patches.flatten_from(1)?.to_vec2::<f64>()? {
            found.push(patch.iter().map(|pixel| (pixel * 255.).round() as u8).collect::<Vec<_>>());
        }
        found.sort();
        assert_eq!(
            found,
            [[0, 1, 10, 11], [1, 2, 11, 12], [100, 101, 110, 111], [101, 102, 111, 112]]
        );
        let again = images().draw_patches(4, 2, &mut Rng::new(0))?;
        assert_eq!(
            patches.flatten_all()?.to_vec1::<f64>()?,
            again.flatten_all()?.to_vec1::<f64>()?
        );
        for (count, side, says) in [(5, 2, "found 4, expected 5"), (1, 3, "side of a patch")] {
            let error = images().draw_patches(count, side, &mut Rng::new(0)).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let none = ImageSet::new(Vec::new(), Vec::new(), 1, 3, 3)?;
        let error = none.draw_patches(1, 2, &mut Rng::new(0)).unwrap_err().to_string();
        assert!(error.contains("images to draw patches of: found 0"), "{error}");
        Ok(())
    }

    /// Equally many values 0 and 255 have mean and deviation 1/2.
    #[test]
    fn moments_of_each_channel() -> Result<()> {
        let set = ImageSet::new(vec![0, 255, 51, 51, 255, 0, 51, 51], vec![0, 0], 2, 1, 2)?;
        let (mean, deviation) = set.channel_moments()?;
        assert!((mean[0] - 0.5).abs() < 1e-15 && (deviation[0] - 0.5).abs() < 1e-15);
        assert!((mean[1] - 0.2).abs() < 1e-15 && deviation[1] == 0.);
        Ok(())
    }
}
