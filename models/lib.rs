//! The zoo: one module (and one folder) per paper, with its architecture, presets and recipe.
#![deny(missing_docs)]

mod checkpoint;
mod competition_kind;
mod experiment;
mod names;
mod presets;
mod resume;
mod rule_kind;
mod run_options;

pub mod amit;
pub mod golkar;
pub mod miconi;
pub mod softhebb;
pub mod verify;

pub use competition_kind::CompetitionKind;
pub use experiment::ExperimentOptions;
pub use hebbian_train::{Error, Result};
pub use rule_kind::RuleKind;
pub use run_options::RunOptions;

#[cfg(doctest)]
#[doc = include_str!("README.md")]
struct Readme;
