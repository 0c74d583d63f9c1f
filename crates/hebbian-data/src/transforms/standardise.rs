use candle::{Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::ops::standardise;
use serde::{Deserialize, Serialize};

use super::{Image, Shape, Transform, wrong};
use crate::{ImageSet, Result};

/// The number that is added to the standard deviation of an image.
pub(crate) const EPSILON: f64 = 1e-10;

/// Standardises each image by itself: subtracts the mean of its C·H·W values and divides by 1e-10 plus their unbiased
/// standard deviation. See [`standardise`].
///
/// Source: the input of the networks of Miconi (2021).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandardiseImage {}

impl Transform for StandardiseImage {
    fn shape(&self, image: Shape) -> Result<Shape> {
        match image {
            (1, 1, 1) => {
                let problem = "found images of 1x1x1, expected two values or more";
                Err(wrong("standardise-image", problem))
            }
            _ => Ok(image),
        }
    }

    fn apply(&self, image: Image, rng: &mut Rng) -> Result<Image> {
        let mut images = self.apply_all(vec![image.clone()], std::slice::from_mut(rng))?;
        Ok(images.pop().unwrap_or(image))
    }

    fn apply_all(&self, images: Vec<Image>, _: &mut [Rng]) -> Result<Vec<Image>> {
        Image::through(&images, |images| Ok(standardise(images, EPSILON)?))
    }

    fn differentiable(&self, images: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(standardise(images, EPSILON)?))
    }
}

/// Subtracts a mean from each channel and divides it by a standard deviation: torchvision's `Normalize`. If no numbers
/// are given, those of the training images are used, over all images and pixels, and become a part of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Standardise {
    /// The mean of each channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f64>>,
    /// The standard deviation of each channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<Vec<f64>>,
}

impl Standardise {
    /// The scaling by the given numbers, or `None` if there are none.
    pub(super) fn of_numbers(&self) -> Result<Option<Scaling>> {
        match (&self.mean, &self.deviation) {
            (Some(mean), Some(deviation)) => Scaling::new(mean, deviation, false).map(Some),
            (None, None) => Ok(None),
            _ => {
                let problem = "found one of mean and deviation, expected both, or none for those of the training images";
                Err(wrong("standardise", problem))
            }
        }
    }
}

/// [`Standardise`] with known numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scaling {
    mean: Vec<f32>,
    deviation: Vec<f32>,
    /// Whether the numbers are those of training images.
    fitted: bool,
}

impl Scaling {
    fn new(mean: &[f64], deviation: &[f64], fitted: bool) -> Result<Self> {
        // In the precision that they are used in, a tiny deviation is 0.
        let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        let scaling = Self { mean: narrow(mean), deviation: narrow(deviation), fitted };
        let positive = |&value: &f32| value > 0.0 && value.is_finite();
        let finite = scaling.mean.iter().all(|value| value.is_finite());
        if mean.len() != deviation.len() || !finite || !scaling.deviation.iter().all(positive) {
            let problem = format!(
                "found means {mean:?} and deviations {deviation:?}, expected a mean and a deviation above 0 of each \
                 channel, in f32"
            );
            return Err(wrong("standardise", problem));
        }
        Ok(scaling)
    }

    /// Fits the scaling to images; a channel of equal values becomes 0.
    pub(super) fn fit(train: &ImageSet) -> Result<Self> {
        let (mean, deviation) = train.channel_moments()?;
        let deviation: Vec<f64> =
            deviation.into_iter().map(|one| if one as f32 > 0.0 { one } else { 1.0 }).collect();
        Self::new(&mean, &deviation, true)
    }

    /// Restores the scaling from tensors, which `take` returns by name.
    pub(super) fn restore<E: From<crate::Error>>(
        channels: usize,
        mut take: impl FnMut(&str, &[usize]) -> Result<Tensor, E>,
    ) -> Result<Self, E> {
        let mut numbers = |name| -> Result<Vec<f64>, E> {
            let tensor = take(name, &[channels])?.to_device(&Device::Cpu);
            let values = tensor.and_then(|tensor| tensor.to_vec1::<f32>());
            Ok(values.map_err(crate::Error::from)?.into_iter().map(f64::from).collect())
        };
        let (mean, deviation) = (numbers("mean")?, numbers("deviation")?);
        Ok(Self::new(&mean, &deviation, true)?)
    }
}

impl Transform for Scaling {
    fn shape(&self, image: Shape) -> Result<Shape> {
        match (image.0, self.mean.len()) {
            (found, expected) if found == expected => Ok(image),
            (found, expected) => {
                let problem = format!("found images of {found} channels, expected {expected}");
                Err(wrong("standardise", problem))
            }
        }
    }

    fn apply(&self, mut image: Image, _: &mut Rng) -> Result<Image> {
        let (_, height, width) = self.shape(image.shape())?;
        let planes = image.values_mut().chunks_exact_mut(height * width);
        for ((plane, mean), deviation) in planes.zip(&self.mean).zip(&self.deviation) {
            plane.iter_mut().for_each(|value| *value = (*value - mean) / deviation);
        }
        Ok(image)
    }

    fn differentiable(&self, images: &Tensor) -> Result<Option<Tensor>> {
        let (_, channels, height, width) = images.dims4()?;
        self.shape((channels, height, width))?;
        let [mean, deviation] = [&self.mean, &self.deviation]
            .map(|values| Tensor::from_slice(values, (channels, 1, 1), images.device()));
        Ok(Some(images.broadcast_sub(&mean?)?.broadcast_div(&deviation?)?))
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        let row = |values: &[f32]| Tensor::new(values, &Device::Cpu);
        let pairs = [("mean", row(&self.mean)), ("deviation", row(&self.deviation))];
        // Creating a tensor from a row of numbers on the host does not fail, whatever the numbers are.
        let pairs = pairs.into_iter().filter(|_| self.fitted);
        pairs.filter_map(|(name, row)| Some((name.to_string(), row.ok()?))).collect()
    }
}
