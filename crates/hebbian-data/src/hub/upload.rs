//! Pushes of files to a model repository of the hub.

use std::fs::File;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hf_hub::progress::{ProgressEvent, ProgressHandler, UploadEvent};
use hf_hub::repository::CommitOperation;
use hf_hub::{HFError, RepoTypeModel, split_id};

use super::download::with_causes;
use super::online::Pulse;
use crate::text::{printable, without_passwords};
use crate::{Error, Hub, OnProgress, Progress, Push, RepoKind, Result};

/// The branch that every repository has.
const MAIN: &str = "main";

impl Hub {
    /// Pushes files to a model repository, all of them in one commit, and returns the address of the commit.
    ///
    /// Large files go to the store that the hub names (Xet), small ones with the commit.
    ///
    /// The token comes from the environment: `HF_TOKEN`, or the one that `hf auth login` has stored. Other files of
    /// the repository stay. The commit comes last: a push that is interrupted before it leaves at most a new
    /// repository, but no part of a model, and can be repeated.
    ///
    /// # Errors
    /// If a file does not exist; if the hub is offline, cannot be reached, or refuses the push: without a token, with
    /// a token that may not write there, or for a name that it does not accept; or if `private` is set for a
    /// repository that is public.
    pub fn push(&self, push: &Push<'_>, on_progress: &OnProgress) -> Result<String> {
        let refused = |reason: String, advice: &str| Error::NotPushed {
            repo: printable(push.repo),
            reason,
            advice: advice.to_string(),
        };
        let failed = |error: HFError| {
            let advice = match &error {
                HFError::AuthRequired { .. } => {
                    "set HF_TOKEN to a token with the right to write, or log in with `hf auth login`"
                }
                HFError::Forbidden { .. } => {
                    "use a token with the right to write there, or push to a repository of your own"
                }
                HFError::RepoNotFound { .. } => {
                    "check the name of the repository, and that the token may see it"
                }
                HFError::Conflict { .. } => "another push may be under way: push again",
                HFError::RateLimited { .. } => "wait a while, and push again",
                _ => "check the name, HF_ENDPOINT and the network, and push again",
            };
            refused(with_causes(&error, self.endpoint()), advice)
        };
        if !is_id(push.repo) {
            return Err(refused("that is not a repository name".into(), "give OWNER/NAME"));
        }
        if push.branch.is_empty() {
            return Err(refused("the name of the branch is empty".into(), "leave it out for main"));
        }
        if let Some(reason) = self.why_offline(RepoKind::Model) {
            return Err(refused(reason.to_string(), "a push needs the network"));
        }
        let mut operations = Vec::with_capacity(push.files.len());
        for name in push.files {
            let path = push.folder.join(name);
            // Files that cannot be read are found before anything is sent.
            let found = File::open(&path).and_then(|file| file.metadata());
            let found = found.and_then(|found| match found.is_dir() {
                true => Err(std::io::ErrorKind::IsADirectory.into()),
                false => Ok(()),
            });
            found.map_err(Error::io(&path))?;
            operations.push(CommitOperation::add_file(name, path));
        }

        let online = self.online()?;
        let watch = Arc::new(Watch {
            repo: push.repo.into(),
            total: AtomicU64::new(0),
            on_progress: on_progress.clone(),
        });
        let commit = online.run(async {
            let (owner, name) = split_id(push.repo);
            let repo = online.client.repository(RepoTypeModel, owner, name);
            let create = online.client.create_repository().repo_id(push.repo);
            let create = create.repo_type(RepoTypeModel).private(push.private);
            let is_new = match self.answer(create.send()).await {
                Ok(_) => true,
                Err(HFError::Conflict { .. }) => false,
                // A user who may write to a repository need not have the right to create one.
                Err(HFError::Forbidden { .. })
                    if self.answer(repo.exists().send()).await.is_ok_and(|exists| exists) =>
                {
                    false
                }
                Err(error) => return Err(failed(error)),
            };
            if push.private && !is_new {
                let info = self.answer(repo.info().send()).await.map_err(failed)?;
                if info.private != Some(true) {
                    let reason = "it is there already, and all can see it".to_string();
                    let advice = "make it private on the hub, or choose another name";
                    return Err(refused(reason, advice));
                }
            }
            if push.branch != MAIN && !push.branch.starts_with("refs/") {
                match self.answer(repo.create_branch().branch(push.branch).send()).await {
                    Ok(()) | Err(HFError::Conflict { .. }) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            let commit = repo.create_commit().operations(operations);
            let commit = commit.commit_message(push.message).revision(push.branch);
            commit.progress(watch).send().await.map_err(failed)
        })?;
        let address = commit
            .commit_url
            .unwrap_or_else(|| format!("{}/{}/tree/{}", self.endpoint(), push.repo, push.branch));
        Ok(printable(&without_passwords(&address, self.endpoint())))
    }

    /// Returns the answer to a small request, or an error if the server is silent. The silence of a commit may have
    /// other reasons: large files are read to compute their sums.
    async fn answer<T>(
        &self,
        request: impl Future<Output = Result<T, HFError>>,
    ) -> Result<T, HFError> {
        Pulse::new(self.patience()).watch(request).await
    }
}

/// Whether `id` is `owner/name`, in characters that the hub accepts.
fn is_id(id: &str) -> bool {
    let is_name = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && !part.starts_with('.')
    };
    id.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name))
}

/// Forwards the client's events.
struct Watch {
    repo: String,
    total: AtomicU64,
    on_progress: OnProgress,
}

impl ProgressHandler for Watch {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Upload(event) = event else { return };
        let total = self.total.load(Ordering::Relaxed);
        let (done, total) = match event {
            UploadEvent::Start { total_bytes, .. } => {
                self.total.store(*total_bytes, Ordering::Relaxed);
                (0, *total_bytes)
            }
            // These are bytes of the large files only; small ones are in the commit.
            UploadEvent::Progress { bytes_completed, .. } => ((*bytes_completed).min(total), total),
            UploadEvent::Complete => (total, total),
            _ => return,
        };
        (self.on_progress)(Progress::Upload { repo: &self.repo, done, total });
    }
}
