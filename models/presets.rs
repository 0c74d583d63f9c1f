//! Presets: networks with their recipes as JSON, embedded or in a file.

use hebbian_train::{Error, Result};
use serde::de::DeserializeOwned;
use std::path::Path;

/// The presets of one paper.
pub(crate) trait Preset: DeserializeOwned {
    /// The paper, for messages.
    const METHOD: &'static str;
    /// The JSON of each.
    const EMBEDDED: &'static [&'static str];

    /// Its name, and whatever else it may be called.
    fn names(&self) -> impl Iterator<Item = &str>;

    /// What the schema cannot say.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

/// Every preset.
pub(crate) fn all<P: Preset>() -> Result<Vec<P>> {
    P::EMBEDDED.iter().map(|text| parse("an embedded preset", text)).collect()
}

/// The preset of that name; or, when `name` ends in `.json`, the one in that file.
pub(crate) fn find<P: Preset>(name: &str) -> Result<P> {
    if Path::new(name).extension().is_some_and(|extension| extension == "json") {
        let text = std::fs::read_to_string(name).map_err(|error| bad::<P>(name, error))?;
        return parse(name, &text);
    }
    let mut all = all::<P>()?;
    match all.iter().position(|preset| preset.names().any(|known| known == name)) {
        Some(at) => Ok(all.swap_remove(at)),
        None => Err(Error::UnknownPreset {
            name: name.to_string(),
            known: all.iter().filter_map(|p| p.names().next()).collect::<Vec<_>>().join("\n  "),
        }),
    }
}

/// The longest name of a preset.
const LONGEST_NAME: usize = 100;

fn parse<P: Preset>(source_name: &str, text: &str) -> Result<P> {
    let preset: P = serde_json::from_str(text).map_err(|error| bad::<P>(source_name, error))?;
    if let Some(name) = preset.names().next().filter(|name| !is_name(name)) {
        return Err(bad::<P>(
            source_name,
            format!(
                "its name is {name:?}, expected 1 to {LONGEST_NAME} letters, digits, '-', '_' and '.', \
                 and no '.' at the start: it becomes the name of a folder"
            ),
        ));
    }
    preset.validate().map_err(|error| bad::<P>(source_name, error))?;
    Ok(preset)
}

/// Whether a preset may have this name, which is that of its run's folder unless another is given.
fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn bad<P: Preset>(source_name: &str, reason: impl ToString) -> Error {
    let (source_name, reason) = (source_name.to_string(), reason.to_string());
    Error::BadPreset { source_name, method: P::METHOD, reason }
}
