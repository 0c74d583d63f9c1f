//! Whitening matrices on disk, found by the content that they were computed from.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use candle::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View, serialize};
use sha2::{Digest as _, Sha256};

use crate::text::hex;
use crate::zca::Drawn;
use crate::{Divisor, Error, Result, ZcaConfig};

/// To be changed with anything that changes the matrix of the same images and settings.
const FORMAT: &[u8] = b"hebbian-data zca 2";
const MATRIX: &str = "matrix";
const ABOUT: &str = "whitening";
/// More bytes than the header of such a file has.
const LONGEST_HEADER: u64 = 4096;

/// What became of the cache in [`Zca::fit_cached`](crate::Zca::fit_cached).
#[derive(Debug)]
pub enum CacheOutcome {
    /// The matrix was read from this file.
    Read(PathBuf),
    /// The matrix was computed and written to this file.
    Written(PathBuf),
    /// The matrix was computed and written to this file, for what was there is not what was written: a
    /// damaged file, or another's.
    Replaced(PathBuf),
    /// The matrix was computed, but cannot be kept, for this reason.
    NotWritten(Error),
}

/// The folder for what is computed once and used often: `$HEBBIAN_CACHE`, else `candle-hebbian` in the
/// user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`; on macOS `~/Library/Caches`, on Windows
/// `%LOCALAPPDATA%`). None where there is no home. The folder need not be there.
pub fn default_cache() -> Option<PathBuf> {
    match std::env::var_os("HEBBIAN_CACHE") {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => Some(dirs::cache_dir()?.join("candle-hebbian")),
    }
}

/// What is found under the name of a matrix.
pub(crate) enum Stored {
    /// No file.
    Nothing,
    /// The matrix, to the last bit what was written.
    Matrix(Tensor),
    /// Something else.
    Damaged,
}

/// The place of one matrix.
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    key: String,
    features: usize,
    /// For people.
    settings: String,
}

impl Entry {
    /// The place of the matrix of these images, already drawn and flipped.
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

    /// What is in the file.
    pub(crate) fn read(&self) -> Result<Stored> {
        // More than the matrix and its header is not read.
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
            // Every byte is then as it was written: the data by their sum, the rest as it is.
            Some(data) if self.contents(data)? == bytes => {
                let matrix = Tensor::from_raw_buffer(data, DType::F64, &shape, &Device::Cpu)?;
                Ok(Stored::Matrix(matrix))
            }
            _ => Ok(Stored::Damaged),
        }
    }

    /// Writes the matrix under another name, then gives the file its own: a reader sees the old file
    /// or the new one, never a part. What killed programs left of it goes.
    pub(crate) fn write(&self, matrix: &Tensor) -> Result<()> {
        let contents = self.contents(&View::data(&matrix))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let prefix = format!(".unfinished-zca-{}-", self.key);
        remove_unfinished(folder, &prefix);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        // Temporary files are private by default; this ends as an ordinary one.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder).map_err(Error::io(folder))?;
        // For as long as it is written; where files cannot be locked, nobody takes it for a leftover.
        let _ = file.as_file().lock();
        file.write_all(&contents).map_err(Error::io(file.path()))?;
        file.persist(&self.path).map_err(|failure| Error::io(&self.path)(failure.error))?;
        Ok(())
    }

    /// The bytes of the file. They state the SHA-256 of the key and the matrix: no other entry's file
    /// will do.
    fn contents(&self, matrix: &[u8]) -> Result<Vec<u8>> {
        let sum = hex(Sha256::new_with_prefix(&self.key).chain_update(matrix));
        let about = format!("{}; sha256 of key and matrix {sum}", self.settings);
        // One entry, for the crate writes several in an order that changes.
        let metadata = [(ABOUT.to_string(), about)].into();
        let contents = TensorView::new(Dtype::F64, vec![self.features; 2], matrix)
            .and_then(|view| serialize([(MATRIX, view)], Some(metadata)));
        Ok(contents.map_err(candle::Error::wrap)?)
    }
}

/// Removes what killed programs left under names that start with `prefix`, as far as that is possible.
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
