//! Amit 2019: deep learning with asymmetric connections and Hebbian updates.
//!
//! Y. Amit, Frontiers in Computational Neuroscience 13:18, 2019, doi 10.3389/fncom.2019.00018;
//! arXiv 1812.07965. The error returns through separate feedback weights, which are drawn independently of
//! the forward weights and receive either the same Hebbian update (updated random feedback, URFB) or none
//! (fixed random feedback, FRFB). The class layer learns by a hinge loss whose gradient is local.
//!
//! | part | for |
//! |---|---|
//! | [`preset`], [`Preset`] | networks and recipes: simpnet, deepnet, deepernet, their untied forms |
//! | [`Protocol`] | the ways in which the error returns, by name |
//! | [`Network`] | forward, errors, checkpoint tensors |
//! | [`Amit`], [`Learner`] | training by plain gradient descent, run by [`hebbian_train::train`] |
//! | [`diagnose`] | correlation of weights and feedback, angle to back-propagation |
//! | [`report`] | a report of a run for the terminal |
//! | [`LinearSystem`], [`figure_12`] | the linear case, where updating the feedback speeds up convergence |
//! | [`Experiment`] | the figures of the paper, one command each |
//! | [`Mixture`] | a small synthetic task on which the protocols differ |
//!
//! To build networks of your own, use the layers themselves: [`candle_hebbian::FeedbackLayer`] and
//! [`candle_hebbian::HingeHebb`].

mod config;
mod diagnostics;
mod experiments;
mod figure_12;
mod learner;
mod linear_theory;
mod mixture;
mod network;
mod presets;
mod protocol;
mod report;
mod splits;

pub use config::{LayerConfig, Loss, Preset, Tied, Training};
pub use diagnostics::{LayerDiagnostics, correlation, diagnose};
pub use experiments::Experiment;
pub use figure_12::{Figure12, Figure12Config, LinearCurve, figure_12};
pub use hebbian_train::{Error, Result};
pub use learner::{Amit, Learner, Options};
pub use linear_theory::{Conserved, Feedback, LinearSystem};
pub use mixture::{Mixture, MixtureConfig, Samples};
pub use network::{Network, WeightLayer};
pub use presets::{preset, presets};
pub use protocol::Protocol;
pub use report::report;
pub use splits::Splits;
