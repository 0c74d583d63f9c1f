//! The images that a whitening is computed from.

use candle_hebbian::Rng;

use super::config::ZcaConfig;
use crate::transforms::Pipeline;
use crate::{Error, ImageSet, Result};

/// How many images are standardised and added to the covariance at a time.
const CHUNK: usize = 1000;

/// The images for a covariance.
pub(crate) struct Drawn {
    images: ImageSet,
    /// The generator of the flips.
    flips: Option<Rng>,
}

impl Drawn {
    /// Draws the images for the covariance.
    pub fn new(images: &ImageSet, config: &ZcaConfig, rng: &mut Rng) -> Result<Self> {
        let wanted = config.images.unwrap_or(images.len());
        if wanted == 0 || wanted > images.len() {
            let found = wanted.min(images.len());
            return Err(Error::TooFewImages { found, expected: wanted.max(1) });
        }
        let images = match config.images {
            Some(n) => images.select(&rng.permutation(images.len())[..n])?,
            None => images.clone(),
        };
        let flips = config.flip.then(|| rng.clone());
        if config.flip {
            // Advances the generator as far as the flips of these images will.
            for _ in 0..images.len() {
                rng.below(2);
            }
        }
        Ok(Self { images, flips })
    }

    /// The number of images, and the shape of each.
    pub fn sizes(&self) -> (usize, (usize, usize, usize)) {
        (self.images.len(), self.images.shape())
    }

    /// Calls `see` with a few images at a time, flipped.
    pub fn each(&self, mut see: impl FnMut(ImageSet) -> Result<()>) -> Result<()> {
        let (shape, mut flips) = (self.images.stored_shape(), self.flips.clone());
        for indices in self.images.in_order(CHUNK)? {
            let mut pixels = self.images.pixels(&indices)?;
            if let Some(rng) = &mut flips {
                for image in pixels.chunks_exact_mut(self.images.image_size()) {
                    if rng.below(2) == 1 {
                        image.chunks_exact_mut(shape.2).for_each(<[u8]>::reverse);
                    }
                }
            }
            let part = ImageSet::of_parts(pixels, vec![0; indices.len()], shape);
            see(part.with_transforms(self.images.transforms().clone(), Pipeline::default())?)?;
        }
        Ok(())
    }
}
