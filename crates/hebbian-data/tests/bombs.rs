//! Small files that claim to be large are refused before memory is taken. These tests have a process of their own,
//! because they measure the most memory that a process has held.

mod common;

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::Arc;

use common::{assert_images, assert_says, parquet, planes, png, rows, schema, split, write};
use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, Crc};
use hebbian_data::{Dataset, DatasetName, LoadOptions, Result, load};
use image::{DynamicImage, GrayImage, ImageFormat, Luma};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const NAME: DatasetName = DatasetName::Mnist;

fn from(dir: &Path) -> Result<Dataset> {
    load(NAME.as_str(), &LoadOptions { data_dir: Some(dir.into()), ..Default::default() })
}

/// Loads MNIST with this test file.
fn with_table(test: &[u8]) -> Result<Dataset> {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("train/0000.parquet"), &split(NAME, 0, 3));
    write(&dir.path().join("test/0000.parquet"), test);
    from(dir.path())
}

/// A number in Thrift's compact protocol: seven bits a byte.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// `SchemaElement { 4: name "a", 5: num_children }`.
fn group(children: u64) -> Vec<u8> {
    [&[0x48, 1, b'a', 0x15][..], &varint(2 * children), &[0]].concat()
}

/// A parquet file that is only a footer: `FileMetaData { 1: version, 2: schema, 3: num_rows, 4:
/// row_groups }`.
fn footer(elements: u64, schema: &[u8], rows: u64, groups: u64) -> Vec<u8> {
    let list = |count| [&[0x19, 0xfc][..], &varint(count)].concat();
    let footer =
        [&[0x15, 2][..], &list(elements), schema, &[0x16], &varint(2 * rows), &list(groups), &[0]]
            .concat();
    let length = (footer.len() as u32).to_le_bytes();
    [b"PAR1".as_slice(), &footer, &length, b"PAR1"].concat()
}

#[test]
fn tables_that_claim_more_than_they_hold_are_refused() {
    let many = (1 << 31) - 1;
    let deep: Vec<u8> = (0..10_000).flat_map(|_| group(1)).chain(group(0)).collect();
    let wide: Vec<u8> = group(5000).into_iter().chain((0..5000).flat_map(|_| group(0))).collect();
    for (what, bytes) in [
        ("a schema 10,000 deep", footer(10_001, &deep, 1, 0)),
        ("5,000 columns", footer(5001, &wide, 1, 0)),
        ("children", footer(1, &group(many), 1, 0)),
        ("columns", footer(many, &group(0), 1, 0)),
        ("row groups", footer(2, &[group(1), group(0)].concat(), 1, many)),
        ("an incomplete tree", footer(2, &[group(2), group(0)].concat(), 1, 0)),
        ("two trees", footer(2, &[group(0), group(0)].concat(), 1, 0)),
    ] {
        let error = with_table(&bytes).expect_err(what).to_string();
        assert_says(&error, &["test/0000.parquet", "does not hold what it says", "16 levels"]);
    }
}

#[test]
fn rows_that_the_file_has_no_bytes_for_are_refused() {
    // Every row count of 3 becomes 2³¹ − 1: that of the file, of its group and of its columns.
    let good = split(NAME, 6, 3);
    let end = good.len() - 8;
    let length = u32::from_le_bytes(good[end..end + 4].try_into().unwrap()) as usize;
    let (body, old) = good[..end].split_at(end - length);
    let (mut footer, mut at, mut counts) = (Vec::new(), 0, 0);
    while at < old.len() {
        if old[at..].starts_with(&[0x16, 2 * 3]) {
            footer.extend([&[0x16][..], &varint(2 * ((1 << 31) - 1))].concat());
            (at, counts) = (at + 2, counts + 1);
        } else {
            footer.push(old[at]);
            at += 1;
        }
    }
    assert!(counts >= 3, "{counts}");
    let length = (footer.len() as u32).to_le_bytes();
    let error = with_table(&[body, &footer, &length, b"PAR1"].concat()).unwrap_err().to_string();
    assert_says(&error, &["test/0000.parquet", "2147483647 rows", "at most in a file of"]);
}

/// The first page of the images claims as many bytes, or values, as its header can state.
#[test]
fn pages_that_claim_more_than_they_hold_are_refused() {
    let good = split(NAME, 6, 3);
    // `PageHeader { 1: type, 2: uncompressed_page_size, 3: compressed_page_size, 5 or 7: { 1: num_values`
    let number = |at: usize| {
        assert_eq!(good[at], 0x15, "no i32 of the next field at byte {at}");
        at + 2 + good[at + 1..].iter().take_while(|&&byte| byte >= 0x80).count()
    };
    let (kind, size) = (number(4), number(number(4)));
    let compressed = number(size);
    assert!([0x2c, 0x4c].contains(&good[compressed]), "no struct of values");
    let values = number(compressed + 1);
    let claim = varint(2 * ((1 << 31) - 1));
    for (what, start, end) in [
        ("bytes would become 2147483647", kind, size),
        ("of 2147483647 values", compressed + 1, values),
    ] {
        let bytes = [&good[..=start], &claim, &good[end..]].concat();
        let (result, growth) = growth_of(|| with_table(&bytes));
        let error = result.unwrap_err().to_string();
        assert_says(&error, &["test/0000.parquet", "image.bytes has a page at byte 4", what]);
        assert!(growth < 64, "{growth} MiB");
    }
}

/// The most memory that this process has held, in MiB.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() >> 10
}

/// Runs `run` and returns how much more memory it takes, in MiB.
#[cfg(target_os = "linux")]
fn growth_of<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = peak();
    let result = run();
    (result, peak() - before)
}

#[cfg(not(target_os = "linux"))]
fn growth_of<T>(run: impl FnOnce() -> T) -> (T, u64) {
    (run(), 0)
}

const BOMB: usize = 256 << 20;

/// Writes zeros, in parts.
fn zeros(mut packed: impl std::io::Write, size: usize) {
    let part = vec![0; 1 << 10];
    (0..size >> 10).for_each(|_| packed.write_all(&part).unwrap());
}

#[test]
fn a_gzip_file_is_unpacked_only_as_far_as_its_header_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train-images-idx3-ubyte.gz");
    write(&dir.path().join("train-labels-idx1-ubyte"), &[0, 0, 8, 1, 0, 0, 0, 2, 7, 3]);
    let mut file = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::fast());
    file.write_all(&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28]).unwrap();
    zeros(&mut file, BOMB);
    file.finish().unwrap();
    let (result, growth) = growth_of(|| from(dir.path()));
    let error = result.unwrap_err().to_string();
    assert_says(&error, &["train-images", "at least 1569 bytes after the header", "1568"]);
    assert!(growth < 64, "{growth} MiB");

    // 350,000 images, and two labels.
    let mut file = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::fast());
    file.write_all(&[0, 0, 8, 3, 0, 5, 0x57, 0x30, 0, 0, 0, 28, 0, 0, 0, 28]).unwrap();
    zeros(&mut file, BOMB);
    file.finish().unwrap();
    let (result, growth) = growth_of(|| from(dir.path()));
    let error = result.unwrap_err().to_string();
    assert_says(&error, &["train-labels", "2 labels", "350000, one for each image"]);
    assert!(growth < 64, "{growth} MiB");

    let mut file = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::fast());
    file.write_all(&[0, 0, 8, 3, 0, 0x20, 0, 0, 0, 0, 0, 28, 0, 0, 0, 28]).unwrap();
    file.finish().unwrap();
    assert_says(&from(dir.path()).unwrap_err().to_string(), &["2097152", "1000000 at most"]);
}

/// MNIST whose second image has a profile that unpacks to `size` bytes.
fn with_profile(size: usize) -> Result<Dataset> {
    let mut packed = ZlibEncoder::new(b"iCCPa\0\0".to_vec(), Compression::fast());
    zeros(&mut packed, size);
    let packed = packed.finish().unwrap();
    let mut sum = Crc::new();
    sum.update(&packed);
    let length = (packed.len() as u32 - 4).to_be_bytes();
    let mut images = rows(NAME, 6, 3);
    // After the signature of 8 bytes and the header of 25.
    images[1].0.splice(33..33, [&length[..], &packed, &sum.sum().to_be_bytes()].concat());
    with_table(&parquet(&schema(NAME), &images, 3))
}

#[test]
fn a_picture_s_profile_is_not_unpacked_to_any_size() {
    assert_images(&with_profile(10 << 10).unwrap().test, NAME, 6, 3);
    let (result, growth) = growth_of(|| with_profile(BOMB));
    let error = result.unwrap_err().to_string();
    assert_says(&error, &["test/0000.parquet", "broken PNG (Memory limit exceeded) in row 1"]);
    assert!(growth < 64, "{growth} MiB");
}

/// A picture of one pixel's width would be resized to 160×16,000,000 pixels before it is cropped to a square.
#[test]
fn a_narrow_picture_is_not_resized_to_any_length() {
    let dir = tempfile::tempdir().unwrap();
    let narrow = GrayImage::from_pixel(1, 100_000, Luma([7]));
    for part in ["train", "test"] {
        fs::create_dir_all(dir.path().join(part).join("a")).unwrap();
        narrow.save(dir.path().join(part).join("a/1.png")).unwrap();
    }
    let of = |image_size| {
        let data_dir = Some(dir.path().into());
        load("mine", &LoadOptions { data_dir, image_size: Some(image_size), ..Default::default() })
    };
    let (result, growth) = growth_of(|| of(160));
    let error = result.unwrap_err().to_string();
    assert_says(
        &error,
        &["a/1.png", "a PNG of 100000x1 pixels", "2560000000", "104857600 at most"],
    );
    assert!(growth < 64, "{growth} MiB");
    assert_eq!(of(2).unwrap().train.image(0).unwrap(), [7; 4]);
}

/// Two thousand rows share a picture, which has much behind its end, and a label: each is in the file once, and in
/// memory.
#[test]
fn what_many_rows_share_is_held_once() {
    const ROWS: usize = 2048;
    let mut picture = png(0, (1, 4, 6));
    picture.resize(256 << 10, 0);
    let word = "a".repeat(60 << 10);
    let schema = "message schema { optional group image { optional binary bytes; } \
                  optional binary label (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    for (value, level) in [(ByteArray::from(picture), 2), (ByteArray::from(word.as_str()), 1)] {
        let mut column = group.next_column().unwrap().unwrap();
        let (values, levels) = (vec![value; ROWS], [level; ROWS]);
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    file.close().unwrap();
    assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("train.parquet"), &bytes);
    let options = LoadOptions { data_dir: Some(dir.path().into()), ..LoadOptions::default() };
    let (result, growth) = growth_of(|| load("mine", &options));
    let data = result.unwrap();
    assert_eq!(data.train.len() + data.test.len(), ROWS);
    assert_eq!(data.train.image(0).unwrap(), planes(0, (1, 4, 6)));
    assert_eq!(data.class_names, [word]);
    assert!(growth < 64, "{growth} MiB");
}

/// Pictures whose headers claim more pixels than there are: no memory is taken for the claimed pixels.
#[test]
fn a_picture_s_size_is_looked_at_before_memory_is_taken() {
    let of = |format| {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(8, 8).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let large = 16_000u16;
    let mut jpeg = of(ImageFormat::Jpeg);
    // `SOF0`, the length of the segment, bits; then height and width.
    let start = jpeg.windows(2).position(|bytes| bytes == [0xff, 0xc0]).unwrap() + 5;
    jpeg[start..start + 4].copy_from_slice(&[large.to_be_bytes(), large.to_be_bytes()].concat());
    let mut bmp = of(ImageFormat::Bmp);
    let sides = u32::from(large).to_le_bytes();
    bmp[18..26].copy_from_slice(&[sides, sides].concat());
    let mut png = of(ImageFormat::Png);
    let sides = u32::from(large).to_be_bytes();
    png[16..24].copy_from_slice(&[sides, sides].concat());
    let mut sum = Crc::new();
    sum.update(&png[12..29]);
    png[29..33].copy_from_slice(&sum.sum().to_be_bytes());
    for (name, bytes) in [("JPEG", jpeg), ("BMP", bmp), ("PNG", png)] {
        let dir = tempfile::tempdir().unwrap();
        for part in ["train", "test"] {
            write(&dir.path().join(part).join("a/1.png"), &bytes);
        }
        for image_size in [None, Some(8)] {
            let data_dir = Some(dir.path().into());
            let options = LoadOptions { data_dir, image_size, ..LoadOptions::default() };
            let (result, growth) = growth_of(|| load("mine", &options));
            let error = result.expect_err(name).to_string();
            let size = format!("a {name} of 16000x16000 pixels, 768000000 bytes");
            assert_says(&error, &["a/1.png", &size, "314572800 at most"]);
            assert!(growth < 64, "{name}: {growth} MiB");
        }
    }
}
