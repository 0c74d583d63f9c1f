//! Helpers that the targets share: a folder to put the fuzzer's bytes into, and small images.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use hebbian_data::{Dataset, OnProgress, digits};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a folder for temporary files"));

/// The folder of this process. Whoever sets `TMPDIR` has to remove it, since a fuzzer's process just ends.
pub fn folder() -> &'static Path {
    FOLDER.path()
}

/// Empties the folder of this process and returns it.
pub fn empty_folder() -> &'static Path {
    for entry in fs::read_dir(folder()).expect("the folder").flatten() {
        let path = entry.path();
        let removed = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.expect("what a target has written can be removed");
    }
    folder()
}

/// Writes a file into the folder, and creates the folders above it.
pub fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    let above = path.parent().unwrap_or(folder());
    fs::create_dir_all(above).expect("a folder in the folder");
    fs::write(&path, bytes).expect("a file in the folder");
    path
}

/// Returns the first byte, as one of `count` choices, and the other bytes.
pub fn choice(bytes: &[u8], count: usize) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    Some((usize::from(first) % count, rest))
}

/// A few of the embedded digits.
pub fn few_digits() -> Dataset {
    let data = digits();
    Dataset { train: data.train.take(20), test: data.test.take(10), ..data }
}

/// A progress callback that does nothing.
pub fn quiet() -> OnProgress {
    Arc::new(|_| ())
}
