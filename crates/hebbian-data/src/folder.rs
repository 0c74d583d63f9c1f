//! Data sets in a local folder.

use std::path::{Path, PathBuf};

use crate::parquet_files::Layout;
use crate::{Dataset, DatasetName, Error, ImageSet, LoadOptions, OnProgress, Progress, Result};
use crate::{digits, image_folder, originals, parquet_files, table};

/// Loads the set from its original files in `dir` or in their usual sub-folder, or else from parquet files
/// there.
pub(crate) fn load(
    name: DatasetName,
    dir: &Path,
    options: &LoadOptions,
    on_progress: &OnProgress,
) -> Result<Dataset> {
    std::fs::read_dir(dir).map_err(Error::io(dir))?;
    let mut unlabelled = Vec::new();
    let found = match name {
        DatasetName::Digits => return Ok(digits()),
        DatasetName::Mnist => idx(name, dir, &["", "MNIST/raw", "mnist"])?,
        DatasetName::FashionMnist => idx(name, dir, &["", "FashionMNIST/raw", "fashion-mnist"])?,
        DatasetName::Cifar10 => cifar10(name, dir)?,
        DatasetName::Cifar100 => cifar100(name, dir)?,
        DatasetName::Stl10 => stl10(dir, options, &mut unlabelled)?,
    };
    let (train, test) = match found {
        Some(splits) => splits,
        None => parquet(name, dir, on_progress)?,
    };
    let images = (train.len() + test.len()) as u64;
    on_progress(Progress::Decode { file: &dir.to_string_lossy(), done: images, total: images });
    Ok(Dataset::known(name, train, test, unlabelled))
}

/// Loads whatever is in `dir`: pictures in folders, unless the options name a column, or parquet files.
pub(crate) fn load_any(
    name: &str,
    dir: &Path,
    options: &LoadOptions,
    on_progress: &OnProgress,
) -> Result<Dataset> {
    std::fs::read_dir(dir).map_err(Error::io(dir))?;
    // Only tables have columns.
    let of_table = options.image_column.is_some() || options.label_column.is_some();
    if !of_table && let Some(data) = image_folder::load(name, dir, options, on_progress)? {
        return Ok(data);
    }
    if let Some(data) = parquet_files::load_folder(name, dir, options, on_progress)? {
        return Ok(data);
    }
    if of_table {
        return Err(Error::BadFile {
            path: dir.into(),
            found: "no parquet files".to_string(),
            expected: "some, because a column of their tables is named".to_string(),
            advice: "leave out --image-column and --label-column to read pictures in folders"
                .to_string(),
        });
    }
    let found = match image_folder::without_class(dir)? {
        0 => "no pictures and no parquet files".to_string(),
        1 => "a picture that is in no folder of a class".to_string(),
        count => format!("{count} pictures that are in no folder of a class"),
    };
    Err(Error::BadFile {
        path: dir.into(),
        found,
        expected: "CLASS/*.png (or .jpg, .webp, .bmp), train/CLASS/*.png and test/CLASS/*.png, or parquet files"
            .to_string(),
        advice: "give the pictures of each class a folder; for the original files of MNIST, CIFAR or STL-10 name the \
                 set with --dataset"
            .to_string(),
    })
}

/// The training and the test images.
type Splits = (ImageSet, ImageSet);

fn idx(name: DatasetName, dir: &Path, folders: &[&str]) -> Result<Option<Splits>> {
    // Some mirrors replace the second dash by a dot.
    let file = |folder: &Path, stem: &str, kind: &str| {
        let names =
            [".gz", ""].map(|gz| [format!("{stem}-{kind}{gz}"), format!("{stem}.{kind}{gz}")]);
        let mut paths = names.into_iter().flatten().map(|name| folder.join(name)).rev();
        paths.find(|path| path.is_file())
    };
    let split = |folder: &Path, split: &str| -> Result<ImageSet> {
        let [images, labels] =
            [("images", "idx3-ubyte"), ("labels", "idx1-ubyte")].map(|(part, kind)| {
                let stem = format!("{split}-{part}");
                file(folder, &stem, kind).unwrap_or_else(|| folder.join(format!("{stem}-{kind}")))
            });
        originals::idx(name, &images, &labels)
    };
    let mut folders = folders.iter().map(|folder| dir.join(folder));
    match folders.find(|folder| file(folder, "train-images", "idx3-ubyte").is_some()) {
        Some(folder) => Ok(Some((split(&folder, "train")?, split(&folder, "t10k")?))),
        None => Ok(None),
    }
}

fn cifar10(name: DatasetName, dir: &Path) -> Result<Option<Splits>> {
    let batches =
        |folder: &Path| (1..=5).map(|i| folder.join(format!("data_batch_{i}.bin"))).collect();
    let mut folders = ["", "cifar-10-batches-bin"].iter().map(|folder| dir.join(folder));
    let Some(folder) = folders.find(|folder| folder.join("data_batch_1.bin").is_file()) else {
        return Ok(None);
    };
    let train: Vec<PathBuf> = batches(&folder);
    let test = folder.join("test_batch.bin");
    let all: Vec<&Path> = train.iter().chain([&test]).map(PathBuf::as_path).collect();
    originals::whole_records(name, &all)?;
    same_size(&all)?;
    Ok(Some((originals::cifar(name, &train)?, originals::cifar(name, &[test])?)))
}

/// Refuses CIFAR-10 files of different sizes. The six files hold 10,000 images each. Fewer are accepted, for
/// tests, but not in only one of the files: half a batch is a whole number of records, and would look like an
/// intact file. The size that most files have is taken to be right.
fn same_size(paths: &[&Path]) -> Result<()> {
    let size = |path: &&Path| Ok(std::fs::metadata(path).map_err(Error::io(path))?.len());
    let sizes = paths.iter().map(size).collect::<Result<Vec<_>>>()?;
    let count = |size: u64| sizes.iter().filter(|&&other| other == size).count();
    let usual = sizes.iter().copied().max_by_key(|&size| (count(size), size)).unwrap_or(0);
    match paths.iter().zip(&sizes).find(|&(_, &size)| size != usual) {
        Some((path, size)) => Err(Error::bad_file(
            path,
            format!("{size} bytes"),
            format!("{usual} bytes, as most of the six files have"),
        )),
        None => Ok(()),
    }
}

fn cifar100(name: DatasetName, dir: &Path) -> Result<Option<Splits>> {
    let mut folders = ["", "cifar-100-binary"].iter().map(|folder| dir.join(folder));
    let Some(folder) = folders.find(|folder| folder.join("train.bin").is_file()) else {
        return Ok(None);
    };
    let [train, test] = ["train.bin", "test.bin"].map(|file| folder.join(file));
    Ok(Some((originals::cifar(name, &[train])?, originals::cifar(name, &[test])?)))
}

fn stl10(
    dir: &Path,
    options: &LoadOptions,
    unlabelled: &mut Vec<ImageSet>,
) -> Result<Option<Splits>> {
    let mut folders = ["", "stl10_binary"].iter().map(|folder| dir.join(folder));
    let Some(folder) = folders.find(|folder| folder.join("train_X.bin").is_file()) else {
        return Ok(None);
    };
    let split = |split: &str| {
        let [images, labels] = ["X", "y"].map(|part| folder.join(format!("{split}_{part}.bin")));
        originals::stl10(&images, &labels)
    };
    let others = folder.join("unlabeled_X.bin");
    if others.is_file() {
        unlabelled.push(originals::stl10_unlabelled(&others, options)?);
    }
    Ok(Some((split("train")?, split("test")?)))
}

/// Reads the hub's files, named as on its parquet branch (`train/0000.parquet`) or on a main branch
/// (`train-00000-of-00001.parquet`), in the folder itself or in a sub-folder with the name of the set's
/// configuration.
fn parquet(name: DatasetName, dir: &Path, on_progress: &OnProgress) -> Result<Splits> {
    let layout = Layout::of_folder(dir)?;
    let split = |split: &str| match layout.files(&[name.folder(), "default"], split)? {
        Some(files) => {
            let paths: Vec<PathBuf> = files.iter().map(|file| dir.join(file)).collect();
            table::read(&paths, name, on_progress)
        }
        None => Err(Error::NotInFolder {
            dataset: name.to_string(),
            dir: dir.into(),
            expected: format!(
                "{}, or the hub's {split}/0000.parquet or {split}-00000-of-00001.parquet",
                originals(name)
            ),
        }),
    };
    Ok((split("train")?, split("test")?))
}

/// The names of the original files, for messages.
fn originals(name: DatasetName) -> &'static str {
    match name {
        DatasetName::Digits => "no file",
        DatasetName::Mnist | DatasetName::FashionMnist => {
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
             t10k-labels-idx1-ubyte, plain or .gz"
        }
        DatasetName::Cifar10 => {
            "data_batch_1.bin to data_batch_5.bin and test_batch.bin (the binary version)"
        }
        DatasetName::Cifar100 => "train.bin and test.bin (the binary version)",
        DatasetName::Stl10 => {
            "train_X.bin, train_y.bin, test_X.bin and test_y.bin (the binary version), and unlabeled_X.bin if present"
        }
    }
}
