//! One program at a time in a folder.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::{Error, Result};

/// Keeps other programs, and other runs of this program, out of a folder while the value lives. The
/// lock ends with the program, however the program ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks an existing folder.
    ///
    /// # Errors
    /// When another run has locked it, or it cannot be locked.
    pub fn take(folder: &Path) -> Result<Self> {
        let file = open(folder).map_err(Error::io("lock", folder))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { path: folder.to_path_buf() }),
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {
                Ok(Self { _file: file })
            }
            Err(TryLockError::Error(error)) => Err(Error::io("lock", folder)(error)),
        }
    }
}

impl Lock {
    /// Ends the lock and removes its file from `folder`, if it has one.
    pub fn remove(self, folder: &Path) {
        drop(self);
        let _ = std::fs::remove_file(folder.join(FILE));
    }
}

/// The lock's file, on systems where folders cannot be opened.
const FILE: &str = ".candle-hebbian-lock";

/// Opens the folder itself, so that no lock file is left behind.
#[cfg(unix)]
fn open(folder: &Path) -> std::io::Result<File> {
    File::open(folder)
}

/// Opens a file in the folder, on systems where folders cannot be opened. It is also opened for reading, because
/// Windows does not lock a file that can only be appended to.
#[cfg(not(unix))]
fn open(folder: &Path) -> std::io::Result<File> {
    File::options().create(true).read(true).append(true).open(folder.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        assert!(matches!(Lock::take(folder.path()), Err(Error::InUse { .. })));
        drop(lock);
        Lock::take(folder.path()).unwrap();
    }
}
