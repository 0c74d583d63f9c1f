//! What is on the hub.

use std::path::Path;

/// Which kind of repository a file is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoKind {
    /// A data set.
    Dataset,
    /// A model.
    Model,
}

/// Files of a folder, and where on the hub they belong.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// The names of the files, as they are in the folder and will be in the repository.
    pub files: &'a [String],
    /// The repository of a model, `owner/name`; made where there is none.
    pub repo: &'a str,
    /// The branch; made from `main` where there is none.
    pub branch: &'a str,
    /// Whether only its owner may see the repository. One that all can see is refused then, and not changed.
    pub private: bool,
    /// What the commit says.
    pub message: &'a str,
}
