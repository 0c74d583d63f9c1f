use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::TransformConfig;
use crate::{Error, Result};

/// Transforms one after the other, as presets and flags say them: in JSON a list, in text separated by commas, and
/// `none` for no transform.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransformList(pub Vec<TransformConfig>);

impl TransformList {
    /// Whether there is none.
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

/// What a network sees of images, as a preset says it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InputConfig {
    /// What is done to every image, to learn from or to test with.
    #[serde(skip_serializing_if = "TransformList::is_empty")]
    pub transforms: TransformList,
    /// What is done to images before that, while something learns from them.
    #[serde(skip_serializing_if = "TransformList::is_empty")]
    pub augmentation: TransformList,
}

impl InputConfig {
    /// What does nothing.
    pub const NONE: Self =
        Self { transforms: TransformList(Vec::new()), augmentation: TransformList(Vec::new()) };

    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.transforms.is_empty() && self.augmentation.is_empty()
    }
}
