//! The linear softmax head.

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::device::{read, upload};
use candle_hebbian::ops::{Dropout, numbers};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::adam::Adam;
use super::{Readout, check_labels, largest, linear_scores, one_hot_of};
use crate::{Checkpoint, Error, Result, State, check_finite};

/// How a [`LinearHead`] is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearHeadConfig {
    /// How often each sample is seen; it also sets the learning-rate schedule. Default 50.
    pub epochs: usize,
    /// Samples per step; the last step of an epoch takes the remaining ones. Default 64.
    pub batch_size: usize,
    /// Adam's learning rate before the first halving. Default 0.001.
    pub learning_rate: f64,
    /// The probability that a feature is dropped in training. Default 0.5.
    pub dropout: f64,
}

impl Default for LinearHeadConfig {
    fn default() -> Self {
        Self { epochs: 50, batch_size: 64, learning_rate: 1e-3, dropout: 0.5 }
    }
}

/// The numbers of epochs, out of `epochs`, after which the learning rate is halved (Journé et al. 2023, released code):
/// ⌊E·{0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9}⌋ for E ≥ 50, ⌊E·{0.5, 0.75}⌋ for 20 ≤ E < 50, else never.
///
/// ```
/// assert_eq!(hebbian_train::halvings(50), [10, 17, 25, 30, 35, 40, 45]);
/// ```
pub fn halvings(epochs: usize) -> Vec<usize> {
    let percent: &[usize] = match epochs {
        50.. => &[20, 35, 50, 60, 70, 80, 90],
        20.. => &[50, 75],
        _ => &[],
    };
    percent.iter().map(|percent| epochs * percent / 100).collect()
}

impl LinearHeadConfig {
    /// Adam's learning rate after `epochs` epochs, halved as [`halvings`] says.
    pub fn learning_rate_after(&self, epochs: usize) -> f64 {
        let passed = halvings(self.epochs).into_iter().filter(|&after| after <= epochs).count();
        self.learning_rate * 0.5f64.powi(passed as i32)
    }
}

/// The measurements of an epoch of training, with dropout.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EpochStats {
    /// The number of the epoch, from 1.
    pub epoch: usize,
    /// Mean cross-entropy per sample, in nats.
    pub loss: f64,
    /// Share of samples classified correctly, 0 to 1.
    pub accuracy: f64,
    /// The learning rate of the epoch.
    pub learning_rate: f64,
}

/// The names of Adam's moments for weight and bias in a state.
const MOMENTS: [&str; 4] =
    ["state.head.weight.m", "state.head.weight.v", "state.head.bias.m", "state.head.bias.v"];

/// A linear layer with bias, softmax and mean cross-entropy, trained by Adam with dropout on its
/// input and a learning rate that is [halved](halvings) after certain epochs.
///
/// With x̃ the batch of B features after dropout and p = softmax(x̃·Wᵀ + b), the gradients are
/// g = (p − onehot)/B, ∂W = gᵀ·x̃, ∂b = Σ g; computed like this, no gradient of the input is needed.
///
/// ```
/// use candle::{DType, Device, Tensor};
/// use candle_hebbian::Rng;
/// use hebbian_train::{LinearHead, LinearHeadConfig, Readout};
///
/// let features = Tensor::new(&[[1f32, 0.], [0., 1.]], &Device::Cpu)?;
/// let config = LinearHeadConfig { epochs: 50, learning_rate: 0.1, ..Default::default() };
/// let mut rng = Rng::new(0).stream("head");
/// let mut head = LinearHead::new(config, 2, 2, DType::F32, &Device::Cpu, &mut rng)?;
/// for _ in 0..50 {
///     head.train_epoch(&features, &[0, 1], &mut rng)?;
/// }
/// assert_eq!(head.accuracy(&features, &[0, 1])?, 1.0);
/// # Ok::<(), hebbian_train::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LinearHead {
    config: LinearHeadConfig,
    dropout: Dropout,
    weight: Tensor,
    bias: Tensor,
    adam_weight: Adam,
    adam_bias: Adam,
    epoch: usize,
}

impl LinearHead {
    /// A head for `classes` classes with weights `(classes, F)` and biases `(classes,)` drawn from U(±1/√F), F =
    /// `features`.
    ///
    /// # Errors
    /// When `features`, `classes` or the batch size is 0, the learning rate is negative or not finite, the probability
    /// of dropout is outside [0, 1), there is no memory for the weights, or candle does not convert f32 to `dtype` on
    /// `device`.
    pub fn new(
        config: LinearHeadConfig,
        features: usize,
        classes: usize,
        dtype: DType,
        device: &Device,
        rng: &mut Rng,
    ) -> Result<Self> {
        let bound = 1.0 / (features as f64).sqrt();
        let weight = rng.uniform(-bound, bound, (classes, features), dtype, device)?;
        let bias = rng.uniform(-bound, bound, classes, dtype, device)?;
        Self::from_tensors(config, weight, bias)
    }

    /// A head with the given weight `(classes, F)` and bias `(classes,)`, before its first epoch.
    ///
    /// # Errors
    /// When the tensors have other shapes or no entries, the batch size is 0, the learning rate is negative or not
    /// finite, the probability of dropout is outside [0, 1), or there is no memory for Adam's moments.
    pub fn from_tensors(config: LinearHeadConfig, weight: Tensor, bias: Tensor) -> Result<Self> {
        let (classes, features) = weight.dims2()?;
        if bias.dims() != [classes] || classes == 0 || features == 0 {
            return Err(Error::Argument(format!(
                "a linear head cannot have weight {:?} and bias {:?}: expected (classes, F) and \
                 (classes,), none of them 0",
                weight.dims(),
                bias.dims()
            )));
        }
        if config.batch_size == 0 {
            return Err(Error::Argument("the head's batch_size is 0, expected 1 or more".into()));
        }
        let rate = config.learning_rate;
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(Error::Argument(format!(
                "the head's learning_rate is {rate}, expected a finite number of 0 or more"
            )));
        }
        Ok(Self {
            dropout: Dropout::new(config.dropout)?,
            adam_weight: Adam::new(&weight)?,
            adam_bias: Adam::new(&bias)?,
            config,
            weight,
            bias,
            epoch: 0,
        })
    }

    /// W, `(classes, F)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// b, `(classes,)`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// `head.weight` and `head.bias`, for a checkpoint.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        vec![
            ("head.weight".to_string(), self.weight.clone()),
            ("head.bias".to_string(), self.bias.clone()),
        ]
    }

    /// The state needed to continue training, besides [`tensors`](Self::tensors): Adam's moments
    /// `state.head.*`, and the numbers of steps and epochs done.
    pub fn state(&self) -> State {
        let (m, v, step) = self.adam_weight.state();
        let (m_bias, v_bias, _) = self.adam_bias.state();
        let tensors = MOMENTS.into_iter().zip([m, v, m_bias, v_bias]);
        State {
            tensors: tensors.map(|(name, tensor)| (name.to_string(), tensor.clone())).collect(),
            values: json!({ "step": step, "epoch": self.epoch }),
        }
    }

    /// Continues from the [`values`](State::values) of a state and its tensors in `checkpoint`.
    ///
    /// # Errors
    /// When the state belongs to another head.
    pub fn go_on(&mut self, values: &Value, checkpoint: &mut Checkpoint) -> Result<()> {
        let number = |name: &str| {
            values[name].as_i64().and_then(|number| i32::try_from(number).ok()).ok_or_else(|| {
                Error::Argument(format!("the head's state has no number {name:?}: {values}"))
            })
        };
        let (step, epoch) = (number("step")?, number("epoch")?);
        let (weight, bias) = (self.weight.dims().to_vec(), self.bias.dims().to_vec());
        let take =
            |at: usize, shape: &[usize]| checkpoint.take(MOMENTS[at], shape, self.weight.dtype());
        self.adam_weight.go_on(take(0, &weight)?, take(1, &weight)?, step);
        self.adam_bias.go_on(take(2, &bias)?, take(3, &bias)?, step);
        self.epoch = epoch as usize;
        Ok(())
    }

    /// The configuration.
    pub fn config(&self) -> &LinearHeadConfig {
        &self.config
    }

    /// The learning rate of the next epoch.
    pub fn learning_rate(&self) -> f64 {
        self.config.learning_rate_after(self.epoch)
    }

    /// Trains on each row of `features` `(N, F)` once, in random order. Features in half precision are
    /// widened a batch at a time.
    ///
    /// Shuffling and dropout draw from `rng`. Features may differ from epoch to epoch, such as those of
    /// augmented images.
    ///
    /// # Errors
    /// When features, labels and weights do not fit, or the loss is no longer finite.
    pub fn train_epoch(
        &mut self,
        features: &Tensor,
        labels: &[u32],
        rng: &mut Rng,
    ) -> Result<EpochStats> {
        let (count, _) = check_labels(features, labels, self.weight.dim(0)?)?;
        let (features, device) = (features.detach().contiguous()?, features.device());
        let order: Vec<u32> = rng.permutation(count).into_iter().map(|row| row as u32).collect();
        let shuffled: Vec<u32> = order.iter().map(|&row| labels[row as usize]).collect();
        // Uploaded once per epoch, and the measurements are read once at its end: on a GPU each transfer
        // would wait for the step.
        let order = upload(order, count, device)?;
        let labels = upload(shuffled, count, device)?;
        let learning_rate = self.learning_rate();
        let mut measured = Vec::with_capacity(count.div_ceil(self.config.batch_size));
        for start in (0..count).step_by(self.config.batch_size) {
            let length = self.config.batch_size.min(count - start);
            let x = self.dropout.rows(&features, &order.narrow(0, start, length)?, rng)?;
            measured.push(self.step(&x, &labels.narrow(0, start, length)?, learning_rate)?);
        }
        self.epoch += 1;
        let measured = read(&Tensor::stack(&measured, 0)?.to_dtype(DType::F32)?)?;
        let measured = measured.to_vec2::<f32>()?;
        let mean = |column: usize| {
            measured.iter().map(|sums| f64::from(sums[column])).sum::<f64>() / count as f64
        };
        let stats =
            EpochStats { epoch: self.epoch, loss: mean(0), accuracy: mean(1), learning_rate };
        if !stats.loss.is_finite() {
            let (epoch, loss) = (self.epoch as u64, Tensor::new(stats.loss as f32, &Device::Cpu)?);
            check_finite("head.weight", epoch, &self.weight)?;
            check_finite("the head's loss", epoch, &loss)?;
        }
        Ok(stats)
    }

    /// Trains one step on a batch `(B, F)` with its u32 labels `(B)`, for features that change from batch to batch. The
    /// step belongs to no epoch of [`train_epoch`](Self::train_epoch). Labels stay on their device and are not checked:
    /// a label that is not a class has an all-zero target.
    ///
    /// # Errors
    /// When features, labels and weights do not fit.
    pub fn train_batch(
        &mut self,
        features: &Tensor,
        labels: &Tensor,
        learning_rate: f64,
        rng: &mut Rng,
    ) -> Result<()> {
        let (count, device) = (features.dim(0)?, features.device());
        if labels.dims() != [count] {
            return Err(Error::Argument(format!(
                "{count} features with labels of shape {:?}: expected one each",
                labels.dims()
            )));
        }
        let x = self.dropout.rows(&features.detach(), &numbers(count, device)?, rng)?;
        self.step(&x, labels, learning_rate).map(drop)
    }

    /// Takes one step of Adam. Returns, on the device, the batch's summed loss and number of correct answers.
    fn step(&mut self, x: &Tensor, labels: &Tensor, learning_rate: f64) -> Result<Tensor> {
        let (classes, batch) = (self.weight.dim(0)?, x.dim(0)?);
        let log_p = candle_nn::ops::log_softmax(&self.logits(x)?, 1)?;
        let target = one_hot_of(labels, classes, x.dtype())?;
        let loss = (&log_p * &target)?.sum_all()?.neg()?;
        let correct = log_p.argmax(1)?.eq(labels)?.to_dtype(x.dtype())?.sum_all()?;

        let g = ((log_p.exp()? - target)? / batch as f64)?;
        let weight = g.t()?.matmul(x)?;
        self.weight = self.adam_weight.step(&self.weight, &weight, learning_rate)?;
        self.bias = self.adam_bias.step(&self.bias, &g.sum(0)?, learning_rate)?;
        Ok(Tensor::stack(&[loss, correct], 0)?)
    }

    /// `features·Wᵀ + b` of `features` `(N, F)`: `(N, classes)`, without dropout.
    ///
    /// # Errors
    /// When `features` do not have two axes, of which the second is the head's F, or hold integers.
    pub fn logits(&self, features: &Tensor) -> Result<Tensor> {
        linear_scores(features, &self.weight.t()?, &self.bias)
    }
}

impl Readout for LinearHead {
    fn predict(&self, features: &Tensor) -> Result<Tensor> {
        largest(&self.logits(&features.detach())?)
    }
}
