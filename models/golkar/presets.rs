//! The presets, embedded as JSON.

use super::config::Preset;
use hebbian_train::{Result, all_presets, find_preset};

/// Returns the preset called `name` or, if `name` ends in `.json`, the preset in that file.
///
/// # Errors
/// If the name is unknown (the message lists the nearest names), the file cannot be read, or the JSON does not
/// fit the schema.
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
    const METHOD: &'static str = "Golkar 2020";
    const EMBEDDED: &'static [&'static str] = &[
        include_str!("presets/golkar-cifar10-linear.json"),
        include_str!("presets/golkar-cifar100-linear.json"),
        include_str!("presets/golkar-digits.json"),
        include_str!("presets/golkar-digits-linear.json"),
        include_str!("presets/golkar-fashion-linear.json"),
        include_str!("presets/golkar-mnist.json"),
        include_str!("presets/golkar-mnist-256.json"),
        include_str!("presets/golkar-mnist-60000.json"),
        include_str!("presets/golkar-mnist-linear.json"),
        include_str!("presets/golkar-mnist-online.json"),
    ];
    const RECORD: &'static [&'static str] = &[
        include_str!("record/alignment.json"),
        include_str!("record/digits.json"),
        include_str!("record/fig3.json"),
        include_str!("record/table1.json"),
    ];

    hebbian_train::preset_fields!();

    fn validate(&self) -> Result<()> {
        self.check()
    }
}
