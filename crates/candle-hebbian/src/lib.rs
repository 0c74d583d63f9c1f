//! Hebbian and biologically plausible learning on [candle](candle).
#![deny(missing_docs)]

mod rng;

pub use rng::Rng;
