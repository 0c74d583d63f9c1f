//! Whitening matrices on disk, found by the content that they were computed from.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use candle::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View, serialize};
use sha2::{Digest as _, Sha256};

use crate::download::hex;
use crate::{Divisor, Error, ImageSet, Result, ZcaConfig};

/// To be changed with anything that changes the matrix of the same images and settings.
const FORMAT: &[u8] = b"hebbian-data zca 1";
const MATRIX: &str = "matrix";
const CHECKSUM: &str = "checksum";
const SETTINGS: &str = "settings";

/// What became of the cache in [`Zca::fit_cached`](crate::Zca::fit_cached).
#[derive(Debug)]
pub enum CacheOutcome {
    /// The matrix was read from this file.
    Read(PathBuf),
    /// The matrix was computed and written to this file.
    Written(PathBuf),
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
    pub(crate) fn new(folder: &Path, images: &ImageSet, config: &ZcaConfig) -> Self {
        let (channels, height, width) = images.shape();
        let divisor = match config.divisor {
            Divisor::Images => "images",
            Divisor::Dimension => "dimension",
        };
        let settings = format!(
            "{} images of {channels}x{height}x{width}, divisor {divisor}, epsilon {:e}",
            images.len(),
            config.epsilon
        );
        let mut hasher = Sha256::new_with_prefix(FORMAT);
        hasher.update(&settings);
        for i in 0..images.len() {
            hasher.update(images.image(i));
        }
        let key = hex(hasher);
        let path = folder.join(format!("zca-{key}.safetensors"));
        Self { path, key, features: images.image_size(), settings }
    }

    /// The matrix, if the file is there and is what [`write`](Self::write) wrote.
    pub(crate) fn read(&self) -> Result<Option<Tensor>> {
        let Ok(bytes) = fs::read(&self.path) else { return Ok(None) };
        let (Ok((_, header)), Ok(file)) =
            (SafeTensors::read_metadata(&bytes), SafeTensors::deserialize(&bytes))
        else {
            return Ok(None);
        };
        let (Some(metadata), Ok(matrix)) = (header.metadata(), file.tensor(MATRIX)) else {
            return Ok(None);
        };
        let good = matrix.dtype() == Dtype::F64
            && matrix.shape() == [self.features; 2]
            && metadata.get(CHECKSUM) == Some(&self.checksum(matrix.data()));
        if !good {
            return Ok(None);
        }
        let shape = matrix.shape();
        Ok(Some(Tensor::from_raw_buffer(matrix.data(), DType::F64, shape, &Device::Cpu)?))
    }

    /// Writes the matrix under another name, then gives the file its own: a reader sees the old file
    /// or the new one, never a part.
    pub(crate) fn write(&self, matrix: &Tensor) -> Result<()> {
        let bytes = View::data(&matrix);
        let metadata = [(CHECKSUM, self.checksum(&bytes)), (SETTINGS, self.settings.clone())];
        let metadata = metadata.map(|(name, value)| (name.to_string(), value)).into();
        let contents = TensorView::new(Dtype::F64, matrix.dims().to_vec(), &bytes)
            .and_then(|view| serialize([(MATRIX, view)], Some(metadata)))
            .map_err(candle::Error::wrap)?;

        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".unfinished-");
        // Temporary files are private by default; this ends as an ordinary one.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder).map_err(Error::io(folder))?;
        file.write_all(&contents).map_err(Error::io(file.path()))?;
        file.persist(&self.path).map_err(|failure| Error::io(&self.path)(failure.error))?;
        Ok(())
    }

    /// The SHA-256 of the key and the matrix: no other entry's file will do.
    fn checksum(&self, matrix: &[u8]) -> String {
        hex(Sha256::new_with_prefix(&self.key).chain_update(matrix))
    }
}
