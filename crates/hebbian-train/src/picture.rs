//! Pictures, and weights drawn as pictures.

use std::path::Path;

use candle::{DType, Device, Tensor};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::{Error, Result, atomic};

/// The longer side of a filter picture is magnified to at least this many pixels.
const PLEASANT_SIZE: usize = 400;
pub(crate) const GAP: [u8; 3] = [255; 3];
const SHADES: &str = "grey is 0, black and white each one's largest |weight|";

/// An RGB picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// A picture of one colour (red, green, blue).
    pub fn new(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, pixels: vec![colour; width * height] }
    }

    /// Pixels across.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels down.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The colour at column `x`, row `y` from the top; `None` outside.
    pub fn pixel(&self, x: usize, y: usize) -> Option<[u8; 3]> {
        if x < self.width { self.pixels.get(y * self.width + x).copied() } else { None }
    }

    /// Colours one pixel; does nothing outside the picture.
    pub fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < self.width
            && let Some(pixel) = self.pixels.get_mut(y * self.width + x)
        {
            *pixel = colour;
        }
    }

    /// The picture with every pixel as a square of `factor` × `factor`.
    pub fn magnified(&self, factor: usize) -> Self {
        let (width, height) = (self.width * factor, self.height * factor);
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                pixels.push(self.pixels[y / factor * self.width + x / factor]);
            }
        }
        Self { width, height, pixels }
    }

    /// The picture with every square of `factor` × `factor` pixels as one pixel of their mean colour; pixels
    /// left over at the right and the bottom are dropped.
    pub(crate) fn reduced(&self, factor: usize) -> Self {
        let (width, height) = (self.width / factor, self.height / factor);
        let area = (factor * factor) as u32;
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let mut sum = [area / 2; 3];
                for row in self.pixels.chunks_exact(self.width).skip(y * factor).take(factor) {
                    for pixel in &row[x * factor..][..factor] {
                        sum.iter_mut().zip(pixel).for_each(|(sum, &part)| *sum += u32::from(part));
                    }
                }
                pixels.push(sum.map(|sum| (sum / area) as u8));
            }
        }
        Self { width, height, pixels }
    }

    /// The picture with another one below it, both aligned to the left, on white.
    pub(crate) fn above(&self, below: &Self) -> Self {
        let width = self.width.max(below.width);
        let mut both = Self::new(width, self.height + below.height, [255; 3]);
        for (from, top) in [(self, 0), (below, self.height)] {
            for y in 0..from.height {
                let row = &from.pixels[y * from.width..][..from.width];
                both.pixels[(top + y) * width..][..from.width].copy_from_slice(row);
            }
        }
        both
    }

    /// Draws another picture onto this one, as far as it lies inside.
    pub(crate) fn paste(&mut self, (left, top): (usize, usize), other: &Self) {
        for y in 0..other.height {
            for x in 0..other.width {
                self.set(left + x, top + y, other.pixels[y * other.width + x]);
            }
        }
    }

    /// The picture with `pixels` columns of white added at the left.
    fn indented(&self, pixels: usize) -> Self {
        let mut all = Self::new(self.width + pixels, self.height, GAP);
        for (row, from) in self.pixels.chunks_exact(self.width.max(1)).enumerate() {
            all.pixels[row * all.width + pixels..][..self.width].copy_from_slice(from);
        }
        all
    }

    /// Colours a rectangle, as far as it lies inside.
    pub(crate) fn fill(
        &mut self,
        (left, top): (usize, usize),
        (width, height): (usize, usize),
        colour: [u8; 3],
    ) {
        for y in top..top + height {
            (left..left + width).for_each(|x| self.set(x, y, colour));
        }
    }

    /// The colours in reading order, three bytes each.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.pixels.as_flattened_mut()
    }

    /// The picture as a PNG file's bytes.
    ///
    /// # Errors
    /// When the picture has no pixels, because its width or its height is 0.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = (self.width, self.height);
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(
                self.pixels.as_flattened(),
                width as u32,
                height as u32,
                ExtendedColorType::Rgb8,
            )
            .map_err(|source| Error::Png { width, height, source })?;
        Ok(bytes)
    }

    /// Writes a PNG file, atomically.
    ///
    /// # Errors
    /// As [`png`](Self::png), and when the file cannot be written; an older file of that name then stays.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        atomic::save_bytes(path.as_ref(), &self.png()?)
    }
}

/// Draws the filters `(K, C, h, w)` side by side, in reading order in a grid about as wide as high, with
/// white gaps, magnified by a whole number.
///
/// Three channels are shown as red, green and blue; any other number by their mean, in grey. Each
/// filter has its own scale: 0 is mid-grey, its largest |weight| is black or white.
///
/// # Errors
/// When `weight` does not have four axes, or one of them is empty.
pub fn filter_grid(weight: &Tensor) -> Result<Picture> {
    let filters = weight.dim(0)?;
    filter_rows(weight, (1..).find(|n| n * n >= filters).unwrap_or(1))
}

/// [`filter_grid`] under a title and a line that explains the shades.
///
/// # Errors
/// As [`filter_grid`].
pub fn filter_picture(weight: &Tensor, title: &str) -> Result<Picture> {
    filter_grid(weight)?.titled(&format!("{title}\n{SHADES}"))
}

/// The same as [`filter_grid`], in rows of `columns` filters.
///
/// # Errors
/// As [`filter_grid`], and when `columns` is 0.
pub fn filter_rows(weight: &Tensor, columns: usize) -> Result<Picture> {
    let (filters, _, height, width) = weight.dims4()?;
    if weight.elem_count() == 0 || columns == 0 {
        return Err(Error::Argument(format!(
            "filters of shape {:?} in {columns} columns cannot be drawn: an axis is empty",
            weight.dims()
        )));
    }
    let rows = filters.div_ceil(columns);
    let mut grid = Picture::new(columns * (width + 1) + 1, rows * (height + 1) + 1, GAP);
    for (index, filter) in drawn(weight)?.iter().enumerate() {
        let (left, top) = (index % columns * (width + 1) + 1, index / columns * (height + 1) + 1);
        grid.paste((left, top), filter);
    }
    let factor = PLEASANT_SIZE.div_ceil(grid.width.max(grid.height));
    Ok(grid.magnified(factor))
}

/// Draws each of the filters `(K, C, h, w)`, none of whose axes is empty, as a picture of `w` × `h` pixels.
pub(crate) fn drawn(weight: &Tensor) -> Result<Vec<Picture>> {
    let (_, channels, height, width) = weight.dims4()?;
    let weight = weight.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    let weight = if channels == 3 { weight } else { weight.mean_keepdim(1)? };
    // (K, h, w, 1 or 3): the colours of a pixel lie together.
    let values = weight.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1::<f32>()?;
    let colours = if channels == 3 { 3 } else { 1 };
    let filters = values.chunks_exact(height * width * colours).map(|filter| {
        let mut picture = Picture::new(width, height, GAP);
        let largest = filter.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let scale = if largest > 0.0 { 0.5 / largest } else { 0.0 };
        let shade = |value: &f32| ((0.5 + value * scale) * 255.0).round() as u8;
        for (index, pixel) in filter.chunks_exact(colours).enumerate() {
            picture.pixels[index] = match pixel {
                [red, green, blue] => [shade(red), shade(green), shade(blue)],
                grey => [shade(&grey[0]); 3],
            };
        }
        picture
    });
    Ok(filters.collect())
}

/// The least size, in pixels, to which the longer side of an image is magnified.
const VISIBLE: usize = 48;
/// The gap between images, in pixels.
const BETWEEN: usize = 4;
/// The share of values that lie between black and white if the scale is chosen from the values.
const WITHIN: f64 = 0.995;

/// Draws rows of images `(N, C, H, W)`, each with a name, under a title and, if not all values are from 0 to 1, a line
/// that explains the shades.
///
/// Three channels are shown as red, green and blue; any other number by their mean, in grey. If not all values are from
/// 0 to 1, all images share one scale: 0 is mid-grey, and half a percent of the values lie beyond black or white.
///
/// # Errors
/// When images have other dimensions or no pixels, or there are none.
pub fn image_rows(rows: &[(String, Tensor)], title: &str) -> Result<Picture> {
    let mut images = Vec::new();
    for (_, row) in rows {
        let (_, channels, height, width) = row.dims4()?;
        if channels * height * width == 0 {
            let found = row.dims();
            return Err(Error::Argument(format!("{title}: images {found:?} have no pixels")));
        }
        let row = row.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let row = if channels == 3 { row } else { row.mean_keepdim(1)? };
        // (N, H, W, 1 or 3): the colours of a pixel lie together.
        let values = row.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1::<f32>()?;
        images.push((values, if channels == 3 { 3 } else { 1 }, height, width));
    }
    let mut sizes: Vec<f32> = images.iter().flat_map(|(row, ..)| row).map(|x| x.abs()).collect();
    if sizes.is_empty() {
        return Err(Error::Argument(format!("{title}: there are no images to draw")));
    }
    let as_is = images.iter().flat_map(|(row, ..)| row).all(|x| (0.0..=1.0).contains(x));
    let at = ((sizes.len() - 1) as f64 * WITHIN) as usize;
    let (_, &mut most, _) = sizes.select_nth_unstable_by(at, f32::total_cmp);
    let shade = |x: f32| match as_is {
        true => (x * 255.0).round() as u8,
        false => ((0.5 + 0.5 * x / most.max(f32::MIN_POSITIVE)) * 255.0).round() as u8,
    };
    let mut all = Picture::new(0, 0, GAP);
    for ((name, _), (values, colours, height, width)) in rows.iter().zip(&images) {
        let factor = VISIBLE.div_ceil(*height.max(width)).max(1);
        let (across, down) = (width * factor + BETWEEN, height * factor + BETWEEN);
        let count = values.len() / (colours * height * width);
        let mut strip = Picture::new(count * across, down, GAP);
        for (index, image) in values.chunks_exact(colours * height * width).enumerate() {
            for (at, pixel) in image.chunks_exact(*colours).enumerate() {
                let colour = match pixel {
                    &[red, green, blue] => [shade(red), shade(green), shade(blue)],
                    grey => [shade(grey[0]); 3],
                };
                let (left, top) = (index * across + at % width * factor, at / width * factor);
                strip.fill((left, top), (factor, factor), colour);
            }
        }
        let name = Picture::new(0, 0, GAP).titled(name)?;
        all = all.above(&name.above(&strip.indented(BETWEEN)));
    }
    match as_is {
        true => all.titled(title),
        false => all.titled(&format!("{title}\ngrey is 0, black and white {most:.2} and more")),
    }
}
