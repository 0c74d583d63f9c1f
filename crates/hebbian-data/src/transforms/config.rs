use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use candle_hebbian::PaddingMode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    CentreCrop, ColourJitter, DifferenceOfGaussians, Flip, Grey, RandomCrop, RandomResizedCrop,
    Resize, Standardise, StandardiseImage, Transform, wrong,
};
use crate::{Error, Result, ZcaConfig};

/// A transform as presets and flags write it. In JSON it is an object with its `kind`. In text it is its name, then
/// the main setting after `=`, and the others after colons: `random-crop=32:padding=4:reflect`. Lists of numbers
/// are written with slashes, height and width as `32x48`; a word alone is a padding mode or turns on a setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TransformConfig {
    /// See [`Resize`].
    Resize(Resize),
    /// See [`CentreCrop`].
    CentreCrop(CentreCrop),
    /// See [`RandomCrop`].
    RandomCrop(RandomCrop),
    /// See [`RandomResizedCrop`].
    RandomResizedCrop(RandomResizedCrop),
    /// See [`Flip`].
    Flip(Flip),
    /// See [`ColourJitter`].
    ColourJitter(ColourJitter),
    /// See [`Grey`].
    Grey(Grey),
    /// See [`StandardiseImage`].
    StandardiseImage(StandardiseImage),
    /// See [`Standardise`].
    Standardise(Standardise),
    /// Each image [standardised by itself](StandardiseImage), then whitened by [`Zca`](crate::Zca).
    Zca(ZcaConfig),
    /// See [`DifferenceOfGaussians`].
    DifferenceOfGaussians(DifferenceOfGaussians),
}

impl TransformConfig {
    /// Returns the transform, or `None` if it has to be fitted to images.
    pub(super) fn ready(&self) -> Result<Option<Arc<dyn Transform>>> {
        self.check()?;
        Ok(Some(match self {
            Self::Resize(transform) => Arc::new(*transform),
            Self::CentreCrop(transform) => Arc::new(*transform),
            Self::RandomCrop(transform) => Arc::new(*transform),
            Self::RandomResizedCrop(transform) => Arc::new(*transform),
            Self::Flip(transform) => Arc::new(*transform),
            Self::ColourJitter(transform) => Arc::new(*transform),
            Self::Grey(transform) => Arc::new(*transform),
            Self::StandardiseImage(transform) => Arc::new(*transform),
            Self::DifferenceOfGaussians(transform) => Arc::new(*transform),
            Self::Zca(_) => return Ok(None),
            Self::Standardise(transform) => match transform.of_numbers()? {
                Some(scaling) => Arc::new(scaling),
                None => return Ok(None),
            },
        }))
    }

    /// Whether it is fitted to training images, so that what it has learned from them is a part of the model.
    pub fn is_fitted(&self) -> bool {
        match self {
            Self::Standardise(one) => one.mean.is_none() && one.deviation.is_none(),
            Self::Zca(_) => true,
            _ => false,
        }
    }

    /// Checks what the schema cannot express, but an image of any size shows.
    fn check(&self) -> Result<()> {
        /// A shape that is large enough for any crop and padding.
        const IMAGE: (usize, usize, usize) = (3, usize::MAX / 16, usize::MAX / 16);
        match self {
            Self::Resize(one) => one.shape(IMAGE).map(drop),
            Self::CentreCrop(one) => one.shape(IMAGE).map(drop),
            Self::RandomCrop(one) => one.shape(IMAGE).map(drop),
            Self::RandomResizedCrop(one) => one.shape(IMAGE).map(drop),
            Self::Flip(one) => one.shape(IMAGE).map(drop),
            Self::ColourJitter(one) => one.shape(IMAGE).map(drop),
            Self::Standardise(one) => one.of_numbers().map(drop),
            Self::Zca(config) => crate::zca::check_epsilon(config.epsilon),
            Self::Grey(_) | Self::StandardiseImage(_) | Self::DifferenceOfGaussians(_) => Ok(()),
        }
    }
}

/// The name of each transform, and the setting that follows its `=`.
const NAMES: [(&str, Option<&str>); 11] = [
    ("resize", Some("size")),
    ("centre-crop", Some("size")),
    ("random-crop", Some("size")),
    ("random-resized-crop", Some("size")),
    ("flip", Some("probability")),
    ("colour-jitter", None),
    ("grey", None),
    ("standardise-image", None),
    ("standardise", None),
    ("zca", Some("epsilon")),
    ("difference-of-gaussians", None),
];
/// The settings that are lists even if they hold one number.
const ROWS: [&str; 4] = ["mean", "deviation", "scale", "ratio"];
const PADDING_MODES: [(&str, PaddingMode); 2] =
    [("zeros", PaddingMode::Zeros), ("reflect", PaddingMode::Reflect)];

impl FromStr for TransformConfig {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let first = parts.next().unwrap_or_default();
        let (name, main) =
            first.split_once('=').map_or((first, None), |(name, main)| (name, Some(main)));
        let Some((_, key)) = NAMES.iter().find(|(known, _)| *known == name) else {
            let known = NAMES.map(|(name, _)| name).join(", ");
            return Err(wrong(text, format!("found the name {name:?}, expected one of {known}")));
        };
        let mut fields = Map::from_iter([("kind".to_string(), name.replace('-', "_").into())]);
        let mut put = |key: &str, value: Value| match fields.insert(key.replace('-', "_"), value) {
            Some(_) => Err(wrong(text, format!("found {key} twice, expected it once"))),
            None => Ok(()),
        };
        match (main, key) {
            (Some(main), Some(key)) => put(key, number_or_row(key, main))?,
            (Some(main), None) => {
                let problem = format!(
                    "found {main:?} after '=', expected {name} without, or {name}:KEY=VALUE"
                );
                return Err(wrong(text, problem));
            }
            (None, _) => {}
        }
        for part in parts {
            match part.split_once('=') {
                Some((key, value)) => put(key, number_or_row(key, value))?,
                None if PADDING_MODES.iter().any(|(word, _)| *word == part) => {
                    put("padding_mode", part.into())?;
                }
                None => put(part, true.into())?,
            }
        }
        let transform: Self = serde_json::from_value(Value::Object(fields))
            .map_err(|error| wrong(text, error.to_string()))?;
        transform.check()?;
        Ok(transform)
    }
}

/// Parses `32`, `32x48`, `0.5/0.25`, or a word.
fn number_or_row(key: &str, text: &str) -> Value {
    let number = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_number);
    let row = |separator| text.split(separator).map(number).collect::<Option<Vec<Value>>>();
    if ROWS.contains(&key) || text.contains('/') {
        return row('/').map_or_else(|| text.into(), Value::Array);
    }
    number(text).or_else(|| Some(Value::Array(row('x')?))).unwrap_or_else(|| text.into())
}

/// Writes what [`from_str`](FromStr::from_str) reads, without settings that have their default.
impl fmt::Display for TransformConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        let Value::Object(fields) = value else { return Err(fmt::Error) };
        let name = fields.get("kind").and_then(Value::as_str).unwrap_or_default().replace('_', "-");
        let main = NAMES.iter().find(|(known, _)| *known == name).and_then(|(_, main)| *main);
        let shown = |value: &Value, separator: &str| match value {
            Value::Array(row) => {
                row.iter().map(Value::to_string).collect::<Vec<_>>().join(separator)
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // The settings that follow from the name alone.
        let usual = name.parse::<Self>().ok().and_then(|usual| serde_json::to_value(usual).ok());
        let fields: Map<String, Value> = fields
            .into_iter()
            .filter(|(key, value)| usual.as_ref().is_none_or(|usual| usual[key] != *value))
            .collect();
        f.write_str(&name)?;
        if let Some(value) = main.and_then(|main| fields.get(main)) {
            write!(f, "={}", shown(value, "x"))?;
        }
        for (key, value) in &fields {
            match (key.as_str(), value) {
                ("kind", _) | (_, Value::Null | Value::Bool(false)) => {}
                (key, _) if Some(key) == main => {}
                ("padding_mode", mode) => write!(f, ":{}", shown(mode, ""))?,
                (key, Value::Bool(true)) => write!(f, ":{}", key.replace('_', "-"))?,
                (key, value) => write!(f, ":{}={}", key.replace('_', "-"), shown(value, "/"))?,
            }
        }
        Ok(())
    }
}
