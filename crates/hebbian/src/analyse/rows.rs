//! Features of images as rows, and what is read out of them.

use anyhow::Result;
use candle::{DType, Device, Tensor};
use hebbian_data::ImageSet;
use hebbian_models::Model;
use hebbian_train::{Progress, Readout, Ridge, Standardisation, collect_features};

/// Images per batch.
pub(super) const BATCH: usize = 100;

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
    Ok(collect_features(set.in_order(BATCH)?, &Device::Cpu, |indices| {
        let (batch, _) = set.batch(indices, DType::F32, device)?;
        let rows = match of {
            Of::Pixels => Ok(batch),
            Of::Layer(layer) => model.layer_features(layer, &batch),
            Of::Features => model.features(&batch),
        };
        progress.advance(indices.len() as u64);
        rows
    })?)
}

/// Rows for ridge regression: standardised by the mean and the deviation that each feature has over all training
/// images, for which no labels are needed.
pub(crate) struct Ridged {
    train: Tensor,
    test: Tensor,
    classes: usize,
    penalty: f64,
}

impl Ridged {
    /// Standardises training rows and test rows.
    ///
    /// # Errors
    /// Test rows of another width than the training rows.
    pub(crate) fn new(train: &Tensor, test: &Tensor, classes: usize, penalty: f64) -> Result<Self> {
        let scale = Standardisation::of(train)?;
        Ok(Self { train: scale.apply(train)?, test: scale.apply(test)?, classes, penalty })
    }

    /// Returns the share of test rows that ridge regression on the training rows classifies correctly.
    ///
    /// # Errors
    /// Those of [`Ridge::fit`].
    pub(crate) fn accuracy(&self, labels: &[u32], test_labels: &[u32]) -> Result<f64> {
        let ridge = Ridge::fit(&self.train, labels, self.classes, self.penalty)?;
        Ok(ridge.accuracy(&self.test, test_labels)?)
    }

    /// Returns the accuracy after ridge regression on only the training rows `some`, with their labels.
    ///
    /// # Errors
    /// Those of [`Ridge::fit`].
    ///
    /// # Panics
    /// If `some` has an index that is out of range.
    pub(super) fn accuracy_of(
        &self,
        some: &[usize],
        labels: &[u32],
        test_labels: &[u32],
    ) -> Result<f64> {
        let chosen: Vec<u32> = some.iter().map(|&row| labels[row]).collect();
        let rows: Vec<u32> = some.iter().map(|&row| row as u32).collect();
        let train = self.train.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?;
        let ridge = Ridge::fit(&train, &chosen, self.classes, self.penalty)?;
        Ok(ridge.accuracy(&self.test, test_labels)?)
    }
}
