//! The header of a safetensors file.

use std::collections::BTreeMap;

use safetensors::tensor::{SafeTensors, TensorInfo};

use super::{Numbers, Place, Stored};

/// The size in bytes of the header's length, which precedes the header.
pub(super) const LENGTH: usize = 8;
/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;
/// The first bytes of the files that are most often mistaken for safetensors files, and what those files are.
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

/// The metadata and the tensors of a file, or what is wrong with it.
pub(super) fn open(file: &[u8]) -> Result<(BTreeMap<String, String>, Vec<Stored>), String> {
    let data = end(file).map_err(|problem| {
        let kind = OTHERS.iter().find(|(start, _)| file.starts_with(start));
        let found = match kind {
            Some((_, kind)) => format!("it looks like {kind}"),
            None => format!("it starts with '{}'", file[..file.len().min(24)].escape_ascii()),
        };
        format!("{problem}; {found}")
    })?;
    let (_, header) = SafeTensors::read_metadata(file).map_err(|reason| reason.to_string())?;
    let tensors = header.tensors().into_iter().map(|(name, info)| {
        let TensorInfo { dtype, ref shape, data_offsets: (start, end) } = *info;
        let place = Place::Rows(data + start..data + end);
        Stored { name, numbers: Ok(Numbers { dtype, shape: shape.clone(), place }) }
    });
    let tensors = tensors.collect();
    Ok((header.metadata().clone().unwrap_or_default().into_iter().collect(), tensors))
}

/// Where the header ends, according to the length at the start of the file.
pub(super) fn end(file: &[u8]) -> Result<usize, String> {
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
