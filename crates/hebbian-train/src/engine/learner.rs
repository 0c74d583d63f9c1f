use candle::{D, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Figures, Recorder};
use crate::{Checkpoint, Error, Picture, Result, Units};

/// A network with its read-out, as evaluation uses it. Images are `(B, C, H, W)`, as
/// [`ImageSet::batch`](hebbian_data::ImageSet::batch) gives them: what a preset wants done to them is done already.
pub trait Model {
    /// Every tensor of a checkpoint in a fixed order, by stable names: a scaling of its own, weights, the
    /// read-out once it is trained.
    fn tensors(&self) -> Vec<(String, Tensor)>;

    /// Puts the tensors of a checkpoint back; a read-out that is not there stays untrained.
    ///
    /// # Errors
    /// A checkpoint of another network.
    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()>;

    /// How many layers there are to take features of; one unless a method says otherwise.
    fn layers(&self) -> usize {
        1
    }

    /// The features `(B, …)` of the layer of that number, from 0: what the next layer sees of it.
    ///
    /// # Errors
    /// Images of another size; a layer that is not there.
    fn layer_features(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        match layer {
            0 => self.features(images),
            _ => Err(Error::Argument(format!("there is no layer {layer}: expected 0"))),
        }
    }

    /// The features `(B, F)` that classes are read out of. Where the method can, differentiable in the images if
    /// they are part of a graph.
    ///
    /// # Errors
    /// Images of another size.
    fn features(&self, images: &Tensor) -> Result<Tensor>;

    /// What the read-out gives each class, `(B, classes)`: logits, or whatever is largest for the class that it
    /// chooses. Differentiable as [`features`](Self::features).
    ///
    /// # Errors
    /// Images of another size; a read-out that is not trained.
    fn scores(&self, images: &Tensor) -> Result<Tensor>;

    /// The class of each image, `(B)`, u32: the first of those with the largest [score](Self::scores).
    ///
    /// # Errors
    /// As [`scores`](Self::scores).
    fn predict(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.scores(&images.detach())?.detach().argmax(D::Minus1)?)
    }

    /// Its layers from the image up, for who wants to draw their units; none unless a method says otherwise.
    ///
    /// # Errors
    /// What the device says.
    fn units(&self) -> Result<Vec<Units>> {
        Ok(Vec::new())
    }

    /// What the units of the layer of that number in [`units`](Self::units) respond to images before they compete:
    /// `(B, K)` or `(B, K, h, w)`. Where the method can, differentiable in the images.
    ///
    /// # Errors
    /// Images of another size; a layer that is not there.
    fn responses(&self, layer: usize, _images: &Tensor) -> Result<Tensor> {
        Err(Error::Argument(format!("there are no responses of a layer {layer}")))
    }
}

/// How far learning has come: the same moment on two clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Batches that something was learned from.
    pub steps: u64,
    /// Images shown, each as often as it was.
    pub images: u64,
}

impl Clock {
    /// The clock after a batch of `images` more.
    pub fn tick(&mut self, images: usize) {
        self.steps += 1;
        self.images += images as u64;
    }
}

/// What was measured at a moment of learning.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// For the log, by name.
    pub values: Vec<(String, f64)>,
    /// For the progress.
    pub message: String,
}

/// What is needed to continue, in addition to the model: moments of an optimiser, sums since the last measurement,
/// the positions of generators.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// By name.
    pub tensors: Vec<(String, Tensor)>,
    /// Values that are not tensors.
    pub values: Value,
}

/// A model in training, with what it learns from. A run that continues from a [`state`](Self::state) ends
/// in the same bits as one that never stopped.
pub trait Learner {
    /// What learns.
    type Model: Model;

    /// The model as it is now.
    fn model(&self) -> &Self::Model;

    /// The same, for restoring tensors.
    fn model_mut(&mut self) -> &mut Self::Model;

    /// Whether it learns with labels.
    fn uses_labels(&self) -> bool;

    /// The progress so far.
    fn clock(&self) -> Clock;

    /// The length of the whole training.
    fn total(&self) -> Clock;

    /// Computes what fresh weights need of the data, whitening for example. Called before the first step
    /// of a run that takes none of that from a checkpoint, and before its folder is made.
    ///
    /// # Errors
    /// Data that it cannot be computed of.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// Makes fresh weights, from which [`begin`](Self::begin) has begun, as good as they can be without learning, for
    /// a control: statistics of batch norm, say, become those of the data.
    ///
    /// # Errors
    /// Data that they cannot be computed of.
    fn calibrate(&mut self) -> Result<()> {
        Ok(())
    }

    /// The model alone.
    fn into_model(self) -> Self::Model
    where
        Self: Sized;

    /// Learns from the next batch, or a few. Called while there is any left.
    ///
    /// # Errors
    /// A loss that is not finite.
    fn step(&mut self) -> Result<()>;

    /// The current stage, for messages: `layer 1`, `epoch 3`.
    fn stage(&self) -> String;

    /// Whether a measurement is due.
    fn is_due(&self) -> bool;

    /// Measures, and starts new sums.
    fn measure(&mut self) -> Result<Measured>;

    /// Advice for an error about weights that are not finite, if it is known which setting is to blame.
    fn advice(&self) -> Option<String> {
        None
    }

    /// What [`go_on`](Self::go_on) needs beside the model.
    fn state(&self) -> Result<State> {
        Ok(State::default())
    }

    /// Restores the moment at which `state` was taken, at `clock`; the tensors of the model are restored already.
    /// `take` hands out the tensors of the state.
    ///
    /// # Errors
    /// A state of another learner.
    fn go_on(&mut self, clock: Clock, state: &Value, take: &mut Checkpoint) -> Result<()>;

    /// Starts with the weights of a checkpoint in place of fresh ones.
    ///
    /// # Errors
    /// A checkpoint of another network.
    fn start_from(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.model_mut().restore(checkpoint)
    }

    /// Pictures of the model as it is now, by name.
    fn pictures(&self) -> Result<Vec<(String, Picture)>> {
        Ok(Vec::new())
    }

    /// After learning: trains read-outs, tests.
    ///
    /// # Errors
    /// Features that are not finite.
    fn finish(&mut self, recorder: &mut Recorder<'_>) -> Result<Figures>;
}
