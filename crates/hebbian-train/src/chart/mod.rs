//! Line and bar charts as pictures.

mod axis;
mod bars;
mod histogram;
mod lines;
mod page;

pub use bars::{BarChart, BarSeries};
pub use histogram::Histogram;
pub use lines::{LineChart, Series, draw_panels};
use plotters::style::RGBColor;

use crate::{Error, Picture, Result};

/// Colours that people with colour-vision deficiency can tell apart (Okabe and Ito, 2008), of which those with
/// good contrast on white: blue, vermilion, green, purple, light blue, orange, black.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

impl Picture {
    /// Returns the picture with a title of one or more lines above it.
    ///
    /// # Errors
    /// When the text cannot be drawn.
    pub fn titled(&self, title: &str) -> Result<Self> {
        page::under(self, title).map_err(|reason| error(title, reason))
    }
}

/// Draws a line of text on white in the given colour.
///
/// # Errors
/// When it cannot be drawn.
pub(crate) fn text_picture(words: &str, [red, green, blue]: [u8; 3]) -> Result<Picture> {
    page::line(words, RGBColor(red, green, blue)).map_err(|reason| error(words, reason))
}

fn error(title: &str, reason: impl ToString) -> Error {
    Error::Chart { title: title.to_string(), reason: reason.to_string() }
}
