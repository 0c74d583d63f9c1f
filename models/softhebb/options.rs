//! What a run is made of, besides its data.

use super::config::Preset;
use serde::{Deserialize, Serialize};

/// What a run needs besides its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Network and recipe, with overrides applied.
    pub preset: Preset,
    /// Also train the same head on raw pixels and on random features. Default: no.
    #[serde(default)]
    pub baselines: bool,
}
