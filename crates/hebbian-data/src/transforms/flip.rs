use candle_hebbian::Rng;
use serde::{Deserialize, Serialize};

use super::{Image, Shape, Transform, wrong};
use crate::Result;

/// The image, mirrored from left to right or left as it is, at random.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flip {
    /// The probability that an image is mirrored. Default: 1/2.
    pub probability: f64,
}

impl Default for Flip {
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

impl Transform for Flip {
    fn shape(&self, image: Shape) -> Result<Shape> {
        match self.probability {
            probability if (0.0..=1.0).contains(&probability) => Ok(image),
            found => Err(wrong("flip", format!("found a probability of {found}, expected 0 to 1"))),
        }
    }

    fn apply(&self, mut image: Image, rng: &mut Rng) -> Result<Image> {
        let (_, _, width) = self.shape(image.shape())?;
        if rng.between(0.0, 1.0) < self.probability {
            image.values_mut().chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
        Ok(image)
    }

    fn is_random(&self) -> bool {
        true
    }
}
