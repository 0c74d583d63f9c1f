use std::path::Path;

use candle::Device;
use candle_hebbian::Rng;
use hebbian_data::transforms::InputConfig;
use hebbian_data::{Dataset, ImageSet};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::runner::to_resume;
use super::{About, Counts, Learner, Run, RunOptions, run, with_input};
use crate::{Error, Preset, Result};

/// A learning method from a paper.
pub trait Method {
    /// Its name in files and commands: `softhebb`.
    const NAME: &'static str;

    /// Places in the options (such as `/preset/training/epochs`) at which a complete run can be continued with a
    /// larger number, because nothing learned before depends on them.
    const MAY_GROW: &'static [&'static str] = &[];

    /// Whether the method learns from images batch by batch, so that they can be augmented.
    const AUGMENTS: bool = true;

    /// The network and its recipe.
    type Preset: Preset;

    /// The preset with overrides applied, and whatever else can be chosen.
    type Options: Clone + Serialize + DeserializeOwned + Send + Sync;

    /// The learner.
    type Learner: Learner;

    /// The preset, with overrides applied.
    fn preset(options: &Self::Options) -> &Self::Preset;

    /// The preset, to be changed in place.
    fn preset_mut(options: &mut Self::Options) -> &mut Self::Preset;

    /// Makes a learner with fresh weights for images [as the preset wants them](super::with_input), with the splits [as
    /// the method uses them](Self::splits).
    ///
    /// # Errors
    /// If the options do not fit each other or the data.
    fn learner(options: &Self::Options, data: &Dataset, start: &Start) -> Result<Self::Learner>;

    /// Refuses what [`learner`](Self::learner) refuses, before other work is begun. Unless a method says otherwise, a
    /// learner is made and dropped; a method whose learner prepares all images leaves that out.
    ///
    /// # Errors
    /// As [`learner`](Self::learner).
    fn check(options: &Self::Options, data: &Dataset, start: &Start) -> Result<()> {
        Self::learner(options, data, start).map(drop)
    }

    /// Returns the data set with the images that the method learns from as its training images, and those that it is
    /// tested with as its test images. Unless a method says otherwise, they are so already.
    fn splits(_options: &Self::Options, data: Dataset) -> Dataset {
        data
    }

    /// The splits of a data set that hold the images of [`splits`](Self::splits): those that the method learns from,
    /// and those that it is tested with.
    fn parts(_options: &Self::Options) -> [&'static str; 2] {
        ["train", "test"]
    }

    /// Whether the method learns from test images and is tested with training images.
    fn is_swapped(options: &Self::Options) -> bool {
        Self::parts(options) == ["test", "train"]
    }

    /// The numbers of images of `data`, with the splits [as the method uses them](Self::splits), that the method learns
    /// from, with labels and without, validates with, and tests with; unless a method says otherwise, it learns from
    /// all training images and tests with all test images.
    fn counts(_options: &Self::Options, data: &Dataset) -> Counts {
        let unlabelled = data.unlabelled.iter().map(ImageSet::len).sum();
        Counts { train: data.train.len(), unlabelled, validation: 0, test: data.test.len() }
    }

    /// Makes a model that still lacks its weights, for images that are `(C, H, W)` after the transforms, of so
    /// many `classes`.
    ///
    /// # Errors
    /// If the options do not fit the images.
    fn model(
        options: &Self::Options,
        image: (usize, usize, usize),
        classes: usize,
        device: &Device,
    ) -> Result<<Self::Learner as Learner>::Model>;
}

/// The options of a method that has nothing to choose besides its preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfPreset<P> {
    /// The network and its recipe, with overrides applied.
    pub preset: P,
}

/// What a learner starts with.
#[derive(Debug)]
pub struct Start {
    /// The generator that everything is drawn from.
    pub rng: Rng,
    /// The device of the tensors.
    pub device: Device,
    /// Whether to show no progress.
    pub quiet: bool,
}

/// Trains a method on a data set and writes the run folder `out`.
///
/// # Errors
/// Those of [`Method::learner`] and [`run`]. The folder is made only after everything that can be checked
/// beforehand has been checked.
pub fn train<M: Method>(
    options: &M::Options,
    data: &Dataset,
    device: &Device,
    how: &RunOptions,
    out: &Path,
) -> Result<Run<M::Learner>> {
    let fingerprint = Some(data.fingerprint()?);
    let data = &M::splits(options, data.clone());
    let start = Start { rng: Rng::new(how.seed), device: device.clone(), quiet: how.quiet };
    // The checkpoint that a run continues from has the fitted transforms, if the input is the same; everything
    // else is compared later.
    let saved = [crate::checkpoint::STATE, crate::checkpoint::MODEL].map(|name| out.join(name));
    let from = match how.resume {
        true => {
            let same = sees_the_same(M::preset(options).input(), &to_resume(out)?);
            saved.iter().find(|path| same && path.exists())
        }
        false => how.load.as_ref(),
    };
    let seen = with_input::<M>(options, data, &start, from.map(|path| path.as_path()))?;
    let learner = M::learner(options, &seen, &start)?;
    let options_as_json = serde_json::to_value(options)
        .map_err(|source| Error::Json { what: "the options".to_string(), source })?;
    let about = About {
        method: M::NAME,
        preset: M::preset(options).heading().name.to_string(),
        options: options_as_json,
        dataset: data.name.to_string(),
        image: data.train.shape(),
        input: M::preset(options).input().clone(),
        transforms: seen.train.transforms().clone(),
        class_names: data.class_names.clone(),
        counts: M::counts(options, data),
        parts: M::parts(options),
        fingerprint,
        may_grow: M::MAY_GROW,
    };
    run(&about, learner, device, how, out)
}

/// Whether the run with this configuration has this input.
fn sees_the_same(input: &InputConfig, config: &Value) -> bool {
    match config.pointer("/options/preset/input") {
        Some(found) => {
            serde_json::from_value::<InputConfig>(found.clone()).is_ok_and(|found| found == *input)
        }
        None => input.is_empty(),
    }
}

/// Refuses a data set without images to learn from or to test with, or with labels out of range.
///
/// # Errors
/// If the data set is like that.
pub fn check_images(data: &Dataset) -> Result<()> {
    let Dataset { train, test, class_names, .. } = data;
    let classes = class_names.len();
    let wrong = |set: &ImageSet| set.labels().iter().any(|&label| label as usize >= classes);
    if train.is_empty() || test.is_empty() || wrong(train) || wrong(test) {
        return Err(Error::Argument(format!(
            "{}: {} training and {} test images with labels below {classes}: expected one or more of \
             each, and no other label",
            data.name,
            train.len(),
            test.len()
        )));
    }
    Ok(())
}
