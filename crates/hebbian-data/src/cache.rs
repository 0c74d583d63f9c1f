//! The folder for results that are computed once and used often, and whole files in it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What happened to the cache in [`Zca::fit_cached`](crate::Zca::fit_cached).
#[derive(Debug)]
pub enum CacheOutcome {
    /// The matrix was read from this file.
    Read(PathBuf),
    /// The matrix was computed and written to this file.
    Written(PathBuf),
    /// The matrix was computed and written to this file. It replaces a file that was damaged or
    /// belonged to something else.
    Replaced(PathBuf),
    /// The matrix was computed, but could not be written, for this reason.
    NotWritten(Error),
}

/// Returns the folder for results that are computed once and used often: `$HEBBIAN_CACHE`, or else
/// `candle-hebbian` in the user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`; on macOS
/// `~/Library/Caches`, on Windows `%LOCALAPPDATA%`). `None` if there is no home folder. The folder
/// need not exist.
pub fn default_cache() -> Option<PathBuf> {
    match std::env::var_os("HEBBIAN_CACHE") {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => Some(dirs::cache_dir()?.join("candle-hebbian")),
    }
}

/// Writes a file, and its folder if there is none, under a temporary name that starts with `prefix`, and then renames
/// it, so that a reader sees the old file or the new one, but never a part. Unfinished files of killed programs are
/// removed.
pub(crate) fn write_whole(path: &Path, prefix: &str, contents: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    remove_unfinished(folder, prefix);
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    // Temporary files are private by default, but this one becomes an ordinary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = loop {
        let file = builder.tempfile_in(folder).map_err(Error::io(folder))?;
        // The lock is held while the file is written, so that it is not removed as unfinished; nor is
        // it where files cannot be locked.
        let _ = file.as_file().lock();
        // Before it was locked, another program may have removed it.
        if file.path().exists() {
            break file;
        }
    };
    file.write_all(contents).map_err(Error::io(file.path()))?;
    file.persist(path).map_err(|failure| Error::io(path)(failure.error))?;
    Ok(())
}

/// Removes unfinished files of killed programs whose names start with `prefix`, as far as possible.
fn remove_unfinished(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix))
            && let Ok(file) = OpenOptions::new().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each program removes what it takes for unfinished, also between the moments at which another one has created its
    /// file and locked it.
    #[cfg(unix)] // elsewhere, files that are replaced at the same time are refused
    #[test]
    fn several_write_one_file_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("matrix");
        std::thread::scope(|scope| {
            for writer in 0..8u8 {
                let path = &path;
                scope.spawn(move || {
                    (0..250).for_each(|_| write_whole(path, ".unfinished-", &[writer; 9]).unwrap());
                });
            }
        });
        let contents = fs::read(&path).unwrap();
        assert!(contents.len() == 9 && contents.iter().all(|byte| *byte == contents[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
