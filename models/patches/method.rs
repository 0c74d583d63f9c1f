//! The method, as the engine runs it.

use super::config::Preset;
use super::network::Network;
use candle::Device;
use hebbian_data::Dataset;
use hebbian_train::{
    LinearHeadConfig, Method, Recipe, Result, Start, UnsupervisedLearner, WithHead,
};
use serde::{Deserialize, Serialize};

/// Whitened random patches (Thiry et al. 2021), for [`hebbian_train::train`].
#[derive(Debug, Clone, Copy)]
pub struct Patches;

/// What a run needs beside its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Patches and code, overrides applied.
    pub preset: Preset,
}

/// The network, with nothing to learn but its read-out.
pub type Learner = UnsupervisedLearner<Network>;

impl Method for Patches {
    const NAME: &'static str = "patches";
    /// It learns nothing.
    const AUGMENTS: bool = false;
    type Preset = Preset;
    type Options = Options;
    type Learner = Learner;

    fn preset(options: &Options) -> &Preset {
        &options.preset
    }

    fn preset_mut(options: &mut Options) -> &mut Preset {
        &mut options.preset
    }

    fn learner(options: &Options, data: &Dataset, start: &Start) -> Result<Learner> {
        let classes = data.class_names.len();
        let model = Self::model(options, data.train.shape(), classes, &start.device)?;
        // Read out by ridge regression, not by a head.
        let recipe = Recipe { epochs: 0, batch_size: 1, head: LinearHeadConfig::default() };
        UnsupervisedLearner::new(model, recipe, data, start)
    }

    fn model(
        options: &Options,
        image: (usize, usize, usize),
        classes: usize,
        device: &Device,
    ) -> Result<WithHead<Network>> {
        let network = Network::new(&options.preset, image, device)?;
        let width = network.width();
        Ok(WithHead::new(network, width, classes))
    }
}
