//! The formats in which MNIST and CIFAR were first published.

use std::fs;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::images::MOST_IMAGES;
use crate::{DatasetName, Error, ImageSet, Result};

const IDX_IMAGES: u32 = 0x0803;
const IDX_LABELS: u32 = 0x0801;

/// A pair of idx files (images and labels), gzipped where the name ends in `.gz`.
///
/// An idx file is a magic number (its last byte the number of dimensions), then each dimension, all
/// big-endian `u32`, then the bytes.
pub(crate) fn idx(name: DatasetName, images: &Path, labels: &Path) -> Result<ImageSet> {
    let (channels, height, width) = name.shape();
    let (count, pixels) = idx_file::<3>(images, IDX_IMAGES, &[height, width])?;
    let (found, classes) = idx_file::<1>(labels, IDX_LABELS, &[])?;
    if found != count {
        let expected = format!("{count}, one for each image of {}", images.display());
        let count = found;
        return Err(Error::bad_file(labels, format!("{count} labels"), expected));
    }
    let classes = classes.into_iter().enumerate();
    let classes = classes.map(|(i, class)| label(labels, name, i, class)).collect::<Result<_>>()?;
    ImageSet::new(pixels, classes, channels, height, width)
}

/// The number of items, each of these sides, and their bytes.
fn idx_file<const DIMS: usize>(
    path: &Path,
    magic: u32,
    sides: &[usize],
) -> Result<(usize, Vec<u8>)> {
    let mut file = open(path)?;
    let length = 4 * (1 + DIMS);
    let header = take(&mut file, length, path)?;
    if header.len() < length {
        let found = format!("{} bytes", header.len());
        return Err(Error::bad_file(path, found, format!("an idx header of {length} bytes")));
    }
    let (words, _) = header.as_chunks::<4>();
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
    // Before anything is read of what may be unpacked to any size.
    if sizes[1..] != *sides {
        let pixels = |sides: &[usize]| {
            sides.iter().map(usize::to_string).collect::<Vec<_>>().join("x") + " pixels"
        };
        let found = format!("images of {}", pixels(&sizes[1..]));
        return Err(Error::bad_file(path, found, pixels(sides)));
    }
    if sizes[0] > MOST_IMAGES {
        let found = format!("{} images or labels", sizes[0]);
        return Err(Error::bad_file(path, found, format!("{MOST_IMAGES} at most")));
    }
    let expected: usize = sizes.iter().product();
    // One more than there should be tells that there are more.
    let bytes = take(&mut file, expected + 1, path)?;
    if bytes.len() != expected || expected == 0 {
        let least = if bytes.len() > expected { "at least " } else { "" };
        return Err(Error::bad_file(
            path,
            format!("{least}{} bytes after the header", bytes.len()),
            format!("{} for the sizes {sizes:?} that the header states", expected.max(1)),
        ));
    }
    Ok((sizes[0], bytes))
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
        let size_on_disk = fs::metadata(path).map_err(Error::io(path))?.len();
        if size_on_disk > (MOST_IMAGES * record) as u64 {
            let most = format!("{MOST_IMAGES} images of {record} bytes at most");
            return Err(Error::bad_file(path, format!("{size_on_disk} bytes"), most));
        }
        let bytes = fs::read(path).map_err(Error::io(path))?;
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

/// Unpacks a `.gz` as it is read.
fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = BufReader::new(fs::File::open(path).map_err(Error::io(path))?);
    Ok(match path.extension() {
        Some(extension) if extension == "gz" => Box::new(MultiGzDecoder::new(file)),
        _ => Box::new(file),
    })
}

/// The next `most` bytes, or what there is.
fn take(file: &mut dyn Read, most: usize, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match file.take(most as u64).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if path.extension().is_some_and(|extension| extension == "gz") => {
            Err(Error::bad_file(path, format!("broken gzip data ({error})"), "a whole gzip file"))
        }
        Err(error) => Err(Error::io(path)(error)),
    }
}
