//! From pixels to what the first layer sees.

use super::config::{InputConfig, Whitening};
use super::patches::TINY;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::ops::standardise;
use hebbian_data::transforms::{CropAndFlip, difference_of_gaussians};
use hebbian_data::{CacheOutcome, ImageSet, Zca, ZcaProgress, default_cache};
use hebbian_train::{Error, Progress, Result};

/// Makes of images what the first layer sees: grey, if the preset says so; standardised one by one;
/// whitened.
#[derive(Debug)]
pub struct Input {
    config: InputConfig,
    /// Channels, height and width of an image.
    image: (usize, usize, usize),
    /// The whitening of [`Whitening::Zca`], once there is one.
    zca: Option<Zca>,
    device: Device,
}

impl Input {
    /// Of images `(C, H, W)`, without a whitening that is [fitted](Self::fit) to images.
    ///
    /// # Errors
    /// Images that have neither 3 channels nor 1, and are to be grey.
    pub fn new(
        config: &InputConfig,
        image: (usize, usize, usize),
        device: &Device,
    ) -> Result<Self> {
        if config.grey && ![1, 3].contains(&image.0) {
            let (what, found) = ("channels of an image to make grey", image.0);
            return Err(hebbian_data::Error::Size { what, found, expected: 3 }.into());
        }
        Ok(Self { config: config.clone(), image, zca: None, device: device.clone() })
    }

    /// Where its images are.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Channels, height and width of what becomes of an image.
    pub fn shape(&self) -> (usize, usize, usize) {
        let (channels, height, width) = self.image;
        let channels = if self.config.grey { 1 } else { channels };
        match self.config.whitening {
            Whitening::DifferenceOfGaussians {} => (channels, height + 1, width + 1),
            Whitening::None {} | Whitening::Zca(_) => (channels, height, width),
        }
    }

    /// The images that a preset learns from: `set`, grey if it says so.
    pub(super) fn images(&self, set: &ImageSet) -> Result<ImageSet> {
        Ok(if self.config.grey { set.to_grey()? } else { set.clone() })
    }

    /// Learns the whitening from training images that are [grey](ImageSet::to_grey) already if they are
    /// to be, or reads it from the user's cache.
    ///
    /// # Errors
    /// A covariance that cannot be whitened.
    pub fn fit(&mut self, train: &ImageSet, rng: &Rng, quiet: bool) -> Result<()> {
        let Whitening::Zca(zca) = &self.config.whitening else { return Ok(()) };
        let images = zca.images.unwrap_or(train.len()) as u64;
        let mut progress = Progress::new(images, "ZCA", quiet);
        let mut seen = 0;
        let mut rng = rng.stream("zca");
        let on_progress = |now: ZcaProgress| match now {
            ZcaProgress::Covariance { done, .. } => {
                progress.advance(done - seen);
                seen = done;
            }
            ZcaProgress::Eigenvectors => progress.message("eigenvectors"),
        };
        let fitted = match default_cache() {
            Some(cache) => {
                let (fitted, outcome) = Zca::fit_cached(train, zca, &mut rng, &cache, on_progress)?;
                if let CacheOutcome::NotWritten(error) = outcome {
                    progress.message(format!("not kept for the next run: {error}"));
                }
                fitted
            }
            None => Zca::fit(train, zca, &mut rng, on_progress)?,
        };
        progress.finish();
        self.zca = Some(fitted.to(DType::F32, &self.device)?);
        Ok(())
    }

    /// The whitening of a checkpoint; `take(name, shape)` hands out its tensor by its name.
    ///
    /// # Errors
    /// What `take` says.
    pub fn restore(&mut self, take: impl FnOnce(&str, &[usize]) -> Result<Tensor>) -> Result<()> {
        if let Whitening::Zca(_) = self.config.whitening {
            let (channels, height, width) = self.shape();
            let size = channels * height * width;
            self.zca = Some(Zca::of_matrix(&take("input.zca", &[size, size])?)?);
        }
        Ok(())
    }

    /// Its tensors in a checkpoint: `input.zca`, where images are whitened so.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let zca = self.zca.iter();
        zca.map(|zca| ("input.zca".to_string(), zca.matrix().clone())).collect()
    }

    /// What becomes of `images (B, C, H, W)`, from 0 to 1.
    ///
    /// # Errors
    /// Images of another size; a whitening that is not there yet.
    pub fn apply(&self, images: &Tensor) -> Result<Tensor> {
        let (_, channels, height, width) = images.dims4()?;
        if (channels, height, width) != self.image {
            let (c, h, w) = self.image;
            return Err(Error::Argument(format!(
                "images of {channels}x{height}x{width}, but the network is for {c}x{h}x{w}: scale or \
                 crop them to that"
            )));
        }
        let images = images.to_dtype(DType::F32)?;
        self.whitened(&if self.config.grey { grey(&images)? } else { images })
    }

    /// The images of these indices of a set that is [grey](Self::images) already if it is to be; those
    /// that `flips` draws are flipped, if the preset flips.
    pub(super) fn batch(
        &self,
        set: &ImageSet,
        indices: &[usize],
        flips: Option<&mut Rng>,
    ) -> Result<Tensor> {
        let (images, _) = match flips.filter(|_| self.config.flip) {
            Some(rng) => {
                let flip = CropAndFlip { padding: 0 };
                set.augmented_batch(indices, &flip, rng, DType::F32, &self.device)?
            }
            None => set.batch(indices, DType::F32, &self.device)?,
        };
        self.whitened(&images)
    }

    fn whitened(&self, images: &Tensor) -> Result<Tensor> {
        let images = standardise(images, TINY)?;
        Ok(match (&self.config.whitening, &self.zca) {
            (Whitening::None {}, _) => images,
            (Whitening::DifferenceOfGaussians {}, _) => difference_of_gaussians(&images)?,
            (Whitening::Zca(_), Some(zca)) => zca.apply(&images)?,
            (Whitening::Zca(_), None) => {
                return Err(Error::Argument(
                    "images are whitened by a matrix that is not there: fit it to training images, or \
                     load a checkpoint"
                        .to_string(),
                ));
            }
        })
    }
}

/// Images `(B, 1 or 3, H, W)` of f32 in grey, with the bits that
/// [`batch`](ImageSet::batch) gives of [`to_grey`](ImageSet::to_grey): every number below is a whole one
/// of at most 2²⁴, which f32 holds.
fn grey(images: &Tensor) -> Result<Tensor> {
    if images.dim(1)? == 1 {
        return Ok(images.clone());
    }
    let pixels = (images * 255.0)?.round()?;
    let part = |channel, weight: f64| pixels.narrow(1, channel, 1)? * weight;
    let sum = ((part(0, 19595.0)? + part(1, 38470.0)?)? + part(2, 7471.0)?)?;
    let levels = ((sum + 32768.0)? / 65536.0)?.floor()?;
    // Divided, as on the host: candle multiplies by the inverse of a number.
    Ok(levels.broadcast_div(&Tensor::new(255f32, images.device())?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All greys, the corners of the cube of colours, and colours drawn at random, whose luma are on both
    /// sides of halves.
    #[test]
    fn grey_has_the_bits_of_grey_pixels() -> Result<()> {
        let mut rng = Rng::new(0);
        let (side, images) = (64, 20);
        let area = side * side;
        let mut colours: Vec<[u8; 3]> = (0..=255).map(|level| [level; 3]).collect();
        colours.extend((0..8).map(|corner| [0, 1, 2].map(|bit| 255 * (corner >> bit & 1) as u8)));
        colours.resize_with(images * area, || [0; 3].map(|_: u8| rng.below(256) as u8));
        let planes = colours.chunks(area).flat_map(|image| {
            [0, 1, 2].into_iter().flat_map(|channel| image.iter().map(move |pixel| pixel[channel]))
        });
        let set = ImageSet::new(planes.collect(), vec![0; images], 3, side, side)?;
        let indices: Vec<usize> = (0..images).collect();
        let bits = |images: &Tensor| -> Result<Vec<u32>> {
            let values = images.flatten_all()?.to_vec1::<f32>()?;
            Ok(values.into_iter().map(f32::to_bits).collect())
        };
        let (images, _) = set.batch(&indices, DType::F32, &Device::Cpu)?;
        let (want, _) = set.to_grey()?.batch(&indices, DType::F32, &Device::Cpu)?;
        assert_eq!(grey(&images)?.dims(), want.dims());
        assert!(bits(&grey(&images)?)? == bits(&want)?);
        // Grey images stay as they are.
        assert!(bits(&grey(&want)?)? == bits(&want)?);

        // So a model and a learner see the same.
        let config =
            InputConfig { grey: true, flip: false, whitening: Whitening::DifferenceOfGaussians {} };
        let input = Input::new(&config, (3, side, side), &Device::Cpu)?;
        let seen = input.batch(&input.images(&set)?, &indices, None)?;
        assert!(bits(&input.apply(&images)?)? == bits(&seen)?);
        Ok(())
    }
}
