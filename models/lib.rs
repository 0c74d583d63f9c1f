//! The zoo: one module (and one folder) per paper, with its architecture, presets and recipe.
#![deny(missing_docs)]

mod error;
mod presets;

pub mod amit;
pub mod softhebb;

pub use error::{Error, Result};
