//! Which parquet files make up which split.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::split::split;
use crate::table::Tables;
use crate::{Dataset, Error, LoadOptions, OnProgress, Result};

/// What the split of images to learn from is called.
const TRAIN: &str = "train";
/// What that of images to test with is called, in the order of preference.
const TEST: [&str; 4] = ["test", "validation", "valid", "val"];

/// The files of each split of a data set, by path in their repository or folder.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Layout {
    /// Configuration, split, files in order.
    configs: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

/// Configuration, split, number and count of a file.
struct Place<'a> {
    config: &'a str,
    split: &'a str,
    number: usize,
    count: Option<usize>,
}

/// Reads `CONFIG/SPLIT/0000.parquet`, as the hub's converted branch has it, `data/SPLIT-00000-of-00002.parquet`
/// and `CONFIG/SPLIT-…`, as the main branches have it (with a sum before the ending, too), or `SPLIT.parquet`.
fn place(path: &str) -> Option<Place<'_>> {
    let stem = path.strip_suffix(".parquet")?;
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    if let Ok(number) = name.parse() {
        let (above, split) = folder.rsplit_once('/').unwrap_or(("", folder));
        let split = split.strip_prefix("partial-").unwrap_or(split);
        return Some(Place { config: config(above), split, number, count: None });
    }
    if let Some((before, after)) = name.split_once("-of-") {
        let (split, number) = before.rsplit_once('-')?;
        let count: &str = after.split('-').next()?;
        let (number, count) = (number.parse().ok()?, count.parse().ok()?);
        return Some(Place { config: config(folder), split, number, count: Some(count) });
    }
    Some(Place { config: config(folder), split: name, number: 0, count: None })
}

/// The configuration that a folder is of: its last part; `data` is that of all.
fn config(folder: &str) -> &str {
    match folder.rsplit('/').next().unwrap_or_default() {
        "" | "data" => "default",
        name => name,
    }
}

impl Layout {
    /// The layout of these paths; what is no parquet file is passed over.
    ///
    /// # Errors
    /// A split some of whose files are missing; `place` names where they are, for the message.
    pub fn of<'a>(paths: impl Iterator<Item = &'a str>, source: &str) -> Result<Self> {
        /// Files by number, and how many there are to be.
        type Files<'a> = (BTreeMap<usize, &'a str>, Option<usize>);
        let mut found: BTreeMap<(&str, &str), Files<'_>> = BTreeMap::new();
        for path in paths {
            let Some(Place { config, split, number, count }) = place(path) else { continue };
            let (files, all) = found.entry((config, split)).or_default();
            files.insert(number, path);
            *all = all.or(count);
        }
        let mut layout = Self::default();
        for ((config, split), (files, all)) in found {
            let expected = all.unwrap_or_else(|| files.keys().last().map_or(0, |last| last + 1));
            if files.len() != expected {
                return Err(Error::Shards {
                    split: format!("{config}/{split}"),
                    source_name: source.to_string(),
                    found: files.len(),
                    expected,
                });
            }
            let splits = layout.configs.entry(config.to_string()).or_default();
            splits.insert(split.to_string(), files.into_values().map(str::to_string).collect());
        }
        Ok(layout)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.configs.is_empty()
    }

    /// The names of the splits to learn from and, if there is one, to test with, each with its files.
    ///
    /// # Errors
    /// A configuration or split that is not there, or one of several to be chosen.
    pub fn splits(
        &self,
        config: Option<&str>,
        options: &LoadOptions,
        source: &str,
    ) -> Result<Vec<(String, Vec<String>)>> {
        let choose = |what: &'static str, found: String, known: Vec<&String>| Error::Choice {
            what,
            source_name: source.to_string(),
            found,
            known: known.into_iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        };
        let default = match self.configs.len() {
            1 => self.configs.keys().next().map(String::as_str),
            _ => Some("default"),
        };
        let config = config.or(default).unwrap_or_default();
        let Some(splits) = self.configs.get(config) else {
            return Err(choose("configuration", config.to_string(), self.configs.keys().collect()));
        };
        let named = |asked: &str| match splits.get(asked) {
            Some(files) => Ok((asked.to_string(), files.clone())),
            None => Err(choose("split", asked.to_string(), splits.keys().collect())),
        };
        let only = splits.keys().next().filter(|_| splits.len() == 1);
        let train = match (&options.train_split, only) {
            (Some(asked), _) => named(asked)?,
            (None, Some(only)) => named(only)?,
            (None, None) => named(TRAIN)?,
        };
        let test = match &options.test_split {
            Some(asked) => Some(named(asked)?),
            None => TEST.iter().filter(|name| **name != train.0).find_map(|name| named(name).ok()),
        };
        Ok([train].into_iter().chain(test).collect())
    }
}

/// The data set in these files: of the split to learn from and, if there is one, of that to test with.
pub(crate) fn load(
    name: &str,
    splits: Vec<(String, Vec<PathBuf>)>,
    options: &LoadOptions,
    on_progress: &OnProgress,
) -> Result<Dataset> {
    let (sets, class_names) = Tables { splits }.read(options, on_progress)?;
    let mut sets = sets.into_iter();
    let (train, test) = match (sets.next(), sets.next()) {
        (Some(train), Some(test)) => (train, test),
        (Some(all), None) => split(&all, options.test_share, options.seed)?,
        (None, _) => return Err(Error::Size { what: "splits", found: 0, expected: 1 }),
    };
    Ok(Dataset { name: name.to_string(), train, test, class_names })
}

/// The data set in the parquet files of a folder, or none where there are none.
pub(crate) fn load_folder(
    name: &str,
    dir: &Path,
    options: &LoadOptions,
    on_progress: &OnProgress,
) -> Result<Option<Dataset>> {
    /// Folders in folders.
    const DEEPEST: usize = 4;
    let walk = walkdir::WalkDir::new(dir).follow_links(true).max_depth(DEEPEST).sort_by_file_name();
    let mut paths = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|error| crate::image_folder::unreadable(dir, error))?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if let (true, Some(path)) =
            (entry.file_type().is_file() && !hidden, entry.path().strip_prefix(dir).ok())
        {
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            paths.push(parts.join("/"));
        }
    }
    let source = dir.display().to_string();
    let layout = Layout::of(paths.iter().map(String::as_str), &source)?;
    if layout.is_empty() {
        return Ok(None);
    }
    let splits = layout.splits(None, options, &source)?.into_iter();
    let splits =
        splits.map(|(split, files)| (split, files.iter().map(|file| dir.join(file)).collect()));
    load(name, splits.collect(), options, on_progress).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splits(
        paths: &[&str],
        config: Option<&str>,
        options: &LoadOptions,
    ) -> Vec<(String, Vec<String>)> {
        Layout::of(paths.iter().copied(), "here").unwrap().splits(config, options, "here").unwrap()
    }

    #[test]
    fn files_are_told_by_their_names() {
        let any = LoadOptions::default();
        let expect = |train: &[&str], test: &[&str]| {
            let of = |files: &[&str]| files.iter().map(|file| file.to_string()).collect::<Vec<_>>();
            vec![("train".to_string(), of(train)), ("test".to_string(), of(test))]
        };
        let converted = [
            "default/test/0000.parquet",
            "default/train/0001.parquet",
            "default/train/0000.parquet",
            "README.md",
        ];
        assert_eq!(
            splits(&converted, None, &any),
            expect(
                &["default/train/0000.parquet", "default/train/0001.parquet"],
                &["default/test/0000.parquet"]
            )
        );
        let main = [
            "data/train-00001-of-00002-af3.parquet",
            "data/train-00000-of-00002-bc4.parquet",
            "data/test-00000-of-00001.parquet",
        ];
        assert_eq!(
            splits(&main, None, &any),
            expect(
                &["data/train-00000-of-00002-bc4.parquet", "data/train-00001-of-00002-af3.parquet"],
                &["data/test-00000-of-00001.parquet"]
            )
        );
        let plain = ["train.parquet", "test.parquet", "validation.parquet"];
        assert_eq!(splits(&plain, None, &any), expect(&["train.parquet"], &["test.parquet"]));
        // A split of another name, and one of two configurations.
        let two = [
            "160px/train/0000.parquet",
            "160px/validation/0000.parquet",
            "320px/train/0000.parquet",
        ];
        let found = splits(&two, Some("160px"), &any);
        assert_eq!(
            found[1],
            ("validation".to_string(), vec!["160px/validation/0000.parquet".to_string()])
        );
        assert_eq!(splits(&two, Some("320px"), &any).len(), 1);
        let layout = Layout::of(two.into_iter(), "here").unwrap();
        let error = layout.splits(None, &any, "here").unwrap_err().to_string();
        assert!(
            ["configuration", "160px, 320px", "here"].iter().all(|text| error.contains(text)),
            "{error}"
        );
        let asked =
            LoadOptions { train_split: Some("fifth".to_string()), ..LoadOptions::default() };
        let error = layout.splits(Some("160px"), &asked, "here").unwrap_err().to_string();
        assert!(["fifth", "train, validation"].iter().all(|text| error.contains(text)), "{error}");
    }

    #[test]
    fn missing_files_of_a_split_are_counted() {
        for paths in [
            &["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"][..],
            &["a/train/0000.parquet", "a/train/0002.parquet"],
        ] {
            let error = Layout::of(paths.iter().copied(), "here").unwrap_err().to_string();
            assert!(
                ["2 of the 3 files", "train", "here"].iter().all(|text| error.contains(text)),
                "{error}"
            );
        }
        assert!(Layout::of(["data/train-00000-of-00003.parquet"].into_iter(), "here").is_err());
    }
}
