//! Hua et al. 2026 (GHL): Hebbian learning with global direction.
//!
//! W. Hua, J. Zhao, L. Leng, X. Cheng, Y. Ma, Q. Guo, *Hebbian Learning with Global Direction*, ICASSP 2026, arXiv
//! 2601.21367. All layers learn at once, from labels. SoftHebb's update gives the size of the change of a convolution's
//! weight; the sign of the back-propagated gradient gives its direction. `README.md` beside this file lists what
//! differs from the paper and what was not run.
//!
//! | part | for |
//! |---|---|
//! | [`Preset`] | networks and recipes: DeepHebb, FastHebb, narrow ones |
//! | [`Learning`] | how the convolutions learn: by the rule, or by one of three controls |
//! | [`Network`] | forward, loss, checkpoint tensors |
//! | [`Descents`] | the steps of its two groups of weights |
//! | [`Ghl`], [`Learner`] | training, as [`hebbian_train::train`] runs it |
//! | [`Experiment`] | a comparison of the rule with its controls |
//!
//! The rule itself, for networks of your own, is [`candle_hebbian::GlobalDirection`].

mod config;
mod descents;
mod experiments;
mod head;
mod learner;
mod network;
mod sign_only;

pub use config::{BlockConfig, Learning, Preset, Training};
pub use descents::Descents;
pub use experiments::Experiment;
pub use hebbian_train::{Error, Result};
pub use learner::{Ghl, Learner, Options};
pub use network::Network;
pub use sign_only::SignOnly;
