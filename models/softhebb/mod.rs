//! SoftHebb: deep soft winner-take-all networks without feedback, targets or errors.
//!
//! Journé, Garcia Rodriguez, Guo, Moraitis: *Hebbian Deep Learning Without Feedback*, ICLR 2023,
//! arXiv 2209.11883; Moraitis et al. 2022, arXiv 2107.05747.
//!
//! A [`Network`] is a [`Stack`](candle_hebbian::Stack) described by a [`Preset`]; [`Softhebb`] is the recipe that
//! [`hebbian_train::train`] runs.
//! `README.md` beside this file lists what is known to differ from the paper and from its release.

mod backprop;
mod check;
mod config;
mod experiments;
mod head;
mod label_assignment;
mod learner;
mod material;
mod method;
mod model;
mod monitor;
mod names;
mod network;
mod options;
mod order;
mod presets;
mod readouts;
mod report;
mod saved;
mod stages;

pub use config::{
    BlockConfig, FeatureType, HeadConfig, HeadLayers, LayerConfig, Learning, Mode, Preset, Rate,
    TrainingConfig,
};
pub use experiments::Experiment;
pub use head::Head;
pub use hebbian_train::{Error, Result};
pub use label_assignment::LabelAssignment;
pub use learner::Learner;
pub use method::Softhebb;
pub use model::Model;
pub use monitor::{BlockStats, Monitor};
pub use network::Network;
pub use options::Options;
pub use presets::{preset, presets};
pub use report::report;
