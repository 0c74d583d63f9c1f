//! Krotov & Hopfield 2019: unsupervised learning by competing hidden units.
//!
//! D. Krotov, J. J. Hopfield, PNAS 116:7723. One dense layer learns without labels: of each image the unit
//! that responds most moves towards it, the one of rank `k` away from it. Its rectified responses, to a
//! power, are then read out. What differs from the paper stands in `README.md` beside this file.

mod config;
mod method;
mod network;

pub use config::Preset;
pub use hebbian_train::{Error, Result};
pub use method::{KrotovHopfield, Learner, Options};
pub use network::Network;
