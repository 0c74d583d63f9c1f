//! Whitening matrices on disk, addressed by the content that they were computed from.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use candle::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View, serialize};
use sha2::{Digest as _, Sha256};

use super::config::{Divisor, ZcaConfig};
use super::drawn::Drawn;
use crate::Result;
use crate::cache::write_whole;
use crate::text::hex;

/// Change this whenever the same images and settings would give another matrix.
const FORMAT: &[u8] = b"hebbian-data zca 2";
const MATRIX: &str = "matrix";
const ABOUT: &str = "whitening";
/// More bytes than the header of such a file has.
const LONGEST_HEADER: u64 = 4096;

/// What is stored under the name of a matrix.
pub(super) enum Stored {
    /// No file.
    Nothing,
    /// The matrix, bit for bit as it was written.
    Matrix(Tensor),
    /// Something else.
    Damaged,
}

/// The cache entry of one matrix.
pub(super) struct Entry {
    pub path: PathBuf,
    key: String,
    features: usize,
    /// The settings in readable form.
    settings: String,
}

impl Entry {
    /// The entry for the matrix of these images, which are already drawn and flipped.
    pub fn new(folder: &Path, drawn: &Drawn, config: &ZcaConfig) -> Result<Self> {
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
    pub fn read(&self) -> Result<Stored> {
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
    pub fn write(&self, matrix: &Tensor) -> Result<()> {
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
