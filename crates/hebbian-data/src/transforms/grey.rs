use candle_hebbian::Rng;
use serde::{Deserialize, Serialize};

use super::{Image, Shape, Transform, wrong};
use crate::Result;

/// The image in grey, with one channel: `L = 0.299 R + 0.587 G + 0.114 B` in fixed point,
/// `(19595 R + 38470 G + 7471 B + 2¹⁵) >> 16` of the levels 0 to 255, as in the Python library Pillow. Grey images
/// stay as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grey {}

impl Transform for Grey {
    fn shape(&self, (channels, height, width): Shape) -> Result<Shape> {
        match channels {
            1 | 3 => Ok((1, height, width)),
            found => Err(wrong("grey", format!("found images of {found} channels, expected 3"))),
        }
    }

    fn apply(&self, image: Image, _: &mut Rng) -> Result<Image> {
        let shape = self.shape(image.shape())?;
        if image.shape() == shape {
            return Ok(image);
        }
        let (red, rest) = image.values().split_at(shape.1 * shape.2);
        let (green, blue) = rest.split_at(shape.1 * shape.2);
        let colours = red.iter().zip(green).zip(blue);
        let values = colours.map(|((&red, &green), &blue)| {
            // These are whole numbers of at most 2²⁴, which `f32` represents exactly.
            let level = |value: f32, weight: f32| (value * 255.0).round() * weight;
            let sum = level(red, 19595.0) + level(green, 38470.0) + level(blue, 7471.0);
            ((sum + 32768.0) / 65536.0).floor() / 255.0
        });
        Image::new(values.collect(), shape)
    }
}
