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
    const METHOD: &'static str = "Amit 2019";
    const EMBEDDED: &'static [&'static str] = &[
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
    const RECORD: &'static [&'static str] = &[
        include_str!("record/cifar10-deepernet.json"),
        include_str!("record/cifar10-simpnet.json"),
        include_str!("record/digits.json"),
        include_str!("record/feedback.json"),
        include_str!("record/figures.json"),
        include_str!("record/linear.json"),
        include_str!("record/mixture.json"),
        include_str!("record/same-read-outs.json"),
    ];

    hebbian_train::preset_fields!();

    fn validate(&self) -> Result<()> {
        self.check()
    }
}
