//! Decoding of pictures into pixels of one shape.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Mutex;

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use rayon::prelude::*;

use crate::guard::caught;
use crate::lock::lock;
use crate::{Error, Result};

/// The bytes that decoding a small picture may use, including for what it holds besides its pixels.
const LEAST_LIMIT: u64 = 1 << 20;
/// The same for any picture: enough for 10,000×10,000 pixels in colour, with room for a copy.
const LARGEST: u64 = 600 << 20;
/// The most pixels that a picture may be resized to before it is cropped to a square, unless four times those of the
/// square are more: as many as the largest picture in colour has. A narrow picture would need any amount of memory.
const MOST_RESIZED: usize = (LARGEST / 6) as usize;
/// Pictures that decode to more bytes than this, or are resized to more, are decoded one at a time, however many
/// threads there are.
const LARGE: u64 = 32 << 20;
static TURN: Mutex<()> = Mutex::new(());

/// What is wrong with a picture.
#[derive(Debug, PartialEq)]
pub(crate) enum Problem {
    /// It cannot be used; holds what was found.
    Bad(String),
    /// It has colour, although the shape is grey.
    Colour,
    /// Its size differs from that of the first picture; holds the expected size and the one found.
    Size([(usize, usize); 2]),
}

/// Channels, height and width.
pub(crate) type Shape = (usize, usize, usize);

/// How encoded pictures are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct How {
    /// Channels, height and width of each. If the shape is grey, all pictures must be grey.
    pub shape: Shape,
    pub form: Form,
}

/// The form that pictures have in their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Encoded, with the height and width of the shape.
    AsTheyAre,
    /// Encoded, of any size: they are resized so that the shorter side has as many pixels as the shape, and
    /// cropped to a square around the middle.
    Fitted,
    /// Encoded, with exactly this shape and type, and no more memory to decode than that takes.
    Exactly,
    /// As pixels, each channel column by column.
    Columns,
}

impl How {
    /// Decodes a picture into C×H×W pixels.
    pub fn decode(&self, bytes: &[u8], pixels: &mut [u8]) -> Result<(), Problem> {
        if self.form == Form::Columns {
            upright(bytes, self.shape, pixels);
            return Ok(());
        }
        caught(|| decode(bytes, self, pixels))
            .unwrap_or_else(|said| Err(Problem::Bad(format!("a broken picture ({said})"))))
    }

    /// The bytes of a picture's pixels.
    pub fn size(&self) -> usize {
        let (channels, height, width) = self.shape;
        channels * height * width
    }
}

/// Copies an image that is stored column by column in each channel to one that is stored row by row.
pub(crate) fn upright(image: &[u8], (_, height, width): Shape, pixels: &mut [u8]) {
    let area = height * width;
    for (to, plane) in pixels.chunks_exact_mut(area).zip(image.chunks_exact(area)) {
        for (at, value) in to.iter_mut().enumerate() {
            *value = plane[at % width * height + at / width];
        }
    }
}

/// Decoded pictures of one shape: channel by channel, row by row.
#[derive(Debug)]
pub(crate) struct Pictures {
    how: How,
    pixels: Vec<u8>,
}

impl Pictures {
    /// No pictures yet.
    pub fn new(how: How) -> Self {
        Self { how, pixels: Vec::new() }
    }

    /// Reserves memory for `all` pictures in total.
    pub fn expect(&mut self, all: usize) -> Result<()> {
        let (channels, height, width) = self.how.shape;
        let bytes = self.how.size().saturating_mul(all);
        let more = bytes.saturating_sub(self.pixels.len());
        let refused = |_| Error::Memory { images: all, channels, height, width, bytes };
        self.pixels.try_reserve_exact(more).map_err(refused)
    }

    /// Decodes further pictures on all cores, keeps those without a problem, and returns the positions of the others
    /// with their problems.
    pub fn extend<B: AsRef<[u8]> + Sync>(&mut self, encoded: &[B]) -> Vec<(usize, Problem)> {
        let (size, before) = (self.how.size(), self.pixels.len());
        self.pixels.resize(before + encoded.len() * size, 0);
        let decoded: Vec<Result<(), Problem>> = self.pixels[before..]
            .par_chunks_exact_mut(size.max(1))
            .zip(encoded)
            .map(|(pixels, bytes)| self.how.decode(bytes.as_ref(), pixels))
            .collect();
        let (mut problems, mut end) = (Vec::new(), before);
        for (at, one) in decoded.into_iter().enumerate() {
            match one {
                Ok(()) => {
                    let start = before + at * size;
                    if start > end {
                        self.pixels.copy_within(start..start + size, end);
                    }
                    end += size;
                }
                Err(problem) => problems.push((at, problem)),
            }
        }
        self.pixels.truncate(end);
        problems
    }

    /// The pixels of all pictures.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

/// The error for a picture that cannot be used, in a file and, if that is a table, in a row.
pub(crate) fn refused((path, row): (PathBuf, Option<usize>), problem: Problem) -> Error {
    let (found, expected, advice) = match problem {
        Problem::Bad(found) => (
            found,
            "a PNG, JPEG, WebP or BMP".to_string(),
            "repair or remove it, or leave out what is broken with --skip-bad",
        ),
        Problem::Size([(height, width), found]) => (
            format!("{}x{} pixels", found.0, found.1),
            format!("{height}x{width}, as the other images have"),
            "resize them all, those of a data set with --image-size, 32 for instance",
        ),
        Problem::Colour => {
            ("colour".to_string(), "grey, as the other images are".to_string(), "convert it")
        }
    };
    let row = row.map(|row| format!(" in row {row}")).unwrap_or_default();
    Error::BadFile { path, found: format!("{found}{row}"), expected, advice: advice.to_string() }
}

/// A picture's decoder, and the name of its format.
fn open(bytes: &[u8], most: u64) -> Result<(impl ImageDecoder + use<'_>, &'static str), Problem> {
    let mut reader = ImageReader::new(Cursor::new(bytes));
    let bad = |found| Err(Problem::Bad(found));
    let Ok(format) = image::guess_format(bytes) else {
        return bad(format!("{} bytes that are not a PNG, JPEG, WebP or BMP", bytes.len()));
    };
    let name = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        other => return bad(format!("a picture of the type {}", other.to_mime_type())),
    };
    if !format.reading_enabled() {
        let without = "built without the feature `pictures`: build with --features pictures";
        return bad(format!("a {name} ({without})"));
    }
    reader.set_format(format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(most);
    reader.limits(limits);
    let decoder = reader
        .into_decoder()
        .map_err(|error| Problem::Bad(format!("a broken {name} ({error})")))?;
    // Not all decoders check the limit themselves.
    let ((width, height), bytes) = (decoder.dimensions(), decoder.total_bytes());
    if bytes > most / 2 {
        let most = most / 2;
        let found =
            format!("a {name} of {height}x{width} pixels, {bytes} bytes, and {most} at most");
        return bad(found);
    }
    // A BMP may say that it is empty.
    if width == 0 || height == 0 {
        return bad(format!("a {name} of {height}x{width} pixels"));
    }
    Ok((decoder, name))
}

fn is_grey(color: ColorType) -> bool {
    matches!(color, ColorType::L8 | ColorType::La8 | ColorType::L16 | ColorType::La16)
}

/// Reads channels, height and width of a picture, as it is displayed, from its header.
pub(crate) fn peek(bytes: &[u8]) -> Result<Shape, Problem> {
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

/// Whether a picture has colour, as its header says; not if it is broken.
pub(crate) fn has_colour(bytes: &[u8]) -> bool {
    peek(bytes).is_ok_and(|(channels, ..)| channels == 3)
}

/// Whether the orientation swaps height and width.
fn turns(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

fn decode(bytes: &[u8], how: &How, pixels: &mut [u8]) -> Result<(), Problem> {
    let (channels, height, width) = how.shape;
    let is_strict = how.form == Form::Exactly;
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
    let found = match turns(orientation) {
        true => (found_width as usize, found_height as usize),
        false => (found_height as usize, found_width as usize),
    };
    let too_long = |[pixels, most]: [usize; 2]| {
        let (height, width) = found;
        let resized = format!("{pixels} once its shorter side is resized, and {most} at most");
        Problem::Bad(format!("a {name} of {height}x{width} pixels, {resized}"))
    };
    let size = match how.form {
        Form::Fitted => Some(resized(found, height).map_err(too_long)?),
        _ => None,
    };
    let new = size.map_or(0, |(height, width)| u64::from(height) * u64::from(width));
    let largest = decoder.total_bytes().max(new * channels as u64);
    let _turn = (largest > LARGE).then(|| lock(&TURN));
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    match size {
        Some(size) => picture = square(&picture, height as u32, size),
        None if found != (height, width) => {
            return Err(Problem::Size([(height, width), found]));
        }
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

/// The height and width of a picture of this height and width once its shorter side is resized to `side` pixels, which
/// is not 0.
///
/// # Errors
/// If it would have too many pixels; then how many, and how many it may have.
pub(crate) fn resized(
    (height, width): (usize, usize),
    side: usize,
) -> Result<(u32, u32), [usize; 2]> {
    let (short, long) = (height.min(width).max(1), height.max(width).max(1));
    let longer = side.saturating_mul(long) / short;
    let pixels = side.saturating_mul(longer);
    let most = MOST_RESIZED.max(side.saturating_mul(side).saturating_mul(4));
    match (u32::try_from(side), u32::try_from(longer)) {
        (Ok(side), Ok(longer)) if pixels <= most && width < height => Ok((longer, side)),
        (Ok(side), Ok(longer)) if pixels <= most => Ok((side, longer)),
        _ => Err([pixels, most]),
    }
}

/// Resizes a picture to this height and width (by a triangle filter, widened when the picture shrinks, like Pillow's
/// `BILINEAR`), where the shorter one has `side` pixels, and crops it to a square around the middle: torchvision's
/// `Resize` and `CenterCrop`.
pub(crate) fn square(
    picture: &DynamicImage,
    side: u32,
    (height, width): (u32, u32),
) -> DynamicImage {
    let resized = match (height, width) == (picture.height(), picture.width()) {
        true => picture.clone(),
        false => picture.resize_exact(width, height, FilterType::Triangle),
    };
    // torchvision rounds half to even.
    let middle = |long: u32| (f64::from(long - side) / 2.0).round_ties_even() as u32;
    resized.crop_imm(middle(width), middle(height), side, side)
}
