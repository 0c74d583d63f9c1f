//! Original files of data sets, whole and broken. Tables and the hub are tested with `hebbian`: they need features that
//! the programs of this folder do without.

use super::{PROGRAM, TINY};
use crate::common::program::Place;

const IDX: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

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
    let place = originals();
    place.run(&[&ARGS[..], &TINY].concat()).ok();
    assert_eq!(place.json("out/results.json")["train_images"], 20);
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
