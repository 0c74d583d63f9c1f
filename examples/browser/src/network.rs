//! What the two networks have in common.

use crate::digits::CLASSES;
use candle::{Device, Result, Tensor};

/// A network that learns digits one at a time.
pub trait Network {
    /// Does one step on `x`, what the network sees of a digit.
    fn learn(&mut self, x: &[f32], label: u32) -> Result<()>;

    /// Returns how strongly each class is believed in, from 0 to 1: `(N, 10)` for `x (N, 64)`.
    fn classify(&mut self, x: &Tensor) -> Result<Tensor>;

    /// Returns the weights from the pixels to all units, one unit after the other.
    fn filters(&mut self) -> Result<Vec<f32>>;

    /// Sets the rate of the hidden units.
    fn set_rate(&mut self, rate: f64);
}

/// Returns 1 at the label and 0 elsewhere, `(10)`.
pub fn one_hot(label: u32) -> Result<Tensor> {
    let values: [f32; CLASSES] =
        std::array::from_fn(|class| if class == label as usize { 1.0 } else { 0.0 });
    Tensor::new(&values, &Device::Cpu)
}
