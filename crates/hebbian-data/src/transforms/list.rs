use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::TransformConfig;
use crate::{Error, Result};

/// A list of transforms, applied one after the other, as presets and flags write it: in JSON a list, in text
/// separated by commas, with `none` for an empty list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransformList(pub Vec<TransformConfig>);

impl TransformList {
    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for TransformList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::default()),
            text => text.split(',').map(str::parse).collect::<Result<_>>().map(Self),
        }
    }
}

impl fmt::Display for TransformList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [] => f.write_str("none"),
            all => f.write_str(&all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

/// The preparation of images for a network, as a preset describes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InputConfig {
    /// The transforms of every image, in training and in tests.
    #[serde(skip_serializing_if = "TransformList::is_empty")]
    pub transforms: TransformList,
    /// The transforms that are applied before [`transforms`](Self::transforms), but only while something learns
    /// from the images.
    #[serde(skip_serializing_if = "TransformList::is_empty")]
    pub augmentation: TransformList,
}

impl InputConfig {
    /// No transforms at all.
    pub const NONE: Self =
        Self { transforms: TransformList(Vec::new()), augmentation: TransformList(Vec::new()) };

    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.transforms.is_empty() && self.augmentation.is_empty()
    }
}
