//! Checkpoints: safetensors files with metadata and a checksum; and those of PyTorch, to read.
//!
//! The metadata's `hebbian_sha256` is `sha256:` and the SHA-256 of the whole file, header and data, as it
//! is with zeros for the 64 digits of the sum. safetensors itself would not see that a bit of a
//! weight was flipped, or that numbers were given another type.

mod names;
mod pickle;
mod pth;
mod zip;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle::safetensors::Load;
use candle::{DType, Device, Shape, Tensor};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo, TensorView, View};
use sha2::{Digest, Sha256};

use crate::{Error, Result, atomic};

/// The checkpoint of a folder, and what is read where there is none yet.
const IN_FOLDER: [&str; 2] = [crate::run::MODEL, crate::run::STATE];
/// Where the metadata have the sum, and what it starts with: either tells that there is one, so that
/// no flipped bit can hide it.
const SUM: &str = "hebbian_sha256";
const SUM_START: &str = "sha256:";
/// What stands for the sum's digits while it is formed.
const ZEROS: [u8; 64] = [b'0'; 64];
/// Bytes of the header's length, before it.
const LENGTH: usize = 8;
/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;
/// How the archives start in which PyTorch saves.
const ZIP: &[u8] = b"PK\x03\x04";
/// How the files start that are most often taken for ours.
const OTHERS: [(&[u8], &str); 5] = [
    (
        b"\x80\x02",
        "a Python pickle, as PyTorch wrote before 1.6 (.pt, .pth), which one that is newer turns into what \
         is read here, by torch.load and torch.save",
    ),
    (b"\x89HDF", "an HDF5 file"),
    (b"GGUF", "a GGUF file"),
    (b"version https://git-lfs", "a Git LFS pointer, whose file was not fetched"),
    (b"<", "a web page"),
];

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
    file: Arc<Mmap>,
    tensors: BTreeMap<String, Stored>,
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
        let file = map(&path)?;
        let (metadata, tensors) = match file.starts_with(ZIP) {
            true => {
                let tensors = pth::open(&file)
                    .map_err(|reason| Error::NotStateDict { path: path.clone(), reason })?;
                (BTreeMap::new(), tensors)
            }
            false => safetensors(&path, &file)?,
        };
        let is_own = has_sum(&metadata);
        if is_own && !is_whole(&file, metadata.get(SUM)) {
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
        checkpoint.metadata.remove(SUM);
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

/// The metadata of a safetensors file, and its tensors.
fn safetensors(path: &Path, file: &[u8]) -> Result<(BTreeMap<String, String>, Vec<Stored>)> {
    let data = header_end(file).map_err(|problem| {
        let kind = OTHERS.iter().find(|(start, _)| file.starts_with(start));
        let found = match kind {
            Some((_, kind)) => format!("it looks like {kind}"),
            None => format!("it starts with '{}'", file[..file.len().min(24)].escape_ascii()),
        };
        wrong(path, format!("{problem}; {found}"))
    })?;
    let (_, header) =
        SafeTensors::read_metadata(file).map_err(|reason| wrong(path, reason.to_string()))?;
    let tensors = header.tensors().into_iter().map(|(name, info)| {
        let TensorInfo { dtype, ref shape, data_offsets: (start, end) } = *info;
        let place = Place::Rows(data + start..data + end);
        Stored { name, numbers: Ok(Numbers { dtype, shape: shape.clone(), place }) }
    });
    let tensors = tensors.collect();
    Ok((header.metadata().clone().unwrap_or_default().into_iter().collect(), tensors))
}

/// Where the header ends, by the length that the file starts with.
fn header_end(file: &[u8]) -> std::result::Result<usize, String> {
    let Some((length, rest)) = file.split_first_chunk::<LENGTH>() else {
        return Err(format!("it has {} bytes, fewer than any such file", file.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER {
        return Err(format!(
            "its header would have {length} bytes, more than the {LONGEST_HEADER} of the format"
        ));
    }
    match usize::try_from(length) {
        Ok(length) if length <= rest.len() => Ok(LENGTH + length),
        _ => Err(format!("its header would have {length} bytes, but {} follow", rest.len())),
    }
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::NotSafetensors { path: path.to_path_buf(), reason }
}

/// Whether the file's header states a checksum, as those that [`save_checkpoint`] wrote do.
pub(crate) fn is_own(path: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__")]
        metadata: BTreeMap<String, String>,
    }
    map(path).is_ok_and(|file| {
        header_end(&file).is_ok_and(|end| {
            serde_json::from_slice::<Header>(&file[LENGTH..end])
                .is_ok_and(|header| has_sum(&header.metadata))
        })
    })
}

/// Whether the metadata tell of a sum, damaged or not.
fn has_sum(metadata: &BTreeMap<String, String>) -> bool {
    let is_sum = |value: &String| {
        value.strip_prefix(SUM_START).is_some_and(|digits| digits.len() == ZEROS.len())
    };
    metadata.contains_key(SUM) || metadata.values().any(is_sum)
}

/// Whether a file has the sum that it states.
fn is_whole(bytes: &[u8], stated: Option<&String>) -> bool {
    let Some(digits) = stated.and_then(|stated| stated.strip_prefix(SUM_START)) else {
        return false;
    };
    let start = header_start(digits);
    let end = LENGTH + start.len() - 1;
    if !bytes[LENGTH..].starts_with(start.as_bytes()) {
        return false;
    }
    let sum = Sha256::new_with_prefix(&bytes[..end - digits.len()]);
    hex(sum.chain_update(ZEROS).chain_update(&bytes[end..])) == digits
}

/// What a header with these digits of the sum starts with. They are the first entry, so that their
/// place is known.
fn header_start(digits: &str) -> String {
    format!("{{\"__metadata__\":{{\"{SUM}\":\"{SUM_START}{digits}\"")
}

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes tensors and metadata as a safetensors file, atomically, with a checksum that
/// [`Checkpoint::load`] checks.
///
/// The checksum is `hebbian_sha256` of the metadata, `sha256:` and the SHA-256 of the file with zeros
/// for the sum's 64 digits. Who writes the tensors again with another program leaves it out.
///
/// Tensors lie in the file by decreasing width of their type (so that all are aligned) and in the
/// given order within a type. The metadata gets `format: pt`, which Python's `safetensors` asks
/// for. Equal input gives equal bytes.
///
/// # Errors
/// When two tensors share a name, or the file cannot be written; an older file of that name then
/// stays as it was.
pub fn save_checkpoint(
    path: impl AsRef<Path>,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let mut names = BTreeSet::from(["__metadata__"]);
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !names.insert(name)) {
        return Err(Error::Argument(format!(
            "{}: the tensor name {name:?} is reserved or used twice: each tensor needs its own",
            path.display()
        )));
    }
    let mut tensors: Vec<&(String, Tensor)> = tensors.iter().collect();
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(View::dtype(tensor)));
    let (header, digits_at) = header(path, &tensors, metadata)?;

    atomic::write(path, |writer| {
        let mut sum = Sha256::new();
        let mut put = |bytes: &[u8]| {
            sum.update(bytes);
            writer.write_all(bytes).map_err(Error::io("write", path))
        };
        put(&(header.len() as u64).to_le_bytes())?;
        put(&header)?;
        for (_, tensor) in tensors {
            // Moved first: a device's error would be a panic inside `data`.
            put(&tensor.to_device(&Device::Cpu)?.data())?;
        }
        let digits_at = SeekFrom::Start((LENGTH + digits_at) as u64);
        let written = writer.seek(digits_at).and_then(|_| writer.write_all(hex(sum).as_bytes()));
        written.map_err(Error::io("write", path))
    })
}

/// The JSON header, with zeros for the sum, and where they are in it. The crate keeps metadata in a `HashMap`, whose order changes from run to run,
/// so only the tensors' part is the crate's.
fn header(
    path: &Path,
    tensors: &[&(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(Vec<u8>, usize)> {
    let mut end = 0;
    let infos = tensors
        .iter()
        .map(|(name, tensor)| {
            let start = end;
            end += tensor.data_len();
            let (dtype, shape) = (View::dtype(tensor), tensor.dims().to_vec());
            (name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) })
        })
        .collect();
    let infos = Metadata::new(None, infos)
        .map_err(|problem| Error::Argument(format!("{}: {problem}", path.display())))?;
    let mut metadata = metadata.clone();
    metadata.insert("format".to_string(), "pt".to_string());
    metadata.remove(SUM);

    let json = |value: serde_json::Result<String>| {
        value.map_err(|source| Error::Json { what: path.display().to_string(), source })
    };
    let metadata = json(serde_json::to_string(&metadata))?;
    let infos = json(serde_json::to_string(&infos))?;
    let separator = if tensors.is_empty() { "" } else { "," };
    let start = header_start(&"0".repeat(ZEROS.len()));
    let digits_at = start.len() - ZEROS.len() - 1;
    let header = format!("{start},{}{separator}{}", &metadata[1..], &infos[1..]);
    // Spaces up to a multiple of 8 bytes, so that the data are aligned.
    let length = header.len().next_multiple_of(8);
    Ok((format!("{header:length$}").into_bytes(), digits_at))
}
