//! The method, as the engine runs it.

use super::config::Preset;
use super::network::Network;
use candle::Device;
use candle_hebbian::Rng;
use hebbian_train::{OfPreset, Result, UnsupervisedLearner, UnsupervisedMethod};

/// Whitened random patches (Thiry et al. 2021), for [`hebbian_train::train`].
#[derive(Debug, Clone, Copy)]
pub struct Patches;

/// What a run needs besides its data.
pub type Options = OfPreset<Preset>;

/// The network, with nothing to learn but its read-out.
pub type Learner = UnsupervisedLearner<Network>;

impl UnsupervisedMethod for Patches {
    const NAME: &'static str = "patches";
    /// The network learns nothing.
    const AUGMENTS: bool = false;
    type Preset = Preset;
    type Network = Network;

    fn network(
        preset: &Preset,
        image: (usize, usize, usize),
        _: &Rng,
        device: &Device,
    ) -> Result<Network> {
        Network::new(preset, image, device)
    }
}
