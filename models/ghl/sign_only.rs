//! The control without a local size.

use candle::Result;
use candle_hebbian::{Rule, State, Synapses, Update};

/// `Δw = −size·sign(G)`: [`GlobalDirection`](candle_hebbian::GlobalDirection) with the same size for all synapses. `G` is the
/// gradient of the weights, made of the third factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignOnly {
    /// The size; 0.15 is about what the rule's sizes are on average.
    pub size: f64,
}

impl Rule for SignOnly {
    fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
        // NaN stays NaN, of which candle's sign is 0.
        let gradient = synapses.third_product()?;
        let sign = gradient.ne(&gradient)?.where_cond(&gradient, &gradient.sign()?)?;
        Ok(Update::direct((sign * -self.size)?))
    }
}
