//! Whitening matrices on disk, addressed by the content that they were computed from.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use candle::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View, serialize};
use sha2::{Digest as _, Sha256};

use crate::text::hex;
use crate::zca::Drawn;
use crate::{Divisor, Error, Result, ZcaConfig};

/// Change this whenever the same images and settings would give another matrix.
const FORMAT: &[u8] = b"hebbian-data zca 2";
const MATRIX: &str = "matrix";
const ABOUT: &str = "whitening";
/// More bytes than the header of such a file has.
const LONGEST_HEADER: u64 = 4096;

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

/// What is stored under the name of a matrix.
pub(crate) enum Stored {
    /// No file.
    Nothing,
    /// The matrix, bit for bit as it was written.
    Matrix(Tensor),
    /// Something else.
    Damaged,
}

/// The cache entry of one matrix.
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    key: String,
    features: usize,
    /// The settings in readable form.
    settings: String,
}

impl Entry {
    /// The entry for the matrix of these images, which are already drawn and flipped.
    pub(crate) fn new(folder: &Path, drawn: &Drawn, config: &ZcaConfig) -> Result<Self> {
        let (images, (channels, height, width)) = drawn.sizes();
        let divisor = match config.divisor {
            Divisor::Images => "images",
            Divisor::Dimension => "dimension",
        };
        let settings = format!(
            "{images} images of {channels}x{height}x{width}, divisor {divisor}, epsilon {:e}",
            config.epsilon
        );
        let mut hasher = Sha256::new_with_prefix(FORMAT);
        hasher.update(&settings);
        drawn.each(|part| {
            let all: Vec<usize> = (0..part.len()).collect();
            match part.transforms().is_empty() {
                true => hasher.update(part.pixels(&all)?),
                false => {
                    hasher.update(View::data(&part.batch(&all, DType::F32, &Device::Cpu)?.0));
                }
            }
            Ok(())
        })?;
        let key = hex(hasher);
        let path = folder.join(format!("zca-{key}.safetensors"));
        Ok(Self { path, key, features: channels * height * width, settings })
    }

    /// Reads the file, if there is one.
    pub(crate) fn read(&self) -> Result<Stored> {
        // No more is read than the matrix and its header can take.
        let most = 8 * (self.features as u64).pow(2) + LONGEST_HEADER;
        let mut bytes = Vec::new();
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(_) if self.path.symlink_metadata().is_ok() => return Ok(Stored::Damaged),
            Err(_) => return Ok(Stored::Nothing),
        };
        if file.take(most).read_to_end(&mut bytes).is_err() {
            return Ok(Stored::Damaged);
        }
        let shape = [self.features; 2];
        let matrix = SafeTensors::deserialize(&bytes).ok().and_then(|file| {
            let matrix = file.tensor(MATRIX).ok()?;
            (matrix.dtype() == Dtype::F64 && matrix.shape() == shape).then(|| matrix.data())
        });
        match matrix {
            // Then every byte is as it was written: the data because its sum matches, the rest by
            // comparison.
            Some(data) if self.contents(data)? == bytes => {
                let matrix = Tensor::from_raw_buffer(data, DType::F64, &shape, &Device::Cpu)?;
                Ok(Stored::Matrix(matrix))
            }
            _ => Ok(Stored::Damaged),
        }
    }

    /// Writes the matrix, as [`write_whole`] does.
    pub(crate) fn write(&self, matrix: &Tensor) -> Result<()> {
        let prefix = format!(".unfinished-zca-{}-", self.key);
        write_whole(&self.path, &prefix, &self.contents(&View::data(&matrix))?)
    }

    /// The bytes of the file. They contain the SHA-256 of the key and the matrix, so that the file of
    /// another entry is not accepted.
    fn contents(&self, matrix: &[u8]) -> Result<Vec<u8>> {
        let sum = hex(Sha256::new_with_prefix(&self.key).chain_update(matrix));
        let about = format!("{}; sha256 of key and matrix {sum}", self.settings);
        // Only one entry, because the safetensors crate writes several in varying order.
        let metadata = [(ABOUT.to_string(), about)].into();
        let contents = TensorView::new(Dtype::F64, vec![self.features; 2], matrix)
            .and_then(|view| serialize([(MATRIX, view)], Some(metadata)));
        Ok(contents.map_err(candle::Error::wrap)?)
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
