//! What a learner learns from: options, data and a generator.

use super::config::{FeatureType, Preset};
use super::network::Network;
use super::options::Options;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::{Dataset, ImageSet};
use hebbian_train::{Result, collect_features};

/// Images per batch when nothing learns.
const EVALUATION_BATCH: usize = 50;
/// The number of bytes above which features are kept in bf16.
const LARGEST_IN_F32: usize = 2 << 30;

#[derive(Debug)]
pub(super) struct Material {
    pub(super) options: Options,
    pub(super) data: Dataset,
    /// The images that the network learns from; if it learns without labels, this includes unlabelled images.
    pub(super) seen: ImageSet,
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

    /// Returns a batch of the images that the network learns from, with their labels.
    pub(super) fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        Ok(self.seen.batch(indices, DType::F32, &self.device)?)
    }

    /// Returns a batch of augmented images of a set, see
    /// [`ImageSet::augmented_batch`](hebbian_data::ImageSet::augmented_batch).
    pub(super) fn augmented_batch(
        &self,
        set: &ImageSet,
        indices: &[usize],
        moment: &str,
    ) -> Result<(Tensor, Tensor)> {
        Ok(set.augmented_batch(indices, &self.rng, moment, DType::F32, &self.device)?)
    }

    /// Estimates batch-norm statistics on at most 2,000 of the images that the network learns from.
    pub(super) fn calibrate(&self, network: &Network) -> Result<()> {
        let mut rng = self.rng.stream("calibration");
        let batches = self.seen.shuffled(10, &mut rng)?;
        for indices in batches.take(200).filter(|indices| indices.len() > 1) {
            network.stack().calibrate(&self.batch(&indices)?.0)?;
        }
        Ok(())
    }

    /// Returns the features of the images of a set; `images` returns the batch with the given indices.
    pub(super) fn features(
        &self,
        network: &Network,
        set: &ImageSet,
        mut images: impl FnMut(&[usize]) -> Result<(Tensor, Tensor)>,
    ) -> Result<Tensor> {
        let dtype = self.feature_type(network.features());
        collect_features(set.in_order(EVALUATION_BATCH)?, &self.device, |indices| {
            Ok(network.forward(&images(indices)?.0)?.to_dtype(dtype)?)
        })
    }

    /// The type in which features of `width` numbers per image are kept, see [`TrainingConfig::features`].
    fn feature_type(&self, width: usize) -> DType {
        let bytes = self.data.train.len().saturating_mul(width).saturating_mul(size_of::<f32>());
        match self.preset().training.features {
            Some(FeatureType::F32) => DType::F32,
            Some(FeatureType::Bf16) => DType::BF16,
            None if bytes > LARGEST_IN_F32 => DType::BF16,
            None => DType::F32,
        }
    }
}
