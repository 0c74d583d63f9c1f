//! Updated random feedback: error signals travel down through weights of their own, which learn
//! by the same Hebbian product as the weights they shadow.
//!
//! Amit: *Deep Learning With Asymmetric Connections and Hebbian Updates*, Frontiers in
//! Computational Neuroscience 13:18, 2019, arXiv 1812.07965.
//!
//! [`LinearSystem`] is the linear case, of which the paper shows that updating the feedback speeds
//! up convergence, and [`figure_12`] the simulation that shows it; [`Mixture`] is a small synthetic
//! task on which the protocols can be told apart in a minute.

mod figure_12;
mod linear_theory;
mod mixture;

pub use figure_12::{Figure12, Figure12Config, LinearCurve, figure_12};
pub use linear_theory::{Conserved, Feedback, LinearSystem};
pub use mixture::{Mixture, MixtureConfig, Samples};
