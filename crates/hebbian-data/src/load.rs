use std::path::PathBuf;
use std::sync::Arc;

use crate::{Dataset, DatasetName, Hub, Photographs, Result, digits, folder, hub_set};

/// Where to load from, and how. The default is the Hugging Face Hub and its cache.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A local folder to read instead of the hub. Of a named set the original files (MNIST's idx files, plain or
    /// gzipped; CIFAR's binary version) or the hub's parquet files, in the folder itself or in the
    /// sub-folder in which they usually come. Of any other name, pictures in a folder for each class, or parquet
    /// files.
    pub data_dir: Option<PathBuf>,
    /// Never use the network. `HF_HUB_OFFLINE=1` in the environment says the same.
    pub offline: bool,
    /// The column of pictures, if not declared by the files; for sets without a name here, as all below but
    /// the size.
    pub image_column: Option<String>,
    /// The column of labels.
    pub label_column: Option<String>,
    /// The split to learn from [default: `train`]. One called `unlabelled` (or `unlabeled`) is for learning without
    /// labels, unless it is named here.
    pub train_split: Option<String>,
    /// The split to test with [default: `test`, else `validation`; else a share of the other].
    pub test_split: Option<String>,
    /// The share of each class that is drawn for testing where there is no split for it.
    pub test_share: f64,
    /// The seed of that draw.
    pub seed: u64,
    /// Resize images so that the shorter side has as many pixels, and cut them to a square around the
    /// middle.
    pub image_size: Option<usize>,
    /// Leave out pictures that are broken. Of a split that stays in its files this takes a look at every picture.
    pub skip_bad: bool,
    /// Bytes that the pixels of a split may take. One that decodes to more stays in its files, from which each batch
    /// reads its images; sets with a name here that come as a whole do not.
    pub memory: u64,
    /// Bytes of pixels that are mixed at a time where the rows of tables are [shuffled](crate::ImageSet::shuffled) that
    /// decode to more; and that are then held, in place of all. Another number makes another order.
    pub buffer: u64,
}

/// What the pixels of a split may take unless it is said otherwise.
const MEMORY: u64 = 512 << 20;
/// What is mixed at a time: all of CIFAR and of STL-10's labelled images, so that their order is the plain one.
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

impl LoadOptions {
    /// Whether so many images of so many bytes may be in memory.
    pub(crate) fn may_hold(&self, images: usize, size: usize) -> bool {
        (images as u64).saturating_mul(size as u64) <= self.memory
    }

    /// How many images of so many bytes are mixed at a time.
    pub(crate) fn buffered(&self, size: usize) -> usize {
        usize::try_from((self.buffer / size.max(1) as u64).max(1)).unwrap_or(usize::MAX)
    }
}

/// How far loading, or a push, has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Bytes of a download.
    Download {
        /// The path in the repository.
        file: &'a str,
        /// Bytes so far.
        done: u64,
        /// Bytes in all; 0 where the server does not say.
        total: u64,
    },
    /// A picture that is broken, and left out.
    Skipped {
        /// The file.
        file: &'a str,
        /// Its row, in a table.
        row: Option<usize>,
        /// What is wrong with it.
        found: &'a str,
    },
    /// Images decoded from a file.
    Decode {
        /// The file's name.
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

/// Called as loading goes on, also from the client's own thread.
pub type OnProgress = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// Loads a data set: a named one (see [`DatasetName`] and [`Photographs`]); any set of images with labels on the hub, as
/// `OWNER/NAME`, `OWNER/NAME/CONFIG`, each with `@REVISION` or without; or with
/// [`data_dir`](LoadOptions::data_dir) what is in that folder, under the name given.
///
/// Of a set without a name here the hub's own parquet files are read (its branch `refs/convert/parquet`), or
/// those of `main` where there are none, all files of a split; what their columns are they say themselves, or
/// the options.
///
/// Files in the cache are used as they are, with no network. The environment of Python's
/// `huggingface_hub` holds here too: see [`Hub::from_env`]. [`DatasetName::Digits`] is embedded and needs no
/// file.
///
/// # Errors
/// When files are missing, cannot be downloaded, or are not what they should be.
pub fn load(name: &str, options: &LoadOptions) -> Result<Dataset> {
    load_with_progress(name, options, Arc::new(|_| ()))
}

/// [`load`], telling `on_progress` about downloads and decoding.
///
/// # Errors
/// As [`load`].
pub fn load_with_progress(
    name: &str,
    options: &LoadOptions,
    on_progress: OnProgress,
) -> Result<Dataset> {
    let Some(dir) = &options.data_dir else {
        let hub = Hub::from_env();
        let hub = if options.offline { hub.offline() } else { hub };
        return load_from_hub(name, &hub, options, on_progress);
    };
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

/// [`load`] from this hub, whatever the environment and [`data_dir`](LoadOptions::data_dir) say.
///
/// # Errors
/// As [`load`].
pub fn load_from_hub(
    name: &str,
    hub: &Hub,
    options: &LoadOptions,
    on_progress: OnProgress,
) -> Result<Dataset> {
    if let Some(set) = Photographs::find(name)
        && let Some(data) = set.load(hub, options, &on_progress)?
    {
        return Ok(data);
    }
    match name.parse::<DatasetName>() {
        Ok(DatasetName::Digits) => resized(digits(), options),
        Ok(known) => resized(hub_set::load_known(known, hub, &on_progress)?, options),
        Err(unknown) => hub_set::load(name, hub, options, &on_progress)?.ok_or(unknown),
    }
}

/// The images of a known set in the size that is asked for.
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
