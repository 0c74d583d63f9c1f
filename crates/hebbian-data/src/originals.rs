//! The formats in which MNIST and CIFAR were first published.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::{DatasetName, Error, ImageSet, Result};

const IDX_IMAGES: u32 = 0x0803;
const IDX_LABELS: u32 = 0x0801;

/// A pair of idx files (images and labels), gzipped where the name ends in `.gz`.
///
/// An idx file is a magic number (its last byte the number of dimensions), then each dimension, all
/// big-endian `u32`, then the bytes.
pub(crate) fn idx(name: DatasetName, images: &Path, labels: &Path) -> Result<ImageSet> {
    let (channels, height, width) = name.shape();
    let (sizes, pixels) = idx_file::<3>(images, IDX_IMAGES)?;
    if sizes[1..] != [height, width] {
        let found = format!("images of {}x{} pixels", sizes[1], sizes[2]);
        return Err(Error::bad_file(images, found, format!("{height}x{width} pixels")));
    }
    let ([count], classes) = idx_file::<1>(labels, IDX_LABELS)?;
    if count != sizes[0] {
        let expected = format!("{}, one for each image of {}", sizes[0], images.display());
        return Err(Error::bad_file(labels, format!("{count} labels"), expected));
    }
    let classes = classes.into_iter().enumerate();
    let classes = classes.map(|(i, class)| label(labels, name, i, class)).collect::<Result<_>>()?;
    ImageSet::new(pixels, classes, channels, height, width)
}

fn idx_file<const DIMS: usize>(path: &Path, magic: u32) -> Result<([usize; DIMS], Vec<u8>)> {
    let mut bytes = read(path)?;
    let header = 4 * (1 + DIMS);
    if bytes.len() < header {
        let found = format!("{} bytes", bytes.len());
        return Err(Error::bad_file(path, found, format!("an idx header of {header} bytes")));
    }
    let (words, _) = bytes[..header].as_chunks::<4>();
    let mut words = words.iter().map(|&word| u32::from_be_bytes(word));
    let found = words.next().unwrap_or_default();
    if found != magic {
        return Err(Error::bad_file(
            path,
            format!("the magic number {found:#010x}"),
            format!("{magic:#010x}, an idx file of bytes in {DIMS} dimension(s)"),
        ));
    }
    let mut sizes = [0; DIMS];
    for (size, word) in sizes.iter_mut().zip(words) {
        *size = word as usize;
    }
    let expected = sizes.iter().copied().fold(1, usize::saturating_mul);
    let found = bytes.len() - header;
    if found != expected || expected == 0 {
        return Err(Error::bad_file(
            path,
            format!("{found} bytes after the header"),
            format!("{} for the sizes {sizes:?} that the header states", expected.max(1)),
        ));
    }
    bytes.drain(..header);
    Ok((sizes, bytes))
}

/// Files of CIFAR's binary version, one after another: records of one label byte (CIFAR-100: the
/// coarse one, then the fine one) and 3,072 pixels, red, green, blue, each row by row.
pub(crate) fn cifar(name: DatasetName, paths: &[PathBuf]) -> Result<ImageSet> {
    let (channels, height, width) = name.shape();
    let size = channels * height * width;
    let label_bytes = if name == DatasetName::Cifar100 { 2 } else { 1 };
    let record = label_bytes + size;
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for path in paths {
        let bytes = read(path)?;
        if bytes.is_empty() || bytes.len() % record != 0 {
            return Err(Error::bad_file(
                path,
                format!("{} bytes", bytes.len()),
                format!("a multiple of {record} bytes, the size of an image with its label"),
            ));
        }
        images.reserve_exact(
            bytes.len() / record * size * (if images.is_empty() { paths.len() } else { 1 }),
        );
        for (i, record) in bytes.chunks_exact(record).enumerate() {
            let (classes, pixels) = record.split_at(label_bytes);
            labels.push(label(path, name, i, classes[label_bytes - 1])?);
            images.extend_from_slice(pixels);
        }
    }
    ImageSet::new(images, labels, channels, height, width)
}

fn label(path: &Path, name: DatasetName, i: usize, class: u8) -> Result<u32> {
    let classes = name.classes().len();
    if usize::from(class) < classes {
        return Ok(class.into());
    }
    let expected = format!("labels from 0 to {}", classes - 1);
    Err(Error::bad_file(path, format!("label {class} for image {i}"), expected))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "gz") {
        return fs::read(path).map_err(Error::io(path));
    }
    let file = fs::File::open(path).map_err(Error::io(path))?;
    let mut bytes = Vec::new();
    MultiGzDecoder::new(std::io::BufReader::new(file)).read_to_end(&mut bytes).map_err(
        |error| Error::bad_file(path, format!("broken gzip data ({error})"), "a whole gzip file"),
    )?;
    Ok(bytes)
}
