//! Pictures in one folder for each class, as torchvision's `ImageFolder` reads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::collect::{Split, all_broken, collect, lost_class};
use crate::store::{Encoded, Pile};
use crate::walk::entries;
use crate::{Dataset, Error, ImageSet, LoadOptions, OnProgress, Result, split};

/// The endings of the names of pictures that can be decoded.
pub(crate) const ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp"];
/// The endings of the names of pictures that cannot be decoded. They are not ignored as other files are: without them,
/// a class could silently have fewer images than its folder.
const OTHERS: [&str; 13] =
    ["gif", "tif", "tiff", "avif", "heic", "heif", "jxl", "jp2", "jpx", "ppm", "pgm", "pbm", "pnm"];
/// How deeply folders may be nested.
const DEEPEST: usize = 16;

/// Loads the data set in a folder; `None` if it has no folders with pictures.
///
/// The pictures are in `train/CLASS/*.png` and `test/CLASS/*.png` (or another name of [`split::TEST`]), or in
/// `CLASS/*.png`, of which a share is drawn for testing. Of several folders to test with, the first one with folders of
/// classes counts. There may also be `unlabelled/*.png` (or `unlabeled`). All of these may be at any depth in their
/// folders. Classes are in the order of their names. Hidden files, and files that are not pictures, are ignored; a
/// picture in a format that cannot be decoded is a bad picture.
pub(crate) fn load(
    name: &str,
    dir: &Path,
    options: &LoadOptions,
    on_progress: &OnProgress,
) -> Result<Option<Dataset>> {
    let parts = folders(dir)?;
    let mut asked = [&options.train_split, &options.test_split].into_iter().flatten();
    if asked.any(|split| !parts.contains_key(split)) && files(dir)?.is_empty() {
        // It may be a split of tables.
        return Ok(None);
    }
    let asked = |split: &String| match parts.get(split) {
        Some(path) => Ok(path.clone()),
        None => Err(no_part(dir, split, &parts)),
    };
    let named = |names: &[&str]| -> Vec<PathBuf> {
        let found = split::with_names(parts.keys(), names).into_iter();
        found.map(|part| parts[part].clone()).collect()
    };
    let train = match &options.train_split {
        Some(split) => Some(asked(split)?),
        None => named(&split::TRAIN).into_iter().next(),
    };
    let test = match &options.test_split {
        Some(split) => Some(asked(split)?),
        None => {
            let mut all = named(&split::TEST);
            all.retain(|path| train.as_ref() != Some(path));
            with_classes(&all)?.or(all.into_iter().next())
        }
    };
    let is_train = |path: &PathBuf| train.as_ref() == Some(path);
    if let Some(both) = test.as_ref().filter(|test| is_train(test)) {
        let folder = both.file_name().unwrap_or_default().to_string_lossy();
        return Err(split::is_both(&dir.display().to_string(), &folder));
    }
    let unlabelled: Vec<&PathBuf> = parts
        .iter()
        .filter(|(part, path)| split::is_unlabelled(part) && !is_train(path))
        .map(|(_, path)| path)
        .collect();
    let root = train.as_deref().unwrap_or(dir);
    let mut classes = folders(root)?;
    if train.is_none() {
        // The folders of test images and of images without labels are not classes; nor are those of other images to
        // test with.
        classes.retain(|part, path| {
            let is_test = test.as_ref() == Some(path) || split::is_for_tests(part);
            !is_test && !unlabelled.contains(&&*path)
        });
    }
    let found = pictures(&classes)?;
    if found.iter().all(|(_, files)| files.is_empty()) {
        return match train {
            Some(train) if !files(&train)?.is_empty() => Err(no_classes(train)),
            _ => Ok(None),
        };
    }
    if let Some((class, _)) = found.iter().find(|(_, files)| files.is_empty()) {
        return Err(Error::BadFile {
            path: root.join(class),
            found: "no pictures".to_string(),
            expected: format!("some, ending in {}", ENDINGS.join(", ")),
            advice: "remove the folder, if it is no class".to_string(),
        });
    }
    let class_names: Vec<String> = found.iter().map(|(class, _)| class.clone()).collect();
    let labelled = |name: &str, found: Vec<(String, Vec<PathBuf>)>| -> Split {
        let label = |class: &str| class_names.iter().position(|known| known == class);
        let found =
            found.into_iter().filter_map(|(class, files)| Some((label(&class)? as u32, files)));
        let files =
            found.flat_map(|(label, files)| files.into_iter().map(move |path| (path, label)));
        let (files, labels) = files.unzip();
        Split { name: name.to_string(), pile: Arc::new(Files(files)), labels }
    };
    let mut splits = vec![labelled("train", found)];
    if let Some(test) = &test {
        let others = pictures(&folders(test)?)?;
        let unknown =
            others.iter().find(|(class, files)| !files.is_empty() && !class_names.contains(class));
        if let Some((class, _)) = unknown {
            return Err(Error::BadFile {
                path: test.join(class),
                found: format!("the class {class:?}"),
                expected: format!("only those of {}: {}", root.display(), class_names.join(", ")),
                advice: "remove the folder, or give images of it to learn from".to_string(),
            });
        }
        let others = labelled("test", others);
        if others.labels.is_empty() {
            return Err(no_classes(test.clone()));
        }
        splits.push(others);
    }
    let mut count = 0;
    for path in unlabelled {
        let files = files(path)?;
        if !files.is_empty() {
            let labels = vec![ImageSet::NO_LABEL; files.len()];
            splits.push(Split { name: "unlabelled".into(), pile: Arc::new(Files(files)), labels });
            count += 1;
        }
    }
    let sets = collect(&splits, options, on_progress)?;
    if let Some(picture) = lost_class(&splits, &sets) {
        let class = &class_names[splits[0].labels[picture] as usize];
        return Err(all_broken(root.join(class), class));
    }
    split::dataset(name, sets, count, class_names, options).map(Some)
}

/// The first of the folders that has folders of classes. Of images to test with, some sets keep the classes to
/// themselves.
fn with_classes(all: &[PathBuf]) -> Result<Option<PathBuf>> {
    for path in all {
        if pictures(&folders(path)?)?.iter().any(|(_, files)| !files.is_empty()) {
            return Ok(Some(path.clone()));
        }
    }
    Ok(None)
}

/// The error for a folder that is taken for a split, and has no pictures in folders of classes.
fn no_classes(path: PathBuf) -> Error {
    Error::BadFile {
        path,
        found: "no pictures in folders of classes".to_string(),
        expected: "CLASS/*.png, because a folder of this name is taken for a split".to_string(),
        advice: "give the pictures of each class a folder, or rename this one if it is a class"
            .to_string(),
    }
}

/// Pictures, each in a file of its own.
#[derive(Debug)]
pub(crate) struct Files(pub Vec<PathBuf>);

impl Pile for Files {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn blocks(&self) -> Option<&[usize]> {
        None
    }

    fn read(&self, wanted: &[usize]) -> Result<Vec<Encoded>> {
        wanted.iter().map(|&index| read(&self.0[index]).map(Encoded::new)).collect()
    }

    fn place(&self, index: usize) -> (PathBuf, Option<usize>) {
        (self.0[index].clone(), None)
    }
}

/// Reads a file, unless it is too long to be a picture.
fn read(path: &Path) -> Result<Vec<u8>> {
    /// The most bytes of a file; no picture that can be decoded here needs more.
    const LONGEST: u64 = 300 << 20;
    let length = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if length > LONGEST {
        let (found, expected) = (format!("{length} bytes"), format!("{LONGEST} at most"));
        return Err(Error::bad_file(path, found, expected));
    }
    std::fs::read(path).map_err(Error::io(path))
}

/// The folders in a folder, by name.
fn folders(dir: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut folders = BTreeMap::new();
    // What has no ending may be a class or a split.
    for entry in entries(dir, 1, |path| path.extension().is_none()) {
        let entry = entry?;
        if entry.depth() > 0 && entry.file_type().is_dir() {
            let Some(name) = entry.file_name().to_str().map(str::to_string) else {
                return Err(Error::BadFile {
                    path: entry.into_path(),
                    found: "a name that is not UTF-8".to_string(),
                    expected: "one that is, because it is the name of a class".to_string(),
                    advice: "rename the folder".to_string(),
                });
            };
            folders.insert(name, entry.into_path());
        }
    }
    Ok(folders)
}

/// The pictures of each class, at any depth, in the order of their paths.
fn pictures(classes: &BTreeMap<String, PathBuf>) -> Result<Vec<(String, Vec<PathBuf>)>> {
    classes.iter().map(|(class, dir)| Ok((class.clone(), files(dir)?))).collect()
}

/// The number of pictures that are in the folder itself.
pub(crate) fn without_class(dir: &Path) -> Result<usize> {
    Ok(files_to(1, dir)?.len())
}

/// The pictures in a folder, at any depth, in the order of their paths.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    files_to(DEEPEST, dir)
}

fn files_to(deepest: usize, dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in entries(dir, deepest, is_picture) {
        let entry = entry?;
        if entry.file_type().is_file() && is_picture(entry.path()) {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// Whether the name of a file ends like that of a picture, also of one that cannot be decoded.
fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.iter().chain(&OTHERS).any(|known| *known == ending))
}

fn no_part(dir: &Path, asked: &str, parts: &BTreeMap<String, PathBuf>) -> Error {
    let known: Vec<&str> = parts.keys().map(String::as_str).collect();
    Error::BadFile {
        path: dir.to_path_buf(),
        found: format!("no folder {asked:?}"),
        expected: format!("one of: {}", known.join(", ")),
        advice: "name the folder of a split".to_string(),
    }
}
