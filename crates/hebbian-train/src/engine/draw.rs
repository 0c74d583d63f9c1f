//! An augmentation for tests that shows what it draws.

use candle_hebbian::Rng;
use hebbian_data::transforms::{Image, Shape, Transform};

/// Makes of an image of grey i the number 1000·i plus a number below 1000 that it draws.
#[derive(Debug)]
pub(super) struct Draw;

impl Transform for Draw {
    fn shape(&self, image: Shape) -> hebbian_data::Result<Shape> {
        Ok(image)
    }

    fn apply(&self, mut image: Image, rng: &mut Rng) -> hebbian_data::Result<Image> {
        let drawn = rng.below(1000) as f32;
        for value in image.values_mut() {
            *value = 1000.0 * (*value * 255.0).round() + drawn;
        }
        Ok(image)
    }

    fn is_random(&self) -> bool {
        true
    }
}
