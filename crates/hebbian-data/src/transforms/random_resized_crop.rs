use candle_hebbian::{PaddingMode, Rng};
use serde::{Deserialize, Serialize};

use super::crop::window;
use super::resize::resized;
use super::{Image, Shape, Size, Transform, wrong};
use crate::Result;

/// How many draws are made to find a part that fits into the image.
const DRAWS: usize = 10;

/// A part of the image with random area and aspect ratio, [resized](super::Resize) to one size: torchvision's
/// `RandomResizedCrop`.
///
/// Its area is `U(scale)` times the image's, its width over its height is `exp(U(ln ratio))`. A part that does not fit
/// is drawn again, up to ten draws in all; after that, the largest part around the middle whose aspect ratio is in
/// `ratio` is taken. The order of the draws is area, aspect ratio and, if the part fits, row and column.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// Pixels a side, or height and width; `None` for those of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// The smallest and the largest share of the image's area. Default: 0.08 and 1.
    pub scale: [f64; 2],
    /// The smallest and the largest width over height. Default: 3/4 and 4/3.
    pub ratio: [f64; 2],
}

impl Default for RandomResizedCrop {
    fn default() -> Self {
        Self { size: None, scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl RandomResizedCrop {
    /// Draws the place and the size of the part.
    fn part(&self, (height, width): (usize, usize), rng: &mut Rng) -> [(usize, usize); 2] {
        let ([least, largest], [narrow, wide]) = (self.scale, self.ratio);
        let area = (height * width) as f64;
        for _ in 0..DRAWS {
            let area = area * rng.between(least, largest);
            let ratio = rng.between(narrow.ln(), wide.ln()).exp();
            let w = (area * ratio).sqrt().round_ties_even() as usize;
            let h = (area / ratio).sqrt().round_ties_even() as usize;
            if (1..=height).contains(&h) && (1..=width).contains(&w) {
                let top = rng.below(height - h + 1);
                return [(top, rng.below(width - w + 1)), (h, w)];
            }
        }
        let found = width as f64 / height as f64;
        let (h, w) = if found < narrow {
            ((width as f64 / narrow).round_ties_even() as usize, width)
        } else if found > wide {
            (height, (height as f64 * wide).round_ties_even() as usize)
        } else {
            (height, width)
        };
        let (h, w) = (h.clamp(1, height), w.clamp(1, width));
        [((height - h) / 2, (width - w) / 2), (h, w)]
    }
}

impl Transform for RandomResizedCrop {
    fn shape(&self, (channels, height, width): Shape) -> Result<Shape> {
        let (height, width) = self.size.map_or((height, width), Size::sides);
        let Self { scale, ratio, .. } = self;
        let problem = match () {
            () if height == 0 || width == 0 => {
                "found a size of 0, expected 1 or more pixels a side".to_string()
            }
            () if !(scale[0] > 0.0 && scale[0] <= scale[1] && scale[1] <= 1.0) => {
                format!(
                    "found a scale of {scale:?}, expected two shares above 0 and up to 1, the smaller one first"
                )
            }
            () if !(ratio[0] > 0.0 && ratio[0] <= ratio[1] && ratio[1].is_finite()) => {
                format!(
                    "found a ratio of {ratio:?}, expected two numbers above 0, the smaller one first"
                )
            }
            () => return Ok((channels, height, width)),
        };
        Err(wrong("random-resized-crop", problem))
    }

    fn apply(&self, image: Image, rng: &mut Rng) -> Result<Image> {
        let (_, height, width) = self.shape(image.shape())?;
        let (_, old_height, old_width) = image.shape();
        let [(top, left), part] = self.part((old_height, old_width), rng);
        let part = window(&image, (top as isize, left as isize), part, PaddingMode::Zeros);
        Ok(resized(part, (height, width)))
    }

    fn is_random(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In 100x100 pixels every part of this scale and ratio fits at the first draw, so that the share, the logarithm of
    /// the ratio and the place are uniform. All means are within 4 standard errors.
    #[test]
    fn parts_are_uniform_in_area_and_log_ratio() {
        let crop = RandomResizedCrop { scale: [0.2, 0.5], ..Default::default() };
        let (mut rng, count) = (Rng::new(5), 4000);
        let (mut share, mut ratio, mut squares, mut place) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..count {
            let [(top, left), (h, w)] = crop.part((100, 100), &mut rng);
            assert!(top + h <= 100 && left + w <= 100);
            let (area, log) = ((h * w) as f64 / 1e4, (w as f64 / h as f64).ln());
            // Sides of 38 pixels or more are rounded by up to half a pixel.
            assert!((0.19..0.512).contains(&area), "{area}");
            assert!(log.abs() < (4f64 / 3.0).ln() + 0.03, "{log}");
            share += area / count as f64;
            ratio += log / count as f64;
            squares += log * log / count as f64;
            place += top as f64 / (100 - h) as f64 / count as f64;
        }
        let error = |width: f64| 4.0 * width / 12f64.sqrt() / (count as f64).sqrt();
        assert!((share - 0.35).abs() < error(0.3), "{share}");
        let wide = 2.0 * (4f64 / 3.0).ln();
        assert!(ratio.abs() < error(wide), "{ratio}");
        // The mean of the squares of a uniform number, whose standard deviation is √(4/45) of the largest square.
        let largest = wide * wide / 4.0;
        let deviation = (4f64 / 45.0).sqrt() * largest / (count as f64).sqrt();
        assert!((squares - largest / 3.0).abs() < 4.0 * deviation + 1e-4, "{squares}");
        assert!((place - 0.5).abs() < error(1.0), "{place}");
    }

    /// A square of 1,000 pixels does not fit into 10x100, so that the largest square around the middle is taken.
    #[test]
    fn what_never_fits_is_the_middle() {
        let crop = RandomResizedCrop { scale: [1.0, 1.0], ratio: [1.0, 1.0], ..Default::default() };
        assert_eq!(crop.part((10, 100), &mut Rng::new(0)), [(0, 45), (10, 10)]);
        assert_eq!(crop.part((100, 10), &mut Rng::new(0)), [(45, 0), (10, 10)]);
        assert_eq!(crop.part((32, 32), &mut Rng::new(0)), [(0, 0), (32, 32)]);
    }
}
