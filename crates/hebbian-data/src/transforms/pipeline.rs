use std::path::Path;
use std::sync::Arc;

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;

use super::standardise::{Scaling, StandardiseImage};
use super::zca::Whitening;
use super::{Image, Shape, Transform, TransformConfig, TransformList, wrong};
use crate::{CacheOutcome, Error, ImageSet, Result, Zca, ZcaProgress};

/// The most values that an image may have: 256 MiB of them.
const MOST_VALUES: usize = 1 << 26;

/// A sequence of transforms, with whatever they have learned. Clones share the transforms.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    /// The transforms with their names for messages: as a flag would write them.
    transforms: Vec<(String, Arc<dyn Transform>)>,
}

/// How far [`Pipeline::fit`] has progressed.
#[derive(Debug)]
pub enum FitProgress<'a> {
    /// The progress of a whitening.
    Whitening(ZcaProgress),
    /// The whitening was computed, but cannot be cached, for this reason.
    NotKept(&'a Error),
}

impl Pipeline {
    /// Creates the transforms of a list, none of which may need fitting to images.
    ///
    /// # Errors
    /// If a transform has to be fitted, or is wrong.
    pub fn new(list: &TransformList) -> Result<Self> {
        list.0.iter().try_fold(Self::default(), |all, config| match config.ready()? {
            Some(transform) => Ok(all.and(config.to_string(), transform)),
            None => Err(wrong(
                config.to_string(),
                "it is fitted to training images, expected one that needs none: it is not an augmentation",
            )),
        })
    }

    /// Creates the transforms of a list, with placeholders that keep the shape for those that have to be fitted to
    /// images. This shows which shape images would get.
    ///
    /// # Errors
    /// If a transform is wrong.
    pub fn unfitted(list: &TransformList) -> Result<Self> {
        list.0.iter().try_fold(Self::default(), |all, config| {
            let transform = config.ready()?.unwrap_or_else(|| Arc::new(StandardiseImage {}));
            Ok(all.and(config.to_string(), transform))
        })
    }

    /// Creates the transforms of a list. Those that have to be fitted are fitted to the training images after the
    /// transforms before them. A whitening is cached in the folder `cache`, see [`Zca::fit_cached`].
    ///
    /// # Errors
    /// If a transform is wrong, does not fit the images or cannot be fitted to them.
    pub fn fit(
        list: &TransformList,
        train: &ImageSet,
        rng: &Rng,
        cache: Option<&Path>,
        mut on_progress: impl FnMut(FitProgress<'_>),
    ) -> Result<Self> {
        list.0.iter().try_fold(Self::default(), |all, config| {
            let seen = || train.with_transforms(all.clone(), Self::default());
            let transform: Arc<dyn Transform> = match (config.ready()?, config) {
                (Some(transform), _) => transform,
                (None, TransformConfig::Zca(config)) => {
                    let (seen, rng) = (seen()?, &mut rng.stream("zca"));
                    let mut progress = |now| on_progress(FitProgress::Whitening(now));
                    let zca = match cache {
                        Some(cache) => {
                            let (zca, outcome) =
                                Zca::fit_cached(&seen, config, rng, cache, &mut progress)?;
                            if let CacheOutcome::NotWritten(error) = &outcome {
                                on_progress(FitProgress::NotKept(error));
                            }
                            zca
                        }
                        None => Zca::fit(&seen, config, rng, &mut progress)?,
                    };
                    Arc::new(Whitening::new(&zca)?)
                }
                (None, _) => Arc::new(Scaling::fit(&seen()?)?),
            };
            Ok(all.and(config.to_string(), transform))
        })
    }

    /// Creates the transforms of a list for images of shape `image`, with what they had learned: `take` returns each
    /// tensor, given its name in [`tensors`](Transform::tensors) and its shape.
    ///
    /// # Errors
    /// If a transform is wrong or does not fit the images, or if `take` returns an error.
    pub fn restore<E: From<Error>>(
        list: &TransformList,
        image: Shape,
        mut take: impl FnMut(&str, &[usize]) -> Result<Tensor, E>,
    ) -> Result<Self, E> {
        list.0.iter().enumerate().try_fold(Self::default(), |all, (at, config)| {
            let shape = all.shape(image)?;
            let take = |name: &str, shape: &[usize]| take(&named(at, name), shape);
            let transform: Arc<dyn Transform> = match (config.ready()?, config) {
                (Some(transform), _) => transform,
                (None, TransformConfig::Zca(_)) => Arc::new(Whitening::restore(shape, take)?),
                (None, _) => Arc::new(Scaling::restore(shape.0, take)?),
            };
            Ok(all.and(config.to_string(), transform))
        })
    }

    /// Adds a transform at the end. Messages name it by its type: `MyCrop` is `my-crop`.
    pub fn then(self, transform: impl Transform + 'static) -> Self {
        self.and(kind(std::any::type_name_of_val(&transform)), Arc::new(transform))
    }

    fn and(mut self, name: String, transform: Arc<dyn Transform>) -> Self {
        self.transforms.push((name, transform));
        self
    }

    /// Whether there are no transforms.
    pub fn is_empty(&self) -> bool {
        self.transforms.is_empty()
    }

    /// Applies the transforms to images `(B, C, H, W)`, and returns them in the same type and on the same device.
    /// None of the transforms may be random. If the images are part of a graph and all transforms are
    /// [differentiable](Transform::differentiable), so is the result.
    ///
    /// # Errors
    /// If the transforms cannot be applied to the images, or if one of them is random.
    pub fn apply_to(&self, images: &Tensor) -> Result<Tensor> {
        if self.is_empty() {
            return Ok(images.clone());
        }
        let (batch, channels, height, width) = images.dims4()?;
        if batch == 0 {
            let (channels, height, width) = self.shape((channels, height, width))?;
            return Ok(images.reshape((0, channels, height, width))?);
        }
        let graph = match images.track_op() {
            true => self.differentiable(&images.to_dtype(DType::F32)?.to_device(&Device::Cpu)?)?,
            false => None,
        };
        let changed = match graph {
            Some(changed) => changed,
            None => Image::tensor(&self.apply_fixed(Image::all_of(images)?)?)?,
        };
        Ok(changed.to_dtype(images.dtype())?.to_device(images.device())?)
    }

    /// [`apply_all`](Transform::apply_all) for transforms that are not random.
    pub(crate) fn apply_fixed(&self, images: Vec<Image>) -> Result<Vec<Image>> {
        self.check_fixed()?;
        let mut rngs = vec![Rng::new(0); images.len()];
        self.apply_all(images, &mut rngs)
    }

    /// Returns an error if a transform is random.
    pub(crate) fn check_fixed(&self) -> Result<()> {
        match self.transforms.iter().find(|(_, transform)| transform.is_random()) {
            Some((name, _)) => Err(wrong(
                name.clone(),
                "it draws at random, expected one that does the same to every image: make it an augmentation",
            )),
            None => Ok(()),
        }
    }
}

/// The name of a transform of this type, which lists of transforms derive in the same way.
fn kind(path: &str) -> String {
    let path = path.split('<').next().unwrap_or_default();
    let name = path.rsplit("::").next().unwrap_or_default();
    let mut kind = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !kind.is_empty() {
            kind.push('-');
        }
        kind.extend(c.to_lowercase());
    }
    kind
}

/// The name of a tensor of the transform at this place.
fn named(at: usize, name: &str) -> String {
    format!("transforms.{at}.{name}")
}

/// Two pipelines are equal if they share the same transforms, not if they have others that do the same.
impl PartialEq for Pipeline {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.transforms.iter().zip(&other.transforms);
        self.transforms.len() == other.transforms.len()
            && pairs.all(|((_, a), (_, b))| Arc::ptr_eq(a, b))
    }
}

impl Eq for Pipeline {}

impl Transform for Pipeline {
    fn shape(&self, image: Shape) -> Result<Shape> {
        self.transforms.iter().try_fold(image, |image, (name, transform)| {
            let (channels, height, width) = transform.shape(image)?;
            let values = channels.checked_mul(height).and_then(|part| part.checked_mul(width));
            match values.is_some_and(|values| (1..=MOST_VALUES).contains(&values)) {
                true => Ok((channels, height, width)),
                false => Err(wrong(
                    name.clone(),
                    format!(
                        "it makes images of {channels}x{height}x{width}, expected 1 to {MOST_VALUES} values: use \
                         another size"
                    ),
                )),
            }
        })
    }

    fn apply(&self, image: Image, rng: &mut Rng) -> Result<Image> {
        self.transforms.iter().try_fold(image, |image, (_, one)| one.apply(image, rng))
    }

    fn is_random(&self) -> bool {
        self.transforms.iter().any(|(_, transform)| transform.is_random())
    }

    fn apply_all(&self, images: Vec<Image>, rngs: &mut [Rng]) -> Result<Vec<Image>> {
        self.transforms.iter().try_fold(images, |images, (_, one)| one.apply_all(images, rngs))
    }

    fn differentiable(&self, images: &Tensor) -> Result<Option<Tensor>> {
        self.transforms.iter().try_fold(Some(images.clone()), |images, (_, one)| match images {
            Some(images) => one.differentiable(&images),
            None => Ok(None),
        })
    }

    /// The tensors of each transform, as `transforms.AT.NAME`.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let all = self.transforms.iter().enumerate();
        all.flat_map(|(at, (_, transform))| {
            transform.tensors().into_iter().map(move |(name, tensor)| (named(at, &name), tensor))
        })
        .collect()
    }
}
