//! Local folders: the original formats and the hub's parquet files.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::common::{
    self, assert_images, assert_says, files, parquet, planes, png, rows, schema, shape, split,
};
use hebbian_data::{Dataset, DatasetName, Error, LoadOptions, load};

fn from(dir: &Path, name: DatasetName) -> Result<Dataset, Error> {
    load(
        name.as_str(),
        &LoadOptions { data_dir: Some(dir.into()), offline: true, ..LoadOptions::default() },
    )
}

/// The error message of loading from a folder in which one file is replaced.
fn complaint(name: DatasetName, make: impl Fn(&Path), file: &str, bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    assert!(from(dir.path(), name).is_ok());
    common::write(&dir.path().join(file), bytes);
    let error = from(dir.path(), name).unwrap_err();
    assert!(matches!(error, Error::BadFile { .. }), "{error}");
    assert_says(&error.to_string(), &[file, "found", "expected"]);
    error.to_string()
}

fn idx_images(first: usize, count: usize) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, count as u8, 0, 0, 0, 28, 0, 0, 0, 28];
    bytes.extend((first..first + count).flat_map(|i| planes(i, (1, 28, 28))));
    bytes
}

fn idx_labels(first: usize, count: usize) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 1, 0, 0, 0, count as u8];
    bytes.extend((first..first + count).map(|i| (7 * i % 10) as u8));
    bytes
}

const IDX: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

fn idx(dir: &Path) {
    let bytes = [idx_images(0, 6), idx_labels(0, 6), idx_images(6, 3), idx_labels(6, 3)];
    IDX.iter().zip(bytes).for_each(|(file, bytes)| common::write(&dir.join(file), &bytes));
}

fn assert_splits(data: &Dataset) {
    let name = data.name.parse().unwrap();
    assert_images(&data.train, name, 0, 6);
    assert_images(&data.test, name, 6, 3);
}

#[test]
fn idx_files_in_their_usual_places() {
    let dots = |dir: &Path| {
        idx(dir);
        for file in IDX {
            let dotted = file.replace("-idx", ".idx");
            fs::rename(dir.join(file), dir.join(dotted)).unwrap();
        }
    };
    let gzip = |dir: &Path| {
        idx(dir);
        for file in IDX {
            let packed = gzipped(&fs::read(dir.join(file)).unwrap());
            fs::write(dir.join(format!("{file}.gz")), packed).unwrap();
            fs::remove_file(dir.join(file)).unwrap();
        }
    };
    for name in [DatasetName::Mnist, DatasetName::FashionMnist] {
        let raw = if name == DatasetName::Mnist { "MNIST/raw" } else { "FashionMNIST/raw" };
        for (make, sub) in [(&idx as &dyn Fn(&Path), ""), (&idx, raw), (&dots, ""), (&gzip, "")] {
            let dir = tempfile::tempdir().unwrap();
            make(&dir.path().join(sub));
            let data = from(dir.path(), name).unwrap();
            assert_eq!(data.class_names, name.class_names());
            assert_splits(&data);
        }
    }
}

#[test]
fn candle_datasets_reads_the_same_idx_files() {
    let dir = tempfile::tempdir().unwrap();
    idx(dir.path());
    let theirs = candle_datasets::vision::mnist::load_dir(dir.path()).unwrap();
    let ours = from(dir.path(), DatasetName::Mnist).unwrap();
    for (ours, images, labels) in [
        (&ours.train, &theirs.train_images, &theirs.train_labels),
        (&ours.test, &theirs.test_images, &theirs.test_labels),
    ] {
        let all: Vec<usize> = (0..ours.len()).collect();
        let (batch, classes) = ours.batch(&all, candle::DType::F32, &candle::Device::Cpu).unwrap();
        let difference = (batch.flatten_from(1).unwrap() - images).unwrap().abs().unwrap();
        let difference = difference.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(difference.iter().all(|difference| *difference < 1e-6));
        let labels = labels.to_dtype(candle::DType::U32).unwrap();
        assert_eq!(classes.to_vec1::<u32>().unwrap(), labels.to_vec1::<u32>().unwrap());
    }
}

#[test]
fn bad_idx_files_are_named() {
    let name = DatasetName::Mnist;
    let images = idx_images(0, 6);
    let cut = complaint(name, idx, IDX[0], &images[..images.len() - 1]);
    assert_says(&cut, &["4703 bytes", "4704", "[6, 28, 28]", "fetch it again"]);
    let long = complaint(name, idx, IDX[0], &[&images[..], &[0]].concat());
    assert_says(&long, &["4705 bytes", "4704"]);
    assert_says(&complaint(name, idx, IDX[0], &images[..10]), &["10 bytes", "header of 16 bytes"]);
    assert_says(&complaint(name, idx, IDX[0], b""), &["0 bytes"]);
    let swapped = complaint(name, idx, IDX[0], &idx_labels(0, 20));
    assert_says(&swapped, &["0x00000801", "0x00000803"]);
    assert_says(&complaint(name, idx, IDX[1], &idx_labels(0, 5)), &["5 labels", "6, one for each"]);
    let mut labels = idx_labels(6, 3);
    labels[9] = 10;
    assert_says(&complaint(name, idx, IDX[3], &labels), &["label 10 for image 1", "from 0 to 9"]);
    let mut sides = vec![0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 56, 0, 0, 0, 14];
    sides.extend([0; 784]);
    assert_says(&complaint(name, idx, IDX[2], &sides), &["56x14", "28x28"]);
    let mut huge = images.clone();
    huge[4..8].copy_from_slice(&[255; 4]);
    complaint(name, idx, IDX[0], &huge);
    // The labels are counted before the images are unpacked, so the folder has one for each image.
    let cut = gzipped(&images);
    complaint_of(&format!("{}.gz", IDX[0]), &cut[..cut.len() - 20], &["broken gzip"]);
    complaint_of(&format!("{}.gz", IDX[0]), b"no gzip", &["7 bytes", "header of 16 bytes"]);
}

/// Checks the error message of loading MNIST with this file in place of the training images.
fn complaint_of(file: &str, bytes: &[u8], parts: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    idx(dir.path());
    fs::remove_file(dir.path().join(IDX[0])).unwrap();
    common::write(&dir.path().join(file), bytes);
    let error = from(dir.path(), DatasetName::Mnist).unwrap_err().to_string();
    assert_says(&error, &[&[file][..], parts].concat());
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A file's name does not say whether it is compressed: browsers unpack `.gz`, and some mirrors compress what they
/// serve. Zeros after a stream are not part of it.
#[test]
fn gzip_is_told_by_its_first_bytes() {
    let dir = tempfile::tempdir().unwrap();
    idx(dir.path());
    let pad = |bytes: Vec<u8>| [bytes, vec![0; 1000]].concat();
    for (file, name, pack) in [
        (IDX[0], IDX[0].to_string(), true),
        (IDX[1], format!("{}.gz", IDX[1]), false),
        (IDX[2], format!("{}.gz", IDX[2]), true),
    ] {
        let bytes = fs::read(dir.path().join(file)).unwrap();
        fs::remove_file(dir.path().join(file)).unwrap();
        let bytes = if pack { pad(gzipped(&bytes)) } else { bytes };
        common::write(&dir.path().join(name), &bytes);
    }
    assert_splits(&from(dir.path(), DatasetName::Mnist).unwrap());
}

#[test]
fn missing_files_and_folders_are_named() {
    let dir = tempfile::tempdir().unwrap();
    idx(dir.path());
    fs::remove_file(dir.path().join(IDX[3])).unwrap();
    assert_says(&from(dir.path(), DatasetName::Mnist).unwrap_err().to_string(), &[IDX[3]]);
    let missing = dir.path().join("missing");
    assert_says(&from(&missing, DatasetName::Mnist).unwrap_err().to_string(), &["missing"]);
    for (name, file) in [
        (DatasetName::Mnist, IDX[0]),
        (DatasetName::FashionMnist, IDX[0]),
        (DatasetName::Cifar10, "data_batch_1.bin"),
        (DatasetName::Cifar100, "train.bin"),
    ] {
        let empty = tempfile::tempdir().unwrap();
        let error = from(empty.path(), name).unwrap_err().to_string();
        let parts = [name.as_str(), file, "train/0000.parquet", "--data-dir"];
        assert_says(&error, &parts);
        assert_says(&error, &[&empty.path().display().to_string()]);
    }
}

/// Records of CIFAR's binary version; `labels` makes the label bytes of image `i`.
fn records(first: usize, count: usize, labels: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let record = |i| [labels(i), planes(i, (3, 32, 32))].concat();
    (first..first + count).flat_map(record).collect()
}

fn one(i: usize) -> Vec<u8> {
    vec![(7 * i % 10) as u8]
}

fn cifar10(dir: &Path) {
    for batch in 0..5 {
        let file = dir.join(format!("data_batch_{}.bin", batch + 1));
        common::write(&file, &records(2 * batch, 2, one));
    }
    common::write(&dir.join("test_batch.bin"), &records(10, 2, one));
}

fn cifar100(dir: &Path) {
    // The coarse label comes first and must not be taken.
    let two = |i: usize| vec![19, (7 * i % 10) as u8];
    common::write(&dir.join("train.bin"), &records(0, 6, two));
    common::write(&dir.join("test.bin"), &records(6, 3, two));
}

#[test]
fn cifar_binary_files_in_their_usual_places() {
    for sub in ["", "cifar-10-batches-bin"] {
        let dir = tempfile::tempdir().unwrap();
        cifar10(&dir.path().join(sub));
        let data = from(dir.path(), DatasetName::Cifar10).unwrap();
        assert_images(&data.train, DatasetName::Cifar10, 0, 10);
        assert_images(&data.test, DatasetName::Cifar10, 10, 2);
    }
    for sub in ["", "cifar-100-binary"] {
        let dir = tempfile::tempdir().unwrap();
        cifar100(&dir.path().join(sub));
        assert_splits(&from(dir.path(), DatasetName::Cifar100).unwrap());
    }
}

#[test]
fn bad_cifar_files_are_named() {
    let name = DatasetName::Cifar10;
    let batch = records(4, 2, one);
    let cut = complaint(name, cifar10, "data_batch_3.bin", &batch[..3072]);
    assert_says(&cut, &["3072 bytes", "a multiple of 3073"]);
    let long = [&batch[..], &[0]].concat();
    let long = complaint(name, cifar10, "data_batch_3.bin", &long);
    assert_says(&long, &["6147 bytes", "a multiple of 3073"]);
    // Half a batch is a whole number of records, and so is a batch with a record too many.
    let half = complaint(name, cifar10, "test_batch.bin", &batch[..3073]);
    assert_says(&half, &["3073 bytes", "6146 bytes, as most"]);
    let many = complaint(name, cifar10, "data_batch_2.bin", &records(2, 3, one));
    assert_says(&many, &["9219 bytes", "6146 bytes, as most"]);
    let wrong = complaint(name, cifar10, "data_batch_2.bin", &records(2, 2, |_| vec![10]));
    assert_says(&wrong, &["label 10 for image 0", "from 0 to 9"]);
    let dir = tempfile::tempdir().unwrap();
    cifar10(dir.path());
    fs::remove_file(dir.path().join("data_batch_4.bin")).unwrap();
    assert_says(&from(dir.path(), name).unwrap_err().to_string(), &["data_batch_4.bin"]);

    let name = DatasetName::Cifar100;
    assert_says(&complaint(name, cifar100, "train.bin", &batch), &["6146 bytes", "3074"]);
    assert_says(&complaint(name, cifar100, "test.bin", b""), &["0 bytes", "3074"]);
    let wrong = complaint(name, cifar100, "test.bin", &records(0, 1, |_| vec![0, 100]));
    assert_says(&wrong, &["label 100 for image 0", "from 0 to 99"]);
}

#[test]
fn parquet_files_under_both_of_the_hubs_names() {
    for (name, folder) in [
        (DatasetName::Mnist, "mnist"),
        (DatasetName::FashionMnist, "fashion_mnist"),
        (DatasetName::Cifar10, "plain_text"),
        (DatasetName::Cifar100, "cifar100"),
    ] {
        for sub in ["", folder, "data"] {
            for pattern in ["SPLIT/0000.parquet", "SPLIT-00000-of-00001.parquet"] {
                let dir = tempfile::tempdir().unwrap();
                for (part, first, count) in [("train", 0, 6), ("test", 6, 3)] {
                    let path = dir.path().join(sub).join(pattern.replace("SPLIT", part));
                    common::write(&path, &split(name, first, count));
                }
                assert_splits(&from(dir.path(), name).unwrap());
                assert_eq!(files(dir.path()).len(), 2);
            }
        }
    }
}

/// STL-10 of 6 and 3 images: planes column by column, labels from 1.
fn stl10(dir: &Path) {
    let (channels, side) = (3, 96);
    for (split, first, count) in [("train", 0, 6), ("test", 6, 3)] {
        let mut images = Vec::new();
        for i in first..first + count {
            for c in 0..channels {
                for x in 0..side {
                    images.extend((0..side).map(|y| common::pixel(i, c, y, x)));
                }
            }
        }
        let labels: Vec<u8> = (first..first + count).map(|i| 1 + (7 * i % 10) as u8).collect();
        common::write(&dir.join(format!("{split}_X.bin")), &images);
        common::write(&dir.join(format!("{split}_y.bin")), &labels);
    }
}

#[test]
fn stl10_binary_files_in_their_usual_places() {
    for sub in ["", "stl10_binary"] {
        let dir = tempfile::tempdir().unwrap();
        stl10(&dir.path().join(sub));
        let data = from(dir.path(), DatasetName::Stl10).unwrap();
        assert_eq!(data.class_names[1], "bird");
        assert_splits(&data);
    }
    let name = DatasetName::Stl10;
    let parts = ["27648 bytes for each", "test_y.bin", "there are 3"];
    assert_says(&complaint(name, stl10, "test_X.bin", &[0; 2 * 27_648]), &parts);
    assert_says(
        &complaint(name, stl10, "test_y.bin", &[1, 0, 2]),
        &["label 0 for image 1", "1 to 10"],
    );
    assert_says(&complaint(name, stl10, "test_y.bin", &[1, 2, 11]), &["label 10 for image 2"]);
    assert_says(&complaint(name, stl10, "train_X.bin", b""), &["0 bytes", "there are 6"]);
}

#[test]
fn all_files_of_a_split_are_read() {
    for (parts, missing) in [
        (["train/0000.parquet", "train/0001.parquet"], "train/0000.parquet"),
        (
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            "data/train-00001-of-00002.parquet",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let name = DatasetName::Cifar10;
        let root = Path::new(parts[0]).parent().unwrap().parent().unwrap();
        let test = dir.path().join(root).join("test/0000.parquet");
        common::write(&test, &split(name, 6, 3));
        for (file, first, count) in [(parts[0], 0, 4), (parts[1], 4, 2)] {
            common::write(&dir.path().join(file), &split(name, first, count));
        }
        assert_splits(&from(dir.path(), name).unwrap());
        // A row is counted from the start of its own file.
        let mut wrong = rows(name, 4, 2);
        wrong[1].1 = 10;
        common::write(&dir.path().join(parts[1]), &parquet(&schema(name), &wrong, 4));
        let error = from(dir.path(), name).unwrap_err().to_string();
        assert_says(&error, &[parts[1], "label 10 in row 1"]);
        fs::remove_file(dir.path().join(missing)).unwrap();
        let error = from(dir.path(), name).unwrap_err().to_string();
        assert_says(&error, &["1 of the 2 files", "train"]);
    }
}

fn tables(dir: &Path) {
    for (part, first, count) in [("train", 0, 6), ("test", 6, 3)] {
        let path = dir.join(format!("{part}/0000.parquet"));
        common::write(&path, &split(DatasetName::Cifar10, first, count));
    }
}

#[test]
fn bad_parquet_files_are_named() {
    let (name, file) = (DatasetName::Cifar10, "test/0000.parquet");
    let complain = |bytes: &[u8]| complaint(name, tables, file, bytes);
    let good = split(name, 0, 6);
    assert_says(&complain(&good[..good.len() / 2]), &["broken parquet", "fetch it again"]);
    assert_says(&complain(b"<html>Bad gateway</html>"), &["broken parquet"]);
    assert_says(&complain(b""), &["broken parquet"]);

    let wrong = parquet(
        "message schema { optional group picture { optional binary bytes; } optional int64 label; }",
        &rows(name, 0, 2),
        2,
    );
    let message = complain(&wrong);
    assert_says(&message, &["picture.bytes: BYTE_ARRAY", "label: INT64", "img.bytes", "cifar10"]);
    let hundred = parquet(&schema(DatasetName::Cifar100), &rows(name, 0, 2), 2);
    assert_says(&complain(&hundred), &["fine_label: INT64", "label: INT64", "cifar10"]);

    let mut broken = rows(name, 0, 6);
    broken[5].0[60] ^= 255;
    let message = complain(&parquet(&schema(name), &broken, 4));
    assert_says(&message, &["broken PNG", "in row 5", "32x32", "8-bit RGB"]);
    broken[5].0.clear();
    assert_says(
        &complain(&parquet(&schema(name), &broken, 4)),
        &["0 bytes that are not a PNG", "in row 5"],
    );
    broken[5].0 = png(5, shape(DatasetName::Mnist));
    let message = complain(&parquet(&schema(name), &broken, 4));
    assert_says(&message, &["28x28 pixels of L8", "in row 5", "32x32"]);

    for label in [10, -1, 1 << 40] {
        let mut wrong = rows(name, 0, 6);
        wrong[4].1 = label;
        let message = complain(&parquet(&schema(name), &wrong, 4));
        assert_says(&message, &[&format!("label {label} in row 4"), "from 0 to 9"]);
    }
    assert_says(&complain(&parquet(&schema(name), &[], 4)), &["no rows"]);
}

#[test]
fn every_bit_of_a_parquet_file_may_be_wrong_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    tables(dir.path());
    let good = split(DatasetName::Cifar10, 6, 3);
    // Every 37th byte, the footer, and the header of the first page, in which a wrong size makes the parquet crate
    // panic.
    let bytes = (0..good.len()).step_by(37).chain(good.len().saturating_sub(600)..good.len());
    let mut panics = 0;
    for (place, bits) in bytes.map(|place| (place, 0xa5)).chain((0..32).map(|place| (place, 0x10)))
    {
        let mut bytes = good.clone();
        bytes[place] ^= bits;
        common::write(&dir.path().join("test/0000.parquet"), &bytes);
        // Some bytes do not matter (statistics, the writer's name); the others give an error.
        if let Err(error) = from(dir.path(), DatasetName::Cifar10) {
            panics += usize::from(error.to_string().contains("its pages contradict each other"));
        }
    }
    assert!(panics > 0, "no reader panics any more, and nothing has to be caught");
}

/// The message of a panic in the reader goes into the error, not to the screen.
#[test]
fn panics_of_the_reader_are_not_shown() {
    let tests = std::env::current_exe().unwrap();
    let test = "folder::every_bit_of_a_parquet_file_may_be_wrong_without_a_panic";
    let shown = std::process::Command::new(tests).args([test, "--exact", "--nocapture"]).output();
    let shown = shown.unwrap();
    let text = String::from_utf8_lossy(&[shown.stdout, shown.stderr].concat()).into_owned();
    assert!(shown.status.success() && text.contains("1 passed"), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}
