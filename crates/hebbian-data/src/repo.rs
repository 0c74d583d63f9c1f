//! Repositories on the hub.

use std::path::Path;

/// The kind of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoKind {
    /// A data set.
    Dataset,
    /// A model.
    Model,
}

/// Files of a folder that are to be pushed, and where on the hub they go.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// The names of the files, both in the folder and in the repository.
    pub files: &'a [String],
    /// The model repository, `owner/name`, which is created if it does not exist.
    pub repo: &'a str,
    /// The branch, which is created from `main` if it does not exist.
    pub branch: &'a str,
    /// Whether only the owner may see the repository. If this is set, a public repository is refused and not
    /// changed.
    pub private: bool,
    /// The message of the commit.
    pub message: &'a str,
}
