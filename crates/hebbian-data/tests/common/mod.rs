//! Shared by the tests: made-up images, parquet files of the hub's schema, and a loopback mirror.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod mirror;
pub mod tables;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use hebbian_data::{DatasetName, ImageSet, OnProgress};
use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// The pixel of image `i` at channel `c`, row `y`, column `x`: no two axes can be swapped unnoticed.
pub fn pixel(i: usize, c: usize, y: usize, x: usize) -> u8 {
    ((i * 31 + c * 101 + y * 7 + x * 3) % 256) as u8
}

/// The pixels of image `i`, channel by channel.
pub fn planes(i: usize, (channels, height, width): (usize, usize, usize)) -> Vec<u8> {
    let mut pixels = Vec::new();
    for c in 0..channels {
        for y in 0..height {
            pixels.extend((0..width).map(|x| pixel(i, c, y, x)));
        }
    }
    pixels
}

/// Image `i` as a PNG; PNG stores the channels of a pixel together.
pub fn png(i: usize, (channels, height, width): (usize, usize, usize)) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            pixels.extend((0..channels).map(|c| pixel(i, c, y, x)));
        }
    }
    let color = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut bytes = Vec::new();
    let (width, height) = (width as u32, height as u32);
    PngEncoder::new(&mut bytes).write_image(&pixels, width, height, color).unwrap();
    bytes
}

pub fn shape(name: DatasetName) -> (usize, usize, usize) {
    match name {
        DatasetName::Mnist | DatasetName::FashionMnist => (1, 28, 28),
        DatasetName::Stl10 => (3, 96, 96),
        _ => (3, 32, 32),
    }
}

/// The hub's schema of a data set.
pub fn schema(name: DatasetName) -> String {
    let (image, labels) = match name {
        DatasetName::Cifar10 => ("img", "optional int64 label;"),
        DatasetName::Cifar100 => ("img", "optional int64 fine_label; optional int64 coarse_label;"),
        _ => ("image", "optional int64 label;"),
    };
    format!(
        "message schema {{ optional group {image} {{ optional binary bytes; optional binary path (UTF8); }} {labels} }}"
    )
}

/// A parquet file in row groups of `group` rows; every further label column holds the label halved.
pub fn parquet(schema: &str, rows: &[(Vec<u8>, i64)], group: usize) -> Vec<u8> {
    parquet_as(WriterProperties::default(), schema, rows, group)
}

/// The same, written with these properties.
pub fn parquet_as(
    properties: WriterProperties,
    schema: &str,
    rows: &[(Vec<u8>, i64)],
    group: usize,
) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(group) {
        let mut writer = file.next_row_group().unwrap();
        let (mut binaries, mut integers) = (0, 0);
        while let Some(mut column) = writer.next_column().unwrap() {
            let is_binary = matches!(
                column.untyped(),
                parquet::column::writer::ColumnWriter::ByteArrayColumnWriter(_)
            );
            if is_binary && binaries == 0 {
                let values: Vec<ByteArray> =
                    rows.iter().map(|(png, _)| ByteArray::from(png.clone())).collect();
                let levels = vec![2; rows.len()];
                column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            } else if is_binary {
                // `path` is null.
                let levels = vec![1; rows.len()];
                column.typed::<ByteArrayType>().write_batch(&[], Some(&levels), None).unwrap();
            } else {
                let values: Vec<i64> = rows.iter().map(|&(_, label)| label >> integers).collect();
                let levels = vec![1; rows.len()];
                column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
                integers += 1;
            }
            binaries += usize::from(is_binary);
            column.close().unwrap();
        }
        writer.close().unwrap();
    }
    file.close().unwrap();
    bytes
}

/// The rows of images `first..first + count`; image `i` has the label `7 i mod 10`.
pub fn rows(name: DatasetName, first: usize, count: usize) -> Vec<(Vec<u8>, i64)> {
    (first..first + count).map(|i| (png(i, shape(name)), (7 * i % 10) as i64)).collect()
}

/// A parquet file of these images.
pub fn split(name: DatasetName, first: usize, count: usize) -> Vec<u8> {
    parquet(&schema(name), &rows(name, first, count), 4)
}

/// Checks that a split holds images `first..` of [`pixel`], in order.
pub fn assert_images(split: &ImageSet, name: DatasetName, first: usize, count: usize) {
    assert_eq!(split.len(), count, "{name}");
    assert_eq!(split.shape(), shape(name), "{name}");
    for i in 0..count {
        assert_eq!(split.image(i).unwrap(), planes(first + i, shape(name)), "{name}, image {i}");
        assert_eq!(split.labels()[i], (7 * (first + i) % 10) as u32, "{name}, label {i}");
    }
}

/// Shape, labels and pixels of a set.
pub fn contents(set: &ImageSet) -> ((usize, usize, usize), Vec<u32>, Vec<u8>) {
    let all: Vec<usize> = (0..set.len()).collect();
    (set.shape(), set.labels().to_vec(), set.pixels(&all).unwrap())
}

pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

pub fn quiet() -> OnProgress {
    Arc::new(|_| ())
}

/// A port that refuses connections: that of a client. No other test can be given it to listen, as long as the
/// connection lives.
pub fn refusing_port() -> (u16, (TcpListener, TcpStream)) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    (client.local_addr().unwrap().port(), (server, client))
}

/// Checks that a message contains every part.
pub fn assert_says(message: &str, parts: &[&str]) {
    let message = with_slashes(message);
    for part in parts {
        assert!(message.contains(&with_slashes(part)), "'{part}' is not in: {message}");
    }
}

/// Paths as they are written on Unix.
pub fn with_slashes(text: &str) -> String {
    if cfg!(windows) { text.replace('\\', "/") } else { text.to_string() }
}

/// Every file below a folder, as paths relative to it.
pub fn files(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let path = path.strip_prefix(root).unwrap().display().to_string();
                found.push(with_slashes(&path));
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}
