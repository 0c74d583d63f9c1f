//! One way to run every method.
//!
//! A [`Method`] says what is its own: its options, how a [`Learner`] is made, what a [`Model`] of it is.
//! [`run`] owns everything else: the configuration, the folder and its lock, progress, metrics,
//! checkpoints by time, going on after an interruption, weights to start from, the stop at NaN, the
//! evaluation, the results.

mod about;
mod card;
mod deferred;
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
mod unsupervised;

pub use about::{About, Counts};
pub(crate) use card::START as CARD_START;
pub use deferred::Deferred;
pub use epochs::Epochs;
pub use input::{see, with_input};
pub use learner::{Clock, Learner, Measured, Model, State};
pub use method::{Method, OfPreset, Start, check_images, train};
pub use options::{RunOptions, shown};
pub use recorder::{Figures, Recorder};
pub use runner::{Evaluation, Run, evaluate, run};
pub(crate) use same_run::difference;
pub use stop::{Stop, Watch};
pub use unsupervised::{Recipe, Unsupervised, UnsupervisedLearner, UnsupervisedMethod, WithHead};
