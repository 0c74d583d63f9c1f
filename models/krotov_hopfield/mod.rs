//! Krotov & Hopfield 2019: unsupervised learning by competing hidden units.
//!
//! D. Krotov, J. J. Hopfield, PNAS 116:7723. One dense layer learns without labels: for each image, the unit
//! that responds most strongly moves towards it and the unit of rank `k` moves away from it. The rectified
//! responses, raised to a power, are then read out. `README.md` beside this file lists what differs from the
//! paper.

mod config;
mod method;
mod network;

pub use config::Preset;
pub use hebbian_train::{Error, Result};
pub use method::{KrotovHopfield, Learner, Options};
pub use network::Network;
