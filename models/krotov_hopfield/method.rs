//! The method, as the engine runs it.

use super::config::Preset;
use super::network::Network;
use candle::{DType, Device};
use candle_hebbian::Rng;
use hebbian_train::{OfPreset, Recipe, Result, UnsupervisedLearner, UnsupervisedMethod};

/// Unsupervised learning by competing hidden units (Krotov & Hopfield 2019), for [`hebbian_train::train`].
#[derive(Debug, Clone, Copy)]
pub struct KrotovHopfield;

/// What a run needs besides its data.
pub type Options = OfPreset<Preset>;

/// The network in training.
pub type Learner = UnsupervisedLearner<Network>;

impl UnsupervisedMethod for KrotovHopfield {
    const NAME: &'static str = "krotov-hopfield";
    /// The head is always trained from the start, so its number of epochs may grow. The layer's learning rate depends
    /// on the layer's number of epochs.
    const MAY_GROW: &'static [&'static str] = &["/preset/head/epochs"];
    type Preset = Preset;
    type Network = Network;

    fn network(
        preset: &Preset,
        (channels, height, width): (usize, usize, usize),
        rng: &Rng,
        device: &Device,
    ) -> Result<Network> {
        Network::new(preset, channels * height * width, rng, DType::F32, device)
    }

    fn recipe(Preset { epochs, batch_size, head, .. }: &Preset) -> Recipe {
        Recipe { epochs: *epochs, batch_size: *batch_size, head: head.clone() }
    }
}
