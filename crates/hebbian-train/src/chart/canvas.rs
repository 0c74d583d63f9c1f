//! What charts are drawn with: strokes, boxes and text at fractions of a pixel.
//!
//! Everything is drawn [`FINER`] times as large with plotters and averaged down: it knows whole pixels
//! only, which would make thin lines uneven and letters dance.

use std::sync::Once;

use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, FontTransform, RGBColor, TextStyle, register_font,
};

use crate::Picture;

const FINER: u32 = 2;
/// The name under which programs that use plotters too will not look for theirs.
const FAMILY: &str = "hebbian-train DejaVu Sans";
/// From the baseline to the middle of a capital or digit, per font size.
const HALF_CAPITAL: f64 = 0.31;
/// Pixels drawn and left out of a dashed line.
const DASH: [f64; 2] = [14.0, 10.0];

/// Pixels from the left and the top.
pub(super) type Point = (f64, f64);
/// A colour: red, green, blue.
pub(super) type Rgb = [u8; 3];
/// Fails with plotters' reason.
pub(super) type Drawn<T> = std::result::Result<T, String>;

/// Where a text's middle line meets its point.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Left,
    Centre,
    Right,
    /// Turned to be read upwards, centred.
    Upwards,
}

/// The hand that draws.
pub(super) struct Pen<'a>(BitMapBackend<'a>);

/// A white picture of `width` × `height` pixels on which `draw` has drawn.
pub(super) fn paint<E>(
    width: usize,
    height: usize,
    draw: impl FnOnce(&mut Pen<'_>) -> Result<(), E>,
) -> Result<Picture, E> {
    let finer = FINER as usize;
    let mut picture = Picture::new(width * finer, height * finer, [255; 3]);
    let size = (picture.width() as u32, picture.height() as u32);
    draw(&mut Pen(BitMapBackend::with_buffer(picture.bytes_mut(), size)))?;
    Ok(picture.reduced(finer))
}

/// How wide `text` is at a font size, in pixels.
pub(super) fn text_width(text: &str, size: f64) -> Drawn<f64> {
    let ((left, _), (right, _)) = font(size).layout_box(text).map_err(|error| error.to_string())?;
    Ok(f64::from(right - left) / f64::from(FINER))
}

fn font(size: f64) -> FontDesc<'static> {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        let bytes = include_bytes!("../../assets/DejaVuSans-subset.ttf");
        // If this fails, measuring and drawing say that there is no such font.
        let _ = register_font(FAMILY, FontStyle::Normal, bytes);
    });
    FontDesc::new(FontFamily::Name(FAMILY), size * f64::from(FINER), FontStyle::Normal)
}

fn fine(value: f64) -> i32 {
    (value * f64::from(FINER)).round() as i32
}

impl Pen<'_> {
    /// A line through the points with round joints and ends.
    pub fn line(&mut self, points: &[Point], width: f64, colour: Rgb) -> Drawn<()> {
        let style = rgb(colour).stroke_width(fine(width) as u32);
        let points: Vec<_> = points.iter().map(|&(x, y)| (fine(x), fine(y))).collect();
        for pair in points.windows(2) {
            // One at a time: plotters' joints have spikes where a line turns back.
            if pair[0] != pair[1] {
                self.0
                    .draw_path(pair.iter().copied(), &style)
                    .map_err(|error| error.to_string())?;
            }
        }
        let radius = fine(width / 2.0) as u32;
        if radius > 1 {
            for &point in &points {
                self.0
                    .draw_circle(point, radius, &rgb(colour).filled(), true)
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// [`line`](Self::line) in dashes that go on around corners.
    pub fn dashed_line(&mut self, points: &[Point], width: f64, colour: Rgb) -> Drawn<()> {
        let (mut drawing, mut left) = (true, DASH[0]);
        let mut dash = Vec::new();
        for pair in points.windows(2) {
            let ((mut x, mut y), (to_x, to_y)) = (pair[0], pair[1]);
            dash.push((x, y));
            loop {
                let length = (to_x - x).hypot(to_y - y);
                if length <= left {
                    left -= length;
                    break;
                }
                (x, y) = (x + (to_x - x) * left / length, y + (to_y - y) * left / length);
                dash.push((x, y));
                if drawing {
                    self.line(&dash, width, colour)?;
                }
                drawing = !drawing;
                left = DASH[usize::from(!drawing)];
                dash = vec![(x, y)];
            }
        }
        dash.extend(points.last());
        if drawing { self.line(&dash, width, colour) } else { Ok(()) }
    }

    /// A disc.
    pub fn dot(&mut self, at: Point, radius: f64, colour: Rgb) -> Drawn<()> {
        let (at, radius) = ((fine(at.0), fine(at.1)), fine(radius) as u32);
        self.0
            .draw_circle(at, radius, &rgb(colour).filled(), true)
            .map_err(|error| error.to_string())
    }

    /// A filled rectangle between two corners.
    pub fn rectangle(&mut self, one: Point, other: Point, colour: Rgb) -> Drawn<()> {
        let from = (fine(one.0.min(other.0)), fine(one.1.min(other.1)));
        let to = (fine(one.0.max(other.0)), fine(one.1.max(other.1)));
        self.0.draw_rect(from, to, &rgb(colour).filled(), true).map_err(|error| error.to_string())
    }

    /// A line of text with the middle of its capitals at the height of `at`.
    pub fn text(
        &mut self,
        text: &str,
        at: Point,
        anchor: Anchor,
        size: f64,
        colour: Rgb,
    ) -> Drawn<()> {
        let width = text_width(text, size)?;
        // plotters draws down from a corner, with the baseline half a size below it.
        let above = (0.5 - HALF_CAPITAL) * size;
        let (x, y, turn) = match anchor {
            Anchor::Left => (at.0, at.1 - above, FontTransform::None),
            Anchor::Centre => (at.0 - width / 2.0, at.1 - above, FontTransform::None),
            Anchor::Right => (at.0 - width, at.1 - above, FontTransform::None),
            Anchor::Upwards => (at.0 - above, at.1 + width / 2.0, FontTransform::Rotate270),
        };
        let colour = rgb(colour);
        let style = TextStyle::from(font(size).transform(turn)).color(&colour);
        self.0.draw_text(text, &style, (fine(x), fine(y))).map_err(|error| error.to_string())
    }
}

fn rgb([red, green, blue]: Rgb) -> RGBColor {
    RGBColor(red, green, blue)
}
