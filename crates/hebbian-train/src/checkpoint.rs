//! Checkpoints: safetensors files with metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle::safetensors::Load;
use candle::{DType, Device, Shape, Tensor};
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo, View};

use crate::{Error, Result, atomic};

/// Tensors and metadata read from a safetensors file.
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
/// let mut checkpoint = Checkpoint::load(&path, &Device::Cpu)?;
/// assert_eq!(checkpoint.metadata["method"], "instar");
/// let weight = checkpoint.take("head.weight", (2, 3), DType::F32)?;
/// assert_eq!(weight.sum_all()?.to_scalar::<f32>()?, 6.0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The tensors that [`take`](Self::take) has not yet removed, by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The file's metadata.
    pub metadata: BTreeMap<String, String>,
    path: PathBuf,
}

impl Checkpoint {
    /// Reads a safetensors file onto `device`, or the model of a run when `path` is its folder.
    ///
    /// # Errors
    /// When the file cannot be read, is cut short, is no safetensors file, or has a type that
    /// candle lacks.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let model = path.as_ref().join(crate::run::MODEL);
        let path = if path.as_ref().is_dir() { model.as_path() } else { path.as_ref() };
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let wrong = |reason: safetensors::SafeTensorError| Error::NotSafetensors {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(wrong)?;
        let file = SafeTensors::deserialize(&bytes).map_err(wrong)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            tensors.insert(name, view.load(device)?);
        }
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { tensors, metadata, path: path.to_path_buf() })
    }

    /// Removes the tensor called `name` and returns it as `dtype`.
    ///
    /// # Errors
    /// When it is not there, or has not the shape `expected`.
    pub fn take(&mut self, name: &str, expected: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let expected = expected.into();
        let Some(tensor) = self.tensors.remove(name) else {
            return Err(Error::MissingTensor {
                path: self.path.clone(),
                name: name.to_string(),
                held: self.tensors.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
            });
        };
        if tensor.shape() != &expected {
            return Err(Error::ShapeMismatch {
                path: self.path.clone(),
                name: name.to_string(),
                found: tensor.dims().to_vec(),
                expected: expected.dims().to_vec(),
            });
        }
        Ok(tensor.to_dtype(dtype)?)
    }
}

/// Writes tensors and metadata as a safetensors file, atomically.
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
    let header = header(path, &tensors, metadata)?;

    atomic::write(path, |writer| {
        let mut put = |bytes: &[u8]| writer.write_all(bytes).map_err(Error::io("write", path));
        put(&(header.len() as u64).to_le_bytes())?;
        put(&header)?;
        for (_, tensor) in tensors {
            // Moved first: a device's error would be a panic inside `data`.
            put(&tensor.to_device(&Device::Cpu)?.data())?;
        }
        Ok(())
    })
}

/// The JSON header. The crate keeps metadata in a `HashMap`, whose order changes from run to run,
/// so only the tensors' part is the crate's.
fn header(
    path: &Path,
    tensors: &[&(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
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

    let json = |value: serde_json::Result<String>| {
        value.map_err(|source| Error::Json { what: path.display().to_string(), source })
    };
    let metadata = json(serde_json::to_string(&metadata))?;
    let infos = json(serde_json::to_string(&infos))?;
    let separator = if tensors.is_empty() { "" } else { "," };
    let header = format!("{{\"__metadata__\":{metadata}{separator}{}", &infos[1..]);
    // Spaces up to a multiple of 8 bytes, so that the data are aligned.
    let length = header.len().next_multiple_of(8);
    Ok(format!("{header:length$}").into_bytes())
}
