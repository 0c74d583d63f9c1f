//! Whitened random patches: the control that learns nothing.
//!
//! L. Thiry, M. Arbel, E. Belilovsky, E. Oyallon, *The Unreasonable Effectiveness of Patches in Deep
//! Convolutional Kernels Methods*, ICLR 2021, arXiv 2101.07528, §1. Features that were learned should do
//! better than these, which compare an image with patches of others, drawn at random. What differs from the
//! paper stands in `README.md` beside this file.

mod config;
mod dictionary;
mod method;
mod network;

pub use config::{Frame, Preset};
pub use dictionary::{Dictionary, average, half};
pub use method::{Learner, Options, Patches};
pub use network::Network;
