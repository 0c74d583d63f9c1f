//! The method, as the engine runs it.

use super::config::Preset;
use super::network::Network;
use candle::{DType, Device};
use candle_hebbian::Rng;
use hebbian_data::Dataset;
use hebbian_train::{Method, Recipe, Result, Start, UnsupervisedLearner, WithHead};
use serde::{Deserialize, Serialize};

/// Unsupervised learning by competing hidden units (Krotov & Hopfield 2019), for [`hebbian_train::train`].
#[derive(Debug, Clone, Copy)]
pub struct KrotovHopfield;

/// What a run needs beside its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Network and recipe, overrides applied.
    pub preset: Preset,
}

/// The network in training.
pub type Learner = UnsupervisedLearner<Network>;

impl Method for KrotovHopfield {
    const NAME: &'static str = "krotov-hopfield";
    /// The head is trained anew, however long; the layer's rate depends on its epochs.
    const MAY_GROW: &'static [&'static str] = &["/preset/head/epochs"];
    type Preset = Preset;
    type Options = Options;
    type Learner = Learner;

    fn preset(options: &Options) -> &Preset {
        &options.preset
    }

    fn preset_mut(options: &mut Options) -> &mut Preset {
        &mut options.preset
    }

    fn learner(Options { preset }: &Options, data: &Dataset, start: &Start) -> Result<Learner> {
        let (image, classes) = (data.train.shape(), data.class_names.len());
        let model = model(preset, image, classes, &start.rng, &start.device)?;
        let Preset { epochs, batch_size, head, .. } = preset.clone();
        UnsupervisedLearner::new(model, Recipe { epochs, batch_size, head }, data, start)
    }

    fn model(
        options: &Options,
        image: (usize, usize, usize),
        classes: usize,
        device: &Device,
    ) -> Result<WithHead<Network>> {
        model(&options.preset, image, classes, &Rng::new(0), device)
    }
}

fn model(
    preset: &Preset,
    (channels, height, width): (usize, usize, usize),
    classes: usize,
    rng: &Rng,
    device: &Device,
) -> Result<WithHead<Network>> {
    let network = Network::new(preset, channels * height * width, rng, DType::F32, device)?;
    Ok(WithHead::new(network, preset.units, classes))
}
