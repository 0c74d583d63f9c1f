//! Replacement for the reader of tables in a build without it.

use std::path::{Path, PathBuf};

use crate::{DatasetName, Error, ImageSet, LoadOptions, OnProgress, Result};

fn without(path: Option<&PathBuf>) -> Error {
    let path = path.map_or(Path::new("a parquet file"), PathBuf::as_path);
    Error::without("parquet", path.display().to_string())
}

pub(crate) fn read(
    paths: &[PathBuf],
    _name: DatasetName,
    _on_progress: &OnProgress,
) -> Result<ImageSet> {
    Err(without(paths.first()))
}

pub(crate) fn is_labelled(path: &Path, _options: &LoadOptions) -> Result<bool> {
    Err(Error::without("parquet", path.display().to_string()))
}

pub(crate) struct Tables {
    pub splits: Vec<(String, Vec<PathBuf>)>,
}

impl Tables {
    pub fn read(
        &self,
        _options: &LoadOptions,
        _on_progress: &OnProgress,
    ) -> Result<(Vec<ImageSet>, Vec<String>)> {
        Err(without(self.splits.iter().flat_map(|(_, paths)| paths).next()))
    }

    pub fn unlabelled(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
}
