//! One way to run every method.
//!
//! A [`Method`] defines what is specific to it: its options, how its [`Learner`] is made, and what its
//! [`Model`] is. [`run`] does everything else: the configuration, the folder and its lock, progress,
//! metrics, timed checkpoints, continuing after an interruption, weights to start from, stopping at NaN,
//! the evaluation, the results.

mod about;
mod card;
mod deferred;
#[cfg(test)]
mod draw;
mod epoch_sums;
mod epochs;
mod input;
mod learner;
mod method;
mod options;
mod recorder;
mod runner;
mod same_run;
mod stop;
#[cfg(test)]
pub(crate) mod toy;
mod unsupervised;

pub use about::{About, Counts};
pub(crate) use card::START as CARD_START;
pub use deferred::Deferred;
pub use epochs::Epochs;
pub(crate) use input::check;
pub use input::{see, with_input};
pub use learner::{Clock, Learner, Measured, Model, State, check_layer};
pub use method::{Method, OfPreset, Start, check_images, train};
pub use options::{RunOptions, measured_on, shown};
pub use recorder::{Figures, Recorder};
pub use runner::{Evaluation, Run, evaluate, run};
pub(crate) use same_run::{RESUME, told};
pub use stop::{Stop, Watch};
pub use unsupervised::{
    OwnHead, OwnReadout, Recipe, Unsupervised, UnsupervisedLearner, UnsupervisedMethod, WithHead,
};
