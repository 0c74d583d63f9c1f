//! A network with its read-out.

use super::decoder::Decoder;
use super::network::Network;
use super::options::Options;
use crate::units::units_of;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::ops::flatten;
use hebbian_train::{Checkpoint, Error, LinearReadout, Result, Units, check_layer};

/// A network and, once it is trained, the read-out of the last layer's whole output.
///
/// A [checkpoint](hebbian_train::Model::tensors) holds the [network's tensors](Network::tensors), and
/// `head.weight (classes, F)` and `head.bias (classes)`. With
/// [nearest neighbours](Decoder::NearestNeighbours) there is no such read-out.
#[derive(Debug)]
pub struct Model {
    pub(super) network: Network,
    pub(super) head: Option<LinearReadout>,
    classes: usize,
    decoder: Decoder,
    pub(super) device: Device,
}

impl Model {
    /// Creates a model with fresh weights for transformed images of shape `image (C, H, W)` and `classes`
    /// classes.
    ///
    /// # Errors
    /// If the options do not fit the images.
    pub(super) fn new(
        options: &Options,
        image: (usize, usize, usize),
        classes: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        let Options { preset, decoder, .. } = options;
        let network = Network::new(preset, image, rng, DType::F32, device)?;
        Ok(Self { network, head: None, classes, decoder: *decoder, device: device.clone() })
    }

    /// Returns the network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of features from which classes are read out.
    pub(super) fn width(&self) -> usize {
        self.network.stack().output().iter().product()
    }
}

impl hebbian_train::Model for Model {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.network.tensors();
        tensors.extend(self.head.iter().flat_map(LinearReadout::tensors));
        tensors
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.network.restore(|name, shape| checkpoint.take(name, shape, DType::F32))?;
        self.head = LinearReadout::restore(checkpoint, self.classes, self.width())?;
        Ok(())
    }

    fn layers(&self) -> usize {
        self.network.stack().blocks().len()
    }

    fn layer_features(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        check_layer(layer, self.layers())?;
        Ok(self.network.stack().features(images, layer + 1)?)
    }

    /// The last layer's whole output, channel by channel.
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        Ok(flatten(&self.layer_features(self.layers() - 1, images)?)?)
    }

    fn scores(&self, images: &Tensor) -> Result<Tensor> {
        match (&self.head, self.decoder) {
            (Some(head), _) => head.scores(&self.features(images)?),
            (None, Decoder::NearestNeighbours { .. }) => Err(Error::NoReadout(
                "nearest neighbours are no read-out that a model keeps: train with ridge, svm or \
                 logistic, or take its features",
            )),
            (None, _) => Err(LinearReadout::untrained()),
        }
    }

    fn units(&self) -> Result<Vec<Units>> {
        let all = units_of(self.network.stack(), self.layers())?;
        Ok(all.into_iter().map(|(_, units)| units).collect())
    }

    fn responses(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        Ok(self.network.stack().excitation(layer, images)?)
    }
}
