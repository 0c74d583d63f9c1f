//! The method, as the engine runs it.

use super::config::Preset;
use super::network::Network;
use candle::Device;
use candle_hebbian::Rng;
use hebbian_train::{OfPreset, Result, UnsupervisedLearner, UnsupervisedMethod};

/// K-means on whitened patches (Coates et al. 2011), for [`hebbian_train::train`].
#[derive(Debug, Clone, Copy)]
pub struct KMeans;

/// What a run needs besides its data.
pub type Options = OfPreset<Preset>;

/// The network in training. Its centroids are computed before the first step, and there are no steps.
pub type Learner = UnsupervisedLearner<Network>;

impl UnsupervisedMethod for KMeans {
    const NAME: &'static str = "k-means";
    /// Patches are drawn from the images as they are.
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
