//! The formats in which MNIST, CIFAR and STL-10 were first published.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::gzip::Plain;
use crate::images::MOST_IMAGES;
use crate::pictures::{Form, How, upright};
use crate::store::{Encoded, Pile, Store};
use crate::{DatasetName, Error, ImageSet, LoadOptions, Result};

const IDX_IMAGES: u32 = 0x0803;
const IDX_LABELS: u32 = 0x0801;

/// Reads a pair of idx files (images and labels), plain or gzipped.
///
/// An idx file consists of a magic number (whose last byte is the number of dimensions) and each dimension, all
/// as big-endian `u32`, followed by the bytes. Images are unpacked only after their number was found to match
/// that of the labels.
pub(crate) fn idx(name: DatasetName, images: &Path, labels: &Path) -> Result<ImageSet> {
    let (channels, height, width) = name.shape();
    let pixels = Idx::<3>::open(images, IDX_IMAGES, &[height, width])?;
    let classes = Idx::<1>::open(labels, IDX_LABELS, &[])?;
    let (count, found) = (pixels.sizes[0], classes.sizes[0]);
    if found != count {
        let expected = format!("{count}, one for each image of {}", images.display());
        return Err(Error::bad_file(labels, format!("{found} labels"), expected));
    }
    let classes = classes.read()?.into_iter().enumerate();
    let classes = classes.map(|(i, class)| label(labels, name, i, class)).collect::<Result<_>>()?;
    ImageSet::new(pixels.read()?, classes, channels, height, width)
}

/// An idx file whose header has been read.
struct Idx<'a, const DIMS: usize> {
    file: Plain<'a>,
    path: &'a Path,
    /// The number of items, followed by the size of an item in each dimension.
    sizes: [usize; DIMS],
}

impl<'a, const DIMS: usize> Idx<'a, DIMS> {
    fn open(path: &'a Path, magic: u32, sides: &[usize]) -> Result<Self> {
        let mut file = Plain::open(path)?;
        let length = 4 * (1 + DIMS);
        let header = file.take(length)?;
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
        // This check comes before reading the data, which may unpack to any size.
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
        Ok(Self { file, path, sizes })
    }

    /// The bytes after the header.
    fn read(mut self) -> Result<Vec<u8>> {
        let expected: usize = self.sizes.iter().product();
        // Reading one byte more than expected shows whether there are more.
        let bytes = self.file.take(expected + 1)?;
        if bytes.len() != expected || expected == 0 {
            let least = if bytes.len() > expected { "at least " } else { "" };
            return Err(Error::bad_file(
                self.path,
                format!("{least}{} bytes after the header", bytes.len()),
                format!(
                    "{} for the sizes {:?} that the header states",
                    expected.max(1),
                    self.sizes
                ),
            ));
        }
        Ok(bytes)
    }
}

/// The bytes of labels and of pixels in a record of CIFAR's binary version. The labels (for CIFAR-100 the
/// coarse one, then the fine one) come before the pixels.
fn cifar_record(name: DatasetName) -> (usize, usize) {
    let (channels, height, width) = name.shape();
    (if name == DatasetName::Cifar100 { 2 } else { 1 }, channels * height * width)
}

/// Refuses files that do not hold whole records.
pub(crate) fn whole_records(name: DatasetName, paths: &[&Path]) -> Result<()> {
    let (label_bytes, size) = cifar_record(name);
    let record = label_bytes + size;
    for path in paths {
        let bytes = fs::metadata(path).map_err(Error::io(path))?.len();
        if bytes > (MOST_IMAGES * record) as u64 {
            let most = format!("{MOST_IMAGES} images of {record} bytes at most");
            return Err(Error::bad_file(path, format!("{bytes} bytes"), most));
        }
        if bytes == 0 || bytes % record as u64 != 0 {
            return Err(Error::bad_file(
                path,
                format!("{bytes} bytes"),
                format!("a multiple of {record} bytes, the size of an image with its label"),
            ));
        }
    }
    Ok(())
}

/// Reads files of CIFAR's binary version, one after another. Pixels are red, green and blue planes, each row by
/// row.
pub(crate) fn cifar(name: DatasetName, paths: &[PathBuf]) -> Result<ImageSet> {
    let (channels, height, width) = name.shape();
    let (label_bytes, size) = cifar_record(name);
    let record = label_bytes + size;
    whole_records(name, &paths.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for path in paths {
        let bytes = fs::read(path).map_err(Error::io(path))?;
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

/// Reads the binary version of STL-10: images of 3×96×96 bytes, with each channel column by column, and a file
/// with a label from 1 to 10 for each.
pub(crate) fn stl10(images: &Path, labels: &Path) -> Result<ImageSet> {
    let name = DatasetName::Stl10;
    let (channels, height, width) = name.shape();
    let size = channels * height * width;
    let count = fs::metadata(labels).map_err(Error::io(labels))?.len();
    let bytes = fs::metadata(images).map_err(Error::io(images))?.len();
    if count == 0 || count > MOST_IMAGES as u64 || bytes != count * size as u64 {
        let expected = format!(
            "{size} bytes for each of the labels of {}, of which there are {count}",
            labels.display()
        );
        return Err(Error::bad_file(images, format!("{bytes} bytes"), expected));
    }
    let classes = fs::read(labels).map_err(Error::io(labels))?.into_iter().enumerate();
    let classes = classes.map(|(i, class)| match class {
        0 => Err(Error::bad_file(labels, format!("label 0 for image {i}"), "labels from 1 to 10")),
        _ => label(labels, name, i, class - 1),
    });
    let classes = classes.collect::<Result<_>>()?;
    let pixels = fs::read(images).map_err(Error::io(images))?;
    let mut rows = vec![0; pixels.len()];
    for (to, image) in rows.chunks_exact_mut(size).zip(pixels.chunks_exact(size)) {
        upright(image, name.shape(), to);
    }
    ImageSet::new(rows, classes, channels, height, width)
}

/// The images of STL-10 without labels.
#[derive(Debug)]
struct Records {
    path: PathBuf,
    count: usize,
    size: usize,
}

impl Pile for Records {
    fn len(&self) -> usize {
        self.count
    }

    fn blocks(&self) -> Option<&[usize]> {
        None
    }

    fn read(&self, wanted: &[usize]) -> Result<Vec<Encoded>> {
        let mut file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let read = |&index: &usize| {
            let mut bytes = vec![0; self.size];
            file.seek(SeekFrom::Start((index * self.size) as u64))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(Error::io(&self.path))?;
            Ok(Encoded::new(bytes))
        };
        wanted.iter().map(read).collect()
    }

    fn place(&self, index: usize) -> (PathBuf, Option<usize>) {
        (self.path.clone(), Some(index))
    }
}

/// Reads the binary version of STL-10's images without labels, which stay in their file if they are too large.
pub(crate) fn stl10_unlabelled(path: &Path, options: &LoadOptions) -> Result<ImageSet> {
    let shape = DatasetName::Stl10.shape();
    let how = How { shape, form: Form::Columns };
    let (size, bytes) = (how.size(), fs::metadata(path).map_err(Error::io(path))?.len());
    let most = (MOST_IMAGES * size) as u64;
    if bytes == 0 || bytes % size as u64 != 0 || bytes > most {
        let expected =
            format!("a multiple of {size} bytes, the size of an image, and {most} at most");
        return Err(Error::bad_file(path, format!("{bytes} bytes"), expected));
    }
    let count = (bytes / size as u64) as usize;
    let pile = Arc::new(Records { path: path.into(), count, size });
    let labels = vec![ImageSet::NO_LABEL; count];
    let store = Store::in_files(pile, how, options.memory, options.buffered(size));
    if !options.may_hold(count, size) {
        return Ok(ImageSet::of_store(store, labels));
    }
    let pixels = store.pixels(&(0..count).collect::<Vec<_>>())?;
    Ok(ImageSet::of_parts(pixels, labels, shape))
}

fn label(path: &Path, name: DatasetName, i: usize, class: u8) -> Result<u32> {
    let classes = name.classes().len();
    if usize::from(class) < classes {
        return Ok(class.into());
    }
    let expected = format!("labels from 0 to {}", classes - 1);
    Err(Error::bad_file(path, format!("label {class} for image {i}"), expected))
}
