//! Changes to images on the host, before a batch becomes a tensor.
//!
//! A [`Transform`] turns one [`Image`] into another. A [`Pipeline`] is a sequence of them. The transforms that
//! presets and flags can describe are [`TransformConfig`]s, and a [`TransformList`] of them is JSON in a preset and
//! text in a flag:
//!
//! ```
//! use hebbian_data::transforms::TransformList;
//!
//! let of_a_flag: TransformList = "grey,random-crop=28:padding=4:reflect".parse()?;
//! let of_a_preset: TransformList = serde_json::from_str(
//!     r#"[{"kind": "grey"}, {"kind": "random_crop", "size": 28, "padding": 4, "padding_mode": "reflect"}]"#,
//! )?;
//! assert_eq!(of_a_flag, of_a_preset);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An [`InputConfig`] has two such lists. The `transforms` are always applied: their output is what the network
//! sees in training, in tests and for new images. The `augmentation` comes before them, and only while something
//! learns. Its draws depend only on the seed, the epoch and the index of the image, not on earlier draws or the
//! number of threads.
//!
//! | text | what |
//! |---|---|
//! | `resize=32`, `resize=32x48` | [`Resize`] |
//! | `centre-crop=28` | [`CentreCrop`] |
//! | `random-crop=32:padding=4:reflect` | [`RandomCrop`] |
//! | `random-resized-crop=160:scale=0.08/1` | [`RandomResizedCrop`] |
//! | `flip` | [`Flip`] |
//! | `colour-jitter:saturation=2:hue=0.1` | [`ColourJitter`] |
//! | `grey` | [`Grey`] |
//! | `standardise-image` | [`StandardiseImage`] |
//! | `standardise` | [`Standardise`], fitted to the training images |
//! | `zca`, `zca=0.1` | [`Zca`](crate::Zca) of each image standardised, fitted to the training images |
//! | `difference-of-gaussians` | [`DifferenceOfGaussians`] |

mod colour_jitter;
mod config;
mod crop;
mod difference_of_gaussians;
mod flip;
mod grey;
mod image;
mod list;
mod pipeline;
mod random_resized_crop;
mod resize;
mod size;
mod standardise;
mod zca;

pub use self::image::Image;
pub use colour_jitter::ColourJitter;
pub use config::TransformConfig;
pub use crop::{CentreCrop, RandomCrop};
pub use difference_of_gaussians::DifferenceOfGaussians;
pub use flip::Flip;
pub use grey::Grey;
pub use list::{InputConfig, TransformList};
pub use pipeline::{FitProgress, Pipeline};
pub use random_resized_crop::RandomResizedCrop;
pub use resize::Resize;
pub use size::Size;
pub(crate) use standardise::EPSILON as STANDARDISE_EPSILON;
pub use standardise::{Standardise, StandardiseImage};

use std::fmt::Debug;

use candle::Tensor;
use candle_hebbian::Rng;
use rayon::prelude::*;

use crate::{Error, Result};

/// Channels, height and width of an image.
pub type Shape = (usize, usize, usize);

/// A change to an image.
///
/// ```
/// use candle_hebbian::Rng;
/// use hebbian_data::transforms::{Image, Pipeline, Shape, Transform};
///
/// /// Light becomes dark.
/// #[derive(Debug)]
/// struct Negative;
///
/// impl Transform for Negative {
///     fn shape(&self, image: Shape) -> hebbian_data::Result<Shape> {
///         Ok(image)
///     }
///
///     fn apply(&self, mut image: Image, _: &mut Rng) -> hebbian_data::Result<Image> {
///         image.values_mut().iter_mut().for_each(|value| *value = 1.0 - *value);
///         Ok(image)
///     }
/// }
///
/// let pipeline = Pipeline::default().then(Negative);
/// let image = Image::new(vec![0.0, 0.25], (1, 1, 2))?;
/// assert_eq!(pipeline.apply(image, &mut Rng::new(0))?.values(), [1.0, 0.75]);
///
/// // What a set hands out from now on.
/// let digits = hebbian_data::digits().with_transforms(pipeline, Pipeline::default())?;
/// assert_eq!(digits.train.shape(), (1, 8, 8));
/// # Ok::<(), hebbian_data::Error>(())
/// ```
pub trait Transform: Debug + Send + Sync {
    /// Returns the shape that an image of this shape has after the change.
    ///
    /// # Errors
    /// If the change cannot be applied to this shape.
    fn shape(&self, image: Shape) -> Result<Shape>;

    /// Changes an image, drawing all random numbers from `rng`.
    ///
    /// # Errors
    /// If the change cannot be applied to the shape of the image.
    fn apply(&self, image: Image, rng: &mut Rng) -> Result<Image>;

    /// Whether the change is random.
    fn is_random(&self) -> bool {
        false
    }

    /// Changes the images of a batch, each with its own generator: in parallel, unless an implementation has a
    /// better way for many images at once.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn apply_all(&self, images: Vec<Image>, rngs: &mut [Rng]) -> Result<Vec<Image>> {
        let pairs = images.into_par_iter().zip(rngs);
        pairs.map(|(image, rng)| self.apply(image, rng)).collect()
    }

    /// Makes the same change by differentiable operations, to images `(B, C, H, W)` in f32 on the host, so that a
    /// gradient reaches the images; `None` for a change that has no such operations. Default: `None`.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn differentiable(&self, _images: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Returns what was learned from training images, by name; it is a part of the model.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }
}

/// The error for a transform that is wrong, or does not fit what it was applied to.
fn wrong(transform: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Transform { transform: transform.into(), problem: problem.into() }
}
