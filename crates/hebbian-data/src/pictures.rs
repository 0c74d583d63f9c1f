//! Encoded pictures as pixels of one shape.

use std::io::Cursor;

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use rayon::prelude::*;

use crate::guard::caught;
use crate::{Error, ImageSet, Result};

/// Bytes that a small picture may unpack to, whatever it has beside its pixels.
const LEAST_LIMIT: u64 = 1 << 20;
/// The same of any picture: one of 10,000×10,000 pixels in colour, with room for a copy.
const LARGEST: u64 = 600 << 20;

/// What is wrong with a picture.
#[derive(Debug, PartialEq)]
pub(crate) enum Problem {
    /// It cannot be used: what was found.
    Bad(String),
    /// It has colour, and those before had none.
    Colour,
    /// It has another size than the first: that of both.
    Size([(usize, usize); 2]),
}

/// Channels, height and width.
type Shape = (usize, usize, usize);

/// Pictures of one shape, decoded: channel by channel, row by row.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    /// Of each; known from the first on.
    shape: Option<Shape>,
    pixels: Vec<u8>,
    side: Option<usize>,
    in_colour: bool,
    is_strict: bool,
}

impl Pictures {
    /// Pictures of this shape, and no others.
    pub fn exactly(shape: Shape) -> Self {
        Self { shape: Some(shape), is_strict: true, ..Self::default() }
    }

    /// Pictures of any size, resized so that the shorter side has `side` pixels and cut to a square around
    /// the middle; without `side` all must be as large as the first. They are grey where the first is, unless
    /// `in_colour`; with a `shape` they are like those of an earlier split.
    pub fn of_any(side: Option<usize>, in_colour: bool, shape: Option<Shape>) -> Self {
        Self { shape, side, in_colour, ..Self::default() }
    }

    /// Channels, height and width, once the first are decoded.
    pub fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// Makes room for so many in all, once the first have told their size.
    pub fn expect(&mut self, all: usize) -> Result<()> {
        let Some((channels, height, width)) = self.shape else { return Ok(()) };
        let bytes = [channels, height, width].into_iter().fold(all, usize::saturating_mul);
        let more = bytes.saturating_sub(self.pixels.len());
        let refused = |_| Error::Memory { images: all, channels, height, width, bytes };
        self.pixels.try_reserve_exact(more).map_err(refused)
    }

    /// Decodes further pictures on all cores. On a problem, none of them is kept; its place among them is
    /// told.
    pub fn extend<B: AsRef<[u8]> + Sync>(&mut self, encoded: &[B]) -> Result<(), (usize, Problem)> {
        let Some(first) = encoded.first() else { return Ok(()) };
        let shape = match self.shape {
            Some(shape) => shape,
            None => {
                let (channels, height, width) = peek(first.as_ref()).map_err(|bad| (0, bad))?;
                let (height, width) = self.side.map_or((height, width), |side| (side, side));
                (if self.in_colour { 3 } else { channels }, height, width)
            }
        };
        let (size, side, is_strict) = (shape.0 * shape.1 * shape.2, self.side, self.is_strict);
        let before = self.pixels.len();
        self.pixels.resize(before + encoded.len() * size, 0);
        let decoded: Vec<Result<(), Problem>> = self.pixels[before..]
            .par_chunks_exact_mut(size.max(1))
            .zip(encoded)
            .map(|(pixels, bytes)| {
                let decode = || decode(bytes.as_ref(), shape, side, is_strict, pixels);
                caught(decode)
                    .unwrap_or_else(|said| Err(Problem::Bad(format!("a broken picture ({said})"))))
            })
            .collect();
        match decoded.into_iter().enumerate().find_map(|(at, one)| Some((at, one.err()?))) {
            Some(problem) => {
                self.pixels.truncate(before);
                Err(problem)
            }
            None => {
                self.shape = Some(shape);
                Ok(())
            }
        }
    }

    /// All of them with their labels, one each.
    pub fn with_labels(self, labels: Vec<u32>) -> Result<ImageSet> {
        let (channels, height, width) = self.shape.unwrap_or((1, 1, 1));
        ImageSet::new(self.pixels, labels, channels, height, width)
    }
}

/// A picture's decoder, and the name of its format.
fn open(bytes: &[u8], most: u64) -> Result<(impl ImageDecoder + use<'_>, &'static str), Problem> {
    let mut reader = ImageReader::new(Cursor::new(bytes));
    let Some((format, name)) = image::guess_format(bytes).ok().and_then(|format| {
        let names = [
            (ImageFormat::Png, "PNG"),
            (ImageFormat::Jpeg, "JPEG"),
            (ImageFormat::WebP, "WebP"),
            (ImageFormat::Bmp, "BMP"),
        ];
        names.into_iter().find(|(known, _)| *known == format)
    }) else {
        let bytes = bytes.len();
        return Err(Problem::Bad(format!("{bytes} bytes that are no PNG, JPEG, WebP or BMP")));
    };
    if !format.reading_enabled() {
        let without = "built without the feature `pictures`: build with --features pictures";
        return Err(Problem::Bad(format!("a {name} ({without})")));
    }
    reader.set_format(format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(most);
    reader.limits(limits);
    match reader.into_decoder() {
        Ok(decoder) => Ok((decoder, name)),
        Err(error) => Err(Problem::Bad(format!("a broken {name} ({error})"))),
    }
}

fn is_grey(color: ColorType) -> bool {
    matches!(color, ColorType::L8 | ColorType::La8 | ColorType::L16 | ColorType::La16)
}

/// Channels, height and width of a picture, as it is to be looked at, from its head.
fn peek(bytes: &[u8]) -> Result<Shape, Problem> {
    let (mut decoder, name) = open(bytes, LARGEST)?;
    let (width, height) = decoder.dimensions();
    let channels = if is_grey(decoder.color_type()) { 1 } else { 3 };
    let orientation = decoder
        .orientation()
        .map_err(|error| Problem::Bad(format!("a broken {name} ({error})")))?;
    let (height, width) = match turns(orientation) {
        true => (width, height),
        false => (height, width),
    };
    Ok((channels, height as usize, width as usize))
}

/// Whether height and width change places.
fn turns(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Decodes a picture into C×H×W pixels.
fn decode(
    bytes: &[u8],
    (channels, height, width): Shape,
    side: Option<usize>,
    is_strict: bool,
    pixels: &mut [u8],
) -> Result<(), Problem> {
    let most = if is_strict { LEAST_LIMIT.max(8 * pixels.len() as u64) } else { LARGEST };
    let (mut decoder, name) = open(bytes, most)?;
    let broken = |error| Problem::Bad(format!("a broken {name} ({error})"));
    let (found_width, found_height) = decoder.dimensions();
    let color = decoder.color_type();
    if is_strict {
        let wanted = if channels == 1 { ColorType::L8 } else { ColorType::Rgb8 };
        if (found_height as usize, found_width as usize, color) != (height, width, wanted) {
            let found = format!("a {name} of {found_height}x{found_width} pixels of {color:?}");
            return Err(Problem::Bad(found));
        }
    }
    if channels == 1 && !is_grey(color) {
        return Err(Problem::Colour);
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    let found = (picture.height() as usize, picture.width() as usize);
    match side {
        Some(side) => picture = square(&picture, side as u32),
        None if found != (height, width) => return Err(Problem::Size([(height, width), found])),
        None => {}
    }
    if channels == 1 {
        pixels.copy_from_slice(picture.into_luma8().as_raw());
        return Ok(());
    }
    let interleaved = picture.into_rgb8();
    for (channel, plane) in pixels.chunks_exact_mut(height * width).enumerate() {
        for (pixel, colours) in plane.iter_mut().zip(interleaved.as_raw().chunks_exact(channels)) {
            *pixel = colours[channel];
        }
    }
    Ok(())
}

/// See [`ImageSet::resized`].
pub(crate) fn resized(set: &ImageSet, side: usize) -> Result<ImageSet> {
    let (channels, height, width) = set.shape();
    if side == 0 {
        return Err(Error::Size { what: "pixels a side of an image", found: 0, expected: 1 });
    }
    if ![1, 3].contains(&channels) {
        return Err(Error::Size {
            what: "channels of an image to resize",
            found: channels,
            expected: 3,
        });
    }
    if (height, width) == (side, side) {
        return Ok(set.clone());
    }
    let area = side * side;
    let bytes = [channels, side, side].into_iter().fold(set.len(), usize::saturating_mul);
    let mut pixels = Vec::new();
    let refused =
        |_| Error::Memory { images: set.len(), channels, height: side, width: side, bytes };
    pixels.try_reserve_exact(bytes).map_err(refused)?;
    pixels.resize(bytes, 0);
    pixels.par_chunks_exact_mut(area).enumerate().for_each(|(plane, pixels)| {
        let (image, channel) = (set.image(plane / channels), plane % channels);
        let plane = image[channel * height * width..][..height * width].to_vec();
        if let Some(plane) = GrayImage::from_raw(width as u32, height as u32, plane) {
            pixels.copy_from_slice(square(&plane.into(), side as u32).as_bytes());
        }
    });
    ImageSet::new(pixels, set.labels().to_vec(), channels, side, side)
}

/// The picture with its shorter side resized to `side` pixels (a triangle filter, widened where it gets
/// smaller, as Pillow's `BILINEAR`), cut around the middle: torchvision's `Resize` and `CenterCrop`.
fn square(picture: &DynamicImage, side: u32) -> DynamicImage {
    let (width, height) = (picture.width().max(1), picture.height().max(1));
    let longer = |long: u32, short: u32| {
        (u64::from(side) * u64::from(long) / u64::from(short)).min(u64::from(u32::MAX)) as u32
    };
    let (new_width, new_height) = match width < height {
        true => (side, longer(height, width)),
        false => (longer(width, height), side),
    };
    let resized = match (new_width, new_height) == (width, height) {
        true => picture.clone(),
        false => picture.resize_exact(new_width, new_height, FilterType::Triangle),
    };
    // torchvision rounds half to even.
    let middle = |long: u32| (f64::from(long - side) / 2.0).round_ties_even() as u32;
    resized.crop_imm(middle(new_width), middle(new_height), side, side)
}
