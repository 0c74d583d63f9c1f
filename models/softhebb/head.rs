//! The head that reads out the features: a linear softmax head, or the rule itself with labels.

use super::config::{HeadConfig, Rate, TrainingConfig};
use candle::{DType, Device, Module, Tensor};
use candle_hebbian::device::upload;
use candle_hebbian::{Geometry, Layer, Rng, SoftHebb, Steps, init};
use candle_nn::Optimizer;
use hebbian_train::{
    Checkpoint, Error, LinearHead, LinearHeadConfig, Readout, Result, State, check_labels,
    in_parts, one_hot_of,
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
    /// A fresh head for `features` inputs and `classes` classes.
    ///
    /// # Errors
    /// If the batch size is 0, or there is no memory for the weights. For a linear head, also if a size is 0, the
    /// learning rate is negative or not finite, or the probability of dropout is outside [0, 1); for the rule, if a
    /// number of its rate is out of range.
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
                let shape = (classes, features);
                let init = init::radius_uniform(shape, radius);
                let weight = rng.draw(init, shape, DType::F32, device)?;
                Self::hebbian(Layer::from_tensor(&weight, Geometry::Dense)?, rate, training)
            }
        }
    }

    fn hebbian(layer: Layer, rate: Rate, training: &TrainingConfig) -> Result<Self> {
        if training.head_batch_size == 0 {
            return Err(Error::Argument("head_batch_size is 0, expected 1 or more".to_string()));
        }
        Ok(Self::Hebbian {
            steps: rate.steps().build([layer.var()?])?,
            layer,
            batch_size: training.head_batch_size,
            epochs: training.head_epochs,
            epoch: 0,
        })
    }

    /// Trains for one epoch on `features (N, F)` in f32, f16 or bf16, with a label for each row. Returns the accuracy
    /// on them: during the epoch (linear) or after it (Hebbian).
    ///
    /// # Errors
    /// If there are no rows, there is not one label per row, a label is no class, or `F` or the type does not fit. A
    /// linear head also refuses a loss that is not finite; a Hebbian one refuses features that are not contiguous.
    pub fn train_epoch(&mut self, features: &Tensor, labels: &[u32], rng: &mut Rng) -> Result<f64> {
        match self {
            Self::Linear(head) => Ok(head.train_epoch(features, labels, rng)?.accuracy),
            Self::Hebbian { layer, batch_size, epochs, epoch, .. } => {
                let (batch, epochs, start) = (*batch_size, *epochs, *epoch);
                check_labels(features, labels, layer.dims().units)?;
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

    /// Takes one step on a batch of features `(B, F)`, which may change between steps, with its u32 labels `(B)`, when
    /// `done` of `steps` steps in `epochs` epochs are done. The learning rate is that of the schedule over these
    /// epochs.
    ///
    /// # Errors
    /// If there is not one u32 label for each row of features, `F` is another than the head's, or the features are not
    /// in f32; a linear head also takes f16 and bf16, but no empty batch.
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
    ///
    /// # Errors
    /// If `F` is another than the head's, or the features are not in f32, f16 or bf16; a linear head also takes f64.
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
        let config =
            HeadConfig::Linear { dropout: 0.0, layers: Default::default(), mirrored: false };
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

    /// u = (1, 1.5), (2, 0.5), and the labels are the activity: yᵀx = (2, −1), (1, 2) and Σ y·u = (2, 1.5), so Δ =
    /// (0, −1), (0.25, 1.25), of which the largest entry moves its weight by the rate. That is 0.045 at first, and
    /// three quarters of it after a quarter of the steps.
    #[test]
    fn a_step_of_the_rule_takes_labels_as_the_activity() -> Result<()> {
        let device = &Device::Cpu;
        let x = Tensor::new(&[[1f32, 2.0], [2.0, -1.0]], device)?;
        let labels = [1u32, 0];
        let fresh = || -> Result<Head> {
            let weight = Tensor::new(&[[1f32, 0.0], [0.5, 0.5]], device)?;
            let layer = Layer::from_tensor(&weight, Geometry::Dense)?;
            let rate = Rate::LinearDecay { learning_rate: 0.045 };
            Head::hebbian(layer, rate, &TrainingConfig::default())
        };
        let near = |head: &Head, want: [f64; 4]| -> Result<()> {
            let found = head.tensors()[0].1.flatten_all()?.to_vec1::<f32>()?;
            for (found, want) in found.into_iter().zip(want) {
                assert!((f64::from(found) - want).abs() < 1e-6, "{found}, expected {want}");
            }
            Ok(())
        };
        let mut rng = Rng::new(0);
        let mut head = fresh()?;
        let accuracy = head.train_epoch(&x, &labels, &mut rng)?;
        near(&head, [1.0, -0.036, 0.509, 0.545])?;
        // After the step, the scores are (0.928, 1.599) and (2.036, 0.473).
        assert_eq!(accuracy, 1.0);

        let mut head = fresh()?;
        head.train_batch(&x, &Tensor::new(&labels, device)?, (1, 4, 1), &mut rng)?;
        near(&head, [1.0, -0.027, 0.50675, 0.53375])
    }

    /// Sample k has feature k alone and label k, and weights begin at 0. So a step with it moves only w_kk, by the
    /// rate: η·(1 − j/16) in step j of two epochs of eight. With the label of another sample, it would move a weight
    /// beside the diagonal.
    #[test]
    fn labels_follow_their_features_and_rates_the_schedule() -> Result<()> {
        let device = &Device::Cpu;
        let training =
            TrainingConfig { head_epochs: 2, head_batch_size: 1, ..TrainingConfig::default() };
        let layer =
            Layer::from_tensor(&Tensor::zeros((8, 8), DType::F32, device)?, Geometry::Dense)?;
        let rate = Rate::LinearDecay { learning_rate: 0.045 };
        let mut head = Head::hebbian(layer, rate, &training)?;
        let x = Tensor::eye(8, DType::F32, device)?;
        let (labels, mut rng) = ((0..8).collect::<Vec<u32>>(), Rng::new(0));
        let (mut before, mut orders) = ([0f64; 8], Vec::new());
        for epoch in 0..2 {
            head.train_epoch(&x, &labels, &mut rng)?;
            let now = head.tensors()[0].1.to_vec2::<f32>()?;
            let mut moved = [0f64; 8];
            for (k, row) in now.iter().enumerate() {
                assert!(row.iter().enumerate().all(|(at, &w)| at == k || w == 0.0), "{row:?}");
                moved[k] = f64::from(row[k]) - before[k];
                before[k] = f64::from(row[k]);
            }
            let mut order: Vec<usize> = (0..8).collect();
            order.sort_by(|&one, &other| moved[other].total_cmp(&moved[one]));
            for (at, &k) in order.iter().enumerate() {
                let want = 0.045 * (1.0 - (8 * epoch + at) as f64 / 16.0);
                assert!((moved[k] - want).abs() < 1e-6, "{epoch}, {at}: {}, {want}", moved[k]);
            }
            orders.push(order);
        }
        assert_ne!(orders[0], orders[1], "each epoch has an order of its own");
        Ok(())
    }

    /// What does not fit is refused before anything is learned.
    #[test]
    fn what_the_rule_refuses() -> Result<()> {
        let device = &Device::Cpu;
        let layer = || -> Result<Layer> {
            Ok(Layer::from_tensor(&Tensor::ones((2, 3), DType::F32, device)?, Geometry::Dense)?)
        };
        let rate = Rate::LinearDecay { learning_rate: 0.045 };
        let empty = TrainingConfig { head_batch_size: 0, ..TrainingConfig::default() };
        assert!(Head::hebbian(layer()?, rate, &empty).is_err());
        let mut head = Head::hebbian(layer()?, rate, &TrainingConfig::default())?;
        let (x, mut rng) = (Tensor::ones((2, 3), DType::F32, device)?, Rng::new(0));
        for labels in [&[0u32][..], &[0, 1, 1], &[0, 2], &[]] {
            assert!(head.train_epoch(&x, labels, &mut rng).is_err(), "{labels:?}");
        }
        let after = head.tensors()[0].1.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(after, [1.0; 6]);
        assert!(matches!(head, Head::Hebbian { epoch: 0, .. }));
        Ok(())
    }

    /// Most digits are recognised by their pixels; a head that learned them with the labels of others would recognise
    /// about one of ten.
    #[test]
    fn digits_are_recognised_by_the_rule() -> Result<()> {
        let (device, train) = (&Device::Cpu, hebbian_data::digits().train);
        let (images, _) = train.batch(&(0..train.len()).collect::<Vec<_>>(), DType::F32, device)?;
        let features = images.flatten_from(1)?;
        let rate = Rate::LinearDecay { learning_rate: 0.045 };
        let config = HeadConfig::SupervisedHebbian { rate, radius: 1.0 };
        let training = TrainingConfig { head_epochs: 5, ..TrainingConfig::default() };
        let mut rng = Rng::new(0);
        let mut head = Head::new(&config, &training, 64, 10, device, &mut rng)?;
        for _ in 0..5 {
            head.train_epoch(&features, train.labels(), &mut rng)?;
        }
        let accuracy = head.accuracy(&features, train.labels())?;
        assert!(accuracy > 0.7, "{accuracy}");
        Ok(())
    }
}
