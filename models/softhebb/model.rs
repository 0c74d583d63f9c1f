//! The network with its head.

use super::config::Preset;
use super::head::Head;
use super::names;
use super::network::Network;
use crate::units::units_of;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_train::{Checkpoint, LinearReadout, Result, Units, check_layer};

/// A SoftHebb network with the head that reads out classes. It takes pixels from 0 to 1, without scaling them.
#[derive(Debug)]
pub struct Model {
    pub(super) network: Network,
    pub(super) head: Head,
    /// Whether the head has learned.
    pub(super) trained: bool,
}

impl Model {
    /// A model with fresh weights for images `(C, H, W)` of `classes` classes.
    ///
    /// # Errors
    /// An image too small for the network (the message names the block); a dropout that is not a probability.
    pub fn new(
        preset: &Preset,
        image: (usize, usize, usize),
        classes: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        let network = Network::new(preset, image, rng, DType::F32, device)?;
        let head = Head::new(
            &preset.head,
            &preset.training,
            network.features(),
            classes,
            device,
            &mut rng.stream("head.weight"),
        )?;
        Ok(Self { network, head, trained: false })
    }

    /// The blocks.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The head that reads out the features of the blocks.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Restores the tensors of the network, and leaves the head as it is. If the authors' programs wrote the
    /// checkpoint, its tensors have our names from here on.
    pub(super) fn restore_network(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        names::as_ours(checkpoint, self.network.stack().blocks().len());
        let take = |name: &str, shape: &[usize]| checkpoint.take(name, shape, DType::F32);
        self.network.stack_mut().restore(take)
    }
}

impl hebbian_train::Model for Model {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.network.stack().tensors();
        if self.trained {
            tensors.extend(self.head.tensors());
        }
        tensors
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.restore_network(checkpoint)?;
        let names = self.head.tensors().into_iter().map(|(name, _)| name);
        self.trained = names.into_iter().any(|name| checkpoint.dims(&name).is_some());
        if self.trained {
            self.head.restore(checkpoint)?;
        }
        Ok(())
    }

    fn layers(&self) -> usize {
        self.network.stack().blocks().len()
    }

    fn layer_features(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        check_layer(layer, self.layers())?;
        Ok(self.network.stack().features(images, layer + 1)?)
    }

    fn features(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.network.forward(images)?)
    }

    fn scores(&self, images: &Tensor) -> Result<Tensor> {
        if !self.trained {
            return Err(LinearReadout::untrained());
        }
        self.head.scores(&self.network.forward(images)?)
    }

    fn units(&self) -> Result<Vec<Units>> {
        let all = units_of(self.network.stack(), self.layers())?;
        Ok(all.into_iter().map(|(_, units)| units).collect())
    }

    fn responses(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        Ok(self.network.stack().excitation(layer, images)?)
    }
}
