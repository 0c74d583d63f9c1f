//! Epochs of plain gradient descent.

use super::config::Preset;
use super::network::Network;
use candle::{D, DType, Device, Tensor};
use candle_hebbian::{Rng, Steps};
use candle_nn::Optimizer;
use hebbian_data::{Batches, Dataset, ImageSet};
use hebbian_train::check_finite;
use hebbian_train::{Error, Result};

/// Images per batch where nothing learns.
const EVALUATION_BATCH: usize = 250;

/// A data set in three parts.
#[derive(Debug, Clone)]
pub struct Splits {
    /// The images to learn from.
    pub train: ImageSet,
    /// The last images of the training file.
    pub validation: ImageSet,
    /// The test images.
    pub test: ImageSet,
    /// How many classes there are.
    pub classes: usize,
}

impl Splits {
    /// Keeps the last `validation_images` training images for validation, a tenth of all at most.
    ///
    /// # Errors
    /// No images.
    pub fn of(data: &Dataset, validation_images: usize) -> Result<Self> {
        let (count, held) = (data.train.len(), validation_images.min(data.train.len() / 10));
        let validation: Vec<usize> = (count - held..count).collect();
        let classes = data.class_names.len();
        let wrong = |set: &ImageSet| set.labels().iter().any(|&label| label as usize >= classes);
        if count == 0 || data.test.is_empty() || wrong(&data.train) || wrong(&data.test) {
            return Err(Error::Argument(format!(
                "{}: {count} training and {} test images with labels below {classes}: expected one \
                 or more of each, and no other label",
                data.name,
                data.test.len()
            )));
        }
        Ok(Self {
            train: data.train.take(count - held),
            validation: data.train.select(&validation)?,
            test: data.test.clone(),
            classes,
        })
    }
}

/// A network in training. What it draws follows from the seed and the number of the epoch, so that
/// training can go on from a checkpoint as if it had not stopped.
#[derive(Debug)]
pub struct Trainer {
    network: Network,
    rng: Rng,
    device: Device,
    epoch: usize,
}

/// What an epoch measured while it trained, dropout included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Mean loss.
    pub loss: f64,
    /// Share of images classified wrongly.
    pub error: f64,
}

impl Trainer {
    /// A fresh network for images and classes as in `splits`.
    ///
    /// # Errors
    /// A preset that does not fit them.
    pub fn new(preset: &Preset, splits: &Splits, rng: &Rng, device: &Device) -> Result<Self> {
        let (image, classes) = (splits.train.shape(), splits.classes);
        let network = Network::new(preset, image, classes, rng, DType::F32, device)?;
        Ok(Self { network, rng: rng.clone(), device: device.clone(), epoch: 0 })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Epochs done.
    pub fn epoch(&self) -> usize {
        self.epoch
    }

    /// Epochs in all, tied ones included.
    pub fn epochs(&self) -> usize {
        let training = &self.network.preset().training;
        training.tied.map_or(0, |tied| tied.epochs) + training.epochs
    }

    /// Goes on from the weights that `take` hands out, saved after `epoch` epochs.
    ///
    /// # Errors
    /// What `take` says.
    pub fn restore(
        &mut self,
        epoch: usize,
        take: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<()> {
        let training = &self.network.preset().training;
        if training.tied.is_some_and(|tied| epoch > tied.epochs) {
            self.network.untie(false)?;
        }
        self.network.stack_mut().restore(take)?;
        self.epoch = epoch;
        Ok(())
    }

    /// Counts epochs from the start again, of the untied part of training if layers are untied.
    pub fn restart(&mut self) {
        let tied = self.network.preset().training.tied;
        self.epoch = tied.filter(|_| self.network.is_untied()).map_or(0, |tied| tied.epochs);
    }

    /// One epoch over `train` in random order; `seen` is told how many images each step had.
    ///
    /// # Errors
    /// A loss or weights that are not finite.
    pub fn train_epoch(&mut self, train: &ImageSet, mut seen: impl FnMut(usize)) -> Result<Epoch> {
        let training = self.network.preset().training.clone();
        let tied = training.tied.filter(|tied| self.epoch < tied.epochs);
        if tied.is_none() && !self.network.is_untied() {
            self.network.untie(training.tied.is_some_and(|tied| tied.redraw))?;
        }
        let (learning_rate, batch_size) = tied
            .map_or((training.learning_rate, training.batch_size), |tied| {
                (tied.learning_rate, tied.batch_size)
            });
        let stream = |purpose: &str| self.rng.stream(&format!("{purpose}.{}", self.epoch));
        let (mut order, mut masks) = (stream("batches"), stream("dropout"));
        let steps = |vars| Steps::builder(learning_rate).build(vars);
        let mut optimizer = self.network.optimizer(steps)?;
        let (mut loss_sum, mut wrong) = (0.0, 0);
        for indices in Batches::shuffled(train.len(), batch_size, &mut order)? {
            let (x, labels) = train.batch(&indices, DType::F32, &self.device)?;
            let fields = self.network.forward_train(&x, &mut masks)?;
            let loss = self.network.loss(&fields, &labels)?;
            check_finite("the loss", self.epoch as u64 + 1, &loss)?;
            optimizer.backward_step(&loss)?;
            loss_sum += f64::from(loss.to_scalar::<f32>()?) * indices.len() as f64;
            wrong += count_wrong(&fields, &labels)?;
            seen(indices.len());
        }
        self.epoch += 1;
        for (name, tensor) in self.network.stack().tensors() {
            check_finite(&name, self.epoch as u64, &tensor)?;
        }
        let count = train.len() as f64;
        Ok(Epoch { loss: loss_sum / count, error: wrong as f64 / count })
    }

    /// The share of `set` classified wrongly, without dropout; NaN of no images.
    ///
    /// # Errors
    /// Images of another size.
    pub fn error(&self, set: &ImageSet) -> Result<f64> {
        let mut wrong = 0;
        for indices in Batches::sequential(set.len(), EVALUATION_BATCH)? {
            let (x, labels) = set.batch(&indices, DType::F32, &self.device)?;
            wrong += count_wrong(&self.network.forward(&x)?, &labels)?;
        }
        Ok(wrong as f64 / set.len() as f64)
    }
}

/// How many fields `(N, C)` are not largest at the label.
fn count_wrong(fields: &Tensor, labels: &Tensor) -> candle::Result<usize> {
    let differ = fields.detach().argmax(D::Minus1)?.ne(labels)?.to_dtype(DType::U32)?;
    Ok(differ.to_vec1::<u32>()?.into_iter().filter(|&one| one != 0).count())
}
