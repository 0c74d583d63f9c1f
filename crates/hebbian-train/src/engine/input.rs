//! The input of a network: images with the transforms of its preset.

use std::path::Path;

use candle::{DType, Device};
use candle_hebbian::Rng;
use hebbian_data::transforms::{
    FitProgress, InputConfig, Pipeline, TransformConfig, TransformList,
};
use hebbian_data::{Dataset, ImageSet, ZcaProgress, default_cache};

use super::{Method, Start};
use crate::{Checkpoint, Error, Preset, Progress, Result, check_finite};

/// Prepares the data set for [`Method::learner`] as the method's preset wants it: see [`see`]. Anything that the
/// learner refuses is refused before transforms are fitted.
///
/// # Errors
/// Those of [`see`] and [`Method::learner`]; an augmentation if the method cannot use one.
pub fn with_input<M: Method>(
    options: &M::Options,
    data: &Dataset,
    start: &Start,
    from: Option<&Path>,
) -> Result<Dataset> {
    let input = M::preset(options).input();
    match from.is_none() && is_fitted(&input.transforms) {
        true => check::<M>(options, data, start)?,
        false => check_augmentation::<M>(input)?,
    }
    see(input, data, &start.rng, start.quiet, from)
}

/// Refuses what [`with_input`] and [`Method::check`] refuse, without fitting transforms.
pub(crate) fn check<M: Method>(options: &M::Options, data: &Dataset, start: &Start) -> Result<()> {
    let input = M::preset(options).input();
    check_augmentation::<M>(input)?;
    let mut seen = data.clone();
    if !input.is_empty() {
        let augmentation = Pipeline::new(&input.augmentation)?;
        seen = seen.with_transforms(Pipeline::unfitted(&input.transforms)?, augmentation)?;
    }
    M::check(options, &seen, start)
}

/// Refuses an augmentation if the method cannot use one.
fn check_augmentation<M: Method>(input: &InputConfig) -> Result<()> {
    match M::AUGMENTS || input.augmentation.is_empty() {
        true => Ok(()),
        false => Err(Error::Argument(format!(
            "the method {} does not learn from images batch by batch, so that there is nothing to augment: leave out \
             the augmentation {}",
            M::NAME,
            input.augmentation
        ))),
    }
}

/// Returns the data set with transforms and augmentation, or unchanged if there are none. Transforms that have to be
/// fitted are fitted to all images that are learned from, including those without labels, or are read `from` a
/// checkpoint that has them.
///
/// # Errors
/// Transforms that are wrong, do not fit the images or cannot be fitted to them.
pub fn see(
    input: &InputConfig,
    data: &Dataset,
    rng: &Rng,
    quiet: bool,
    from: Option<&Path>,
) -> Result<Dataset> {
    if input.is_empty() {
        return Ok(data.clone());
    }
    let augmentation = Pipeline::new(&input.augmentation)?;
    let (list, all) = (&input.transforms, data.seen()?);
    let transforms = match from.filter(|_| is_fitted(list)) {
        Some(path) => {
            let checkpoint = Checkpoint::load(path, &Device::Cpu)?;
            let take = |name: &str, shape: &[usize]| -> Result<_> {
                let tensor = checkpoint.take(name, shape, DType::F32)?;
                check_finite(name, 0, &tensor)
                    .map_err(|error| Error::Argument(format!("{}: {error}", path.display())))?;
                Ok(tensor)
            };
            match checkpoint.names().any(|name| name.starts_with("transforms.")) {
                true => Pipeline::restore(list, all.stored_shape(), take)?,
                false => fit(list, &all, rng, quiet)?,
            }
        }
        None => fit(list, &all, rng, quiet)?,
    };
    Ok(data.clone().with_transforms(transforms, augmentation)?)
}

/// Whether any of the transforms is fitted to training images.
fn is_fitted(list: &TransformList) -> bool {
    list.0.iter().any(TransformConfig::is_fitted)
}

/// Fits the transforms to `all` images to learn from, or reads the whitening from the user's cache.
fn fit(list: &TransformList, all: &ImageSet, rng: &Rng, quiet: bool) -> Result<Pipeline> {
    let (mut progress, mut seen) = (None, 0);
    let fitted = Pipeline::fit(list, all, rng, default_cache().as_deref(), |now| match now {
        FitProgress::Whitening(ZcaProgress::Covariance { done, total }) => {
            let bar = progress.get_or_insert_with(|| Progress::new(total, "ZCA", quiet));
            bar.advance(done - seen);
            seen = done;
        }
        FitProgress::Whitening(ZcaProgress::Eigenvectors) => {
            progress.iter_mut().for_each(|bar| bar.message("eigenvectors"));
        }
        FitProgress::NotKept(error) => progress
            .iter_mut()
            .for_each(|bar| bar.message(format!("not kept for the next run: {error}"))),
    })?;
    progress.into_iter().for_each(|bar| bar.finish());
    Ok(fitted)
}
