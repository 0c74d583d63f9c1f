//! A run to analyse.

use super::settings::Settings;
use crate::report::{Folder, grouped};
use crate::trained::in_zoo;
use anyhow::{Context, Result, anyhow};
use candle::Device;
use hebbian_data::{Dataset, ImageSet, evenly};
use hebbian_models::{Model, splits};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// A run from its folder, or a model of the zoo; its model and its images are loaded when they are first needed.
pub(super) struct Opened {
    /// A name that distinguishes it from the other runs.
    pub name: String,
    /// The group of runs with which it is drawn: those that differ from it only in the seed.
    pub group: Group,
    pub folder: Folder,
    model: OnceCell<Result<Model, String>>,
    data: OnceCell<Result<Dataset, String>>,
    data_dir: Option<PathBuf>,
    device: Device,
}

/// A group of runs: its number, its name, and how many runs it has.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    /// The number of the group.
    pub at: usize,
    pub name: String,
    pub runs: usize,
}

impl Group {
    /// Returns its name in the legend of a chart, for a line of so many of its runs.
    pub(super) fn shown(&self, runs: usize) -> String {
        match runs {
            1 => self.name.clone(),
            runs => format!("{} (mean ± sd of {runs} seeds)", self.name),
        }
    }
}

impl Opened {
    /// Opens folders of runs, folders of studies and models of the zoo.
    ///
    /// # Errors
    /// A path that is neither the folder of a run nor a name of the zoo.
    pub(super) fn all(
        paths: &[PathBuf],
        data_dir: Option<&Path>,
        device: &Device,
    ) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for path in paths {
            found.extend(Folder::paths(path)?);
        }
        let names = names(&found);
        let open = |(path, name): (&PathBuf, String)| -> Result<Self> {
            let (folder, model) = match in_zoo(path) {
                Some(shipped) => {
                    let model = Model::from_zoo_on(shipped, device)?;
                    (Folder::of_model(shipped, &model), OnceCell::from(Ok(model)))
                }
                None => (Folder::read(path)?, OnceCell::new()),
            };
            let group = Group { at: 0, name: name.clone(), runs: 1 };
            Ok(Self {
                name,
                group,
                folder,
                model,
                data: OnceCell::new(),
                data_dir: data_dir.map(Path::to_path_buf),
                device: device.clone(),
            })
        };
        let mut all: Vec<Self> = found.iter().zip(names).map(open).collect::<Result<_>>()?;
        Self::group(&mut all);
        Ok(all)
    }

    /// Groups the runs that differ only in the seed. A group has the name that a report gives it; if no two runs differ
    /// only in the seed, each run keeps its own name.
    fn group(all: &mut [Self]) {
        let (groups, _) = grouped(all.iter().map(|run| &run.folder));
        let several = groups.len() < all.len();
        for (at, group) in groups.into_iter().enumerate() {
            for &run in &group.runs {
                let named = several && !group.name.is_empty();
                let name = if named { group.name.clone() } else { all[group.runs[0]].name.clone() };
                all[run].group = Group { at, name, runs: group.runs.len() };
            }
        }
    }

    /// Returns the model in the folder.
    ///
    /// # Errors
    /// Weights that are missing or wrong.
    pub(super) fn model(&self) -> Result<&Model> {
        let load = || Model::load_on(&self.folder.path, &self.device).map_err(|e| e.to_string());
        self.model.get_or_init(load).as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Returns the images that the run had.
    ///
    /// # Errors
    /// Images that are not available.
    pub(super) fn data(&self) -> Result<&Dataset> {
        let load = || {
            let data = self.folder.images(self.data_dir.as_deref());
            let used = data.and_then(|data| Ok(splits(&self.folder.config, data)?));
            used.map_err(|error| format!("{error:#}"))
        };
        let data = self.data.get_or_init(load).as_ref();
        data.map_err(|error| anyhow!("{error}")).context("its images")
    }

    /// Returns as many of its training and test images as the settings ask for, spread evenly over each set.
    ///
    /// # Errors
    /// Those of [`data`](Self::data); a set without images.
    pub(super) fn some_images(&self, settings: &Settings) -> Result<(ImageSet, ImageSet)> {
        let Dataset { train, test, .. } = self.data()?;
        let some = |set: &ImageSet, count| set.select(&evenly(set.len(), count));
        let (train, test) =
            (some(train, settings.train_images)?, some(test, settings.test_images)?);
        if train.is_empty() || test.is_empty() {
            return Err(anyhow!(
                "it has {} training and {} test images, expected at least one of each",
                train.len(),
                test.len()
            ));
        }
        Ok((train, test))
    }
}

/// Returns names for runs: the shortest ends of their paths that differ.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let parts = |path: &PathBuf| -> Vec<String> {
        path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
    };
    let all: Vec<Vec<String>> = paths.iter().map(parts).collect();
    let last =
        |parts: &Vec<String>, count: usize| parts[parts.len().saturating_sub(count)..].join("/");
    let longest = all.iter().map(Vec::len).max().unwrap_or_default();
    let differ = |count: &usize| {
        let mut names: Vec<String> = all.iter().map(|parts| last(parts, *count)).collect();
        names.sort_unstable();
        names.windows(2).all(|pair| pair[0] != pair[1])
    };
    let count = (1..=longest).find(differ).unwrap_or(longest);
    all.iter().map(|parts| last(parts, count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_they_can_be() {
        let of = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["runs/amit/a/seed-0"]), ["seed-0"]);
        assert_eq!(of(&["runs/a/seed-0", "runs/a/seed-1/"]), ["seed-0", "seed-1"]);
        assert_eq!(of(&["runs/a/seed-0", "runs/b/seed-0"]), ["a/seed-0", "b/seed-0"]);
        assert_eq!(of(&["x", "x"]), ["x", "x"]);
    }
}
