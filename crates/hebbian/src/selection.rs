//! Which images of a set are used.

use anyhow::{Context, Result, bail};
use clap::Args;
use hebbian_data::{Dataset, LoadOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Flags that choose among the images of a set. A run stores them in its `config.json`, so that the same images can be
/// loaded again.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Images")]
pub struct Selection {
    /// Resize images so that the shorter side has this many pixels, and cut them to a square around the middle
    #[arg(long, value_name = "PIXELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// Column of pictures in parquet files [default: the one that the files declare to be an image]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_column: Option<String>,
    /// Column of labels in parquet files [default: the one that the files declare to be a class; else the one called
    /// label, or the only one that could be labels if it has whole numbers of which some come twice]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// Split to train on [default: train, else training]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_split: Option<String>,
    /// Split to test on [default: the first of test, testing, eval, evaluation, validation, valid, val and dev whose
    /// labels are neither all negative nor all missing; else a share of the training split]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_split: Option<String>,
    /// Share of each class that is drawn for testing, by the seed, if there is no test split [default: 0.2]
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_share: Option<f64>,
    /// Leave out broken pictures, and name them; a class of which none would be left to learn from is an error
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_bad: bool,
    /// Use only N training images that have labels: the first ones or, if the set is sorted by class, the first ones of
    /// each class. --labelled draws from them; images of a split or folder without labels are all seen
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_train: Option<usize>,
    /// Use only N test images: the first ones or, if the set is sorted by class, the first ones of each class
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_test: Option<usize>,
}

impl Selection {
    /// Reads the flags that a run has stored in its `config.json`. A run that another program started has none, and may
    /// have used all images.
    ///
    /// # Errors
    /// An entry that is not such flags.
    pub(crate) fn of_run(config: &Value) -> Result<Self> {
        match &config["images"] {
            Value::Null => Ok(Self::default()),
            images => serde_json::from_value(images.clone())
                .context("\"images\" in its config.json are not flags that choose images"),
        }
    }

    /// Returns these flags and, in place of those that were not given, the flags of a `run` that say how its images are
    /// read and split. Limits are not taken over, and neither is what only fits the run's own set if this is another.
    pub(crate) fn or_of(self, run: Self, own_set: bool) -> Self {
        let image_size = self.image_size.or(run.image_size);
        if !own_set {
            return Self { image_size, ..self };
        }
        Self {
            image_size,
            image_column: self.image_column.or(run.image_column),
            label_column: self.label_column.or(run.label_column),
            train_split: self.train_split.or(run.train_split),
            test_split: self.test_split.or(run.test_split),
            test_share: self.test_share.or(run.test_share),
            skip_bad: self.skip_bad || run.skip_bad,
            ..self
        }
    }

    /// Returns these flags for a network that learns from test images and is tested with training images: each limit is
    /// for the images that it names, whichever split they are of.
    pub(crate) fn swapped(self) -> Self {
        Self { limit_train: self.limit_test, limit_test: self.limit_train, ..self }
    }

    /// Checks the flags; `named` says whether the set is one whose splits and columns are known.
    ///
    /// # Errors
    /// Numbers out of range; flags that are only for other sets.
    pub(crate) fn check(&self, name: &str, named: bool) -> Result<()> {
        let of_others = [
            ("--image-column", self.image_column.is_some()),
            ("--label-column", self.label_column.is_some()),
            ("--train-split", self.train_split.is_some()),
            ("--test-split", self.test_split.is_some()),
            ("--test-share", self.test_share.is_some()),
            ("--skip-bad", self.skip_bad),
        ];
        if let (true, Some((flag, _))) = (named, of_others.into_iter().find(|(_, given)| *given)) {
            bail!(
                "{flag} is for images of one's own: {name} has splits and columns that are known"
            );
        }
        if let Some(share) = self.test_share.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            bail!("--test-share is {share}, expected a number between 0 and 1");
        }
        let limits = [("--limit-train", self.limit_train), ("--limit-test", self.limit_test)];
        if let Some((flag, _)) = limits.iter().find(|(_, limit)| *limit == Some(0)) {
            bail!("{flag} is 0, expected 1 or more");
        }
        Ok(())
    }

    /// Returns `options` with these flags filled in.
    pub(crate) fn options(&self, options: LoadOptions) -> LoadOptions {
        LoadOptions {
            image_column: self.image_column.clone(),
            label_column: self.label_column.clone(),
            train_split: self.train_split.clone(),
            test_split: self.test_split.clone(),
            test_share: self.test_share.unwrap_or(options.test_share),
            image_size: self.image_size,
            skip_bad: self.skip_bad,
            ..options
        }
    }

    /// Returns the chosen images of a set: the share `validation` of the training images replaces the test images, the
    /// limits are applied, and `labelled` training images keep their labels.
    ///
    /// # Errors
    /// A set with too few images for that.
    pub(crate) fn cut(
        &self,
        mut data: Dataset,
        validation: Option<f64>,
        labelled: Option<usize>,
        seed: u64,
    ) -> Result<Dataset> {
        if let Some(share) = validation {
            data = data.with_validation(share, seed)?;
        }
        if let Some(limit) = self.limit_train {
            (data.train, _) = data.train.split_at(limit);
        }
        if let Some(limit) = self.limit_test {
            (data.test, _) = data.test.split_at(limit);
        }
        match labelled {
            Some(count) => {
                data.with_labelled(count, seed).with_context(|| format!("--labelled {count}"))
            }
            None => Ok(data),
        }
    }
}
