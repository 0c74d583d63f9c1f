//! The Hugging Face Hub, through its own client and with its own cache, with added checks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hf_hub::repository::HFRepository;
use hf_hub::{HFClient, HFError, RepoType, RepoTypeDataset, RepoTypeModel, split_id};

use super::download::{ATTEMPTS, Turn, Wanted, with_causes};
use super::environment::Environment;
use super::online::{Online, Patience};
use super::snapshots::{Snapshots, stays_inside};
use crate::text::{printable, without_passwords};
use crate::{Error, OnProgress, RepoKind, Result};

/// The Hugging Face Hub and its cache on this machine.
///
/// The client hf-hub 1.0 stores whatever a server answers, even an error page; compares no checksums; restarts an
/// interrupted download from the beginning; waits forever for a silent server; and does not know `HF_HUB_OFFLINE`.
/// [`fetch`](Self::fetch) fixes all five. Nothing of the network is set up before it is needed: cached files are
/// found even with a wrong `HF_ENDPOINT`.
#[derive(Debug, Clone)]
pub struct Hub {
    endpoint: Endpoint,
    cache_dir: PathBuf,
    token: Option<Token>,
    offline: bool,
    sets_offline: bool,
    patience: Patience,
    online: Arc<OnceLock<Result<Online, String>>>,
}

/// An address that may contain a password, which must not be shown.
#[derive(Clone)]
pub(crate) struct Endpoint(pub(crate) String);

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&without_passwords(&self.0, &self.0))
    }
}

/// A token, which must not be shown.
#[derive(Clone)]
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl std::fmt::Debug for Online {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Online")
    }
}

impl Hub {
    /// Creates the hub that the environment describes, in the variables of Python's `huggingface_hub`:
    ///
    /// - `HF_ENDPOINT`: its address;
    /// - `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`: its cache; `~`, `$NAME` and
    ///   `${NAME}` are expanded;
    /// - `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`: the token, which
    ///   defaults to the one that `hf auth login` has stored;
    /// - `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` and, only for data sets, `HF_DATASETS_OFFLINE`: whether the
    ///   network is never used;
    /// - `HF_HUB_ETAG_TIMEOUT`, `HF_HUB_DOWNLOAD_TIMEOUT`: see [`with_patience`](Self::with_patience).
    pub fn from_env() -> Self {
        Self::of(Environment::of_process())
    }

    /// Creates a hub at another address with its cache in `cache_dir`, and the token of the environment.
    pub fn new(endpoint: &str, cache_dir: &Path) -> Self {
        Self::of(Environment {
            endpoint: endpoint.to_string(),
            cache_dir: cache_dir.to_path_buf(),
            offline: false,
            sets_offline: false,
            patience: Patience::default(),
            ..Environment::of_process()
        })
    }

    fn of(environment: Environment) -> Self {
        let Environment { endpoint, cache_dir, token, offline, sets_offline, patience } =
            environment;
        Self {
            endpoint: Endpoint(endpoint.trim_end_matches('/').to_string()),
            cache_dir,
            token: token.map(Token),
            offline,
            sets_offline,
            patience,
            online: Arc::default(),
        }
    }

    /// Returns the same hub with this token instead of the environment's.
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(Token(token.to_string())), online: Arc::default(), ..self }
    }

    /// Returns the same hub, which then never uses the network.
    pub fn offline(self) -> Self {
        Self { offline: true, ..self }
    }

    /// Returns the same hub with other timeouts: for its answer (10 seconds by default), and for the next byte of
    /// an answer (30 seconds by default).
    pub fn with_patience(self, answer: Duration, bytes: Duration) -> Self {
        Self { patience: Patience { answer, bytes }, ..self }
    }

    /// Returns the client, which is started at the first call.
    ///
    /// # Errors
    /// If the client does not start: `HF_ENDPOINT` is not an address, or this machine has no certificates.
    pub(crate) fn online(&self) -> Result<&Online> {
        let start = || {
            let said = |error: HFError| {
                let advice = match &error {
                    HFError::Url(_) => "HF_ENDPOINT is not an address: correct it",
                    HFError::Request { .. } => {
                        "install certificates (ca-certificates), or name them in SSL_CERT_FILE"
                    }
                    _ => "check HF_ENDPOINT and HF_TOKEN",
                };
                format!("{}: {advice}", with_causes(&error, &self.endpoint.0))
            };
            let builder = HFClient::builder().endpoint(&self.endpoint.0).cache_dir(&self.cache_dir);
            let builder = match &self.token {
                Some(Token(token)) => builder.token(token),
                None => builder,
            };
            let client = builder.retry_max_attempts(ATTEMPTS).build();
            Online::start(client.map_err(said)?).map_err(|error| said(error.into()))
        };
        self.online.get_or_init(start).as_ref().map_err(|reason| Error::Client(reason.clone()))
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint.0
    }

    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    pub(crate) fn cache_dir(&self) -> &Path {
        &self.cache_dir
    }

    /// The reason why the network must not be used for this kind of repository, if there is one.
    pub(crate) fn why_offline(&self, kind: RepoKind) -> Option<&'static str> {
        match kind {
            _ if self.offline => Some("offline mode is on (--offline or HF_HUB_OFFLINE)"),
            RepoKind::Dataset if self.sets_offline => {
                Some("offline mode is on (HF_DATASETS_OFFLINE)")
            }
            _ => None,
        }
    }

    /// Returns the path of a file in the cache, and downloads the file if it is not there yet.
    ///
    /// `repo` is `owner/name`, `revision` a branch, tag or commit, and `file` a path in the repository. A cached
    /// file needs no network. A file that the hub names by its SHA-256 (all large files) is compared with that
    /// sum, whether it comes from the network or the cache; for other files, the size that the hub announces is
    /// compared after a download, and their first bytes must fit the file name. A file that differs is deleted
    /// from the cache.
    ///
    /// # Errors
    /// If the file is not cached and cannot be downloaded, if it is not what the hub announced, or if a name would lead
    /// out of the cache.
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

    /// [`fetch`](Self::fetch) for a repository with several names: uses the first name under which the file is
    /// cached, or else the first from which it can be downloaded.
    pub(crate) fn fetch_any(
        &self,
        kind: RepoKind,
        repos: &[&str],
        revision: &str,
        file: &str,
        on_progress: &OnProgress,
    ) -> Result<PathBuf> {
        let all = repos.iter().map(|&repo| ("repository", repo));
        for (what, name) in all.chain([("revision", revision), ("file", file)]) {
            if !stays_inside(name) {
                let name = name.escape_debug();
                let reason = format!("found the {what} '{name}', expected a path in the cache");
                let name = printable(&format!("{file} of {}", repos.join(" or ")));
                let advice = "write it as the hub does, without '..' and any of \\:*?\"<>|~^";
                return Err(Error::HubSet { name, reason, advice });
            }
        }
        match kind {
            RepoKind::Dataset => {
                self.fetch_typed(RepoTypeDataset, kind, repos, revision, file, on_progress)
            }
            RepoKind::Model => {
                self.fetch_typed(RepoTypeModel, kind, repos, revision, file, on_progress)
            }
        }
    }

    fn fetch_typed<T: RepoType>(
        &self,
        typed: T,
        kind: RepoKind,
        repos: &[&str],
        revision: &str,
        file: &str,
        on_progress: &OnProgress,
    ) -> Result<PathBuf> {
        let wanted = |id: &&str| Wanted {
            hub: self,
            kind: typed,
            id: id.to_string(),
            folder: repo_folder(typed, id),
            revision,
            file,
        };
        let wanted: Vec<Wanted<T>> = repos.iter().map(wanted).collect();
        let offline = self.why_offline(kind);
        for wanted in &wanted {
            if let Some(path) = wanted.cached(offline.is_some())? {
                return Ok(path);
            }
        }
        let mut reasons = Vec::new();
        let mut advice = match kind {
            RepoKind::Dataset => "name a folder that holds the data set with --data-dir",
            RepoKind::Model => "check the name, for a private model HF_TOKEN too",
        };
        match offline
            .map_or_else(|| self.online().map_err(|error| error.to_string()), |why| Err(why.into()))
        {
            Err(reason) => reasons.push(reason),
            Ok(online) => {
                for wanted in &wanted {
                    let _turn = match wanted.turn(on_progress)? {
                        Turn::Cached(path) => return Ok(path),
                        turn => turn,
                    };
                    match wanted.download(online, on_progress)? {
                        Ok(path) => return Ok(path),
                        Err(error) => {
                            if matches!(
                                error,
                                HFError::AuthRequired { .. } | HFError::Forbidden { .. }
                            ) {
                                advice = for_refused(kind);
                            }
                            let reason = with_causes(&error, self.endpoint());
                            reasons.push(format!("the download failed ({reason})"));
                        }
                    }
                }
            }
        }
        Err(Error::Unavailable {
            file: file.into(),
            repo: wanted.iter().map(Wanted::name).collect::<Vec<_>>().join(" or "),
            cache: self.cache_dir.clone(),
            reason: reasons.join(", "),
            advice,
        })
    }
}

/// What to do if the hub refuses a file, as it does for sets and models that are private or gated.
fn for_refused(kind: RepoKind) -> &'static str {
    match kind {
        RepoKind::Dataset => {
            "accept the terms on the page of the set if it has some, and set HF_TOKEN to a token that may see it; or \
             name a folder that holds the data set with --data-dir"
        }
        RepoKind::Model => {
            "check the name, accept the terms on the page of the model if it has some, and set HF_TOKEN to a token \
             that may see it"
        }
    }
}

/// The name of a repository's folder in the cache.
fn repo_folder(kind: impl RepoType, id: &str) -> String {
    format!("{}--{}", kind.plural(), id.replace('/', "--"))
}

/// The part of the cache that holds a data set.
pub(crate) fn snapshots(hub: &Hub, id: &str) -> Snapshots {
    Snapshots::new(hub.cache_dir(), &repo_folder(RepoTypeDataset, id))
}

/// The client's handle to the repository of a data set.
pub(crate) fn set_repository(online: &Online, id: &str) -> HFRepository<RepoTypeDataset> {
    let (owner, name) = split_id(id);
    online.client.dataset(owner, name)
}
