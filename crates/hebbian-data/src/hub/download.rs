//! One file of the hub: found in the cache, or downloaded, resumed and verified.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use hf_hub::repository::HFRepository;
use hf_hub::{HFError, RepoType, split_id};
use sha2::{Digest as _, Sha256};

use super::online::{Online, Pulse};
use super::snapshots::Snapshots;
use crate::text::{hex, printable, without_passwords, without_queries, without_tokens};
use crate::{Error, Hub, OnProgress, Progress, Result};

/// How many times a download is attempted.
pub(crate) const ATTEMPTS: usize = 3;
/// The most characters of an error that are shown.
const LONGEST_MESSAGE: usize = 1000;
/// How many bytes are requested at a time when a download is resumed.
const CHUNK: u64 = 8 << 20;
/// How many of the last bytes of a partial file are requested again, to see whether it belongs to the wanted file.
const OVERLAP: u64 = 256;

/// How long to wait before checking again whether another program is done.
const WAIT: Duration = Duration::from_millis(100);

/// The result of [`Wanted::turn`].
pub(crate) enum Turn {
    /// Another program fetched the file.
    Cached(PathBuf),
    /// Nobody else fetches the file while this lock is held.
    Fetch(#[expect(dead_code, reason = "the lock is given back when it is dropped")] File),
}

/// One file of one repository.
pub(crate) struct Wanted<'a, T: RepoType> {
    pub(crate) hub: &'a Hub,
    pub(crate) kind: T,
    /// The repository.
    pub(crate) id: String,
    /// The repository's folder in the cache.
    pub(crate) folder: String,
    pub(crate) revision: &'a str,
    pub(crate) file: &'a str,
}

impl<T: RepoType> Wanted<'_, T> {
    /// The repository and revision, for messages.
    pub(crate) fn name(&self) -> String {
        format!("{} ({})", self.id, self.revision)
    }

    /// Returns the file in the cache, if it exists and is intact. A damaged file is deleted, so that it can be
    /// downloaded again.
    pub(crate) fn cached(&self, offline: bool) -> Result<Option<PathBuf>> {
        let snapshots = Snapshots::new(self.hub.cache_dir(), &self.folder);
        let commit = snapshots.commit(self.revision);
        let Some(path) = commit.and_then(|commit| snapshots.file(&commit, self.file)) else {
            return Ok(None);
        };
        match self.verify(&path, None) {
            Ok(()) => Ok(Some(path)),
            Err(Error::Corrupt { .. }) if !offline => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the file if another program has fetched it in the meantime, or else a lock that gives the right to
    /// fetch it. The lock is needed because the client points a snapshot to its file again after each download, and
    /// other programs do not find the file at that moment.
    pub(crate) fn turn(&self, on_progress: &OnProgress) -> Result<Turn> {
        let locks = self.hub.cache_dir().join(".locks").join(&self.folder);
        fs::create_dir_all(&locks).map_err(Error::io(&locks))?;
        let mut name = Sha256::new();
        name.update(self.revision.as_bytes());
        name.update([0]);
        name.update(self.file.as_bytes());
        let lock = self.locked(&locks.join(format!("{}.turn", hex(name))), on_progress)?;
        Ok(match self.cached(false)? {
            Some(path) => Turn::Cached(path),
            None => Turn::Fetch(lock),
        })
    }

    /// Takes a lock, and tells of progress for as long as another program holds it.
    fn locked(&self, path: &Path, on_progress: &OnProgress) -> Result<File> {
        let lock = File::create(path).map_err(Error::io(path))?;
        while let Err(error) = lock.try_lock() {
            if let TryLockError::Error(error) = error {
                return Err(Error::io(path)(error));
            }
            let partial = self.partials().first().and_then(|partial| partial.metadata().ok());
            let done = partial.map_or(0, |partial| partial.len());
            on_progress(Progress::Download { file: self.file, done, total: 0 });
            std::thread::sleep(WAIT);
        }
        Ok(lock)
    }

    /// Downloads the file, and continues what an interrupted download of this run or an earlier one has left. The
    /// outer error is final; the inner one comes from the server or the network.
    pub(crate) fn download(
        &self,
        online: &Online,
        on_progress: &OnProgress,
    ) -> Result<Result<PathBuf, HFError>> {
        let (owner, name) = split_id(&self.id);
        let repo = online.client.repository(self.kind, owner, name);
        let watch = Arc::new(Watch {
            file: self.file.into(),
            total: AtomicU64::new(0),
            pulse: Pulse::new(self.hub.patience()),
            on_progress: on_progress.clone(),
        });
        let mut attempts = 1;
        loop {
            match online.run(self.resume_and_download(&repo, &watch))? {
                // Another program, such as one in Python, downloads the file for longer than the client waits, 10 s.
                Err(HFError::CacheLockTimeout { path }) => {
                    self.locked(&path, on_progress)?;
                }
                // If there is no partial file, the client has done its own retries.
                Err(_) if attempts < ATTEMPTS && !self.partials().is_empty() => attempts += 1,
                result => return Ok(result),
            }
        }
    }

    async fn resume_and_download(
        &self,
        repo: &HFRepository<T>,
        watch: &Arc<Watch>,
    ) -> Result<Result<PathBuf, HFError>> {
        for partial in self.partials() {
            match self.resume(repo, &partial, watch).await? {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        // After a resumed download this only finds the blob and points the snapshot to it.
        let download = repo.download_file().filename(self.file).revision(self.revision);
        watch.pulse.restart();
        match watch.pulse.watch(download.progress(watch.clone()).send()).await {
            Ok(path) => {
                self.verify(&path, Some(watch.total()).filter(|&total| total > 0))?;
                Ok(Ok(path))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// The partial files of interrupted downloads, of this file and of others: they are named by the ETags of the
    /// files, which the client does not tell. Only those that are named by their SHA-256 can be resumed safely.
    fn partials(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.blobs_folder()).into_iter().flatten().flatten();
        let mut partials: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| {
                path.extension().is_some_and(|extension| extension == "incomplete")
                    && sha256_name(path.with_extension("").as_path()).is_some()
                    && path.metadata().is_ok_and(|metadata| metadata.len() > 0)
            })
            .collect();
        partials.sort_unstable();
        partials
    }

    /// Fetches the rest of a partial file, if its last bytes are in the wanted file at the same place: otherwise it
    /// belongs to another file, whose download it is left for. If its sum is then right, it becomes a blob; if not, it
    /// has again only what it had before. Returns whether it became one. The inner error comes from the network; what
    /// was fetched before it is kept.
    async fn resume(
        &self,
        repo: &HFRepository<T>,
        partial: &Path,
        watch: &Watch,
    ) -> Result<Result<bool, HFError>> {
        let blob = partial.with_extension("");
        let name = blob.file_name().unwrap_or_default().to_string_lossy();
        let locks = self.hub.cache_dir().join(".locks").join(&self.folder);
        fs::create_dir_all(&locks).map_err(Error::io(&locks))?;
        let lock = File::create(locks.join(format!("{name}.lock"))).map_err(Error::io(&locks))?;
        if lock.try_lock().is_err() || !partial.exists() {
            // Another program is downloading that file, or has just done so.
            return Ok(Ok(false));
        }
        let file = File::options().read(true).write(true).open(partial);
        let mut file = file.map_err(Error::io(partial))?;
        let before = file.metadata().map_err(Error::io(partial))?.len();
        // The last bytes, as far as they have not come again. What follows them is written.
        let mut known = Vec::new();
        file.seek(SeekFrom::Start(before.saturating_sub(OVERLAP))).map_err(Error::io(partial))?;
        file.read_to_end(&mut known).map_err(Error::io(partial))?;
        let mut done = before;
        loop {
            let (start, end) = (done - known.len() as u64, done + CHUNK);
            watch.pulse.restart();
            let request = repo.download_file_stream().filename(self.file).revision(self.revision);
            let request = request.range(start..end).send();
            let mut stream = match watch.pulse.watch(request).await {
                Ok((_, stream)) => stream,
                // The file ends here or, while there are known bytes, before.
                Err(HFError::Http { context }) if context.status.as_u16() == 416 => break,
                Err(error) => return Ok(Err(error)),
            };
            // Whether the bytes so far are of this file is not known yet.
            watch.pulse.beat(done);
            loop {
                let next = watch.pulse.watch(async { stream.next().await.transpose() });
                match next.await {
                    Ok(Some(bytes)) => {
                        let same = known.len().min(bytes.len());
                        if bytes[..same] != known[..same] {
                            return Ok(Ok(false));
                        }
                        known.drain(..same);
                        file.write_all(&bytes[same..]).map_err(Error::io(partial))?;
                        done += (bytes.len() - same) as u64;
                        watch.tell(done);
                    }
                    Ok(None) => break,
                    Err(error) => return Ok(Err(error)),
                }
            }
            // A server that ignores the range sends more, and then the sum does not match.
            if done != end {
                break;
            }
        }
        if known.is_empty() && sha256(partial)?.as_str() == name {
            fs::rename(partial, &blob).map_err(Error::io(partial))?;
            return Ok(Ok(true));
        }
        file.set_len(before).map_err(Error::io(partial))?;
        Ok(Ok(false))
    }

    fn blobs_folder(&self) -> PathBuf {
        self.hub.cache_dir().join(&self.folder).join("blobs")
    }

    /// Compares a cached file with the announced size and with the SHA-256 that its blob is named by. Deletes the
    /// file and, from the cache, the blob if they differ.
    fn verify(&self, path: &Path, size: Option<u64>) -> Result<()> {
        let found = fs::metadata(path).map_err(Error::io(path))?.len();
        let blobs = self.blobs(path, found)?;
        let sums: Option<Vec<String>> = blobs.iter().map(|blob| sha256_name(blob)).collect();
        let difference = match (size, sums) {
            (Some(size), _) if size != found => {
                Some((format!("{found} bytes"), format!("{size} bytes")))
            }
            (_, Some(sums)) if !sums.is_empty() => {
                let found = sha256(path)?;
                let named = sums.contains(&found);
                let (found, expected) = (found, sums.join(" or "));
                (!named).then(|| (format!("SHA-256 {found}"), format!("SHA-256 {expected}")))
            }
            // Only its first bytes distinguish the file from a sign-in page.
            _ => beginning(path)?,
        };
        let Some((found, expected)) = difference else { return Ok(()) };
        fs::remove_file(path).map_err(Error::io(path))?;
        for blob in blobs.iter().filter(|blob| self.is_own(blob)) {
            // The copy may be damaged although the blob is not.
            if sha256_name(blob) != Some(sha256(blob)?) {
                fs::remove_file(blob).map_err(Error::io(blob))?;
            }
        }
        Err(Error::Corrupt { file: self.file.into(), repo: self.name(), found, expected })
    }

    /// The blob that a cached file links to. On Windows the client copies instead: then the blobs of the same size,
    /// one of which the file is a copy of.
    fn blobs(&self, path: &Path, size: u64) -> Result<Vec<PathBuf>> {
        if fs::symlink_metadata(path).map_err(Error::io(path))?.is_symlink() {
            let target = fs::read_link(path).map_err(Error::io(path))?;
            return Ok(vec![path.parent().unwrap_or(Path::new("")).join(target)]);
        }
        let Ok(entries) = fs::read_dir(self.blobs_folder()) else { return Ok(Vec::new()) };
        let same = |path: &PathBuf| path.metadata().is_ok_and(|blob| blob.len() == size);
        Ok(entries.flatten().map(|entry| entry.path()).filter(same).collect())
    }

    /// Whether a blob is there, in the folder of blobs. A snapshot may link to a file elsewhere, which is not to be
    /// deleted: to storage that is shared, or to whatever a server has named in an ETag.
    fn is_own(&self, blob: &Path) -> bool {
        let folder = |path: &Path| fs::canonicalize(path).ok();
        let own = folder(&self.blobs_folder());
        blob.exists() && own.is_some() && blob.parent().and_then(folder) == own
    }
}

/// Compares what a file begins with and what it should begin with according to its name; returns both if they
/// differ.
fn beginning(path: &Path) -> Result<Option<(String, String)>> {
    /// Enough for some white space before a page begins.
    const LENGTH: u64 = 64;
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io(path))?;
    file.take(LENGTH).read_to_end(&mut bytes).map_err(Error::io(path))?;
    let start = bytes.trim_ascii_start();
    let (is_right, expected) = match path.extension().and_then(|ending| ending.to_str()) {
        Some("parquet") => (bytes.starts_with(b"PAR1"), "\"PAR1\", as a parquet file does"),
        Some("json") => {
            (start.starts_with(b"{") || start.starts_with(b"["), "a bracket, as JSON does")
        }
        Some("safetensors") => {
            (bytes.get(8) == Some(&b'{'), "the length of a header and a bracket, as safetensors do")
        }
        _ => return Ok(None),
    };
    let found = || format!("a file that begins with {:?}", bytes.escape_ascii().to_string());
    Ok((!is_right).then(|| (found(), expected.to_string())))
}

/// The SHA-256 that a blob is named by, if it is.
fn sha256_name(blob: &Path) -> Option<String> {
    let name = blob.file_name()?.to_str()?;
    (name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())).then(|| name.to_lowercase())
}

fn sha256(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(Error::io(path))?;
    io::copy(&mut file, &mut hasher).map_err(Error::io(path))?;
    Ok(hex(hasher))
}

/// Formats an error and its causes in one line: the client's own messages leave out the reason. The length is
/// limited, because a server may have written part of the text. Passwords of `endpoint` and of other addresses, queries
/// of addresses, and tokens of the hub are masked.
pub(crate) fn with_causes(error: &dyn std::error::Error, endpoint: &str) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let text = causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    });
    let text = without_tokens(&without_queries(&without_passwords(&text, endpoint)));
    let text = printable(&text).replace(['\n', '\t'], " ");
    match text.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Forwards the client's events and stores the size that the server announced.
struct Watch {
    file: String,
    total: AtomicU64,
    pulse: Pulse,
    on_progress: OnProgress,
}

impl Watch {
    fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn tell(&self, done: u64) {
        self.pulse.beat(done);
        self.report(done);
    }

    fn report(&self, done: u64) {
        let total = self.total();
        (self.on_progress)(Progress::Download { file: &self.file, done, total });
    }
}

impl ProgressHandler for Watch {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else { return };
        let done = match event {
            DownloadEvent::Start { total_bytes, .. } => {
                self.total.store(*total_bytes, Ordering::Relaxed);
                self.pulse.announce();
                return self.report(0);
            }
            DownloadEvent::Progress { files } => {
                files.last().map_or(0, |progress| progress.bytes_completed)
            }
            DownloadEvent::AggregateProgress { bytes_completed, .. } => *bytes_completed,
            DownloadEvent::Complete => return,
        };
        self.tell(done);
    }
}
