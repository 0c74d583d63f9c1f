use std::path::PathBuf;
use std::sync::Arc;

use crate::{Dataset, DatasetName, Hub, RepoKind, Result, digits, folder, table};

/// Where to load from. The default is the Hugging Face Hub and its cache.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// A local folder to read instead of the hub: the original files (MNIST's idx files, plain or
    /// gzipped; CIFAR's binary version) or the hub's parquet files, in the folder itself or in the
    /// sub-folder in which they usually come.
    pub data_dir: Option<PathBuf>,
    /// Never use the network. `HF_HUB_OFFLINE=1` in the environment says the same.
    pub offline: bool,
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

/// Loads a data set.
///
/// Files in the cache are used as they are, with no network. The environment of Python's
/// `huggingface_hub` holds here too: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`,
/// `HF_HUB_OFFLINE`. [`DatasetName::Digits`] is embedded and needs no file.
///
/// # Errors
/// When files are missing, cannot be downloaded, or are not what they should be.
pub fn load(name: DatasetName, options: &LoadOptions) -> Result<Dataset> {
    load_with_progress(name, options, Arc::new(|_| ()))
}

/// [`load`], telling `on_progress` about downloads and decoding.
///
/// # Errors
/// As [`load`].
pub fn load_with_progress(
    name: DatasetName,
    options: &LoadOptions,
    on_progress: OnProgress,
) -> Result<Dataset> {
    match (&options.data_dir, name) {
        (_, DatasetName::Digits) => Ok(digits()),
        (Some(dir), _) => folder::load(name, dir, &on_progress),
        (None, _) => {
            let hub = Hub::from_env()?;
            let hub = if options.offline { hub.offline() } else { hub };
            load_from_hub(name, &hub, on_progress)
        }
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
    };
    let split = |split: &str| {
        let file = format!("{}/{split}/0000.parquet", table::folder(name));
        let path =
            hub.fetch_any(RepoKind::Dataset, repos, "refs/convert/parquet", &file, &on_progress)?;
        table::read(&path, name, &on_progress)
    };
    let (train, test) = (split("train")?, split("test")?);
    Ok(Dataset { name, train, test, class_names: name.class_names() })
}
