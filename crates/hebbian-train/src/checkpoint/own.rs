//! Our own files: how they are written, and the checksum in them.
//!
//! The metadata entry `hebbian_sha256` is `sha256:` followed by the SHA-256 of the whole file, header and data,
//! computed with zeros in place of the 64 digits of the sum. safetensors itself would not notice a flipped bit
//! in a weight, or a changed type.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use candle::{Device, Tensor};
use safetensors::tensor::{Metadata, TensorInfo, View};
use sha2::{Digest, Sha256};

use super::header::{self, LENGTH};
use super::map;
use crate::{Error, Result, atomic};

/// The metadata key of the sum, and the start of its value: either shows that there is a sum, so that no
/// flipped bit can hide it.
pub(super) const SUM: &str = "hebbian_sha256";
const SUM_START: &str = "sha256:";
/// Stands in for the sum's digits while the sum is computed.
const ZEROS: [u8; 64] = [b'0'; 64];

/// Whether the file's header states a checksum, as in files that [`save_checkpoint`] wrote.
pub(crate) fn is_own(path: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__")]
        metadata: BTreeMap<String, String>,
    }
    map(path).is_ok_and(|file| {
        header::end(&file).is_ok_and(|end| {
            serde_json::from_slice::<Header>(&file[LENGTH..end])
                .is_ok_and(|header| has_sum(&header.metadata))
        })
    })
}

/// Whether the metadata contain a sum, damaged or not.
pub(super) fn has_sum(metadata: &BTreeMap<String, String>) -> bool {
    let is_sum = |value: &String| {
        value.strip_prefix(SUM_START).is_some_and(|digits| digits.len() == ZEROS.len())
    };
    metadata.contains_key(SUM) || metadata.values().any(is_sum)
}

/// Whether a file matches the sum that it states.
pub(super) fn is_whole(bytes: &[u8], metadata: &BTreeMap<String, String>) -> bool {
    let Some(digits) = metadata.get(SUM).and_then(|stated| stated.strip_prefix(SUM_START)) else {
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

/// The start of a header with these digits of the sum. The sum is the first entry, so that its place is known.
fn header_start(digits: &str) -> String {
    format!("{{\"__metadata__\":{{\"{SUM}\":\"{SUM_START}{digits}\"")
}

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes tensors and metadata as a safetensors file, atomically, with a checksum that
/// [`Checkpoint::load`](super::Checkpoint::load) checks.
///
/// The checksum is the metadata entry `hebbian_sha256`: `sha256:` followed by the SHA-256 of the file with zeros in
/// place of the sum's 64 digits. Another program that writes the tensors again has to leave this entry out.
///
/// Tensors are stored by decreasing width of their type (so that all are aligned), and in the given order
/// within a type. `format: pt`, which Python's `safetensors` requires, is added to the metadata. Equal
/// input gives equal bytes.
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
            // Moved to the CPU first: inside `data`, an error of the device would be a panic.
            put(&tensor.to_device(&Device::Cpu)?.data())?;
        }
        let digits_at = SeekFrom::Start((LENGTH + digits_at) as u64);
        let written = writer.seek(digits_at).and_then(|_| writer.write_all(hex(sum).as_bytes()));
        written.map_err(Error::io("write", path))
    })
}

/// The JSON header with zeros for the sum, and where in it they are. The safetensors crate keeps metadata in a
/// `HashMap`, whose order changes from run to run, so it writes only the part of the tensors.
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
