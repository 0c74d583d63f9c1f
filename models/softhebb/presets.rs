//! The presets, embedded as JSON.

use super::check;
use super::config::Preset;
use hebbian_train::{Result, all_presets, find_preset};

/// Returns the preset whose name, or whose name in the authors' release, is `name` or, if `name` ends in `.json`, the
/// preset in that file.
///
/// # Errors
/// An unknown name (the message lists the nearest names), an unreadable file, JSON of another schema.
pub fn preset(name: &str) -> Result<Preset> {
    find_preset(name)
}

/// Returns all presets, sorted by name.
///
/// # Errors
/// None in a build that passes its tests, which check the embedded files.
pub fn presets() -> Result<Vec<Preset>> {
    all_presets()
}

impl hebbian_train::Preset for Preset {
    const METHOD: &'static str = "SoftHebb";
    const EMBEDDED: &'static [&'static str] = &[
        include_str!("presets/backprop-cnn1-cifar.json"),
        include_str!("presets/backprop-cnn1-imagenet.json"),
        include_str!("presets/backprop-cnn2-cifar.json"),
        include_str!("presets/backprop-cnn2-imagenet.json"),
        include_str!("presets/backprop-cnn3-cifar.json"),
        include_str!("presets/backprop-cnn3-imagenet.json"),
        include_str!("presets/backprop-cnn3-stl.json"),
        include_str!("presets/backprop-cnn4-imagenet.json"),
        include_str!("presets/backprop-cnn4-stl.json"),
        include_str!("presets/backprop-cnn5-imagenet.json"),
        include_str!("presets/hard-cnn1-cifar.json"),
        include_str!("presets/hard-cnn1-cifar-speed.json"),
        include_str!("presets/hard-cnn1-cifar-speed-linear-decay.json"),
        include_str!("presets/hard-cnn1-imagenet.json"),
        include_str!("presets/hard-cnn2-cifar.json"),
        include_str!("presets/hard-cnn2-imagenet.json"),
        include_str!("presets/hard-cnn3-cifar.json"),
        include_str!("presets/hard-cnn3-imagenet.json"),
        include_str!("presets/hard-cnn4-imagenet.json"),
        include_str!("presets/hard-cnn5-imagenet.json"),
        include_str!("presets/softhebb-cnn-digits.json"),
        include_str!("presets/softhebb-cnn-mnist.json"),
        include_str!("presets/softhebb-cnn1-cifar.json"),
        include_str!("presets/softhebb-cnn1-imagenet.json"),
        include_str!("presets/softhebb-cnn2-cifar.json"),
        include_str!("presets/softhebb-cnn2-cifar-width-factor-1.json"),
        include_str!("presets/softhebb-cnn2-cifar-width-factor-2.json"),
        include_str!("presets/softhebb-cnn2-imagenet.json"),
        include_str!("presets/softhebb-cnn3-cifar.json"),
        include_str!("presets/softhebb-cnn3-cifar-double.json"),
        include_str!("presets/softhebb-cnn3-cifar-half.json"),
        include_str!("presets/softhebb-cnn3-cifar-hebbian-head.json"),
        include_str!("presets/softhebb-cnn3-cifar-no-batch-norm.json"),
        include_str!("presets/softhebb-cnn3-cifar-quarter.json"),
        include_str!("presets/softhebb-cnn3-cifar-soft.json"),
        include_str!("presets/softhebb-cnn3-cifar-wide.json"),
        include_str!("presets/softhebb-cnn3-cifar-width-factor-1.json"),
        include_str!("presets/softhebb-cnn3-cifar-width-factor-2.json"),
        include_str!("presets/softhebb-cnn3-imagenet.json"),
        include_str!("presets/softhebb-cnn3-stl.json"),
        include_str!("presets/softhebb-cnn4-imagenet.json"),
        include_str!("presets/softhebb-cnn4-stl.json"),
        include_str!("presets/softhebb-cnn5-imagenet.json"),
        include_str!("presets/softhebb-mlp-digits.json"),
        include_str!("presets/softhebb-mlp-mnist.json"),
        include_str!("presets/softhebb-mlp-mnist-linear-decay.json"),
    ];
    const RECORD: &'static [&'static str] = &[
        include_str!("record/cifar10.json"),
        include_str!("record/cifar10-all-layers.json"),
        include_str!("record/cifar10-wide.json"),
        include_str!("record/cifar100.json"),
        include_str!("record/digits.json"),
        include_str!("record/digits-cnn.json"),
        include_str!("record/figures.json"),
        include_str!("record/held-out.json"),
        include_str!("record/mnist.json"),
        include_str!("record/quarter-width.json"),
        include_str!("record/read-outs.json"),
        include_str!("record/same-read-outs.json"),
        include_str!("record/whitening.json"),
    ];

    hebbian_train::preset_fields!(alias);

    fn validate(&self) -> Result<()> {
        check::preset(self)
    }
}
