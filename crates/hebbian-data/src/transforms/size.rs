use serde::{Deserialize, Serialize};

/// How large an image is to become: in JSON a number of pixels, or `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a size: pixels a side, or [height, width]")]
pub enum Size {
    /// So many pixels: of a crop each side, of an image that is resized the shorter one.
    Side(usize),
    /// Height and width.
    Exactly([usize; 2]),
}

impl Size {
    /// Height and width, of a square where there is one number.
    pub fn sides(self) -> (usize, usize) {
        match self {
            Self::Side(side) => (side, side),
            Self::Exactly([height, width]) => (height, width),
        }
    }

    /// Whether there would be no pixel.
    pub(super) fn is_empty(self) -> bool {
        let (height, width) = self.sides();
        height == 0 || width == 0
    }
}
