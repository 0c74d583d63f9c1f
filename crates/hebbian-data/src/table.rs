//! The hub's parquet files: a column of structs with a PNG in `bytes`, and a column of labels.

use std::fs::File;
use std::io::Cursor;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use image::codecs::png::PngDecoder;
use image::{ColorType, ImageDecoder, Limits};
use parquet::basic::Type as PhysicalType;
use parquet::data_type::{ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;
use rayon::prelude::*;

use crate::error::FETCH_AGAIN;
use crate::footer;
use crate::images::MOST_IMAGES;
use crate::{DatasetName, Error, ImageSet, OnProgress, Progress, Result};

/// The folder of the data set's parquet files in its repository.
pub(crate) fn folder(name: DatasetName) -> &'static str {
    match name {
        DatasetName::Digits => "digits",
        DatasetName::Mnist => "mnist",
        DatasetName::FashionMnist => "fashion_mnist",
        DatasetName::Cifar10 => "plain_text",
        DatasetName::Cifar100 => "cifar100",
    }
}

/// The least bytes that an image takes in a table: no PNG is shorter.
const LEAST_BYTES: u64 = 57;
/// Bytes that a picture may unpack to, whatever it has beside its pixels.
const LARGEST_PICTURE: u64 = 1 << 20;

/// Reads one split. Row groups are decoded one at a time, the images of a group on all cores.
pub(crate) fn read(path: &Path, name: DatasetName, on_progress: &OnProgress) -> Result<ImageSet> {
    let broken = |error: ParquetError| {
        Error::bad_file(path, format!("a broken parquet file ({error})"), "a whole parquet file")
    };
    footer::check(path)?;
    let file = File::open(path).map_err(Error::io(path))?;
    let bytes = file.metadata().map_err(Error::io(path))?.len();
    let reader = guarded(|| SerializedFileReader::new(file)).map_err(broken)?;
    let (image_column, label_column) = columns(path, name, &reader)?;
    let shape = name.shape();
    let size = shape.0 * shape.1 * shape.2;
    let total = reader.metadata().file_metadata().num_rows().max(0) as u64;
    let groups = reader.metadata().row_groups().iter();
    let rows = groups.fold(0, |rows: u64, group| rows.saturating_add(group.num_rows() as u64));
    let most = (bytes / LEAST_BYTES).min(MOST_IMAGES as u64);
    if let Some(rows) = [rows, total].into_iter().find(|&rows| rows > most) {
        let expected = format!("{most} at most in a file of {bytes} bytes");
        return Err(Error::bad_file(path, format!("{rows} rows"), expected));
    }
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();

    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for group in 0..reader.num_row_groups() {
        let (pngs, classes) = guarded(|| {
            let group = reader.get_row_group(group)?;
            let pngs = values::<ByteArrayType>(&*group, image_column)?;
            Ok((pngs, values::<Int64Type>(&*group, label_column)?))
        })
        .map_err(broken)?;
        let first = labels.len();
        if images.is_empty() && pngs.len() as u64 <= total {
            // The first group vouches for the size of the rest: no doubling, no copy.
            images.reserve_exact(size * (total as usize).min(pngs.len() * reader.num_row_groups()));
        }
        images.resize((first + pngs.len()) * size, 0);
        images[first * size..]
            .par_chunks_exact_mut(size)
            .zip(&pngs)
            .enumerate()
            .try_for_each_init(Vec::new, |scratch, (row, (pixels, png))| {
                decode(png.data(), shape, scratch, pixels)
                    .map_err(|found| bad_row(path, first + row, found, expected_image(shape)))
            })?;
        for class in classes {
            let label = u32::try_from(class).ok().filter(|&l| (l as usize) < name.classes().len());
            let expected = || format!("labels from 0 to {}", name.classes().len() - 1);
            labels.push(label.ok_or_else(|| {
                bad_row(path, labels.len(), format!("label {class}"), expected())
            })?);
        }
        on_progress(Progress::Decode { file: &file_name, done: labels.len() as u64, total });
    }
    if labels.is_empty() {
        return Err(Error::bad_file(path, "no rows", "at least one image"));
    }
    ImageSet::new(images, labels, shape.0, shape.1, shape.2)
}

/// The columns of images and labels, by number.
fn columns(
    path: &Path,
    name: DatasetName,
    reader: &SerializedFileReader<File>,
) -> Result<(usize, usize)> {
    let label = if name == DatasetName::Cifar100 { "fine_label" } else { "label" };
    let schema = reader.metadata().file_metadata().schema_descr();
    let find = |wanted: &str, physical: PhysicalType| {
        schema.columns().iter().position(|column| {
            column.path().string() == wanted
                && column.physical_type() == physical
                && column.max_rep_level() == 0
        })
    };
    let images = find("image.bytes", PhysicalType::BYTE_ARRAY)
        .or_else(|| find("img.bytes", PhysicalType::BYTE_ARRAY));
    match (images, find(label, PhysicalType::INT64)) {
        (Some(images), Some(labels)) => Ok((images, labels)),
        _ => Err(Error::BadFile {
            path: path.into(),
            found: format!("the columns {}", describe(schema)),
            expected: format!("image.bytes (or img.bytes): BYTE_ARRAY and {label}: INT64"),
            advice: format!("check that the file belongs to {name}"),
        }),
    }
}

fn describe(schema: &SchemaDescriptor) -> String {
    let columns = schema.columns().iter();
    let columns: Vec<String> =
        columns.map(|c| format!("{}: {}", c.path().string(), c.physical_type())).collect();
    columns.join(", ")
}

/// Turns a panic into an error: parquet 60 has assertions that a damaged page can fail.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    std::panic::catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(ParquetError::General("its pages contradict each other".into())))
}

/// All values of a column in a row group; none may be null.
fn values<T: DataType>(
    group: &dyn RowGroupReader,
    column: usize,
) -> Result<Vec<T::T>, ParquetError> {
    let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
    let name = group.metadata().column(column).column_path().string();
    let mut reader = T::get_column_reader(group.get_column_reader(column)?)
        .ok_or_else(|| ParquetError::General(format!("column {name} changes its type")))?;
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    reader.read_records(rows, Some(&mut levels), None, &mut values)?;
    if values.len() != rows {
        let found = values.len();
        return Err(ParquetError::General(format!(
            "column {name} has {found} values for {rows} rows"
        )));
    }
    Ok(values)
}

/// Decodes a PNG into C×H×W pixels; `scratch` is for its H×W×C ones.
fn decode(
    png: &[u8],
    (channels, height, width): (usize, usize, usize),
    scratch: &mut Vec<u8>,
    pixels: &mut [u8],
) -> Result<(), String> {
    let broken = |error| format!("a broken PNG ({error})");
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(LARGEST_PICTURE);
    let decoder = PngDecoder::with_limits(Cursor::new(png), limits).map_err(broken)?;
    let (found_width, found_height) = decoder.dimensions();
    let color = decoder.color_type();
    let wanted = if channels == 1 { ColorType::L8 } else { ColorType::Rgb8 };
    if (found_height as usize, found_width as usize, color) != (height, width, wanted) {
        return Err(format!("a PNG of {found_height}x{found_width} pixels of {color:?}"));
    }
    if channels == 1 {
        return decoder.read_image(pixels).map_err(broken);
    }
    scratch.resize(pixels.len(), 0);
    decoder.read_image(scratch).map_err(broken)?;
    for (channel, plane) in pixels.chunks_exact_mut(height * width).enumerate() {
        for (pixel, interleaved) in plane.iter_mut().zip(scratch.chunks_exact(channels)) {
            *pixel = interleaved[channel];
        }
    }
    Ok(())
}

fn expected_image((channels, height, width): (usize, usize, usize)) -> String {
    let color = if channels == 1 { "grey" } else { "RGB" };
    format!("a PNG of {height}x{width} pixels, 8-bit {color}")
}

fn bad_row(path: &Path, row: usize, found: String, expected: String) -> Error {
    Error::BadFile {
        path: path.into(),
        found: format!("{found} in row {row}"),
        expected,
        advice: FETCH_AGAIN.into(),
    }
}
