//! Data sets that are missing or broken.

use std::sync::Arc;

use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::{PROGRAM, TINY};
use crate::common::binary::outcome;
use crate::common::program::Place;

const IDX: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// A parquet file of grey images in the hub's layout, with `column` in the place of `image`.
fn parquet(column: &str, pngs: &[Vec<u8>]) -> Vec<u8> {
    let schema = format!(
        "message schema {{ optional group {column} {{ optional binary bytes; }} optional int64 label; }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let values: Vec<ByteArray> = pngs.iter().cloned().map(ByteArray::from).collect();
    let mut images = group.next_column().unwrap().unwrap();
    let levels = vec![2; pngs.len()];
    images.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
    images.close().unwrap();
    let values: Vec<i64> = (0..pngs.len() as i64).map(|i| i % 10).collect();
    let mut labels = group.next_column().unwrap().unwrap();
    let levels = vec![1; pngs.len()];
    labels.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
    labels.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
    bytes
}

fn pngs() -> Vec<Vec<u8>> {
    let png = |i: u8| {
        let pixels: Vec<u8> = (0..784).map(|p| (p as u8).wrapping_mul(i)).collect();
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes).write_image(&pixels, 28, 28, ExtendedColorType::L8).unwrap();
        bytes
    };
    (0..20).map(png).collect()
}

/// A folder `data` with MNIST as parquet files.
fn tables() -> Place {
    let place = PROGRAM.place();
    for split in ["train", "test"] {
        place.write(&format!("data/{split}/0000.parquet"), parquet("image", &pngs()));
    }
    place
}

/// A folder `data` with MNIST in its original files.
fn originals() -> Place {
    let place = PROGRAM.place();
    for (i, file) in IDX.into_iter().enumerate() {
        let images = [&[0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 28, 0, 0, 0, 28][..], &[9; 20 * 784]];
        let labels = [&[0, 0, 8, 1, 0, 0, 0, 20][..], &[3; 20]];
        let bytes = if i % 2 == 0 { images.concat() } else { labels.concat() };
        place.write(&format!("data/{file}"), bytes);
    }
    place
}

const ARGS: [&str; 8] =
    ["--dataset", "mnist", "--data-dir", "data", "--out", "out", "--preset", "softhebb-cnn-digits"];

#[test]
fn whole_files_are_read() {
    for place in [tables(), originals()] {
        place.run(&[&ARGS[..], &TINY].concat()).ok();
        assert_eq!(place.json("out/results.json")["train_images"], 20);
    }
}

#[test]
fn broken_parquet_files_are_named() {
    let place = tables();
    let file = "data/test/0000.parquet";
    let whole = place.bytes(file);
    place.write(file, &whole[..whole.len() / 2]);
    place.refused(&ARGS, &[file, "broken parquet file"]);
    place.write(file, parquet("picture", &pngs()));
    place.refused(&ARGS, &[file, "picture.bytes", "image.bytes"]);
    let mut broken = pngs();
    broken[7].truncate(50);
    place.write(file, parquet("image", &broken));
    place.refused(&ARGS, &[file, "broken PNG", "row 7"]);
}

#[test]
fn cut_idx_files_are_named() {
    for file in IDX.map(|file| format!("data/{file}")) {
        let place = originals();
        let whole = place.bytes(&file);
        place.write(&file, &whole[..whole.len() - 1]);
        place.refused(&ARGS, &[&file, "bytes after the header"]);
        std::fs::remove_file(place.path(&file)).unwrap();
        place.refused(&ARGS, &[&file[5..]]);
    }
}

#[test]
fn missing_data_sets_are_named_with_the_way_out() {
    let place = PROGRAM.place();
    let args = ["--dataset", "mnist", "--out", "out"];
    let parts = ["mnist/train/0000.parquet", "ylecun/mnist", "--data-dir", "HF_HOME"];
    let cache = place.path("hf/hub").display().to_string();
    place.refused(&[&args[..], &["--offline"]].concat(), &[&parts[..], &[&cache]].concat());
    place.refused(&ARGS, &["data"]);

    // Online, but nobody is there.
    let mut command = place.command(&args);
    command.env("HF_ENDPOINT", "http://127.0.0.1:1");
    let run = outcome(command);
    assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""));
    for part in [&parts[..], &[&cache, "download failed"]].concat() {
        assert!(run.stderr.contains(part), "no '{part}' in: {}", run.stderr);
    }
    assert!(!place.path("out").exists());
}
