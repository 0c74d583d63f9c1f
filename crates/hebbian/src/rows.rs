//! Features of images as rows, and what is read out of them.

use anyhow::Result;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::ImageSet;
use hebbian_models::Model;
use hebbian_train::{Progress, Readout, Ridge, Standardisation, collect_features};

/// Images per batch.
pub(crate) const BATCH: usize = 100;

/// What the rows contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Raw pixels.
    Pixels,
    /// The features of the layer of that number, from 0.
    Layer(usize),
    /// The features that classes are read out of.
    Features,
}

/// Computes a row of features for each image of a set, `(N, F)`, on the CPU.
///
/// # Errors
/// Images that the model does not accept.
pub(crate) fn rows(
    model: &Model,
    of: Of,
    set: &ImageSet,
    device: &Device,
    progress: &mut Progress,
) -> Result<Tensor> {
    collected(model, of, set, progress, |indices| Ok(set.batch(indices, DType::F32, device)?.0))
}

/// Computes the [`rows`] of images that go through the augmentation of the set first, with the random draws of
/// copy number `copy`.
///
/// # Errors
/// As [`rows`].
pub(crate) fn augmented_rows(
    model: &Model,
    of: Of,
    set: &ImageSet,
    (copy, rng): (usize, &Rng),
    device: &Device,
    progress: &mut Progress,
) -> Result<Tensor> {
    let moment = format!("augmentation.{copy}");
    collected(model, of, set, progress, |indices| {
        Ok(set.augmented_batch(indices, rng, &moment, DType::F32, device)?.0)
    })
}

/// Computes the [`rows`] of the mirror images, left for right, of the images of a set.
///
/// # Errors
/// As [`rows`].
pub(crate) fn mirrored_rows(
    model: &Model,
    of: Of,
    set: &ImageSet,
    device: &Device,
    progress: &mut Progress,
) -> Result<Tensor> {
    collected(model, of, set, progress, |indices| {
        Ok(set.batch(indices, DType::F32, device)?.0.flip(&[3])?)
    })
}

fn collected(
    model: &Model,
    of: Of,
    set: &ImageSet,
    progress: &mut Progress,
    batch: impl Fn(&[usize]) -> hebbian_train::Result<Tensor>,
) -> Result<Tensor> {
    Ok(collect_features(set.in_order(BATCH)?, &Device::Cpu, |indices| {
        let rows = match of {
            Of::Pixels => batch(indices),
            Of::Layer(layer) => model.layer_features(layer, &batch(indices)?),
            Of::Features => model.features(&batch(indices)?),
        };
        progress.advance(indices.len() as u64);
        rows
    })?)
}

/// Rows for ridge regression: standardised by the mean and the deviation that each feature has over all training
/// images, for which no labels are needed.
pub(crate) struct Ridged {
    train: Tensor,
    scale: Standardisation,
    test: Tensor,
    classes: usize,
}

impl Ridged {
    /// Prepares training rows and test rows.
    ///
    /// # Errors
    /// Test rows of another width than the training rows.
    pub(crate) fn new(train: Tensor, test: &Tensor, classes: usize) -> Result<Self> {
        let scale = Standardisation::of(&train)?;
        Ok(Self { test: scale.apply(test)?, train, scale, classes })
    }

    /// Returns the share of test rows that ridge regression on the training rows classifies correctly, and its penalty:
    /// the most accurate of `penalties` on a part of the training rows ([`Ridge::fit_best`]).
    ///
    /// # Errors
    /// Those of [`Ridge::fit_best`].
    pub(crate) fn accuracy(
        &self,
        labels: &[u32],
        test_labels: &[u32],
        penalties: &[f64],
    ) -> Result<(f64, f64)> {
        let Self { train, scale, test, classes } = self;
        let (ridge, penalty) = Ridge::fit_best(train, scale, labels, *classes, penalties)?;
        Ok((ridge.accuracy(test, test_labels)?, penalty))
    }

    /// Returns the accuracy after ridge regression on only the training rows `some`, with their labels.
    ///
    /// # Errors
    /// Those of [`Ridge::fit_best`].
    ///
    /// # Panics
    /// If `some` has an index that is out of range.
    pub(crate) fn accuracy_of(
        &self,
        some: &[usize],
        labels: &[u32],
        test_labels: &[u32],
        penalties: &[f64],
    ) -> Result<f64> {
        let chosen: Vec<u32> = some.iter().map(|&row| labels[row]).collect();
        let rows: Vec<u32> = some.iter().map(|&row| row as u32).collect();
        let train = self.train.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?;
        let (ridge, _) = Ridge::fit_best(&train, &self.scale, &chosen, self.classes, penalties)?;
        Ok(ridge.accuracy(&self.test, test_labels)?)
    }
}
