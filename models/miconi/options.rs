//! What a run is made of, besides its data.

use super::config::Preset;
use super::decoder::Decoder;
use serde::{Deserialize, Serialize};

/// The options of a run, besides its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The network and its training, with overrides applied.
    pub preset: Preset,
    /// The classifier of the read-outs.
    #[serde(default)]
    pub decoder: Decoder,
    /// Standardise the last layer's output before its quadrants are averaged, as for the other layers.
    #[serde(default)]
    pub standardise_last: bool,
}
