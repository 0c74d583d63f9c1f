use std::path::PathBuf;
use std::sync::Arc;

use crate::{Dataset, DatasetName, Error, Hub, Photographs, Result, digits, folder, hub};

/// Where to load a data set from, and how. The default is the Hugging Face Hub and its cache.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A local folder to read instead of the hub. For a named set it holds the original files (MNIST's idx files, plain
    /// or gzipped; CIFAR's binary version) or the hub's parquet files, either directly or in the sub-folder in which
    /// they usually come. For any other name it holds pictures in one folder for each class, or parquet files.
    pub data_dir: Option<PathBuf>,
    /// Never use the network. `HF_HUB_OFFLINE=1` in the environment has the same effect.
    pub offline: bool,
    /// The column of pictures [default: the one that the files declare]. This option and all below, except
    /// `image_size`, `memory` and `buffer`, are only for sets that are not in [`DatasetName`].
    pub image_column: Option<String>,
    /// The column of labels.
    pub label_column: Option<String>,
    /// The split to learn from [default: `train`, else `training`]. A split called `unlabelled` (or `unlabeled`) is
    /// used for learning without labels, unless it is named here.
    pub train_split: Option<String>,
    /// The split to test with [default: the first of `test`, `testing`, `eval`, `evaluation`, `validation`, `valid`,
    /// `val` and `dev` whose first file has labels that are neither all negative nor all null; else a share of the
    /// training split].
    pub test_split: Option<String>,
    /// The share of each class that is drawn for testing if there is no split for it: more than 0, and less than 1.
    pub test_share: f64,
    /// The seed of that draw.
    pub seed: u64,
    /// Resize images so that the shorter side has this many pixels, and crop them to a square around the middle.
    pub image_size: Option<usize>,
    /// Leave out broken pictures, but no class: one without any other picture to learn from is an error. For a split
    /// that stays in its files, this decodes every picture once.
    pub skip_bad: bool,
    /// The most bytes that the pixels of a split may take in memory. A split that decodes to more stays in its files,
    /// from which each batch reads its images; the labelled images of the sets in [`DatasetName`] are always in memory.
    pub memory: u64,
    /// The most bytes of pixels that are held when tables that decode to more are
    /// [shuffled](crate::ImageSet::shuffled); half as many are mixed at a time. Another value gives another order.
    pub buffer: u64,
}

/// The default of [`LoadOptions::memory`].
const MEMORY: u64 = 512 << 20;
/// The default of [`LoadOptions::buffer`]: enough for CIFAR and the labelled images of STL-10, which are therefore
/// shuffled as a whole.
const BUFFER: u64 = 256 << 20;

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            data_dir: None,
            offline: false,
            image_column: None,
            label_column: None,
            train_split: None,
            test_split: None,
            test_share: 0.2,
            seed: 0,
            image_size: None,
            skip_bad: false,
            memory: MEMORY,
            buffer: BUFFER,
        }
    }
}

/// The largest [`LoadOptions::image_size`].
const LARGEST_SIDE: usize = 1 << 14;

/// # Errors
/// A number of pixels that no side of an image can get.
pub(crate) fn check_side(side: usize) -> Result<()> {
    match (1..=LARGEST_SIDE).contains(&side) {
        true => Ok(()),
        false => Err(Error::Side { found: side, most: LARGEST_SIDE }),
    }
}

impl LoadOptions {
    /// # Errors
    /// An image size that no image can get.
    fn check(&self) -> Result<()> {
        self.image_size.map_or(Ok(()), check_side)
    }

    /// Whether this number of images, each of `size` bytes, may be in memory.
    pub(crate) fn may_hold(&self, images: usize, size: usize) -> bool {
        (images as u64).saturating_mul(size as u64) <= self.memory
    }

    /// How many images of `size` bytes the buffer holds.
    pub(crate) fn buffered(&self, size: usize) -> usize {
        usize::try_from((self.buffer / size.max(1) as u64).max(1)).unwrap_or(usize::MAX)
    }
}

/// How far loading or a push has progressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Bytes of a download.
    Download {
        /// The path of the file in the repository.
        file: &'a str,
        /// Bytes so far.
        done: u64,
        /// Bytes in all; 0 if the server does not say.
        total: u64,
    },
    /// A broken picture that was left out.
    Skipped {
        /// The file.
        file: &'a str,
        /// The row of the picture, in a table.
        row: Option<usize>,
        /// What is wrong with the picture.
        found: &'a str,
    },
    /// Images decoded from a file.
    Decode {
        /// The name of the file.
        file: &'a str,
        /// Images so far.
        done: u64,
        /// Images in all.
        total: u64,
    },
    /// Bytes of a push.
    Upload {
        /// The repository.
        repo: &'a str,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// A callback for the progress of loading, which the client's own thread may call as well.
pub type OnProgress = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// Loads a data set: a named one (see [`DatasetName`] and [`Photographs`]); any set of images with labels on the hub,
/// as `OWNER/NAME` or `OWNER/NAME/CONFIG`, optionally with `@REVISION`; or, with [`data_dir`](LoadOptions::data_dir),
/// what that folder holds, under the given name.
///
/// A set on the hub that is not in [`DatasetName`] is read from all parquet files of each split: those that the hub
/// made (on its branch `refs/convert/parquet`), or those of `main` if there are none. The files or the options say
/// which columns to read.
///
/// Cached files are used without the network. The environment variables of Python's `huggingface_hub` apply here too:
/// see [`Hub::from_env`]. [`DatasetName::Digits`] is embedded and needs no file.
///
/// # Errors
/// When files are missing, cannot be downloaded, or are not what they should be.
pub fn load(name: &str, options: &LoadOptions) -> Result<Dataset> {
    load_with_progress(name, options, Arc::new(|_| ()))
}

/// Loads a data set like [`load`], and reports downloads and decoding to `on_progress`.
///
/// # Errors
/// As [`load`].
pub fn load_with_progress(
    name: &str,
    options: &LoadOptions,
    on_progress: OnProgress,
) -> Result<Dataset> {
    options.check()?;
    let Some(dir) = &options.data_dir else {
        let hub = Hub::from_env();
        let hub = if options.offline { hub.offline() } else { hub };
        return load_from_hub(name, &hub, options, on_progress);
    };
    if dir.is_file() {
        return Err(Error::BadFile {
            path: dir.clone(),
            found: "a file".to_string(),
            expected: "a folder with pictures or with files of a data set".to_string(),
            advice: "give the folder that it is in".to_string(),
        });
    }
    match name.parse::<DatasetName>() {
        Ok(DatasetName::Digits) => resized(digits(), options),
        Ok(known) => resized(folder::load(known, dir, options, &on_progress)?, options),
        Err(_) => {
            let photographs = Photographs::find(name).map(|set| set.options(options));
            let options = photographs.as_ref().unwrap_or(options);
            folder::load_any(name, dir, options, &on_progress)
        }
    }
}

/// Loads a data set like [`load`], but from this hub, whatever the environment and [`data_dir`](LoadOptions::data_dir)
/// say.
///
/// # Errors
/// As [`load`].
pub fn load_from_hub(
    name: &str,
    hub: &Hub,
    options: &LoadOptions,
    on_progress: OnProgress,
) -> Result<Dataset> {
    options.check()?;
    if let Some(set) = Photographs::find(name)
        && let Some(data) = set.load(hub, options, &on_progress)?
    {
        return Ok(data);
    }
    match name.parse::<DatasetName>() {
        Ok(DatasetName::Digits) => resized(digits(), options),
        Ok(known) => resized(hub::load_known(known, hub, &on_progress)?, options),
        Err(unknown) => hub::load(name, hub, options, &on_progress)?.ok_or(unknown),
    }
}

/// The images of a known set in the requested size.
fn resized(data: Dataset, options: &LoadOptions) -> Result<Dataset> {
    match options.image_size {
        Some(side) => {
            let unlabelled = data.unlabelled.iter().map(|set| set.resized(side));
            Ok(Dataset {
                train: data.train.resized(side)?,
                test: data.test.resized(side)?,
                unlabelled: unlabelled.collect::<Result<_>>()?,
                ..data
            })
        }
        None => Ok(data),
    }
}
