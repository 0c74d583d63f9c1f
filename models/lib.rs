//! The zoo: one module (and one folder) per paper, with its architecture, presets and recipe.
#![deny(missing_docs)]

pub mod amit;
pub mod softhebb;
