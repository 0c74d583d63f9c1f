//! The contents of the hub's cache on this machine, found without the network.
//!
//! ```text
//! datasets--OWNER--NAME/
//!   blobs/SUM                  each file once
//!   refs/REVISION              the commit that a branch was at
//!   snapshots/COMMIT/FILE      links to the blobs, or copies of them
//!   .files/COMMIT              written here: the parquet files that the commit has, one a line
//!   .files/refs/REVISION       written here: the commits that a branch was at before, the last one first
//! ```

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use walkdir::WalkDir;

use crate::Result;
use crate::cache::write_whole;

/// The cache folder of one repository.
pub(crate) struct Snapshots {
    folder: PathBuf,
}

impl Snapshots {
    pub fn new(cache_dir: &Path, folder: &str) -> Self {
        Self { folder: cache_dir.join(folder) }
    }

    /// The commit of a revision, if the cache knows it.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_string());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_string()).filter(|commit| is_commit(commit))
    }

    /// All commits that have files but for which no revision and no list of files is recorded, the most recent
    /// first.
    pub fn strays(&self) -> Vec<String> {
        let refs = WalkDir::new(self.folder.join("refs")).into_iter().flatten();
        let refs = refs.filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let named: Vec<String> = refs.map(|commit| commit.trim().to_string()).collect();
        let entries = fs::read_dir(self.folder.join("snapshots")).into_iter().flatten().flatten();
        let mut commits: Vec<(SystemTime, String)> = entries
            .filter_map(|entry| {
                let changed = entry.metadata().and_then(|metadata| metadata.modified());
                let name = entry.file_name().into_string().ok().filter(|name| is_commit(name))?;
                let is_stray = !named.contains(&name) && self.listed(&name).is_none();
                is_stray.then(|| (changed.unwrap_or(SystemTime::UNIX_EPOCH), name))
            })
            .collect();
        commits.sort_by(|a, b| b.cmp(a));
        commits.into_iter().map(|(_, commit)| commit).collect()
    }

    /// The path of a file of a commit, if it exists.
    pub fn file(&self, commit: &str, file: &str) -> Option<PathBuf> {
        Some(self.folder.join("snapshots").join(commit).join(file)).filter(|path| path.exists())
    }

    /// The files of a commit that are in the cache.
    pub fn files(&self, commit: &str) -> Vec<String> {
        let root = self.folder.join("snapshots").join(commit);
        let walk = WalkDir::new(&root).follow_links(true).into_iter().flatten();
        let files = walk.filter(|entry| entry.file_type().is_file()).filter_map(|entry| {
            let path = entry.path().strip_prefix(&root).ok()?;
            let parts: Option<Vec<&str>> = path.iter().map(|part| part.to_str()).collect();
            Some(parts?.join("/"))
        });
        files.collect()
    }

    /// The files of a commit that [`list`](Self::list) has recorded.
    pub fn listed(&self, commit: &str) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.folder.join(".files").join(commit)).ok()?;
        Some(text.lines().map(str::to_string).collect())
    }

    /// The commits that a revision was at before, as far as [`list`](Self::list) knows, the last one first.
    pub fn earlier(&self, revision: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join(".files/refs").join(revision));
        let commits = text.unwrap_or_default();
        commits.lines().filter(|commit| is_commit(commit)).map(str::to_string).collect()
    }

    /// Records which parquet files a commit has, and at which commit a revision is and was.
    pub fn list(&self, revision: &str, commit: &str, files: &[String]) -> Result<()> {
        let write =
            |path: PathBuf, text: &str| write_whole(&path, ".unfinished-list-", text.as_bytes());
        write(self.folder.join(".files").join(commit), &files.join("\n"))?;
        if is_commit(revision) {
            return Ok(());
        }
        if let Some(before) = self.commit(revision).filter(|before| before != commit) {
            let mut earlier = self.earlier(revision);
            earlier.retain(|one| one != commit && *one != before);
            earlier.insert(0, before);
            write(self.folder.join(".files/refs").join(revision), &earlier.join("\n"))?;
        }
        write(self.folder.join("refs").join(revision), commit)
    }
}

/// Whether a revision is the full hash of a commit.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a path in a repository, or the name of a revision, stays in the folder that it is put in.
pub(crate) fn stays_inside(path: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !"\\:*?\"<>|~^".contains(c);
    !path.is_empty()
        && path.chars().all(is_plain)
        && path.split('/').all(|part| !part.is_empty())
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}
