//! Checkpoints: safetensors files with metadata and a checksum; and those of PyTorch, to read.
//!
//! Each format is a list of where the numbers of its tensors are in a file: the [`header`] of safetensors,
//! the archive and pickle of PyTorch ([`pth`]). What only [`own`] files have is their checksum.

mod header;
mod names;
mod own;
mod pickle;
mod pth;
mod zip;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle::safetensors::Load;
use candle::{DType, Device, Shape, Tensor};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, TensorView};

pub(crate) use self::own::is_own;
pub use self::own::save_checkpoint;
use crate::{Error, Result};

/// The checkpoint of a folder, and what is read where there is none yet.
const IN_FOLDER: [&str; 2] = [crate::run::MODEL, crate::run::STATE];
/// How the archives start in which PyTorch saves.
const ZIP: &[u8] = b"PK\x03\x04";

/// A safetensors file, or a `state_dict` that PyTorch saved: its metadata, and its tensors when they are asked
/// for.
///
/// Only the header is read when a file is opened, and of a tensor only its own bytes; the checksum of
/// our own files is formed of the whole file, in passing. The file is mapped into memory: to replace
/// it by another of its name, as [`save_checkpoint`] does, is safe while it is open (Windows refuses
/// that), but to cut it short or change it in place is not.
///
/// Of PyTorch's files (`.pth`, `.pt`, whatever they are called) those are read that `torch.save` writes since
/// PyTorch 1.6 of a `state_dict`, or of a dictionary with one in it, as `state_dict`, `model_state_dict`, `model`
/// or the only one there. Nothing in them is run, and what else they hold is not looked at.
///
/// In files that are not ours, names are without what wrappers put into them: `module.` and `_orig_mod.`
/// wherever they stand, and `model.`, `net.` or `network.` before all names. Errors have the file's own names.
///
/// ```
/// use candle::{DType, Device, Tensor};
/// use hebbian_train::{Checkpoint, save_checkpoint};
/// use std::collections::BTreeMap;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.safetensors");
/// let weight = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
/// let metadata = BTreeMap::from([("method".to_string(), "instar".to_string())]);
/// save_checkpoint(&path, &[("head.weight".to_string(), weight)], &metadata)?;
///
/// let checkpoint = Checkpoint::load(&path, &Device::Cpu)?;
/// assert_eq!(checkpoint.metadata["method"], "instar");
/// assert_eq!(checkpoint.dims("head.weight"), Some(&[2, 3][..]));
/// let weight = checkpoint.take("head.weight", (2, 3), DType::F32)?;
/// assert_eq!(weight.sum_all()?.to_scalar::<f32>()?, 6.0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The file's metadata, without the checksum, which is checked when it is read.
    pub metadata: BTreeMap<String, String>,
    path: PathBuf,
    device: Device,
    file: Arc<Bytes>,
    tensors: BTreeMap<String, Stored>,
}

/// The bytes of a file.
#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    /// Of one that is a part of the program.
    Embedded(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::Embedded(bytes) => bytes,
        }
    }
}

/// A tensor of a file.
#[derive(Debug, Clone)]
struct Stored {
    /// What the file calls it.
    name: String,
    /// Its numbers, or why they cannot be read.
    numbers: std::result::Result<Numbers, String>,
}

#[derive(Debug, Clone)]
struct Numbers {
    dtype: Dtype,
    shape: Vec<usize>,
    place: Place,
}

/// Where the numbers of a tensor are.
#[derive(Debug, Clone)]
enum Place {
    /// One after the other in the file.
    Rows(Range<usize>),
    /// In a part of an archive.
    View(pth::View),
}

impl Checkpoint {
    /// Opens a file, whose tensors will be on `device`. Of a folder, that is its `model.safetensors`, or where
    /// that is missing its `state.safetensors`.
    ///
    /// # Errors
    /// When the file cannot be read, is cut short, is neither a safetensors file nor what PyTorch saves of a
    /// `state_dict`, or has another checksum than it states (files of other programs state none, which is
    /// no error). A file of another format is refused after its first bytes, whatever its size.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = in_folder(path.as_ref())?;
        let file = Bytes::Mapped(map(&path)?);
        Self::of(path, file, device)
    }

    /// Opens a file that is a part of the program; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn embedded(name: &str, bytes: &'static [u8], device: &Device) -> Result<Self> {
        Self::of(name.into(), Bytes::Embedded(bytes), device)
    }

    fn of(path: PathBuf, file: Bytes, device: &Device) -> Result<Self> {
        let (metadata, tensors) = match file.starts_with(ZIP) {
            true => {
                let tensors = pth::open(&file)
                    .map_err(|reason| Error::NotStateDict { path: path.clone(), reason })?;
                (BTreeMap::new(), tensors)
            }
            false => header::open(&file).map_err(|reason| wrong(&path, reason))?,
        };
        let is_own = own::has_sum(&metadata);
        if is_own && !own::is_whole(&file, &metadata) {
            return Err(Error::Damaged { path });
        }
        let stored: Vec<String> = tensors.iter().map(|stored| stored.name.clone()).collect();
        let called = if is_own { stored } else { names::unwrapped(&stored) };
        let mut checkpoint = Self {
            metadata,
            path,
            device: device.clone(),
            file: Arc::new(file),
            tensors: called.into_iter().zip(tensors).collect(),
        };
        checkpoint.metadata.remove(own::SUM);
        Ok(checkpoint)
    }

    /// Gives tensors other names: that which `ours` makes of each, where it makes one that no other has. Errors
    /// go on calling them as the file does.
    pub fn rename(&mut self, ours: impl Fn(&str) -> Option<String>) {
        for name in self.tensors.keys().cloned().collect::<Vec<_>>() {
            if let Some(other) = ours(&name).filter(|other| !self.tensors.contains_key(other))
                && let Some(stored) = self.tensors.remove(&name)
            {
                self.tensors.insert(other, stored);
            }
        }
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> usize {
        self.file.len()
    }

    /// The names of the file's tensors, in alphabetical order, but for those of a form that is not read.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let readable = self.tensors.iter().filter(|(_, stored)| stored.numbers.is_ok());
        readable.map(|(name, _)| name.as_str())
    }

    /// The shape of the tensor called `name`; none where there is no such tensor.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        Some(&self.tensors.get(name)?.numbers.as_ref().ok()?.shape)
    }

    /// Loads the tensor called `name` in the shape and type that it has in the file.
    ///
    /// # Errors
    /// When it is not there, or is of a type that candle lacks.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let (stored, numbers) = self.numbers(name)?;
        match candle_type(numbers.dtype) {
            Some(_) => self.read(stored, numbers),
            None => Err(self.of_another_type(stored, numbers, "a type that candle has")),
        }
    }

    /// Loads the tensor called `name` as `dtype`. Numbers with a fraction may be stored in any of
    /// their types; other types are not converted.
    ///
    /// # Errors
    /// When it is not there, has not the shape `expected`, or is of a type that does not stand for
    /// `dtype`.
    pub fn take(&self, name: &str, expected: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let ((stored, numbers), expected) = (self.numbers(name)?, expected.into());
        if numbers.shape != expected.dims() {
            return Err(Error::ShapeMismatch {
                path: self.path.clone(),
                name: stored.to_string(),
                found: numbers.shape.clone(),
                expected: expected.dims().to_vec(),
            });
        }
        match candle_type(numbers.dtype) {
            Some(found) if found == dtype || (found.is_float() && dtype.is_float()) => {
                let tensor = self.read(stored, numbers)?.to_dtype(dtype);
                tensor.map_err(|error| self.of_tensor(stored, error))
            }
            _ => Err(self.of_another_type(stored, numbers, dtype.as_str())),
        }
    }

    /// What the file calls the tensor called `name`, and its numbers.
    fn numbers(&self, name: &str) -> Result<(&str, &Numbers)> {
        match self.tensors.get(name) {
            Some(Stored { name, numbers: Ok(numbers) }) => Ok((name, numbers)),
            Some(Stored { name, numbers: Err(problem) }) => Err(Error::NotStateDict {
                path: self.path.clone(),
                reason: format!("its tensor {name:?} cannot be read: {problem}"),
            }),
            None => {
                let held: BTreeSet<&str> =
                    self.tensors.values().map(|stored| stored.name.as_str()).collect();
                Err(Error::MissingTensor {
                    path: self.path.clone(),
                    name: name.to_string(),
                    held: match held.is_empty() {
                        true => "no tensors at all".to_string(),
                        false => held.into_iter().collect::<Vec<_>>().join(", "),
                    },
                })
            }
        }
    }

    fn read(&self, name: &str, Numbers { dtype, shape, place }: &Numbers) -> Result<Tensor> {
        let failed = |reason: String| wrong(&self.path, format!("tensor {name:?}: {reason}"));
        let bytes = match place {
            Place::Rows(range) => {
                let bytes = self.file.get(range.clone()).map(Cow::Borrowed);
                bytes.ok_or_else(|| failed("its bytes are not there".to_string()))?
            }
            Place::View(view) => {
                view.bytes(&self.file, shape).map_err(|problem| Error::NotStateDict {
                    path: self.path.clone(),
                    reason: format!("tensor {name:?}: {problem}"),
                })?
            }
        };
        let view = TensorView::new(*dtype, shape.clone(), &bytes);
        let view = view.map_err(|reason| failed(reason.to_string()))?;
        view.load(&self.device).map_err(|error| self.of_tensor(name, error))
    }

    /// What the device says, of which tensor.
    fn of_tensor(&self, name: &str, error: candle::Error) -> Error {
        error.context(format!("tensor {name:?} of {}", self.path.display())).into()
    }

    fn of_another_type(&self, name: &str, numbers: &Numbers, expected: &'static str) -> Error {
        Error::TypeMismatch {
            path: self.path.clone(),
            name: name.to_string(),
            found: numbers.dtype.to_string().to_lowercase(),
            expected,
        }
    }
}

/// The type in which candle can compute with what is stored as this one.
fn candle_type(stored: Dtype) -> Option<DType> {
    let dtype = DType::try_from(stored).ok()?;
    // Of the others candle has the name only.
    let is_known = !matches!(dtype, DType::F4 | DType::F6E2M3 | DType::F6E3M2 | DType::F8E8M0);
    is_known.then_some(dtype)
}

/// The file that `path` names, which may be that of a folder.
fn in_folder(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let mut files = IN_FOLDER.iter().map(|name| path.join(name));
    let there = files.find(|file| file.symlink_metadata().is_ok());
    there.ok_or_else(|| Error::NoCheckpoint { path: path.to_path_buf(), expected: IN_FOLDER })
}

/// Maps a file into memory.
fn map(path: &Path) -> Result<Mmap> {
    // Before it is opened, which for a pipe would wait for who writes into it.
    let metadata = path.metadata().map_err(Error::io("read", path))?;
    if !metadata.is_file() {
        return Err(wrong(
            path,
            "it is no plain file, so that parts of it cannot be read".to_string(),
        ));
    }
    let file = File::open(path).map_err(Error::io("read", path))?;
    // SAFETY: no bytes of the map are handed out, only copies, and all of them are valid values. Who
    // cuts the file short meanwhile ends the program, as the type's documentation says.
    unsafe { Mmap::map(&file) }.map_err(Error::io("read", path))
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::NotSafetensors { path: path.to_path_buf(), reason }
}
