//! Checks for tests, of your own rules and ops as well as of this crate's. They need the feature
//! `testing`:
//!
//! ```toml
//! [dev-dependencies]
//! candle-hebbian = { git = "https://github.com/candle-hebbian/candle-hebbian", features = ["testing"] }
//! ```
//!
//! - [`check_update`] compares a [`Rule`](crate::Rule) with its equation.
//! - [`check_gradient`] and [`check_gradient_of`] compare a backward pass, of an
//!   [`ops::custom_vjp`](crate::ops::custom_vjp) for example, with central differences.
//! - [`test_device!`](crate::test_device) turns one function into a test for every device.

mod agreement;
mod check_gradient;
mod check_update;
mod on_devices;
mod synapse;

pub use check_gradient::{check_gradient, check_gradient_of};
pub use check_update::{UpdateOptions, check_update, draw_synapses};
pub use on_devices::{Target, run};
pub use synapse::Synapse;
