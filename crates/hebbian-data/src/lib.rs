//! Image data sets for [candle]: from the Hugging Face Hub, from a local folder, or embedded.
//!
//! Images stay `u8` on the host and become floating-point tensors one batch at a time, so that CIFAR-10 takes 184 MB
//! and not four times as much. A split that would take more than [`LoadOptions::memory`] stays in its files;
//! [`ImageSet::shuffled`] and [`ImageSet::in_order`] then read ahead of the batches. Nothing is trusted: downloads are
//! checked against the size and SHA-256 that the hub states, and the code that reads a file format returns an [`Error`]
//! that names the file, what was found, what was expected and what to do. No file makes the crate use far more memory
//! than its data set needs: a file of more than a million images, a table with more rows than its bytes can hold, a
//! picture that would unpack to more than 512 KiB (in a table of a named set) or 300 MiB (elsewhere), and one so narrow
//! that it would have more than 100 million pixels once it is resized are refused before they are decoded.
//!
//! A list of [`transforms`] describes what is done to images before they become a batch: crops, flips, conversion to
//! grey, scaling, filters. [`Zca`] whitens whole images with a matrix that is computed once and kept on disk.
//!
//! ```
//! use candle::{DType, Device};
//! use candle_hebbian::Rng;
//! use hebbian_data::{LoadOptions, load};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let data = load("digits", &LoadOptions::default())?;
//! assert_eq!((data.train.len(), data.test.len()), (1442, 355));
//! let mut rng = Rng::new(0).stream("batches");
//! for indices in data.train.shuffled(32, &mut rng)? {
//!     let (images, labels) = data.train.batch(&indices, DType::F32, &Device::Cpu)?;
//!     assert_eq!(images.dims(), [indices.len(), 1, 8, 8]);
//!     assert_eq!(labels.dims(), [indices.len()]);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | to | see |
//! |---|---|
//! | load a data set by name, from the hub or from a folder | [`load()`], [`LoadOptions`] |
//! | use the embedded digits | [`digits()`] |
//! | read pictures without labels | [`load_pictures`] |
//! | make a set from bytes in memory | [`ImageSet::new`] |
//! | get a batch as tensors | [`ImageSet::batch`], [`ImageSet::augmented_batch`] |
//! | shuffle | [`ImageSet::shuffled`], [`Batches`] |
//! | hold out images for choosing settings | [`Dataset::with_validation`] |
//! | use only so many images | [`ImageSet::split_at`] |
//! | learn from few labels | [`Dataset::with_labelled`] |
//! | number classes as a trained model does | [`Dataset::with_class_names`] |
//! | transform and augment | [`transforms`], [`ImageSet::with_transforms`] |
//! | whiten | [`Zca`] |
//! | download from the hub, and upload to it | [`Hub`] |
//!
//! # Features
//! No feature is on by default. Using something whose feature is off returns an [`Error::Without`].
//!
//! | feature | for |
//! |---|---|
//! | `hub` | the Hugging Face Hub, whose client brings in two hundred crates; enables `parquet` |
//! | `parquet` | tables of pictures, the format that the hub stores |
//! | `zstd` | tables that are compressed with zstd; enables `parquet` |
//! | `pictures` | JPEG, WebP and BMP, in addition to PNG |
//! | `candle-datasets` | data sets to and from those of the crate `candle-datasets` |
#![deny(missing_debug_implementations, missing_docs)]
#![warn(clippy::missing_errors_doc)]

mod ahead;
mod batches;
mod cache;
#[cfg(any(test, feature = "candle-datasets"))]
mod candle_sets;
mod changes;
mod collect;
mod covariance;
mod digits;
mod error;
mod fingerprint;
mod folder;
mod guard;
mod gzip;
#[cfg(feature = "hub")]
mod hub;
mod image_folder;
mod images;
mod load;
mod lock;
mod names;
mod originals;
mod parquet_files;
mod patches;
mod photographs;
// Without tables and the hub, parts of the modules `pictures` and `text` are unused.
#[cfg_attr(not(feature = "parquet"), allow(dead_code))]
mod pictures;
mod ready;
mod repo;
mod split;
mod store;
#[cfg(feature = "parquet")]
mod table;
#[cfg_attr(not(feature = "hub"), allow(dead_code))]
mod text;
pub mod transforms;
mod unlabelled;
mod walk;
#[cfg(not(feature = "hub"))]
mod without_hub;
#[cfg(not(feature = "parquet"))]
mod without_parquet;
mod zca;

pub use batches::Batches;
pub use cache::{CacheOutcome, default_cache};
pub use covariance::{Covariance, Inverse};
pub use digits::digits;
pub use error::{Error, Result};
pub use hub::Hub;
pub use images::{Dataset, ImageSet};
pub use load::{LoadOptions, OnProgress, Progress, load, load_from_hub, load_with_progress};
pub use names::DatasetName;
pub use photographs::Photographs;
pub use repo::{Push, RepoKind};
pub use split::{evenly, split_at};
pub use text::printable;
pub use unlabelled::load_pictures;
#[cfg(not(feature = "hub"))]
use without_hub as hub;
#[cfg(not(feature = "parquet"))]
use without_parquet as table;
pub use zca::{Divisor, Zca, ZcaConfig, ZcaProgress};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
