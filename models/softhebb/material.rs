//! What a learner learns from, and by what.

use super::config::Preset;
use super::method::Options;
use super::network::Network;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::{Dataset, ImageSet};
use hebbian_train::{Result, collect_features};

/// Images per batch where nothing learns.
const EVALUATION_BATCH: usize = 50;

#[derive(Debug)]
pub(super) struct Material {
    pub(super) options: Options,
    pub(super) data: Dataset,
    pub(super) device: Device,
    pub(super) rng: Rng,
}

impl Material {
    pub(super) fn preset(&self) -> &Preset {
        &self.options.preset
    }

    /// The number of classes.
    pub(super) fn classes(&self) -> usize {
        self.data.class_names.len()
    }

    /// Training images and labels.
    pub(super) fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        Ok(self.data.train.batch(indices, DType::F32, &self.device)?)
    }

    /// The same to learn from at a moment, see [`ImageSet::augmented_batch`](hebbian_data::ImageSet::augmented_batch).
    pub(super) fn augmented_batch(
        &self,
        indices: &[usize],
        moment: &str,
    ) -> Result<(Tensor, Tensor)> {
        let Self { data, rng, device, .. } = self;
        Ok(data.train.augmented_batch(indices, rng, moment, DType::F32, device)?)
    }

    /// Estimates batch-norm statistics on at most 2,000 training images.
    pub(super) fn calibrate(&self, network: &Network) -> Result<()> {
        let mut rng = self.rng.stream("calibration");
        let batches = self.data.train.shuffled(10, &mut rng)?;
        for indices in batches.take(200).filter(|indices| indices.len() > 1) {
            network.stack().calibrate(&self.batch(&indices)?.0)?;
        }
        Ok(())
    }

    /// The features of the images of a set, which `images` hands out by their indices.
    pub(super) fn features(
        &self,
        network: &Network,
        set: &ImageSet,
        mut images: impl FnMut(&[usize]) -> Result<(Tensor, Tensor)>,
    ) -> Result<Tensor> {
        collect_features(set.in_order(EVALUATION_BATCH)?, &self.device, |indices| {
            Ok(network.forward(&images(indices)?.0)?)
        })
    }
}
