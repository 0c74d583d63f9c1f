//! Files and folders that flags name.

use anyhow::{Context, Result, bail};
use hebbian_train::{RunFolder, StudyFolder};
use std::path::Path;

/// Checks that the file of a flag, which is written at the end, can be written.
///
/// # Errors
/// A folder, a file that is write-protected, or a folder that is not there or takes no files.
pub(crate) fn writable(flag: &str, file: &Path) -> Result<()> {
    if file.is_dir() {
        bail!("{flag} {} is a folder, expected the name of a file", file.display());
    }
    let found = file.metadata().ok();
    if found.as_ref().is_some_and(|found| found.permissions().readonly()) {
        bail!("{flag} {} is write-protected: choose another file", file.display());
    }
    // What is written into a pipe or a device needs no folder.
    if found.is_some_and(|found| !found.is_file()) {
        return Ok(());
    }
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!("{flag} {}: there is no folder {}", file.display(), folder.display());
    }
    takes_files(flag, file, folder)
}

/// Checks that the `folder` of the file or folder `path` takes files.
fn takes_files(flag: &str, path: &Path, folder: &Path) -> Result<()> {
    tempfile::tempfile_in(folder).with_context(|| {
        format!("{flag} {}: no file can be made in {}", path.display(), folder.display())
    })?;
    Ok(())
}

/// Checks that files can be written into the folder of a flag, which is made when the first one is.
///
/// # Errors
/// A file, or a folder that takes no files.
pub(crate) fn writable_folder(flag: &str, folder: &Path) -> Result<()> {
    let there = folder.ancestors().find(|part| part.exists()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        bail!("{flag} {}: {} is a file, expected a folder", folder.display(), there.display());
    }
    takes_files(flag, folder, there)
}

/// Whether two paths are of one folder, or of one file.
pub(crate) fn same_path(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| {
        let path = if path == Path::new("") { Path::new(".") } else { path };
        path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
    };
    whole(one) == whole(other)
}

/// Whether two paths are of one file, which may not exist yet.
pub(crate) fn same_file(one: &Path, other: &Path) -> bool {
    let is_there = |folder: &Path| other.parent().is_some_and(|parent| same_path(parent, folder));
    same_path(one, other)
        || one.file_name() == other.file_name() && one.parent().is_some_and(is_there)
}

/// Whether `file` is one of the files that a run writes into its `folder`, which may not exist yet.
pub(crate) fn is_of_run(file: &Path, folder: &Path) -> bool {
    is_in(folder, file, RunFolder::writes)
}

/// Whether `file` is one of the files that the experiment in `folder`, if there is one, writes there.
pub(crate) fn is_of_study(file: &Path, folder: &Path) -> bool {
    folder.join("experiment.json").is_file() && is_in(folder, file, StudyFolder::writes)
}

/// Whether `file` is in `folder`, and has one of the names that are `own`.
fn is_in(folder: &Path, file: &Path, own: fn(&str) -> bool) -> bool {
    let name = file.file_name().and_then(|name| name.to_str());
    name.is_some_and(own) && file.parent().is_some_and(|parent| same_path(parent, folder))
}

/// Returns a name in characters that the name of a folder may have, without a dot at the start.
pub(crate) fn plain(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let plain = name.trim_start_matches('.').chars().map(|c| if is_plain(c) { c } else { '-' });
    plain.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_folders_may_have() {
        assert_eq!(plain("été-1.2_b"), "été-1.2_b");
        assert_eq!(plain("../a b\u{1b}[1m"), "-a-b--1m");
    }
}
