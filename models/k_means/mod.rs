//! K-means on whitened patches (Coates et al. 2011): prototypes without plasticity, a control.
//!
//! A. Coates, H. Lee, A. Y. Ng, *An Analysis of Single-Layer Networks in Unsupervised Feature Learning*, AISTATS
//! 2011. Patches are normalised in contrast and whitened, and the means of their clusters are the dictionary. A feature
//! is how much nearer a mean is than the average mean. `README.md` beside this file lists what differs from the paper.

mod config;
mod encoding;
mod method;
mod network;

pub use config::{Preset, Start};
pub use encoding::{contrast, distances, lloyd, triangle};
pub use method::{KMeans, Learner, Options};
pub use network::Network;
