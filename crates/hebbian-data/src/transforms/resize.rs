use candle_hebbian::Rng;
use serde::{Deserialize, Serialize};

use super::{Image, Shape, Size, Transform, wrong};
use crate::Result;

/// The resized image: either the shorter side gets a number of pixels, and the longer one follows in proportion,
/// rounded down; or both sides are given.
///
/// A pixel of the result is the mean of the pixels around its place, weighted by a triangle that extends one pixel to
/// either side, or `in / out` pixels if the image gets smaller: Pillow's `BILINEAR`, in the precision of its mode
/// `F`, and torchvision's `Resize` with `antialias`. The width is resized before the height; nothing is rounded to
/// levels of grey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// Pixels of the shorter side, or height and width.
    pub size: Size,
}

impl Resize {
    fn sides(self, (height, width): (usize, usize)) -> (usize, usize) {
        let longer = |side: usize, long: usize, short: usize| {
            (side as u128 * long as u128 / short.max(1) as u128).min(usize::MAX as u128) as usize
        };
        match self.size {
            Size::Exactly([height, width]) => (height, width),
            Size::Side(side) if width <= height => (longer(side, height, width), side),
            Size::Side(side) => (side, longer(side, width, height)),
        }
    }
}

impl Transform for Resize {
    fn shape(&self, (channels, height, width): Shape) -> Result<Shape> {
        if self.size.is_empty() {
            return Err(wrong("resize", "found a size of 0, expected 1 or more pixels a side"));
        }
        let (height, width) = self.sides((height, width));
        Ok((channels, height, width))
    }

    fn apply(&self, image: Image, _: &mut Rng) -> Result<Image> {
        let (_, height, width) = self.shape(image.shape())?;
        Ok(resized(image, (height, width)))
    }
}

/// Resizes an image to this height and width.
pub(super) fn resized(image: Image, (height, width): (usize, usize)) -> Image {
    let (_, old_height, old_width) = image.shape();
    let image = match width == old_width {
        true => image,
        false => {
            let columns = Weights::all(old_width, width);
            image.with_planes((old_height, width), |from, to| {
                for (from, to) in from.chunks_exact(old_width).zip(to.chunks_exact_mut(width)) {
                    for (to, of) in to.iter_mut().zip(&columns) {
                        let values = from[of.first..].iter().zip(&of.weights);
                        let sum: f64 =
                            values.map(|(&value, weight)| f64::from(value) * weight).sum();
                        *to = sum as f32;
                    }
                }
            })
        }
    };
    if height == old_height {
        return image;
    }
    let rows = Weights::all(old_height, height);
    image.with_planes((height, width), |from, to| {
        for (to, of) in to.chunks_exact_mut(width).zip(&rows) {
            for (x, to) in to.iter_mut().enumerate() {
                let values = of.weights.iter().enumerate();
                let sum: f64 = values
                    .map(|(i, weight)| f64::from(from[(of.first + i) * width + x]) * weight)
                    .sum();
                *to = sum as f32;
            }
        }
    })
}

/// The weights of the pixels that make up a new pixel.
struct Weights {
    /// The index of the first pixel that counts.
    first: usize,
    /// The weights of this pixel and the following ones.
    weights: Vec<f64>,
}

impl Weights {
    /// The weights of each of `after` pixels that replace `before` pixels.
    fn all(before: usize, after: usize) -> Vec<Self> {
        let scale = before as f64 / after as f64;
        let reach = scale.max(1.0);
        let of = |at: usize| {
            let centre = (at as f64 + 0.5) * scale;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(before);
            let weight = |i: usize| (1.0 - ((i as f64 - centre + 0.5) / reach).abs()).max(0.0);
            let weights: Vec<f64> = (first..end).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            Self { first, weights: weights.into_iter().map(|weight| weight / sum).collect() }
        };
        (0..after).map(of).collect()
    }
}
