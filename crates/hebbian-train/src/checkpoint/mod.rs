//! Checkpoints: safetensors files with metadata and a checksum. PyTorch's files can be read, but not written.
//!
//! For each format, a module lists where in a file the numbers of each tensor are: [`header`] for safetensors,
//! [`pth`] for PyTorch's archive and pickle. Only our [`own`] files have a checksum.

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
use candle_hebbian::device::send;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, TensorView};

pub(crate) use self::own::is_own;
pub use self::own::save_checkpoint;
use crate::{Error, Result};

/// The file of a finished network in a folder.
pub(crate) const MODEL: &str = "model.safetensors";
/// The file of a network that is still learning.
pub(crate) const STATE: &str = "state.safetensors";
/// The file that is read from a folder, and the one that is read if that does not exist yet.
const IN_FOLDER: [&str; 2] = [MODEL, STATE];
/// The first bytes of the archives that PyTorch saves.
const ZIP: &[u8] = b"PK\x03\x04";

/// A safetensors file, or a `state_dict` saved by PyTorch: its metadata, and its tensors, which are loaded on
/// request.
///
/// Opening a file reads only its header, and loading a tensor reads only the bytes of that tensor; but a file that
/// this crate wrote is read once as a whole when it is opened, to verify its checksum. The file is mapped into
/// memory: while it is open, replacing it by another file of the same name, as [`save_checkpoint`] does, is safe
/// (Windows refuses it), but truncating it or changing it in place is not.
///
/// PyTorch files (`.pth`, `.pt`, or any other name) are read if `torch.save` of PyTorch 1.6 or later wrote them and
/// they hold a `state_dict`, or a dictionary that contains one as `state_dict`, `model_state_dict` or `model`, or as
/// its only dictionary of tensors. No code in them is run, and their other content is ignored.
///
/// In files that this crate did not write, the names of tensors are stripped of what wrappers add: `module.` and
/// `_orig_mod.` anywhere in a name, and `model.`, `net.` or `network.` if all names start with it. Errors show the
/// names in the file.
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
    /// The file's metadata, without the checksum, which is verified when the file is opened.
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
    /// The bytes of a file that is embedded in the program.
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
    /// Its name in the file.
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
    /// In this range of the file, one after the other.
    Rows(Range<usize>),
    /// In a part of a zip archive.
    View(pth::View),
}

impl Checkpoint {
    /// Opens a file, whose tensors will be loaded onto `device`. If `path` is a folder, opens its
    /// `model.safetensors`, or its `state.safetensors` if that does not exist.
    ///
    /// # Errors
    /// When the file cannot be read, is truncated, is neither a safetensors file nor a `state_dict` as PyTorch saves
    /// it, or does not match the checksum that it states (files of other programs state none, which is no error).
    /// A file of another format is refused after its first bytes, whatever its size.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = in_folder(path.as_ref())?;
        let file = Bytes::Mapped(map(&path)?);
        Self::of(path, file, device)
    }

    /// Opens a file that is embedded in the program; errors call it `name`.
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

    /// Renames each tensor for whose name `ours` returns a new name that no other tensor has. Errors still show
    /// the names in the file.
    pub fn rename(&mut self, ours: impl Fn(&str) -> Option<String>) {
        for name in self.tensors.keys().cloned().collect::<Vec<_>>() {
            if let Some(other) = ours(&name).filter(|other| !self.tensors.contains_key(other))
                && let Some(stored) = self.tensors.remove(&name)
            {
                self.tensors.insert(other, stored);
            }
        }
    }

    /// The path of the opened file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the file in bytes.
    pub fn bytes(&self) -> usize {
        self.file.len()
    }

    /// The names of the file's tensors, in alphabetical order, without tensors of an unsupported form.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let readable = self.tensors.iter().filter(|(_, stored)| stored.numbers.is_ok());
        readable.map(|(name, _)| name.as_str())
    }

    /// The shape of the tensor called `name`; `None` if there is no such tensor, or its form is unsupported.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        Some(&self.tensors.get(name)?.numbers.as_ref().ok()?.shape)
    }

    /// Loads the tensor called `name` in the shape and type that it has in the file.
    ///
    /// # Errors
    /// When there is no such tensor, or candle lacks its type.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let (stored, numbers) = self.numbers(name)?;
        match candle_type(numbers.dtype) {
            Some(_) => self.read(stored, numbers, &self.device),
            None => Err(self.of_another_type(stored, numbers, "a type that candle has")),
        }
    }

    /// Loads the tensor called `name` as `dtype`. Floating-point types are converted into each other; other types
    /// are not converted.
    ///
    /// # Errors
    /// When there is no such tensor, its shape is not `expected`, or its type cannot be loaded as `dtype`.
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
                // Converted before it is moved, because the device may lack the type in the file: Metal has no f64.
                let tensor = self.read(stored, numbers, &Device::Cpu)?.to_dtype(dtype);
                let tensor = tensor.and_then(|tensor| send(&tensor, &self.device));
                tensor.map_err(|error| self.of_tensor(stored, error))
            }
            _ => Err(self.of_another_type(stored, numbers, dtype.as_str())),
        }
    }

    /// The name in the file of the tensor called `name`, and its numbers.
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

    fn read(
        &self,
        name: &str,
        Numbers { dtype, shape, place }: &Numbers,
        device: &Device,
    ) -> Result<Tensor> {
        let failed = |reason: String| wrong(&self.path, format!("tensor {name:?}: {reason}"));
        let bytes = match place {
            Place::Rows(range) => {
                let bytes = self.file.get(range.clone()).map(Cow::Borrowed);
                bytes.ok_or_else(|| failed("its bytes are missing".to_string()))?
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
        view.load(device).map_err(|error| self.of_tensor(name, error))
    }

    /// Adds the tensor and the file to an error of the device.
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

/// The candle type of a stored type, if candle can compute with it.
fn candle_type(stored: Dtype) -> Option<DType> {
    let dtype = DType::try_from(stored).ok()?;
    // candle has these types in name only.
    let is_known = !matches!(dtype, DType::F4 | DType::F6E2M3 | DType::F6E3M2 | DType::F8E8M0);
    is_known.then_some(dtype)
}

/// The file that `path` names, or the checkpoint in the folder that it names.
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
    // Checked before opening, because opening a pipe would wait for a writer.
    let metadata = path.metadata().map_err(Error::io("read", path))?;
    if !metadata.is_file() {
        return Err(wrong(
            path,
            "it is not a plain file, so that parts of it cannot be read".to_string(),
        ));
    }
    let file = File::open(path).map_err(Error::io("read", path))?;
    // SAFETY: only copies of the mapped bytes are handed out, and any bytes are valid values. Truncating the
    // file meanwhile ends the program, against which the documentation of `Checkpoint` warns.
    unsafe { Mmap::map(&file) }.map_err(Error::io("read", path))
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::NotSafetensors { path: path.to_path_buf(), reason }
}
