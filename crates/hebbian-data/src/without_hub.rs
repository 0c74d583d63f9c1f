//! Replacement for the hub in a build without its client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Dataset, DatasetName, Error, LoadOptions, OnProgress, Push, RepoKind, Result};

const FEATURE: &str = "hub";

/// The Hugging Face Hub in a build without the feature `hub`: nothing can be downloaded from it or pushed
/// to it.
#[derive(Debug, Clone)]
pub struct Hub(());

impl Hub {
    /// Returns the hub that the environment describes.
    pub fn from_env() -> Self {
        Self(())
    }

    /// Returns a hub at another address with its cache in `cache_dir`.
    pub fn new(_endpoint: &str, _cache_dir: &Path) -> Self {
        Self(())
    }

    /// Returns the same hub with this token.
    pub fn with_token(self, _token: &str) -> Self {
        self
    }

    /// Returns the same hub, which then never uses the network.
    pub fn offline(self) -> Self {
        self
    }

    /// Returns the same hub with other timeouts.
    pub fn with_patience(self, _answer: Duration, _bytes: Duration) -> Self {
        self
    }

    /// Returns an error that names the feature.
    ///
    /// # Errors
    /// Always.
    pub fn fetch(
        &self,
        _kind: RepoKind,
        repo: &str,
        _revision: &str,
        file: &str,
        _on_progress: &OnProgress,
    ) -> Result<PathBuf> {
        Err(Error::without(FEATURE, format!("{file} of {repo}")))
    }

    /// Returns an error that names the feature.
    ///
    /// # Errors
    /// Always.
    pub fn push(&self, push: &Push<'_>, _on_progress: &OnProgress) -> Result<String> {
        Err(Error::without(FEATURE, format!("a push to {}", push.repo)))
    }
}

pub(crate) fn load_known(
    name: DatasetName,
    _hub: &Hub,
    _on_progress: &OnProgress,
) -> Result<Dataset> {
    Err(Error::without(FEATURE, name.to_string()))
}

pub(crate) fn load(
    name: &str,
    _hub: &Hub,
    _options: &LoadOptions,
    _on_progress: &OnProgress,
) -> Result<Option<Dataset>> {
    match name.contains('/') {
        true => Err(Error::without(FEATURE, name.to_string())),
        false => Ok(None),
    }
}
