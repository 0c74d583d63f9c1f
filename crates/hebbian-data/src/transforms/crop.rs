use candle_hebbian::ops::reflect;
use candle_hebbian::{PaddingMode, Rng};
use serde::{Deserialize, Serialize};

use super::{Image, Shape, Size, Transform, wrong};
use crate::Result;

/// The middle of the image: torchvision's `CenterCrop`. If the difference in size is odd, its half is rounded to the
/// nearest even number. An image that is smaller is padded with zeros, with one more at the right and the bottom if
/// their number is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CentreCrop {
    /// Pixels a side, or height and width.
    pub size: Size,
}

impl Transform for CentreCrop {
    fn shape(&self, (channels, _, _): Shape) -> Result<Shape> {
        if self.size.is_empty() {
            return Err(wrong(
                "centre-crop",
                "found a size of 0, expected 1 or more pixels a side",
            ));
        }
        let (height, width) = self.size.sides();
        Ok((channels, height, width))
    }

    fn apply(&self, image: Image, _: &mut Rng) -> Result<Image> {
        let (_, height, width) = self.shape(image.shape())?;
        let (_, old_height, old_width) = image.shape();
        let start = |old: usize, new: usize| match old < new {
            true => -(((new - old) / 2) as isize),
            false => ((old - new) as f64 / 2.0).round_ties_even() as isize,
        };
        let (top, left) = (start(old_height, height), start(old_width, width));
        Ok(window(&image, (top, left), (height, width), PaddingMode::Zeros))
    }
}

/// A part of the image, after padding by `padding` pixels, at a place drawn uniformly at random: torchvision's
/// `RandomCrop`. The row is drawn before the column.
///
/// With `zeros` a row `1 2 3 4` padded by 2 becomes `0 0 1 2 3 4 0 0`; with `reflect` it becomes `3 2 1 2 3 4 3 2`, for
/// which the padding must be smaller than the image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomCrop {
    /// Pixels a side, or height and width; `None` for those of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Pixels added to each side of the image. Default: 0.
    pub padding: usize,
    /// How the added pixels are filled. Default: zeros.
    pub padding_mode: PaddingMode,
}

/// The largest padding that is accepted.
const MOST_PADDING: usize = 1 << 16;

impl RandomCrop {
    const NAME: &str = "random-crop";
}

impl Transform for RandomCrop {
    fn shape(&self, (channels, height, width): Shape) -> Result<Shape> {
        let (new_height, new_width) = self.size.map_or((height, width), Size::sides);
        let Self { padding, padding_mode, .. } = *self;
        if new_height == 0 || new_width == 0 {
            return Err(wrong(Self::NAME, "found a size of 0, expected 1 or more pixels a side"));
        }
        if padding > MOST_PADDING {
            let problem = format!("found a padding of {padding}, expected at most {MOST_PADDING}");
            return Err(wrong(Self::NAME, problem));
        }
        if padding_mode == PaddingMode::Reflect && padding >= height.min(width) {
            return Err(wrong(
                Self::NAME,
                format!(
                    "a padding of {padding} pixels by reflection needs images of at least {} pixels a side, found \
                     {height}x{width}: use a smaller padding",
                    padding + 1
                ),
            ));
        }
        let padded = |side: usize| side.saturating_add(2 * padding);
        if new_height > padded(height) || new_width > padded(width) {
            return Err(wrong(
                Self::NAME,
                format!(
                    "found images of {height}x{width} padded by {padding}, expected at least {new_height}x{new_width}: \
                     use a smaller size, or more padding"
                ),
            ));
        }
        Ok((channels, new_height, new_width))
    }

    fn apply(&self, image: Image, rng: &mut Rng) -> Result<Image> {
        let (_, height, width) = self.shape(image.shape())?;
        let (_, old_height, old_width) = image.shape();
        let mut start = |old: usize, new: usize| {
            rng.below(old + 2 * self.padding - new + 1) as isize - self.padding as isize
        };
        let top = start(old_height, height);
        let left = start(old_width, width);
        Ok(window(&image, (top, left), (height, width), self.padding_mode))
    }

    fn is_random(&self) -> bool {
        true
    }
}

/// The part of an image that begins at a place, which may lie outside the image.
pub(super) fn window(
    image: &Image,
    (top, left): (isize, isize),
    (height, width): (usize, usize),
    mode: PaddingMode,
) -> Image {
    let (_, old_height, old_width) = image.shape();
    let source = |start: isize, at: usize, size: usize| match (start + at as isize, mode) {
        (at, PaddingMode::Reflect) => Some(reflect(at, size)),
        (at, PaddingMode::Zeros) => usize::try_from(at).ok().filter(|&at| at < size),
    };
    let rows: Vec<_> = (0..height).map(|y| source(top, y, old_height)).collect();
    let columns: Vec<_> = (0..width).map(|x| source(left, x, old_width)).collect();
    image.with_planes((height, width), |from, to| {
        for (to, y) in to.chunks_exact_mut(width).zip(&rows) {
            let Some(y) = y else { continue };
            let from = &from[y * old_width..][..old_width];
            for (to, x) in to.iter_mut().zip(&columns) {
                *to = x.map_or(0.0, |x| from[x]);
            }
        }
    })
}
