//! The presets, embedded as JSON.

use super::config::Preset;
use hebbian_train::{Result, all_presets, find_preset};

/// Returns the preset called `name` or, if `name` ends in `.json`, the preset in that file.
///
/// # Errors
/// If the name is unknown (the message lists the nearest names), the file cannot be read, or the JSON does not fit
/// the schema.
pub fn preset(name: &str) -> Result<Preset> {
    find_preset(name)
}

/// Returns every preset, sorted by name.
///
/// # Errors
/// Never in a build that passes its tests, because they check the embedded files.
pub fn presets() -> Result<Vec<Preset>> {
    all_presets()
}

impl hebbian_train::Preset for Preset {
    const METHOD: &'static str = "Miconi 2021";
    const EMBEDDED: &'static [&'static str] = &[
        include_str!("presets/miconi-cifar.json"),
        include_str!("presets/miconi-cifar-patches.json"),
        include_str!("presets/miconi-digits.json"),
        include_str!("presets/miconi-simple.json"),
    ];
    const RECORD: &'static [&'static str] = &[
        include_str!("record/cifar10.json"),
        include_str!("record/controls.json"),
        include_str!("record/digits.json"),
        include_str!("record/interventions.json"),
        include_str!("record/other-networks.json"),
        include_str!("record/pruning.json"),
        include_str!("record/rules.json"),
        include_str!("record/same-read-outs.json"),
    ];

    hebbian_train::preset_fields!();

    fn validate(&self) -> Result<()> {
        self.check()
    }
}
