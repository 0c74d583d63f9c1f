//! The control without local step sizes.

use candle::Result;
use candle_hebbian::ops::sign;
use candle_hebbian::{Rule, State, Synapses, Update};

/// `Δw = −size·sign(G)`: [`GlobalDirection`](candle_hebbian::GlobalDirection) with the same size for all synapses. `G`
/// is the gradient of the weights, computed from the third factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignOnly {
    /// The size of the change; 0.15 is about the mean of the rule's sizes in its first steps. They become smaller later.
    pub size: f64,
}

impl Rule for SignOnly {
    fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
        Ok(Update::direct((sign(&synapses.third_product()?)? * -self.size)?))
    }
}
