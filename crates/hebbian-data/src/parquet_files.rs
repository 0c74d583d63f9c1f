//! Assignment of parquet files to splits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::table::{Tables, is_labelled};
use crate::walk::entries;
use crate::{Dataset, Error, LoadOptions, OnProgress, Result, split};

/// The files of each split of a data set, by path in their repository or folder.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Layout {
    /// Where the files are, for messages.
    source: String,
    /// By configuration and split.
    configs: BTreeMap<String, BTreeMap<String, Files>>,
}

/// The files of a split.
#[derive(Debug, Default, PartialEq)]
struct Files {
    /// The paths, in order.
    paths: Vec<String>,
    /// How many files there should be.
    expected: usize,
    /// Two of the files that are the same part of the split by their names.
    twins: Option<[String; 2]>,
}

/// Configuration, split, number and count of a file.
struct Place<'a> {
    config: &'a str,
    split: &'a str,
    number: usize,
    count: Option<usize>,
}

/// Parses `CONFIG/SPLIT/0000.parquet`, as on the hub's converted branch; `data/SPLIT-00000-of-00002.parquet` and
/// `CONFIG/SPLIT-…`, as on main branches (also with a hash before the ending); or `SPLIT.parquet`.
fn place(path: &str) -> Option<Place<'_>> {
    let stem = path.strip_suffix(".parquet")?;
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    if let Ok(number) = name.parse() {
        let (above, split) = folder.rsplit_once('/').unwrap_or(("", folder));
        let split = split.strip_prefix("partial-").unwrap_or(split);
        return Some(Place { config: config(above), split, number, count: None });
    }
    let config = config(folder);
    let shard = || {
        let (before, after) = name.rsplit_once("-of-")?;
        let (split, number) = before.rsplit_once('-')?;
        let (number, count) = (number.parse().ok()?, after.split('-').next()?.parse().ok()?);
        Some(Place { config, split, number, count: Some(count) })
    };
    Some(shard().unwrap_or(Place { config, split: name, number: 0, count: None }))
}

/// The configuration that a folder belongs to: its last part, or the default configuration for `data`.
fn config(folder: &str) -> &str {
    match folder.rsplit('/').next().unwrap_or_default() {
        "" | "data" => "default",
        name => name,
    }
}

impl Layout {
    /// The layout of the parquet files among these paths. `source` is where the files are, for messages.
    pub fn of<'a>(paths: impl Iterator<Item = &'a str>, source: &str) -> Self {
        /// The files of a split.
        #[derive(Default)]
        struct Numbered<'a> {
            /// By number.
            files: BTreeMap<usize, &'a str>,
            /// How many there are, if their names say so.
            all: Option<usize>,
            twins: Option<[String; 2]>,
        }
        let mut found: BTreeMap<(&str, &str), Numbered<'_>> = BTreeMap::new();
        for path in paths {
            let Some(Place { config, split, number, count }) = place(path) else { continue };
            let Numbered { files, all, twins } = found.entry((config, split)).or_default();
            if let Some(other) = files.insert(number, path) {
                *twins = Some([other, path].map(str::to_string));
            }
            *all = all.or(count);
        }
        let mut layout = Self { source: source.to_string(), ..Self::default() };
        for ((config, split), Numbered { files, all, twins }) in found {
            let expected =
                all.unwrap_or_else(|| files.keys().last().map_or(0, |last| last.saturating_add(1)));
            let paths = files.into_values().map(str::to_string).collect();
            let files = Files { paths, expected, twins };
            let splits = layout.configs.entry(config.to_string()).or_default();
            splits.insert(split.to_string(), files);
        }
        layout
    }

    /// Returns the layout of the files in a folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn of_folder(dir: &Path) -> Result<Self> {
        /// How deeply folders may be nested.
        const DEEPEST: usize = 4;
        let is_table = |path: &Path| path.extension().is_some_and(|ending| ending == "parquet");
        let mut paths = Vec::new();
        for entry in entries(dir, DEEPEST, is_table) {
            let entry = entry?;
            if let (true, Some(path)) =
                (entry.file_type().is_file(), entry.path().strip_prefix(dir).ok())
            {
                let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
                paths.push(parts.join("/"));
            }
        }
        Ok(Self::of(paths.iter().map(String::as_str), &dir.display().to_string()))
    }

    /// Returns the files of a split, from the first of these configurations that has it.
    ///
    /// # Errors
    /// If some of the files are missing, or two are the same part.
    pub fn files(&self, configs: &[&str], split: &str) -> Result<Option<Vec<String>>> {
        let mut found = configs.iter().filter_map(|&config| {
            Some(self.all(config, split, self.configs.get(config)?.get(split)?))
        });
        found.next().transpose()
    }

    /// Returns all files of a split, or an error if some are missing or two are the same part.
    fn all(&self, config: &str, split: &str, files: &Files) -> Result<Vec<String>> {
        if let Some([one, other]) = &files.twins {
            return Err(Error::Twins {
                split: format!("{config}/{split}"),
                source_name: self.source.clone(),
                one: one.clone(),
                other: other.clone(),
            });
        }
        match files.paths.len() == files.expected {
            true => Ok(files.paths.clone()),
            false => Err(Error::Shards {
                split: format!("{config}/{split}"),
                source_name: self.source.clone(),
                found: files.paths.len(),
                expected: files.expected,
            }),
        }
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.configs.is_empty()
    }

    /// Returns the name and files of the split to learn from and, if there is one, of the split to test with; then
    /// those of images without labels. If there is only one split, it is the one to learn from, unless its name
    /// says that it is for testing. A split whose name is in `negative` is not tested with unless the options name it.
    ///
    /// # Errors
    /// If a configuration or split does not exist, has missing files or two files for the same part, if one of several
    /// has to be chosen, or if one split is both to learn from and to test with.
    pub fn splits(
        &self,
        config: Option<&str>,
        options: &LoadOptions,
        negative: &[String],
    ) -> Result<Vec<(String, Vec<String>)>> {
        let choose = |what: &'static str, found: String, known: Vec<&String>| Error::Choice {
            what,
            source_name: self.source.clone(),
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
            Some(files) => Ok((asked.to_string(), self.all(config, asked, files)?)),
            None => Err(choose("split", asked.to_string(), splits.keys().collect())),
        };
        let only = splits.keys().next().filter(|_| splits.len() == 1);
        let train = match (&options.train_split, only) {
            (Some(asked), _) => named(asked)?,
            (None, Some(only)) if !split::is_for_tests(only) => named(only)?,
            (None, _) => {
                let found = split::with_names(splits.keys(), &split::TRAIN);
                named(found.first().copied().unwrap_or(split::TRAIN[0]))?
            }
        };
        let is_free = |name: &str| name != train.0 && !negative.iter().any(|other| other == name);
        let test = match &options.test_split {
            Some(asked) => Some(asked.as_str()),
            None => {
                let found = split::with_names(splits.keys(), &split::TEST);
                found.into_iter().find(|&name| is_free(name))
            }
        };
        if test == Some(train.0.as_str()) {
            return Err(split::is_both(&self.source, &train.0));
        }
        let test = test.map(named).transpose()?;
        let is_taken =
            |name: &str| name == train.0 || test.as_ref().is_some_and(|(test, _)| test == name);
        let others = splits.keys().filter(|name| split::is_unlabelled(name) && !is_taken(name));
        let others = others.map(|name| named(name)).collect::<Result<Vec<_>>>()?;
        Ok([train].into_iter().chain(test).chain(others).collect())
    }
}

/// The split to test with and its first file, unless the options name the split: it is tested with only if there are
/// labels in that file.
pub(crate) fn on_trial<'a, S>(
    splits: &'a [(String, Vec<S>)],
    options: &LoadOptions,
) -> Option<(&'a str, &'a S)> {
    // The second split may also be one of images without labels.
    let (name, files) = splits.get(1).filter(|(name, _)| split::is_for_tests(name))?;
    let first = files.first().filter(|_| options.test_split.is_none())?;
    Some((name.as_str(), first))
}

/// Loads the data set in the files that `choose` returns: the split to learn from and, if there is one, the split to
/// test with, then those without labels. Its argument names the splits to test with that turned out to have no labels.
/// `fetch` returns the path of a file; of a split that has no labels it is called for the first file only.
pub(crate) fn load<S>(
    name: &str,
    choose: impl Fn(&[String]) -> Result<Vec<(String, Vec<S>)>>,
    fetch: impl Fn(&S) -> Result<PathBuf>,
    options: &LoadOptions,
    on_progress: &OnProgress,
) -> Result<Dataset> {
    let mut negative: Vec<String> = Vec::new();
    let (splits, mut tried) = loop {
        let splits = choose(&negative)?;
        let Some((test, first)) = on_trial(&splits, options) else { break (splits, None) };
        let path = fetch(first)?;
        if is_labelled(&path, options)? {
            break (splits, Some(path));
        }
        negative.push(test.to_string());
    };
    let mut fetched = Vec::new();
    for (at, (split, files)) in splits.into_iter().enumerate() {
        let known = tried.take_if(|_| at == 1);
        let others = files.iter().skip(usize::from(known.is_some()));
        let paths: Result<Vec<PathBuf>> =
            known.into_iter().map(Ok).chain(others.map(&fetch)).collect();
        fetched.push((split, paths?));
    }
    let tables = Tables { splits: fetched };
    let (sets, class_names) = tables.read(options, on_progress)?;
    split::dataset(name, sets, tables.unlabelled().count(), class_names, options)
}

/// Loads the data set in the parquet files of a folder; `None` if there are no such files.
pub(crate) fn load_folder(
    name: &str,
    dir: &Path,
    options: &LoadOptions,
    on_progress: &OnProgress,
) -> Result<Option<Dataset>> {
    let layout = Layout::of_folder(dir)?;
    if layout.is_empty() {
        return Ok(None);
    }
    let choose = |negative: &[String]| layout.splits(None, options, negative);
    load(name, choose, |file: &String| Ok(dir.join(file)), options, on_progress).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splits(
        paths: &[&str],
        config: Option<&str>,
        options: &LoadOptions,
    ) -> Vec<(String, Vec<String>)> {
        Layout::of(paths.iter().copied(), "here").splits(config, options, &[]).unwrap()
    }

    /// The number after the largest one is no number; files are missing in any case.
    #[test]
    fn a_file_may_have_the_largest_number() {
        let path = format!("default/train/{}.parquet", usize::MAX);
        let layout = Layout::of([path.as_str()].into_iter(), "here");
        assert_eq!(layout.configs["default"]["train"].expected, usize::MAX);
    }

    /// By their names, two files are the only part of a split: neither is left out in silence.
    #[test]
    fn files_that_are_the_same_part_are_refused() {
        for twins in [
            ["one/data/train-00000-of-00001.parquet", "two/data/train-00000-of-00001.parquet"],
            ["train.parquet", "train-00000-of-00001.parquet"],
        ] {
            let layout = Layout::of(twins.into_iter(), "here");
            let error = layout.splits(None, &LoadOptions::default(), &[]).unwrap_err().to_string();
            assert!(twins.iter().all(|twin| error.contains(twin)), "{error}");
            assert!(error.contains("default/train") && error.contains("here"), "{error}");
        }
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
        // A split with another name, and one of two configurations.
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
        let layout = Layout::of(two.into_iter(), "here");
        let error = layout.splits(None, &any, &[]).unwrap_err().to_string();
        assert!(
            ["configuration", "160px, 320px", "here"].iter().all(|text| error.contains(text)),
            "{error}"
        );
        let asked =
            LoadOptions { train_split: Some("fifth".to_string()), ..LoadOptions::default() };
        let error = layout.splits(Some("160px"), &asked, &[]).unwrap_err().to_string();
        assert!(["fifth", "train, validation"].iter().all(|text| error.contains(text)), "{error}");
    }

    /// Words around `-of-` are a part of a name, and numbers are those of a file.
    #[test]
    fn a_name_may_contain_of() {
        let of = |path| {
            let Place { config, split, number, count } = place(path).unwrap();
            (config, split, number, count)
        };
        assert_eq!(of("proof-of-concept.parquet"), ("default", "proof-of-concept", 0, None));
        assert_eq!(of("a/out-of-town-of-all.parquet"), ("a", "out-of-town-of-all", 0, None));
        let shard = "data/out-of-town-00001-of-00002-f3.parquet";
        assert_eq!(of(shard), ("default", "out-of-town", 1, Some(2)));
    }

    #[test]
    fn splits_have_several_names() {
        let names = |paths: &[&str]| {
            let found = splits(paths, None, &LoadOptions::default());
            found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let known = ["test", "testing", "eval", "evaluation", "validation", "valid", "val", "dev"];
        for split in known {
            let path = format!("{split}.parquet");
            assert_eq!(names(&["train.parquet", &path]), ["train", split]);
        }
        assert_eq!(names(&["Training.parquet", "Test.parquet"]), ["Training", "Test"]);
        // The names of the split to test with are in the order of preference.
        let all = ["dev.parquet", "testing.parquet", "train.parquet", "validation.parquet"];
        assert_eq!(names(&all), ["train", "testing"]);
        let layout = Layout::of(["testing.parquet"].into_iter(), "here");
        let error = layout.splits(None, &LoadOptions::default(), &[]).unwrap_err().to_string();
        assert!(error.contains("no split 'train', expected one of: testing"), "{error}");
    }

    #[test]
    fn missing_files_of_a_split_are_counted() {
        let any = LoadOptions::default();
        for (paths, count) in [
            (
                &["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"][..],
                "2 of the 3 files",
            ),
            (&["a/train/0000.parquet", "a/train/0002.parquet"], "2 of the 3 files"),
            (&["data/train-00000-of-00003.parquet"], "1 of the 3 files"),
        ] {
            let layout = Layout::of(paths.iter().copied(), "here");
            let error = layout.splits(None, &any, &[]).unwrap_err().to_string();
            assert!([count, "train", "here"].iter().all(|text| error.contains(text)), "{error}");
        }
        // Missing files of a split that is not read do not matter.
        let paths = ["train.parquet", "test.parquet", "extra-00000-of-00002.parquet"];
        assert_eq!(splits(&paths, None, &any).len(), 2);
        // Splits without labels are read, too.
        let paths = ["train.parquet", "test.parquet", "unlabelled-00000-of-00002.parquet"];
        let layout = Layout::of(paths.into_iter(), "here");
        let error = layout.splits(None, &any, &[]).unwrap_err().to_string();
        assert!(error.contains("1 of the 2 files"), "{error}");
        let paths = ["train.parquet", "unlabeled.parquet"];
        let names: Vec<String> =
            splits(&paths, None, &any).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["train", "unlabeled"]);
    }

    #[test]
    fn what_is_for_testing_is_not_learned_from() {
        let layout = Layout::of(["data/test-00000-of-00001.parquet"].into_iter(), "here");
        let error = layout.splits(None, &LoadOptions::default(), &[]).unwrap_err().to_string();
        assert!(error.contains("no split 'train', expected one of: test"), "{error}");
        assert!(error.contains("name one with --train-split"), "{error}");
        let asked = LoadOptions { train_split: Some("test".into()), ..LoadOptions::default() };
        assert_eq!(layout.splits(None, &asked, &[]).unwrap().len(), 1);
        assert_eq!(
            splits(&["data/all-00000-of-00001.parquet"], None, &LoadOptions::default())[0].0,
            "all"
        );
    }
}
