//! The head that reads out the features: a linear softmax head, or the rule itself with labels.

use super::config::{HeadConfig, Rate, TrainingConfig};
use candle::{DType, Device, Module, Tensor};
use candle_hebbian::device::upload;
use candle_hebbian::{Geometry, Layer, Rng, SoftHebb, Steps};
use candle_nn::Optimizer;
use hebbian_train::{
    Checkpoint, Error, LinearHead, LinearHeadConfig, Readout, Result, State, in_parts, one_hot_of,
};
use serde_json::Value;

/// A trained or trainable head.
#[derive(Debug)]
pub enum Head {
    /// A linear layer, trained with softmax cross-entropy and Adam.
    Linear(Box<LinearHead>),
    /// The SoftHebb rule with the one-hot label as post-synaptic activity. The head takes the features as they are: the
    /// release has no batch norm there.
    Hebbian {
        /// Weights `(classes, F)`.
        layer: Layer,
        /// The steps of its weights.
        steps: Steps,
        /// Images per step.
        batch_size: usize,
        /// The number of epochs over which the rate decays.
        epochs: usize,
        /// The number of epochs done.
        epoch: usize,
    },
}

impl Head {
    /// A fresh head for `features` inputs.
    pub fn new(
        config: &HeadConfig,
        training: &TrainingConfig,
        features: usize,
        classes: usize,
        device: &Device,
        rng: &mut Rng,
    ) -> Result<Self> {
        match *config {
            HeadConfig::Linear { dropout, .. } => {
                let config = LinearHeadConfig {
                    epochs: training.head_epochs,
                    batch_size: training.head_batch_size,
                    learning_rate: training.head_learning_rate,
                    dropout,
                };
                let head = LinearHead::new(config, features, classes, DType::F32, device, rng)?;
                Ok(Self::Linear(Box::new(head)))
            }
            HeadConfig::SupervisedHebbian { rate, radius } => {
                let high = radius * (3.0 / features as f64).sqrt();
                let weight = rng.uniform(0.0, high, (classes, features), DType::F32, device)?;
                Self::hebbian(Layer::from_tensor(&weight, Geometry::Dense)?, rate, training)
            }
        }
    }

    fn hebbian(layer: Layer, rate: Rate, training: &TrainingConfig) -> Result<Self> {
        Ok(Self::Hebbian {
            steps: rate.steps().build([layer.var()?])?,
            layer,
            batch_size: training.head_batch_size,
            epochs: training.head_epochs,
            epoch: 0,
        })
    }

    /// Trains for one epoch on `features (N, F)`. Returns the accuracy on them: during the epoch (linear) or after it
    /// (Hebbian).
    pub fn train_epoch(&mut self, features: &Tensor, labels: &[u32], rng: &mut Rng) -> Result<f64> {
        match self {
            Self::Linear(head) => Ok(head.train_epoch(features, labels, rng)?.accuracy),
            Self::Hebbian { batch_size, epochs, epoch, .. } => {
                let (batch, epochs, start) = (*batch_size, *epochs, *epoch);
                *epoch += 1;
                let (count, device) = (labels.len(), features.device());
                let order: Vec<u32> =
                    rng.permutation(count).into_iter().map(|row| row as u32).collect();
                let order = upload(order, count, device)?;
                let all = upload(labels.to_vec(), count, device)?;
                let steps = count.div_ceil(batch);
                for i in 0..steps {
                    let progress = (start * steps + i) as f64 / (epochs * steps).max(1) as f64;
                    let rows = order.narrow(0, i * batch, batch.min(count - i * batch))?;
                    let chosen = features.index_select(&rows, 0)?.to_dtype(DType::F32)?;
                    self.hebbian_step(&chosen, &all.index_select(&rows, 0)?, progress)?;
                }
                Ok(self.accuracy(features, labels)?)
            }
        }
    }

    /// Takes one step on a batch of features, which may change between steps, with its labels `(B)`, when `done` of
    /// `steps` steps in `epochs` epochs are done. The learning rate is that of the schedule over these epochs.
    pub fn train_batch(
        &mut self,
        features: &Tensor,
        labels: &Tensor,
        (done, steps, epochs): (u64, u64, usize),
        rng: &mut Rng,
    ) -> Result<()> {
        match self {
            Self::Linear(head) => {
                let config = LinearHeadConfig { epochs, ..head.config().clone() };
                let epoch = u128::from(done) * epochs as u128 / u128::from(steps.max(1));
                let rate = config.learning_rate_after(epoch as usize);
                Ok(head.train_batch(features, labels, rate, rng)?)
            }
            Self::Hebbian { .. } => {
                self.hebbian_step(features, labels, done as f64 / steps.max(1) as f64)
            }
        }
    }

    fn hebbian_step(&mut self, features: &Tensor, labels: &Tensor, progress: f64) -> Result<()> {
        let Self::Hebbian { layer, steps, .. } = self else { return Ok(()) };
        let classes = layer.dims().units;
        let post = one_hot_of(labels, classes, features.dtype())?.unsqueeze(0)?;
        let response = layer.response(features)?;
        steps.set_progress(progress);
        Ok(steps.backward_step(&response.synapses(&post)?.loss(&SoftHebb)?)?)
    }

    /// Returns `head.weight` and, for a linear head, `head.bias`.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        match self {
            Self::Linear(head) => head.tensors(),
            Self::Hebbian { layer, .. } => {
                vec![("head.weight".to_string(), layer.weight().detach())]
            }
        }
    }

    /// Restores the tensors of a checkpoint, before the first epoch.
    ///
    /// # Errors
    /// A checkpoint without them, or with those of another head.
    pub fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        let mut tensors = self.tensors().into_iter();
        let mut take = || match tensors.next() {
            Some((name, like)) => checkpoint.take(&name, like.dims(), like.dtype()),
            None => Err(Error::Argument("a linear head has a weight and a bias".to_string())),
        };
        match self {
            Self::Linear(head) => {
                let (weight, bias) = (take()?, take()?);
                **head = LinearHead::from_tensors(head.config().clone(), weight, bias)?;
            }
            Self::Hebbian { layer, .. } => layer.var()?.set(&take()?)?,
        }
        Ok(())
    }

    /// Returns the score of each class for `features (N, F)`, `(N, classes)`: the logits, or the responses of the
    /// rule's units. Differentiable in the features.
    pub fn scores(&self, features: &Tensor) -> Result<Tensor> {
        match self {
            Self::Linear(head) => head.logits(features),
            Self::Hebbian { layer, .. } => in_parts(features, |part, _| Ok(layer.forward(part)?)),
        }
    }

    /// Returns what continuing between two [batches](Self::train_batch) needs besides the tensors. The rule needs
    /// nothing.
    pub fn state(&self) -> State {
        match self {
            Self::Linear(head) => head.state(),
            Self::Hebbian { .. } => State::default(),
        }
    }

    /// Continues from the values of a state, with its tensors from `checkpoint`.
    ///
    /// # Errors
    /// A state that belongs to another head.
    pub fn go_on(&mut self, values: &Value, checkpoint: &mut Checkpoint) -> Result<()> {
        match self {
            Self::Linear(head) => head.go_on(values, checkpoint),
            Self::Hebbian { .. } => Ok(()),
        }
    }
}

impl Readout for Head {
    fn predict(&self, features: &Tensor) -> Result<Tensor> {
        Ok(self.scores(&features.detach())?.detach().argmax(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adam's first step moves every weight that has a gradient by the learning rate, which is halved after 10, 17, 25,
    /// 30, 35, 40 and 45 of the 50 epochs of the run, whatever `head_epochs` says.
    #[test]
    fn rates_in_batches_follow_the_epochs_of_the_run() -> Result<()> {
        let device = &Device::Cpu;
        let training = TrainingConfig { head_epochs: 0, ..TrainingConfig::default() };
        let config = HeadConfig::Linear { dropout: 0.0, layers: Default::default() };
        let x = Tensor::ones((4, 3), DType::F32, device)?;
        let labels = Tensor::new(&[0u32, 0, 0, 0], device)?;
        for (epoch, halvings) in [(0, 0), (9, 0), (10, 1), (29, 3), (49, 7)] {
            let mut rng = candle_hebbian::Rng::new(0);
            let mut head = Head::new(&config, &training, 3, 2, device, &mut rng)?;
            let weight = |head: &Head| head.tensors()[0].1.force_contiguous();
            let before = weight(&head)?;
            head.train_batch(&x, &labels, (epoch * 7, 350, 50), &mut rng)?;
            let moved = (weight(&head)? - before)?.abs()?.max_all()?.to_scalar::<f32>()?;
            let want = training.head_learning_rate / 2f64.powi(halvings);
            assert!((f64::from(moved) / want - 1.0).abs() < 0.01, "{epoch}: {moved}, {want}");
        }
        Ok(())
    }
}
