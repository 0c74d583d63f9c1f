use std::path::Path;
use std::sync::Arc;

use candle::Tensor;
use candle_hebbian::Rng;

use super::standardise::{Scaling, StandardiseImage};
use super::zca::Whitening;
use super::{Image, Shape, Transform, TransformConfig, TransformList, wrong};
use crate::{CacheOutcome, Error, ImageSet, Result, Zca, ZcaProgress};

/// The most values that an image may have, 256 MiB of them.
const MOST_VALUES: usize = 1 << 26;

/// Transforms one after the other, with whatever they have learned. A clone shares them.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    transforms: Vec<Arc<dyn Transform>>,
}

/// How far [`Pipeline::fit`] has come.
#[derive(Debug)]
pub enum FitProgress<'a> {
    /// Of a whitening.
    Whitening(ZcaProgress),
    /// The whitening is there, but cannot be kept for the next time.
    NotKept(&'a Error),
}

impl Pipeline {
    /// Those of a list, of which none has to be fitted to images.
    ///
    /// # Errors
    /// One that has to, or one that is wrong.
    pub fn new(list: &TransformList) -> Result<Self> {
        list.0.iter().try_fold(Self::default(), |all, config| match config.ready()? {
            Some(transform) => Ok(all.and(transform)),
            None => Err(wrong(
                config.to_string(),
                "it is fitted to training images, expected one that needs none: it is no augmentation",
            )),
        })
    }

    /// Those of a list, with one that leaves the shape as it is in place of each that has to be fitted to images: to
    /// see what would become of them.
    ///
    /// # Errors
    /// One that is wrong.
    pub fn unfitted(list: &TransformList) -> Result<Self> {
        list.0.iter().try_fold(Self::default(), |all, config| {
            Ok(all.and(config.ready()?.unwrap_or_else(|| Arc::new(StandardiseImage {}))))
        })
    }

    /// Those of a list, each fitted to what those before it make of training images where it has to. A whitening is
    /// looked for in the folder `cache`, see [`Zca::fit_cached`].
    ///
    /// # Errors
    /// One that is wrong, does not fit the images or cannot be fitted to them.
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
            Ok(all.and(transform))
        })
    }

    /// Those of a list for images of that shape; what was fitted is handed out by `take`, by the names that
    /// [`tensors`](Transform::tensors) has, with its shape.
    ///
    /// # Errors
    /// One that is wrong or does not fit the images; what `take` says.
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
            Ok(all.and(transform))
        })
    }

    /// These, and one more after them.
    pub fn then(self, transform: impl Transform + 'static) -> Self {
        self.and(Arc::new(transform))
    }

    fn and(mut self, transform: Arc<dyn Transform>) -> Self {
        self.transforms.push(transform);
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.transforms.is_empty()
    }

    /// What becomes of images `(B, C, H, W)`, in their type and on their device. Nothing may be drawn at random.
    ///
    /// # Errors
    /// Images that they cannot be applied to; one that is random.
    pub fn apply_to(&self, images: &Tensor) -> Result<Tensor> {
        if self.is_empty() || images.dims4()?.0 == 0 {
            return Ok(images.clone());
        }
        let changed = self.apply_fixed(Image::all_of(images)?)?;
        let changed = Image::tensor(&changed)?.to_dtype(images.dtype())?;
        Ok(changed.to_device(images.device())?)
    }

    /// [`apply_all`](Transform::apply_all) where nothing is drawn.
    pub(crate) fn apply_fixed(&self, images: Vec<Image>) -> Result<Vec<Image>> {
        self.check_fixed()?;
        let mut rngs = vec![Rng::new(0); images.len()];
        self.apply_all(images, &mut rngs)
    }

    /// That nothing is drawn.
    pub(crate) fn check_fixed(&self) -> Result<()> {
        match self.transforms.iter().find(|transform| transform.is_random()) {
            Some(random) => Err(wrong(
                format!("{random:?}"),
                "it draws at random, expected one that does the same to every image: make it an augmentation",
            )),
            None => Ok(()),
        }
    }
}

/// The name of what the transform at that place has learned.
fn named(at: usize, name: &str) -> String {
    format!("transforms.{at}.{name}")
}

/// Whether they are the same ones, not others that do the same.
impl PartialEq for Pipeline {
    fn eq(&self, other: &Self) -> bool {
        let pairs = || self.transforms.iter().zip(&other.transforms);
        self.transforms.len() == other.transforms.len() && pairs().all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

impl Eq for Pipeline {}

impl Transform for Pipeline {
    fn shape(&self, image: Shape) -> Result<Shape> {
        self.transforms.iter().try_fold(image, |image, transform| {
            let (channels, height, width) = transform.shape(image)?;
            let values = channels.checked_mul(height).and_then(|part| part.checked_mul(width));
            match values.is_some_and(|values| (1..=MOST_VALUES).contains(&values)) {
                true => Ok((channels, height, width)),
                false => Err(wrong(
                    format!("{transform:?}"),
                    format!(
                        "it makes images of {channels}x{height}x{width}, expected 1 to {MOST_VALUES} values: use \
                         another size"
                    ),
                )),
            }
        })
    }

    fn apply(&self, image: Image, rng: &mut Rng) -> Result<Image> {
        self.transforms.iter().try_fold(image, |image, transform| transform.apply(image, rng))
    }

    fn is_random(&self) -> bool {
        self.transforms.iter().any(|transform| transform.is_random())
    }

    fn apply_all(&self, images: Vec<Image>, rngs: &mut [Rng]) -> Result<Vec<Image>> {
        self.transforms.iter().try_fold(images, |images, one| one.apply_all(images, rngs))
    }

    /// `transforms.AT.NAME` of each.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let all = self.transforms.iter().enumerate();
        all.flat_map(|(at, transform)| {
            transform.tensors().into_iter().map(move |(name, tensor)| (named(at, &name), tensor))
        })
        .collect()
    }
}
