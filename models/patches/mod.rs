//! Whitened random patches: the control that learns nothing.
//!
//! L. Thiry, M. Arbel, E. Belilovsky, E. Oyallon, *The Unreasonable Effectiveness of Patches in Deep
//! Convolutional Kernels Methods*, ICLR 2021, arXiv 2101.07528. The features compare an image with patches of other
//! images, drawn at random; learned features should be better. `README.md` beside this file lists what differs from the
//! paper.

mod config;
mod dictionary;
mod head;
mod method;
mod network;

pub use config::{Frame, Preset};
pub use dictionary::{Dictionary, adapt, average, half, in_batches};
pub use head::{FactorisedHead, HeadConfig, Weights};
pub use method::{Learner, Options, Patches};
pub use network::Network;
