//! The steps of the two groups of weights.

use super::config::{Learning, Training};
use super::network::Network;
use candle::backprop::GradStore;
use candle_hebbian::{CosineDecay, Steps, WeightDecay};
use candle_nn::Optimizer;

/// Gradient descent on the convolutions, with weight decay, and on everything else, without.
///
/// ```text
/// w ← w − η(C + λw)       C: what the rule makes of the gradient        η = η₀·½(1 + cos(π·progress))
/// v ← v − η′·∂L/∂v
/// ```
///
/// The network defines the gradient of a convolution. Frozen convolutions do not change.
#[derive(Debug)]
pub struct Descents {
    convolutions: Option<Steps>,
    rest: Steps,
}

impl Descents {
    /// The steps for the weights of `network`, as its preset configures them.
    ///
    /// # Errors
    /// A rate that is negative or not finite.
    pub fn new(network: &Network) -> candle::Result<Self> {
        let training: &Training = &network.preset().training;
        let convolutions = match training.learning {
            Learning::Frozen {} => None,
            _ => {
                let vars = network.convolutions().map(|layer| layer.var());
                let vars = vars.collect::<candle::Result<Vec<_>>>()?;
                let chain = Steps::builder(training.first_conv_rate())
                    .then(CosineDecay)
                    .then(WeightDecay { rate: training.weight_decay });
                Some(chain.build(vars)?)
            }
        };
        let rest = Steps::builder(training.learning_rate).then(CosineDecay);
        Ok(Self { convolutions, rest: rest.build(network.head().vars())? })
    }

    /// Sets the share of training that is done, 0 at the first step.
    pub fn set_progress(&mut self, progress: f64) {
        let all = self.convolutions.iter_mut().chain([&mut self.rest]);
        all.for_each(|steps| steps.set_progress(progress));
    }

    /// Updates all weights that learn.
    ///
    /// # Errors
    /// A rate or progress that is not a number.
    pub fn step(&mut self, grads: &GradStore) -> candle::Result<()> {
        let mut all = self.convolutions.iter_mut().chain([&mut self.rest]);
        all.try_for_each(|steps| steps.step(grads))
    }
}
