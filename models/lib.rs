//! Networks from papers: one module (and one folder) per paper, with its architecture, presets and recipe.
//!
//! | to | see |
//! |---|---|
//! | load a trained model, save it, share it | [`Model`] |
//! | use a small model that comes with the crate | [`ZOO`], [`Model::from_zoo`] |
//! | compute features of your images, and classes | [`Model::features`], [`Model::predict`] |
//! | load your images | [`load`], [`LoadOptions`] |
//! | train without feedback | [`softhebb`], [`miconi`], [`krotov_hopfield`] |
//! | train with feedback through separate weights | [`amit`] |
//! | train with local step sizes in the direction of back-propagation | [`ghl`] |
//! | train the microcircuit | [`golkar`] |
//! | compare with a control without plasticity | [`patches`], [`k_means`] |
//! | check a device | [`verify`] |
//! | do something with every method | [`for_each_method!`] |
#![deny(missing_debug_implementations, missing_docs)]
#![warn(clippy::missing_errors_doc)]

mod competition_kind;
mod extremes;
mod methods;
mod pretrained;
mod rule_kind;
mod units;
mod zoo;

pub mod amit;
pub mod ghl;
pub mod golkar;
pub mod k_means;
pub mod krotov_hopfield;
pub mod miconi;
pub mod patches;
pub mod softhebb;
pub mod verify;

pub use candle;
pub use competition_kind::CompetitionKind;
pub use hebbian_data::{Dataset, ImageSet, LoadOptions, load, transforms};
pub use hebbian_train::{Error, Result};
pub use pretrained::{Model, fetch, is_swapped, splits};
pub use rule_kind::RuleKind;
pub use zoo::ZOO;

#[cfg(doctest)]
#[doc = include_str!("README.md")]
struct Readme;
