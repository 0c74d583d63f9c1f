//! The presets, embedded as JSON.

use super::config::Preset;
use super::error::{Error, Result};
use std::path::Path;

/// The preset of that name; or, when `name` ends in `.json`, the one in that file.
///
/// # Errors
/// An unknown name (the message lists all), an unreadable file, JSON of another schema.
pub fn preset(name: &str) -> Result<Preset> {
    if Path::new(name).extension().is_some_and(|extension| extension == "json") {
        let text = std::fs::read_to_string(name).map_err(|error| Error::BadPreset {
            source_name: name.to_string(),
            reason: error.to_string(),
        })?;
        return parse(name, &text);
    }
    let all = presets()?;
    match all.iter().find(|preset| preset.name == name) {
        Some(preset) => Ok(preset.clone()),
        None => Err(Error::UnknownPreset {
            name: name.to_string(),
            known: all.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join("\n  "),
        }),
    }
}

/// Every preset, by name.
///
/// # Errors
/// None in a build that passes its tests: the embedded files are checked there.
pub fn presets() -> Result<Vec<Preset>> {
    PRESETS.iter().map(|text| parse("an embedded preset", text)).collect()
}

fn parse(source_name: &str, text: &str) -> Result<Preset> {
    let bad = |reason| Error::BadPreset { source_name: source_name.to_string(), reason };
    let preset: Preset = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
    preset.check().map_err(|error| bad(error.to_string()))?;
    Ok(preset)
}

const PRESETS: &[&str] = &[
    include_str!("presets/amit-deepernet.json"),
    include_str!("presets/amit-deepernet-no-residual.json"),
    include_str!("presets/amit-deepernet-s.json"),
    include_str!("presets/amit-deepernet-s-untied.json"),
    include_str!("presets/amit-deepernet-s-untied-all.json"),
    include_str!("presets/amit-deepernet2-s-untied.json"),
    include_str!("presets/amit-deepnet.json"),
    include_str!("presets/amit-deepnet-average.json"),
    include_str!("presets/amit-digits.json"),
    include_str!("presets/amit-simpnet.json"),
    include_str!("presets/amit-simpnet-exp-untied.json"),
    include_str!("presets/amit-simpnet-s-untied.json"),
    include_str!("presets/amit-simpnet-stride-3.json"),
    include_str!("presets/amit-simpnet-untied.json"),
];
