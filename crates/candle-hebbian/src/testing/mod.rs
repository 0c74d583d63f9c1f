//! Checks for tests, of rules and ops of one's own as of this crate's. They are there with the feature
//! `testing`:
//!
//! ```toml
//! [dev-dependencies]
//! candle-hebbian = { version = "0.1", features = ["testing"] }
//! ```
//!
//! - [`check_update`] holds a [`Rule`](crate::Rule) against its equation.
//! - [`check_gradient`] and [`check_gradient_of`] hold a backward pass, of an
//!   [`ops::custom_vjp`](crate::ops::custom_vjp) for example, against central differences.
//! - [`test_device!`](crate::test_device) makes a test for every device of one function.

mod agreement;
mod check_gradient;
mod check_update;
mod on_devices;
mod synapse;

pub use check_gradient::{check_gradient, check_gradient_of};
pub use check_update::{UpdateOptions, check_update, draw_synapses};
pub use on_devices::{Target, run};
pub use synapse::Synapse;
