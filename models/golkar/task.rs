//! Samples for training and testing, as matrices on the device.

use super::config::{Preset, Scaling};
use super::network::scaled;
use super::optimum::Optimum;
use candle::{DType, Device, Tensor};
use hebbian_data::{Dataset, ImageSet};
use hebbian_train::{Error, Result, check_images, one_hot};
use std::cell::OnceCell;

/// Inputs and targets.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Pixels `(T, m)`, scaled by one mean and one deviation.
    pub x: Tensor,
    /// One-hot labels minus `1/n`, `(T, n)`.
    pub y: Tensor,
    /// Labels `(T)`, u32.
    pub labels: Tensor,
}

impl Samples {
    fn of(images: &ImageSet, classes: usize, scaling: Scaling, device: &Device) -> Result<Self> {
        let indices: Vec<usize> = (0..images.len()).collect();
        let (x, labels) = images.batch(&indices, DType::F32, device)?;
        let x = scaled(&x, scaling)?;
        let y = one_hot(images.labels(), classes, DType::F32, device)?;
        Ok(Self { x, y: (y - 1.0 / classes as f64)?, labels })
    }

    /// Returns the number of samples.
    pub fn count(&self) -> usize {
        self.labels.elem_count()
    }

    /// Computes the share of rows of `prediction (T, n)` that are largest at the label.
    ///
    /// # Errors
    /// If `prediction` has another number of rows than there are samples, is empty, or is on another device than the
    /// labels.
    pub fn accuracy(&self, prediction: &Tensor) -> candle::Result<f64> {
        let right = prediction.argmax(1)?.eq(&self.labels)?.to_dtype(DType::F32)?.sum_all()?;
        Ok(f64::from(right.to_scalar::<f32>()?) / self.count() as f64)
    }
}

/// The samples that a circuit learns and is tested with.
#[derive(Debug, Clone)]
pub struct Task {
    /// Samples to learn.
    pub train: Samples,
    /// Samples to test with.
    pub test: Samples,
    /// `n`
    pub classes: usize,
    /// The scaling that was applied to pixels from 0 to 1.
    pub scaling: Scaling,
    rank: usize,
    ridge: f64,
    optimum: OnceCell<f64>,
}

impl Task {
    /// Prepares the samples of a data set, whose splits are those that the method uses.
    ///
    /// # Errors
    /// If there are no images to learn or to test with, or labels are out of range; if the images exceed the memory
    /// limit: the circuit is measured, and the optimum that it is compared with is computed, on all samples at once.
    pub fn of(preset: &Preset, data: &Dataset, device: &Device) -> Result<Self> {
        Self::check(data)?;
        let Dataset { train, test, .. } = data;
        let scaling = preset.scaling.map_or_else(|| moments(train), Ok)?;
        let classes = data.class_names.len();
        Ok(Self {
            train: Samples::of(train, classes, scaling, device)?,
            test: Samples::of(test, classes, scaling, device)?,
            classes,
            scaling,
            rank: preset.units,
            ridge: preset.circuit.ridge,
            optimum: OnceCell::new(),
        })
    }

    /// Refuses what [`of`](Self::of) refuses, without the samples.
    pub(super) fn check(data: &Dataset) -> Result<()> {
        check_images(data)?;
        if let Some(set) = [&data.train, &data.test].into_iter().find(|set| !set.fits_in_memory()) {
            let (c, h, w) = set.shape();
            return Err(Error::Argument(format!(
                "{} images of {c}x{h}x{w} are more than may be in memory, but this method measures, and computes its optimum, \
                 on all of them at once: make them smaller with --image-size, use fewer with --limit-train, or \
                 allow more with --memory",
                set.len()
            )));
        }
        Ok(())
    }

    /// Returns the loss of the best linear network with the preset's hidden units and ridge, see
    /// [`Optimum`]; computed on first use.
    ///
    /// # Errors
    /// If [`Optimum::of`] fails.
    pub fn linear_optimum(&self) -> Result<f64> {
        if let Some(&loss) = self.optimum.get() {
            return Ok(loss);
        }
        let loss = Optimum::of(&self.train.x, &self.train.y, self.rank, self.ridge)?.loss;
        Ok(*self.optimum.get_or_init(|| loss))
    }
}

/// Mean and deviation of all pixels.
fn moments(images: &ImageSet) -> Result<Scaling> {
    let (mean, deviation) = images.moments()?;
    // Images of a single grey carry no information, whatever they are divided by.
    Ok(Scaling { mean, deviation: if deviation > 0.0 { deviation } else { 1.0 } })
}
