use candle::{D, DType, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Figures, Recorder, shown};
use crate::{Checkpoint, Error, Picture, Result, Units};

/// A network with its read-out, as evaluation uses it. Images are `(B, C, H, W)`, as
/// [`ImageSet::batch`](hebbian_data::ImageSet::batch) returns them: the transforms of the preset are already applied.
pub trait Model: Send + Sync {
    /// All tensors of a checkpoint in a fixed order, with stable names: the model's own scaling of its input, its
    /// weights, and its read-out once that is trained.
    fn tensors(&self) -> Vec<(String, Tensor)>;

    /// Restores the tensors from a checkpoint; if the checkpoint has no read-out, the read-out stays untrained.
    ///
    /// # Errors
    /// If the checkpoint belongs to another network.
    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()>;

    /// The number of layers whose features can be computed; one unless a method says otherwise.
    fn layers(&self) -> usize {
        1
    }

    /// Computes the features `(B, …)` of the layer with the number `layer`, counted from 0: the input of the next
    /// layer. Maps are `(B, K, h, w)`, with the units first.
    ///
    /// # Errors
    /// If the images have another size, or there is no such layer.
    fn layer_features(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        check_layer(layer, 1)?;
        self.features(images)
    }

    /// Computes the features `(B, F)` that classes are read out of. If the method supports it, they are
    /// differentiable with respect to the images, if these are part of a graph.
    ///
    /// # Errors
    /// If the images have another size.
    fn features(&self, images: &Tensor) -> Result<Tensor>;

    /// Computes the scores `(B, classes)` of the read-out: logits, or other values of which the largest belongs to
    /// the chosen class. They are differentiable as [`features`](Self::features) are.
    ///
    /// # Errors
    /// If the images have another size, or the read-out is not trained.
    fn scores(&self, images: &Tensor) -> Result<Tensor>;

    /// The class of each image, `(B)`, u32: the first of those with the largest [score](Self::scores).
    ///
    /// # Errors
    /// As [`scores`](Self::scores).
    fn predict(&self, images: &Tensor) -> Result<Tensor> {
        if images.dim(0)? == 0 {
            return Ok(Tensor::zeros(0, DType::U32, images.device())?);
        }
        Ok(self.scores(&images.detach())?.detach().argmax(D::Minus1)?)
    }

    /// The layers of the network from the image up, used to draw their units; none unless a method says otherwise.
    ///
    /// # Errors
    /// If the device fails.
    fn units(&self) -> Result<Vec<Units>> {
        Ok(Vec::new())
    }

    /// Computes the responses of units to images before the units compete: `(B, K)` or `(B, K, h, w)`. `layer` is an
    /// index into [`units`](Self::units). If the method supports it, the responses are differentiable with respect to
    /// the images.
    ///
    /// # Errors
    /// If the images have another size, or there is no such layer.
    fn responses(&self, layer: usize, _images: &Tensor) -> Result<Tensor> {
        Err(Error::Argument(format!("there are no responses of a layer {layer}")))
    }
}

/// Checks that a network of `layers` layers has one with the number `layer`, counted from 0.
///
/// # Errors
/// If it has not.
pub fn check_layer(layer: usize, layers: usize) -> Result<()> {
    match layer < layers {
        true => Ok(()),
        false => Err(Error::Argument(format!(
            "there is no layer {layer}: expected a number below {layers}"
        ))),
    }
}

/// How far learning has got: the same moment on two clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// The number of batches learned from.
    pub steps: u64,
    /// The number of images shown, each counted as often as it was shown.
    pub images: u64,
}

impl Clock {
    /// The end of `epochs` epochs of `count` images in batches of `batch_size`, the last of which may be smaller.
    ///
    /// # Errors
    /// If the batch size is 0, or the images are too many to count.
    pub fn after_epochs(epochs: usize, count: usize, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::Argument("the batch size is 0, expected 1 or more".to_string()));
        }
        let images = shown(count, epochs)? as u64;
        Ok(Self { steps: (count.div_ceil(batch_size) * epochs) as u64, images })
    }

    /// Advances the clock by a batch of `images` images.
    pub fn tick(&mut self, images: usize) {
        self.steps += 1;
        self.images += images as u64;
    }
}

/// What was measured at a moment of learning.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// The values for the log, by name.
    pub values: Vec<(String, f64)>,
    /// A message for the progress display.
    pub message: String,
}

/// The state that is needed to continue, in addition to the model: moments of an optimiser, sums since the last
/// measurement, the positions of random generators.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Tensors by name.
    pub tensors: Vec<(String, Tensor)>,
    /// Values that are not tensors.
    pub values: Value,
}

/// A model in training, with what it learns from. A run that continues from a [`state`](Self::state) ends with the
/// same bits as a run that never stopped.
pub trait Learner {
    /// The type of the model that learns.
    type Model: Model;

    /// The model as it is now.
    fn model(&self) -> &Self::Model;

    /// The model, for restoring its tensors.
    fn model_mut(&mut self) -> &mut Self::Model;

    /// Whether it learns with labels.
    fn uses_labels(&self) -> bool;

    /// How far learning has got.
    fn clock(&self) -> Clock;

    /// How far learning has got at the end of the whole training.
    fn total(&self) -> Clock;

    /// Computes what fresh weights need from the data, whitening for example. Called before the first step of a run
    /// that does not start from a checkpoint, and before the run's folder is made.
    ///
    /// # Errors
    /// If it cannot be computed from the data.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// Makes fresh weights, after [`begin`](Self::begin), as good as possible without learning, for a control
    /// experiment: for example, statistics of batch norm become those of the data.
    ///
    /// # Errors
    /// If this is impossible with the data.
    fn calibrate(&mut self) -> Result<()> {
        Ok(())
    }

    /// Returns the model and drops the rest.
    fn into_model(self) -> Self::Model
    where
        Self: Sized;

    /// Learns from the next batch, or a few. Called while any batches are left.
    ///
    /// # Errors
    /// If a loss is not finite.
    fn step(&mut self) -> Result<()>;

    /// The current stage, for messages: `layer 1`, `epoch 3`.
    fn stage(&self) -> String;

    /// Whether a measurement is due.
    fn is_due(&self) -> bool;

    /// Measures, and resets the sums.
    ///
    /// # Errors
    /// If a measured value is not finite where it has to be, or cannot be computed or read back from the device.
    fn measure(&mut self) -> Result<Measured>;

    /// The message for an error about weights that are not finite, in place of the general one, if it is known which
    /// setting is to blame.
    fn advice(&self) -> Option<String> {
        None
    }

    /// The state that [`go_on`](Self::go_on) needs besides the model; empty unless a method says otherwise.
    ///
    /// # Errors
    /// If a value of the state has no JSON form, or cannot be read back from the device.
    fn state(&self) -> Result<State> {
        Ok(State::default())
    }

    /// Restores the learner to the moment at which `state` was taken, which is `clock`; the tensors of the model are
    /// restored already. The tensors of the state are read from `take`.
    ///
    /// # Errors
    /// If the state belongs to another learner.
    fn go_on(&mut self, clock: Clock, state: &Value, take: &mut Checkpoint) -> Result<()>;

    /// Starts with the weights of a checkpoint instead of fresh ones.
    ///
    /// # Errors
    /// If the checkpoint belongs to another network.
    fn start_from(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.model_mut().restore(checkpoint)
    }

    /// Pictures of the model as it is now, by name; none unless a method says otherwise.
    ///
    /// # Errors
    /// If the units cannot be drawn, for example because the network does not accept the images that they respond to.
    fn pictures(&self) -> Result<Vec<(String, Picture)>> {
        Ok(Vec::new())
    }

    /// Trains and tests the read-outs, after learning.
    ///
    /// # Errors
    /// If features are not finite.
    fn finish(&mut self, recorder: &mut Recorder<'_>) -> Result<Figures>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_batch_of_an_epoch_may_be_smaller() {
        // 4 + 4 + 2 images, twice.
        let clock = Clock::after_epochs(2, 10, 4).unwrap();
        assert_eq!(clock, Clock { steps: 6, images: 20 });
        let error = Clock::after_epochs(2, 10, 0).unwrap_err().to_string();
        assert!(error.contains("batch size is 0, expected 1 or more"), "{error}");
    }
}
