//! The Hugging Face Hub, through its own client and into its own cache, but checked.

use std::path::{Path, PathBuf};

use hf_hub::{HFClient, HFClientSync, HFError, RepoType, RepoTypeDataset, RepoTypeModel, split_id};

use crate::download::{ATTEMPTS, Wanted, with_causes};
use crate::text::without_passwords;
use crate::{Error, OnProgress, Result};

/// Which kind of repository a file is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoKind {
    /// A data set.
    Dataset,
    /// A model.
    Model,
}

/// The Hugging Face Hub and its cache on this machine.
///
/// hf-hub 1.0 stores whatever a server answers, an error page too, compares no checksum, starts an
/// interrupted download from the beginning, and does not know `HF_HUB_OFFLINE`. [`fetch`](Self::fetch)
/// adds all four.
#[derive(Debug, Clone)]
pub struct Hub {
    pub(crate) client: HFClientSync,
    pub(crate) endpoint: Endpoint,
    cache_dir: PathBuf,
    pub(crate) offline: bool,
}

/// An address that may hold a password, which is not to be shown.
#[derive(Clone)]
pub(crate) struct Endpoint(pub(crate) String);

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&without_passwords(&self.0, &self.0))
    }
}

impl Hub {
    /// The hub as the environment describes it: `HF_ENDPOINT`, `HF_TOKEN` (or the token that `hf auth login`
    /// has stored), `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// When the client does not start, for instance because `HF_ENDPOINT` is not an address.
    pub fn from_env() -> Result<Self> {
        let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| {
            matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
        });
        let client = HFClient::builder().retry_max_attempts(ATTEMPTS).build();
        Self::of(client, &std::env::var("HF_ENDPOINT").unwrap_or_default(), offline)
    }

    /// A hub at another address with its cache in `cache_dir`, and the token of the environment.
    ///
    /// # Errors
    /// When `endpoint` is not an address.
    pub fn new(endpoint: &str, cache_dir: &Path) -> Result<Self> {
        let builder = HFClient::builder().endpoint(endpoint).cache_dir(cache_dir);
        Self::of(builder.retry_max_attempts(ATTEMPTS).build(), endpoint, false)
    }

    fn of(client: Result<HFClient, HFError>, given: &str, offline: bool) -> Result<Self> {
        let failed = |error: HFError| Error::Client(with_causes(&error, given));
        let client = client.map_err(failed)?;
        let cache_dir = client.cache_dir().to_path_buf();
        let endpoint = Endpoint(client.endpoint().to_string());
        let client = HFClientSync::from_inner(client).map_err(failed)?;
        Ok(Self { client, endpoint, cache_dir, offline })
    }

    /// The same hub with this token instead of the environment's.
    ///
    /// # Errors
    /// When the client does not start.
    pub fn with_token(self, token: &str) -> Result<Self> {
        let builder = HFClient::builder().endpoint(&self.endpoint.0).cache_dir(&self.cache_dir);
        let client = builder.token(token).retry_max_attempts(ATTEMPTS).build();
        Self::of(client, &self.endpoint.0, self.offline)
    }

    /// The same hub, never using the network.
    pub fn offline(self) -> Self {
        Self { offline: true, ..self }
    }

    /// The path of a file in the cache; downloads it where it is not there yet.
    ///
    /// `repo` is `owner/name`, `revision` a branch, tag or commit, `file` a path in the repository. A
    /// cached file needs no network. What the hub names by its SHA-256 (all large files) is compared
    /// with that sum, from the network and from the cache; of other files the size is compared.
    /// A file that differs is deleted from the cache.
    ///
    /// # Errors
    /// When the file is not cached and cannot be downloaded, or what came is not what the hub announced.
    pub fn fetch(
        &self,
        kind: RepoKind,
        repo: &str,
        revision: &str,
        file: &str,
        on_progress: &OnProgress,
    ) -> Result<PathBuf> {
        self.fetch_any(kind, &[repo], revision, file, on_progress)
    }

    /// [`fetch`](Self::fetch) from the first of several names of one repository that has the file,
    /// cached ones before all others.
    pub(crate) fn fetch_any(
        &self,
        kind: RepoKind,
        repos: &[&str],
        revision: &str,
        file: &str,
        on_progress: &OnProgress,
    ) -> Result<PathBuf> {
        match kind {
            RepoKind::Dataset => {
                let advice = "name a folder that holds the data set with --data-dir";
                self.fetch_typed(RepoTypeDataset, advice, repos, revision, file, on_progress)
            }
            RepoKind::Model => {
                let advice = "check the name, for a private model HF_TOKEN too";
                self.fetch_typed(RepoTypeModel, advice, repos, revision, file, on_progress)
            }
        }
    }

    fn fetch_typed<T: RepoType>(
        &self,
        kind: T,
        advice: &'static str,
        repos: &[&str],
        revision: &str,
        file: &str,
        on_progress: &OnProgress,
    ) -> Result<PathBuf> {
        let wanted: Vec<Wanted<T>> = repos
            .iter()
            .map(|id| {
                let (owner, name) = split_id(id);
                let blobs = format!("{}--{}", kind.plural(), id.replace('/', "--"));
                Wanted {
                    repo: self.client.repository(kind, owner, name),
                    cache_dir: &self.cache_dir,
                    folder: blobs,
                    name: format!("{id} ({revision})"),
                    revision,
                    file,
                }
            })
            .collect();
        for wanted in &wanted {
            if let Some(path) = wanted.cached(self.offline)? {
                return Ok(path);
            }
        }
        let mut reasons = Vec::new();
        if self.offline {
            reasons.push("offline mode is on (--offline or HF_HUB_OFFLINE)".to_string());
        } else {
            for wanted in &wanted {
                match wanted.download(on_progress)? {
                    Ok(path) => return Ok(path),
                    Err(error) => {
                        let reason = with_causes(&error, &self.endpoint.0);
                        reasons.push(format!("the download failed ({reason})"));
                    }
                }
            }
        }
        Err(Error::Unavailable {
            file: file.into(),
            repo: wanted.iter().map(|wanted| wanted.name.as_str()).collect::<Vec<_>>().join(" or "),
            cache: self.cache_dir.clone(),
            reason: reasons.join(", "),
            advice,
        })
    }
}
