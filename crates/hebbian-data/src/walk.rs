//! Walks through folders.

use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use crate::{Error, Result};

/// The entries of a folder, itself first, in the order of their names and no deeper than `deepest`. Hidden ones are
/// left out, and so are links that lead nowhere, unless what has such a name `is_wanted`.
pub(crate) fn entries(
    dir: &Path,
    deepest: usize,
    is_wanted: fn(&Path) -> bool,
) -> impl Iterator<Item = Result<DirEntry>> {
    let walk = WalkDir::new(dir).follow_links(true).max_depth(deepest).sort_by_file_name();
    let seen = walk.into_iter().filter_entry(|entry| !is_hidden(entry));
    seen.filter_map(move |entry| there(dir, entry, is_wanted).transpose())
}

/// Whether the name of a file or folder says that it is not for users.
fn is_hidden(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    entry.depth() > 0 && (name.starts_with('.') || name == "__MACOSX")
}

/// The entry of a folder; `None` for a link that leads nowhere, unless what has its name `is_wanted`.
fn there(
    dir: &Path,
    entry: walkdir::Result<DirEntry>,
    is_wanted: fn(&Path) -> bool,
) -> Result<Option<DirEntry>> {
    let error = match entry {
        Ok(entry) => return Ok(Some(entry)),
        Err(error) => error,
    };
    let link = error.path().filter(|path| path.is_symlink()).map(Path::to_path_buf);
    match link {
        Some(path) if error.loop_ancestor().is_some() => Err(Error::BadFile {
            path,
            found: "a link to a folder that it is in".to_string(),
            expected: "files, or folders of files".to_string(),
            advice: "remove the link".to_string(),
        }),
        Some(path) if !is_wanted(&path) => Ok(None),
        Some(path) => Err(Error::BadFile {
            path,
            found: "a link that leads nowhere".to_string(),
            expected: "a file, or a folder of files".to_string(),
            advice: "remove the link, or restore what it leads to".to_string(),
        }),
        None => Err(unreadable(dir, error)),
    }
}

/// The error of a walk through a folder.
fn unreadable(dir: &Path, error: walkdir::Error) -> Error {
    let path = error.path().unwrap_or(dir).to_path_buf();
    let text = error.to_string();
    let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other(text));
    Error::Io { path, source }
}
