//! Miconi 2021: Hebbian convolutional networks by gradients.
//!
//! T. Miconi: *Hebbian learning with gradients: Hebbian convolutional neural networks with modern
//! deep learning frameworks*, arXiv 2107.01729. Each rule is a loss whose gradient is minus the
//! Hebbian update. Three layers of k-winners-take-all units learn at once, with thresholds that keep
//! all units active equally often. In such a network, classes are decoded less accurately from deeper layers,
//! but more accurately if layers pass on *triangle* responses and most connections are missing.

mod config;
mod connections;
mod decode;
mod decoder;
mod experiments;
mod learner;
mod model;
mod monitor;
mod network;
mod options;
mod patches;
mod pictures;
mod presets;
mod receptive_fields;
mod report;
mod signed_winners;

pub use config::{LayerConfig, Patches, Plasticity, Preset, Quirks, Training, Triangle};
pub use decode::{Features, quadrants};
pub use decoder::{Decoder, Decoding};
pub use experiments::Experiment;
pub use hebbian_train::{Error, Result};
pub use learner::{Learner, Miconi, evaluate};
pub use model::Model;
pub use monitor::{LayerStats, Monitor};
pub use network::{Network, Phase};
pub use options::Options;
pub use presets::{preset, presets};
pub use receptive_fields::{ReceptiveField, receptive_fields};
pub use report::{decoding_table, report};
pub use signed_winners::SignedWinners;
