use std::path::PathBuf;
use std::sync::Arc;

use crate::{Dataset, DatasetName, Hub, RepoKind, Result, digits, folder, table};

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
    /// The column of pictures, where the files do not tell; for sets without a name here, as all below but
    /// the size.
    pub image_column: Option<String>,
    /// The column of labels.
    pub label_column: Option<String>,
    /// The split to learn from [default: `train`].
    pub train_split: Option<String>,
    /// The split to test with [default: `test`, else `validation`; else a share of the other].
    pub test_split: Option<String>,
    /// The share of each class that is drawn for testing where there is no split for it.
    pub test_share: f64,
    /// What that is drawn by.
    pub seed: u64,
    /// Resize images so that the shorter side has as many pixels, and cut them to a square around the
    /// middle.
    pub image_size: Option<usize>,
    /// Leave out pictures that are broken.
    pub skip_bad: bool,
}

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
        }
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

/// Loads a data set: a named one (see [`DatasetName`]), or with [`data_dir`](LoadOptions::data_dir) what is in
/// that folder, under the name given.
///
/// Files in the cache are used as they are, with no network. The environment of Python's
/// `huggingface_hub` holds here too: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`,
/// `HF_HUB_OFFLINE`. [`DatasetName::Digits`] is embedded and needs no file.
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
    let known = name.parse::<DatasetName>();
    let data = match (&options.data_dir, known) {
        (_, Ok(DatasetName::Digits)) => digits(),
        (Some(dir), Ok(known)) => folder::load(known, dir, &on_progress)?,
        (Some(dir), Err(_)) => return folder::load_any(name, dir, options, &on_progress),
        (None, Ok(known)) => {
            let hub = Hub::from_env()?;
            let hub = if options.offline { hub.offline() } else { hub };
            load_from_hub(known, &hub, on_progress)?
        }
        (None, Err(unknown)) => return Err(unknown),
    };
    match options.image_size {
        Some(side) => {
            Ok(Dataset { train: data.train.resized(side)?, test: data.test.resized(side)?, ..data })
        }
        None => Ok(data),
    }
}

/// [`load`] from this hub, whatever the environment says.
///
/// # Errors
/// As [`load`].
pub fn load_from_hub(name: DatasetName, hub: &Hub, on_progress: OnProgress) -> Result<Dataset> {
    // The first name is the present one. The second is an old name that the hub redirects and that
    // caches filled by other programs still use.
    let repos: &[&str] = match name {
        DatasetName::Digits => return Ok(digits()),
        DatasetName::Mnist => &["ylecun/mnist"],
        DatasetName::FashionMnist => &["zalando-datasets/fashion_mnist"],
        DatasetName::Cifar10 => &["uoft-cs/cifar10", "cifar10"],
        DatasetName::Cifar100 => &["uoft-cs/cifar100", "cifar100"],
        DatasetName::Stl10 => &["tanganke/stl10"],
    };
    let split = |split: &str| {
        let file = format!("{}/{split}/0000.parquet", table::folder(name));
        let path =
            hub.fetch_any(RepoKind::Dataset, repos, "refs/convert/parquet", &file, &on_progress)?;
        table::read(&[path], name, &on_progress)
    };
    let (train, test) = (split("train")?, split("test")?);
    Ok(Dataset { name: name.to_string(), train, test, class_names: name.class_names() })
}
