//! From pixels to what the first layer sees.

use super::config::{InputConfig, Whitening};
use super::patches::TINY;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::ops::standardise;
use hebbian_data::transforms::{CropAndFlip, difference_of_gaussians};
use hebbian_data::{CacheOutcome, ImageSet, Zca, ZcaProgress, default_cache};
use hebbian_train::Progress;
use hebbian_train::Result;

/// Makes batches of images as the first layer sees them: standardised one by one, whitened.
#[derive(Debug)]
pub struct Input {
    flip: bool,
    whitening: Fitted,
    device: Device,
}

/// A whitening that is ready to use.
#[derive(Debug)]
enum Fitted {
    None,
    Zca(Zca),
    DifferenceOfGaussians,
}

impl Input {
    /// Channels, height and width of what becomes of an image.
    pub(super) fn shape(
        config: &InputConfig,
        (channels, height, width): (usize, usize, usize),
    ) -> (usize, usize, usize) {
        let channels = if config.grey { 1 } else { channels };
        match config.whitening {
            Whitening::DifferenceOfGaussians {} => (channels, height + 1, width + 1),
            Whitening::None {} | Whitening::Zca(_) => (channels, height, width),
        }
    }

    /// Learns the whitening from the training images, or reads it from the user's cache.
    ///
    /// # Errors
    /// A covariance that cannot be whitened.
    pub fn fit(
        config: &InputConfig,
        train: &ImageSet,
        rng: &Rng,
        device: &Device,
        quiet: bool,
    ) -> Result<Self> {
        let whitening = match &config.whitening {
            Whitening::None {} => Fitted::None,
            Whitening::DifferenceOfGaussians {} => Fitted::DifferenceOfGaussians,
            Whitening::Zca(zca) => {
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
                        let (fitted, outcome) =
                            Zca::fit_cached(train, zca, &mut rng, &cache, on_progress)?;
                        if let CacheOutcome::NotWritten(error) = outcome {
                            progress.message(format!("not kept for the next run: {error}"));
                        }
                        fitted
                    }
                    None => Zca::fit(train, zca, &mut rng, on_progress)?,
                };
                progress.finish();
                Fitted::Zca(fitted.to(DType::F32, device)?)
            }
        };
        Ok(Self { flip: config.flip, whitening, device: device.clone() })
    }

    /// The whitening of a checkpoint; `take(name, shape)` hands out each tensor by its name.
    ///
    /// # Errors
    /// What `take` says.
    pub fn restore(
        config: &InputConfig,
        image: (usize, usize, usize),
        device: &Device,
        take: impl FnOnce(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        let whitening = match config.whitening {
            Whitening::None {} => Fitted::None,
            Whitening::DifferenceOfGaussians {} => Fitted::DifferenceOfGaussians,
            Whitening::Zca(_) => {
                let (channels, height, width) = Self::shape(config, image);
                let size = channels * height * width;
                Fitted::Zca(Zca::of_matrix(&take("input.zca", &[size, size])?)?)
            }
        };
        Ok(Self { flip: config.flip, whitening, device: device.clone() })
    }

    /// Its tensors in a checkpoint: `input.zca`, where images are whitened so.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        match &self.whitening {
            Fitted::Zca(zca) => vec![("input.zca".to_string(), zca.matrix().clone())],
            Fitted::None | Fitted::DifferenceOfGaussians => Vec::new(),
        }
    }

    /// The images of these indices; those that `flips` draws are flipped, if the preset flips.
    pub fn batch(
        &self,
        set: &ImageSet,
        indices: &[usize],
        flips: Option<&mut Rng>,
    ) -> Result<Tensor> {
        let (images, _) = match flips.filter(|_| self.flip) {
            Some(rng) => {
                let flip = CropAndFlip { padding: 0 };
                set.augmented_batch(indices, &flip, rng, DType::F32, &self.device)?
            }
            None => set.batch(indices, DType::F32, &self.device)?,
        };
        let images = standardise(&images, TINY)?;
        Ok(match &self.whitening {
            Fitted::None => images,
            Fitted::Zca(zca) => zca.apply(&images)?,
            Fitted::DifferenceOfGaussians => difference_of_gaussians(&images)?,
        })
    }
}
