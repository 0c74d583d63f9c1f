use serde::{Deserialize, Serialize};

/// The size that an image gets: in JSON a number of pixels, or `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a size: pixels a side, or [height, width]")]
pub enum Size {
    /// A number of pixels: each side of a crop, or the shorter side of a resized image.
    Side(usize),
    /// Height and width.
    Exactly([usize; 2]),
}

impl Size {
    /// Returns height and width; a single number stands for a square.
    pub fn sides(self) -> (usize, usize) {
        match self {
            Self::Side(side) => (side, side),
            Self::Exactly([height, width]) => (height, width),
        }
    }

    /// Whether the image would have no pixels.
    pub(super) fn is_empty(self) -> bool {
        let (height, width) = self.sides();
        height == 0 || width == 0
    }
}
