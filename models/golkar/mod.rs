//! Golkar et al. 2020: a biologically plausible neural network for local supervision in cortical
//! microcircuits.
//!
//! S. Golkar, D. Lipshutz, Y. Bahroun, A. M. Sengupta, D. B. Chklovskii, arXiv 2011.15031 ("BMVR"). A
//! two-layer network learns a target that arrives at the apical dendrites of its hidden neurons.
//! Interneurons subtract what the neurons already represent, and the remainder is the teaching signal of the
//! basal synapses. Learning in a decoupled circuit uses no weight in both directions; it has no ridge.

mod backprop;
mod circuit;
mod config;
mod diagnostics;
mod experiments;
mod learner;
mod network;
mod online;
mod optimum;
mod presets;
mod report;
mod task;

pub use backprop::{Backprop, loss};
pub use circuit::{
    Activity, Circuit, CircuitConfig, Increments, Initial, Nonlinearity, Rates, Way,
};
pub use config::{BackpropTraining, Preset, Scaling, Training};
pub use diagnostics::{Diagnostics, diagnose};
pub use experiments::Experiment;
pub use hebbian_train::{Error, Result};
pub use learner::{Golkar, Learner, Options, Point};
pub use network::{Network, Rule};
pub use online::Online;
pub use optimum::Optimum;
pub use presets::{preset, presets};
pub use report::report;
pub use task::{Samples, Task};
