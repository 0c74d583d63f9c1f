//! The Hugging Face Hub, through its own client and into its own cache, but checked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hf_hub::repository::HFRepository;
use hf_hub::{HFClient, HFError, RepoType, RepoTypeDataset, RepoTypeModel, split_id};

use crate::download::{ATTEMPTS, Turn, Wanted, with_causes};
use crate::environment::Environment;
use crate::online::{Online, Patience};
use crate::snapshots::Snapshots;
use crate::text::without_passwords;
use crate::{Error, OnProgress, RepoKind, Result};

/// The Hugging Face Hub and its cache on this machine.
///
/// hf-hub 1.0 stores whatever a server answers, an error page too, compares no checksum, starts an
/// interrupted download from the beginning, waits for a silent server for ever, and does not know
/// `HF_HUB_OFFLINE`. [`fetch`](Self::fetch) adds all five. Nothing of the network is set up before it is
/// needed: what is cached is found with a wrong `HF_ENDPOINT` too.
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

/// An address that may hold a password, which is not to be shown.
#[derive(Clone)]
pub(crate) struct Endpoint(pub(crate) String);

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&without_passwords(&self.0, &self.0))
    }
}

/// A token, which is not to be shown.
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
    /// The hub as the environment describes it, in the variables of Python's `huggingface_hub`:
    ///
    /// - `HF_ENDPOINT`: its address;
    /// - `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`: its cache; `~`, `$NAME` and
    ///   `${NAME}` are expanded;
    /// - `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`: the token; else
    ///   the one that `hf auth login` has stored;
    /// - `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`, for data sets `HF_DATASETS_OFFLINE` too: whether the network is
    ///   never used;
    /// - `HF_HUB_ETAG_TIMEOUT`, `HF_HUB_DOWNLOAD_TIMEOUT`: see [`with_patience`](Self::with_patience).
    pub fn from_env() -> Self {
        Self::of(Environment::of_process())
    }

    /// A hub at another address with its cache in `cache_dir`, and the token of the environment.
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

    /// The same hub with this token instead of the environment's.
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(Token(token.to_string())), online: Arc::default(), ..self }
    }

    /// The same hub, never using the network.
    pub fn offline(self) -> Self {
        Self { offline: true, ..self }
    }

    /// The same hub with other limits of how long it is waited for: until it answers (10 seconds unless
    /// changed), and until the next byte of an answer comes (30 seconds).
    pub fn with_patience(self, answer: Duration, bytes: Duration) -> Self {
        Self { patience: Patience { answer, bytes }, ..self }
    }

    /// The client, started at the first call.
    ///
    /// # Errors
    /// When it does not start: `HF_ENDPOINT` is no address, or this machine has no certificates.
    pub(crate) fn online(&self) -> Result<&Online> {
        let start = || {
            let said = |error: HFError| {
                let advice = match &error {
                    HFError::Url(_) => "HF_ENDPOINT is no address: correct it",
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

    /// Why the network is not to be used for this kind of repository, if it is not.
    pub(crate) fn why_offline(&self, kind: RepoKind) -> Option<&'static str> {
        match kind {
            _ if self.offline => Some("offline mode is on (--offline or HF_HUB_OFFLINE)"),
            RepoKind::Dataset if self.sets_offline => {
                Some("offline mode is on (HF_DATASETS_OFFLINE)")
            }
            _ => None,
        }
    }

    /// The path of a file in the cache; downloads it where it is not there yet.
    ///
    /// `repo` is `owner/name`, `revision` a branch, tag or commit, `file` a path in the repository. A
    /// cached file needs no network. What the hub names by its SHA-256 (all large files) is compared
    /// with that sum, from the network and from the cache; of other files the size is compared, and whether
    /// they begin as their name says. A file that differs is deleted from the cache.
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
        let advice = match kind {
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

/// The folder of a repository in the cache.
fn repo_folder(kind: impl RepoType, id: &str) -> String {
    format!("{}--{}", kind.plural(), id.replace('/', "--"))
}

/// What the cache holds of a data set.
pub(crate) fn snapshots(hub: &Hub, id: &str) -> Snapshots {
    Snapshots::new(hub.cache_dir(), &repo_folder(RepoTypeDataset, id))
}

/// A data set's repository, by the client.
pub(crate) fn set_repository(online: &Online, id: &str) -> HFRepository<RepoTypeDataset> {
    let (owner, name) = split_id(id);
    online.client.dataset(owner, name)
}
