//! A user's own images: pictures in folders, and parquet files that the library does not know.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::common::tables::{COLOUR, FEATURES, pictures, table, table_as};
use crate::common::{self, assert_says, contents, planes, png, write};
use hebbian_data::{
    Dataset, DatasetName, ImageSet, LoadOptions, Progress, Result, load, load_pictures,
    load_with_progress,
};
use image::{DynamicImage, ImageFormat, RgbImage};
use parquet::basic::{Compression, GzipLevel, Type as PhysicalType};

const GREY: (usize, usize, usize) = (1, 4, 6);

fn of(dir: &Path, edit: impl FnOnce(&mut LoadOptions)) -> Result<Dataset> {
    let mut options = LoadOptions { data_dir: Some(dir.into()), ..LoadOptions::default() };
    edit(&mut options);
    load("mine", &options)
}

fn refused(dir: &Path, edit: impl FnOnce(&mut LoadOptions), texts: &[&str]) {
    assert_says(&of(dir, edit).unwrap_err().to_string(), texts);
}

/// Writes folders of pictures: classes `ant` and `bee`, with two pictures to learn and one to test each.
fn folders(dir: &Path) {
    for (i, path) in [
        "train/ant/0.png",
        "train/ant/more/1.PNG",
        "train/bee/2.png",
        "train/bee/3.png",
        "val/ant/4.png",
        "val/bee/5.png",
    ]
    .into_iter()
    .enumerate()
    {
        write(&dir.join(path), &png(i, COLOUR));
    }
    // Files that macOS and others leave behind.
    for path in [".DS_Store", "train/.DS_Store", "train/ant/._0.png", "train/bee/notes.txt"] {
        write(&dir.join(path), b"not a picture");
    }
    write(&dir.join("__MACOSX/ant/0.png"), b"not a picture");
}

#[test]
fn folders_of_classes() {
    let dir = tempfile::tempdir().unwrap();
    folders(dir.path());
    let data = of(dir.path(), |_| ()).unwrap();
    assert_eq!(
        (data.name.as_str(), &data.class_names[..]),
        ("mine", &["ant", "bee"].map(String::from)[..])
    );
    assert_eq!(
        (data.train.shape(), data.train.labels(), data.test.labels()),
        (COLOUR, &[0, 0, 1, 1][..], &[0, 1][..])
    );
    for i in 0..4 {
        assert_eq!(data.train.image(i).unwrap(), planes(i, COLOUR), "{i}");
    }
    for i in 0..2 {
        assert_eq!(data.test.image(i).unwrap(), planes(4 + i, COLOUR), "{i}");
    }
    // The splits chosen by name, the other way round.
    let turned = of(dir.path(), |options| {
        (options.train_split, options.test_split) = (Some("val".into()), Some("train".into()));
    });
    assert_eq!(turned.unwrap().test.len(), 4);
    refused(
        dir.path(),
        |options| options.test_split = Some("dev".into()),
        &["\"dev\"", "train, val"],
    );
}

/// Folders of images to test with are no classes, whichever of them is used.
#[test]
fn other_folders_to_test_with_are_no_classes() {
    let dir = tempfile::tempdir().unwrap();
    for (i, path) in ["ant", "bee", "test/ant", "test/bee", "val/ant"].iter().enumerate() {
        write(&dir.path().join(format!("{path}/{i}.png")), &png(i, GREY));
    }
    for (asked, first) in [(None, 2), (Some("val"), 4)] {
        let data = of(dir.path(), |options| options.test_split = asked.map(String::from)).unwrap();
        assert_eq!(
            (&data.class_names[..], data.train.len()),
            (&["ant", "bee"].map(String::from)[..], 2)
        );
        assert_eq!(data.test.image(0).unwrap(), planes(first, GREY), "{asked:?}");
    }
}

/// Each name of a split to test with is known, beside `train` and beside the classes themselves.
#[test]
fn folders_to_test_with_have_several_names() {
    for test in ["testing", "Eval", "evaluation", "validation", "valid", "val", "dev"] {
        for train in ["", "training/"] {
            let dir = tempfile::tempdir().unwrap();
            let paths = [format!("{train}ant"), format!("{train}bee"), format!("{test}/bee")];
            for (i, path) in paths.iter().enumerate() {
                write(&dir.path().join(format!("{path}/{i}.png")), &png(i, GREY));
            }
            let data = of(dir.path(), |_| ()).unwrap();
            assert_eq!(data.class_names, ["ant", "bee"], "{test}");
            assert_eq!((data.train.labels(), data.test.labels()), (&[0, 1][..], &[1][..]));
            assert_eq!(data.test.image(0).unwrap(), planes(2, GREY));
        }
    }
}

/// The classes of some images to test with are not told, as in ImageNet: others take their place.
#[test]
fn images_to_test_with_have_classes() {
    let dir = tempfile::tempdir().unwrap();
    folders(dir.path());
    for i in 6..9 {
        write(&dir.path().join(format!("test/{i}.png")), &png(i, COLOUR));
    }
    let data = of(dir.path(), |_| ()).unwrap();
    assert_eq!((data.train.len(), data.test.labels()), (4, &[0, 1][..]));
    assert_eq!(data.test.image(0).unwrap(), planes(4, COLOUR));
    refused(
        dir.path(),
        |options| options.test_split = Some("test".into()),
        &["test", "no pictures in folders of classes"],
    );
}

/// The same for tables, where the labels of such images are -1 or null.
#[test]
fn tables_to_test_with_have_labels() {
    for none in ["-1", ""] {
        let dir = tempfile::tempdir().unwrap();
        let file = |split: &str| dir.path().join(format!("{split}.parquet"));
        let labels = ["1", "0", "2", "1", "0", "2"];
        write(&file("train"), &table(&pictures(0..6), &labels, Some(FEATURES)));
        write(&file("test"), &table(&pictures(6..8), &[none, none], Some(FEATURES)));
        write(&file("validation"), &table(&pictures(8..10), &["2", "0"], Some(FEATURES)));
        let data = of(dir.path(), |_| ()).unwrap();
        assert_eq!((data.train.len(), data.test.labels()), (6, &[2, 0][..]));
        assert_eq!(data.test.image(0).unwrap(), planes(8, COLOUR));
        let says = ["test.parquet", "the split \"test\" without labels", "--test-split"];
        refused(dir.path(), |options| options.test_split = Some("test".into()), &says);
        refused(dir.path(), |options| options.train_split = Some("test".into()), &says);
        // One of the two images of each class is drawn.
        fs::remove_file(file("validation")).unwrap();
        let data = of(dir.path(), |_| ()).unwrap();
        assert_eq!((data.train.len(), data.test.len()), (3, 3));
    }
}

/// Labels are missing from all images of a split, or from none. The type of a column of nulls says nothing.
#[test]
fn some_labels_may_not_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let save = |file: &str, labels: &[&str]| {
        let bytes = table(&pictures(0..labels.len()), labels, None);
        write(&dir.path().join(format!("{file}.parquet")), &bytes);
    };
    let columns = |options: &mut LoadOptions| {
        (options.image_column, options.label_column) = (Some("photo".into()), Some("kind".into()));
    };
    save("train", &["ant", "bee", "ant", "bee"]);
    save("test", &["", ""]);
    let data = of(dir.path(), columns).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (2, 2));
    save("test", &["ant", ""]);
    let says = ["test.parquet", "1 of 2 rows without a value in the column kind"];
    refused(dir.path(), columns, &says);
    fs::remove_file(dir.path().join("train.parquet")).unwrap();
    save("train-00000-of-00002", &["ant", "bee"]);
    save("train-00001-of-00002", &["", "", ""]);
    save("test", &["ant"]);
    let says = ["train-00001-of-00002.parquet", "3 of 3 rows without a value in the column kind"];
    refused(dir.path(), columns, &says);
}

/// What is learned from is not tested with: another folder is taken, or a share is drawn.
#[test]
fn the_images_to_learn_from_are_not_those_to_test_with() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..8 {
        let (part, class) = (["test", "val"][i / 4], ["ant", "bee"][i % 2]);
        write(&dir.path().join(format!("{part}/{class}/{i}.png")), &png(i, GREY));
    }
    let tested = |train: &str| {
        let data = of(dir.path(), |options| options.train_split = Some(train.into())).unwrap();
        (0..data.test.len()).map(|i| data.test.image(i).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(tested("test"), [4, 6, 5, 7].map(|i| planes(i, GREY)));
    assert_eq!(tested("val"), [0, 2, 1, 3].map(|i| planes(i, GREY)));
    std::fs::remove_dir_all(dir.path().join("val")).unwrap();
    let data = of(dir.path(), |options| options.train_split = Some("test".into())).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (2, 2));
    refused(
        dir.path(),
        |options| {
            (options.train_split, options.test_split) = (Some("test".into()), Some("test".into()));
        },
        &["\"test\"", "both to learn from and to test with"],
    );
}

/// One split is not both, also if only one of the two is named: the other one may be the same by default.
#[test]
fn no_split_is_both_to_learn_from_and_to_test_with() {
    let says = |split: &'static str| [split, "both to learn from and to test with", "--test-split"];
    let dir = tempfile::tempdir().unwrap();
    folders(dir.path());
    refused(dir.path(), |options| options.test_split = Some("train".into()), &says("\"train\""));

    let tables = tempfile::tempdir().unwrap();
    for split in ["train", "validation"] {
        let table = table(&pictures(0..3), &["1", "0", "2"], Some(FEATURES));
        write(&tables.path().join(format!("{split}.parquet")), &table);
    }
    let test = |split: &'static str| {
        move |options: &mut LoadOptions| options.test_split = Some(split.into())
    };
    refused(tables.path(), test("train"), &says("\"train\""));
    assert_eq!(of(tables.path(), test("validation")).unwrap().test.len(), 3);
    let both = |options: &mut LoadOptions| {
        options.train_split = Some("validation".into());
        options.test_split = Some("validation".into());
    };
    refused(tables.path(), both, &says("\"validation\""));
    // The only split is the one to learn from.
    fs::remove_file(tables.path().join("train.parquet")).unwrap();
    fs::rename(tables.path().join("validation.parquet"), tables.path().join("all.parquet"))
        .unwrap();
    refused(tables.path(), test("all"), &says("\"all\""));
}

/// A word of 64 KiB may be a label, a longer one may not.
#[test]
fn a_label_that_is_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let words = |options: &mut LoadOptions| {
        (options.image_column, options.label_column) = (Some("photo".into()), Some("kind".into()));
    };
    let save = |length: usize| {
        let table = table(&pictures(0..2), &["ant", &"b".repeat(length)], None);
        write(&dir.path().join("train.parquet"), &table);
    };
    save(64 << 10);
    assert_eq!(of(dir.path(), words).unwrap().class_names[1].len(), 64 << 10);
    save((64 << 10) + 1);
    let says =
        ["train.parquet", "a label of 65537 bytes in row 1", "65536 at most", "--label-column"];
    refused(dir.path(), words, &says);
}

/// All images, none, and what is no number are no shares; of no images there is none.
#[test]
fn a_share_is_between_0_and_1() {
    let dir = tempfile::tempdir().unwrap();
    folders(dir.path());
    let undivided = dir.path().join("train");
    for share in [0.0, -0.1, 1.0, 1.5, f64::NAN, f64::INFINITY] {
        let said = format!("a share of {share} ");
        let says = [said.as_str(), "between 0 and 1"];
        refused(&undivided, |options| options.test_share = share, &says);
        // Where there are images to test with, none are drawn.
        of(dir.path(), |options| options.test_share = share).unwrap();
        let data = of(dir.path(), |_| ()).unwrap();
        assert_says(&data.with_validation(share, 0).unwrap_err().to_string(), &says);
    }
    let mut data = of(dir.path(), |_| ()).unwrap();
    data.train = data.train.take(0);
    let error = data.with_validation(0.5, 0).unwrap_err().to_string();
    assert_says(&error, &["images to draw some from", "found 0"]);
}

#[test]
fn pictures_without_a_class_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..3 {
        write(&dir.path().join(format!("{i}.png")), &png(i, GREY));
    }
    write(&dir.path().join("labels.csv"), b"0.png,ant");
    refused(dir.path(), |_| (), &["3 pictures that are in no folder of a class", "a folder"]);
}

/// A class with the name of a split is taken for one, and the error says so. Nobody's pictures are to be deleted.
#[test]
fn classes_that_are_named_like_splits() {
    for (classes, taken) in [(["bus", "train"], "train"), (["invalid", "valid"], "valid")] {
        let dir = tempfile::tempdir().unwrap();
        for class in classes {
            write(&dir.path().join(class).join("1.png"), &png(1, GREY));
        }
        let says = ["taken for a split", "rename this one if it is a class"];
        refused(dir.path(), |_| (), &[&says[..], &[taken]].concat());
        let error = of(dir.path(), |_| ()).unwrap_err().to_string();
        assert!(!error.contains("delete"), "{error}");
    }
}

/// A grey class and then a coloured one, in a split that stays in its files: colour is seen, though it is not among the
/// first pictures.
#[test]
fn colour_is_looked_for_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..300 {
        write(&dir.path().join(format!("ant/{i:03}.png")), &png(i, GREY));
        write(&dir.path().join(format!("bee/{i:03}.png")), &png(i, COLOUR));
    }
    let data = of(dir.path(), |options| options.memory = 0).unwrap();
    assert_eq!(data.train.shape().0, 3);
}

/// A number is a place in the list of its own file.
#[test]
fn numbers_mean_what_their_own_file_says() {
    let listed = |names: &str| Some(FEATURES.replace(r#"["wasp", "ant", "bee"]"#, names));
    let read = |train: &str, test: Option<&str>, labels: [&[&str]; 2]| {
        let dir = tempfile::tempdir().unwrap();
        for ((part, names), labels) in
            [("train", listed(train)), ("test", test.and_then(listed))].into_iter().zip(labels)
        {
            let bytes = table(&pictures(0..labels.len()), labels, names.as_deref());
            write(&dir.path().join(format!("{part}.parquet")), &bytes);
        }
        of(dir.path(), |options| {
            options.image_column = Some("photo".into());
            options.label_column = Some("kind".into());
        })
    };
    let named = |data: &Dataset| {
        let name = |&label: &u32| data.class_names[label as usize].clone();
        [&data.train, &data.test].map(|set| set.labels().iter().map(name).collect::<Vec<_>>())
    };
    let ants = r#"["ant", "bee", "cat"]"#;
    for (test, labels, expected) in [
        // The same list.
        (Some(ants), &["0", "2"][..], &["ant", "cat"][..]),
        // Another order, a part, and names that the other list lacks.
        (Some(r#"["cat", "bee", "ant"]"#), &["0", "2"], &["cat", "ant"]),
        (Some(r#"["bee", "cat"]"#), &["0", "1"], &["bee", "cat"]),
        (Some(r#"["dog", "ant"]"#), &["0", "1"], &["dog", "ant"]),
        // No list: places in the list that there is. Words: themselves.
        (None, &["0", "2"], &["ant", "cat"]),
        (None, &["cat", "ant"], &["cat", "ant"]),
    ] {
        let data = read(ants, test, [&["0", "1", "2"], labels]).unwrap();
        assert_eq!(named(&data)[0], ["ant", "bee", "cat"], "{test:?}");
        assert_eq!(named(&data)[1], expected, "{test:?}");
    }
    let beyond = read(ants, Some(r#"["bee", "cat"]"#), [&["0"], &["2"]]).unwrap_err().to_string();
    assert_says(&beyond, &["test.parquet", "label 2 in row 0", "from 0 to 1"]);
    // Numbers beside words say nothing.
    let dir = tempfile::tempdir().unwrap();
    for (part, labels) in [("train", ["ant", "bee"]), ("test", ["0", "1"])] {
        write(&dir.path().join(format!("{part}.parquet")), &table(&pictures(0..2), &labels, None));
    }
    let edit = |options: &mut LoadOptions| {
        options.image_column = Some("photo".into());
        options.label_column = Some("kind".into());
    };
    refused(dir.path(), edit, &["test.parquet", "numbers as labels, without names"]);
}

#[test]
fn a_share_is_drawn_where_there_is_no_test_folder() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..20 {
        let class = ["ant", "bee"][i / 10];
        write(&dir.path().join(format!("{class}/{i:02}.png")), &png(i, GREY));
    }
    let drawn = |seed| of(dir.path(), |options| options.seed = seed).unwrap();
    let data = drawn(0);
    assert_eq!((data.train.len(), data.test.len()), (16, 4));
    assert_eq!(data.test.labels(), [0, 0, 1, 1]);
    assert_eq!(contents(&data.test), contents(&drawn(0).test));
    assert!((1..9).any(|seed| contents(&drawn(seed).test) != contents(&data.test)));
    // No picture is in both parts, and none is lost.
    let (train, test) = (&data.train, &data.test);
    let mut all: Vec<Vec<u8>> = (0..16)
        .map(|i| train.image(i).unwrap())
        .chain((0..4).map(|i| test.image(i).unwrap()))
        .collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 20);
    let half = of(dir.path(), |options| options.test_share = 0.5).unwrap();
    assert_eq!((half.train.len(), half.test.len()), (10, 10));
}

/// A picture in a lossless format is unchanged; in JPEG it is close.
#[test]
fn formats_are_told_by_their_first_bytes() {
    let picture = RgbImage::from_fn(6, 4, |x, y| {
        image::Rgb([0, 1, 2].map(|c| common::pixel(0, c, y as usize, x as usize)))
    });
    let smooth = RgbImage::from_fn(16, 16, |x, y| image::Rgb([8 * x as u8, 8 * y as u8, 100]));
    let encoded = |picture: &RgbImage, format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        DynamicImage::from(picture.clone()).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let one = |bytes: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        // The names of the files do not matter.
        for file in ["a/0.png", "a/1.jpg"] {
            write(&dir.path().join(file), bytes);
        }
        of(dir.path(), |_| ()).unwrap().train
    };
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
        assert_eq!(
            one(&encoded(&picture, format)).image(0).unwrap(),
            planes(0, COLOUR),
            "{format:?}"
        );
    }
    let jpeg = one(&encoded(&smooth, ImageFormat::Jpeg));
    for (at, &found) in jpeg.image(0).unwrap().iter().enumerate() {
        let (channel, y, x) = (at / 256, at / 16 % 16, at % 16);
        let value = [8 * x, 8 * y, 100][channel] as i32;
        assert!((i32::from(found) - value).abs() <= 12, "{channel} {y} {x}: {found} for {value}");
    }
    // Of 16 bits a channel with alpha, the upper byte is taken, as if the picture were opaque.
    let deep = image::ImageBuffer::from_fn(6, 4, |x, y| {
        let [r, g, b] =
            [0, 1, 2].map(|c| u16::from(common::pixel(0, c, y as usize, x as usize)) * 257);
        image::Rgba([r, g, b, 999])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgba16(deep).write_to(&mut bytes, ImageFormat::Png).unwrap();
    assert_eq!(one(bytes.get_ref()).image(0).unwrap(), planes(0, COLOUR));
}

/// Grey pictures beside colour ones have three equal channels, whichever split the colour is in.
#[test]
fn all_pictures_have_the_same_channels() {
    for in_colour in ["train/a/1.png", "test/a/2.png"] {
        let dir = tempfile::tempdir().unwrap();
        for path in ["train/a/0.png", "train/a/1.png", "test/a/2.png"] {
            let shape = if path == in_colour { COLOUR } else { GREY };
            write(&dir.path().join(path), &png(0, shape));
        }
        let data = of(dir.path(), |_| ()).unwrap();
        assert_eq!((data.train.shape(), data.test.shape()), (COLOUR, COLOUR));
        assert_eq!(
            data.train.image(0).unwrap(),
            [planes(0, GREY), planes(0, GREY), planes(0, GREY)].concat()
        );
    }
}

/// A JPEG that is marked as lying on its side (EXIF orientation 6) is set upright: its rows become columns.
#[test]
fn pictures_are_turned_as_they_are_to_be_looked_at() {
    let lying = RgbImage::from_fn(32, 16, |x, _| {
        image::Rgb(if x < 16 { [250, 250, 250] } else { [5, 5, 5] })
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::from(lying).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    let mut bytes = bytes.into_inner();
    // APP1: Exif, big-endian TIFF, one entry: tag 0x112, type short, count 1, value 6.
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    bytes.splice(2..2, exif.iter().copied());
    let dir = tempfile::tempdir().unwrap();
    for i in 0..2 {
        write(&dir.path().join(format!("a/{i}.jpg")), &bytes);
    }
    let train = of(dir.path(), |_| ()).unwrap().train;
    assert_eq!(train.shape(), (3, 32, 16));
    // Turned clockwise, the left half is on top.
    let row = |y: usize| f64::from(train.image(0).unwrap()[16 * y + 8]);
    assert!(row(2) > 200.0 && row(29) < 50.0, "{} {}", row(2), row(29));
}

/// The expected values are from Pillow 12.0, for a picture whose pixel at row y, column x, channel c is
/// (31 y + 17 x + 60 c) mod 256:
///
/// ```python
/// r = Image.fromarray(a).resize((int(side * w / h), side), Image.BILINEAR)   # h < w
/// left = int(round((r.width - side) / 2.0))
/// np.array(r)[:, left:left + side]
/// ```
#[test]
fn a_resized_picture_is_pillow_s() {
    let save = |dir: &Path, (height, width, channels): (u32, u32, usize)| {
        let value = |c: usize, y: u32, x: u32| ((31 * y + 17 * x + 60 * c as u32) % 256) as u8;
        let picture: DynamicImage = match channels {
            1 => image::GrayImage::from_fn(width, height, |x, y| image::Luma([value(0, y, x)]))
                .into(),
            _ => RgbImage::from_fn(width, height, |x, y| {
                image::Rgb([0, 1, 2].map(|c| value(c, y, x)))
            })
            .into(),
        };
        for i in 0..2 {
            fs::create_dir_all(dir.join("a")).unwrap();
            picture.save(dir.join(format!("a/{i}.png"))).unwrap();
        }
    };
    #[rustfmt::skip]
    let smaller = [
        25, 56, 90, 74, 105, 139, 123, 154, 188,
        85, 116, 150, 134, 165, 199, 183, 214, 175,
        145, 176, 210, 194, 197, 131, 159, 73, 52,
    ];
    #[rustfmt::skip]
    let larger = [
        8, 12, 21, 29, 38, 42, 23, 27, 36, 44, 53, 57, 39, 43, 52, 60, 69, 73,
        54, 58, 67, 75, 84, 88, 70, 74, 83, 91, 100, 104, 85, 89, 98, 106, 115, 119,
    ];
    for (shape, side, pillow) in [((5, 8, 3), 3, &smaller[..]), ((4, 3, 1), 6, &larger)] {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), shape);
        let found = of(dir.path(), |options| options.image_size = Some(side)).unwrap().train;
        assert_eq!(found.shape(), (shape.2, side, side));
        for (at, (&found, &pillow)) in found.image(0).unwrap().iter().zip(pillow).enumerate() {
            assert!((i32::from(found) - pillow).abs() <= 1, "{at}: {found}, Pillow has {pillow}");
        }
        // A set in memory is resized in the same way.
        let resized = of(dir.path(), |_| ()).unwrap().train.resized(side).unwrap();
        assert_eq!(resized.image(0).unwrap(), found.image(0).unwrap());
    }
}

#[test]
fn what_is_wrong_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), |_| (), &["no pictures and no parquet files", "CLASS/*.png"]);
    folders(dir.path());
    write(&dir.path().join("train/bee/3.png"), &png(3, (3, 5, 6)));
    refused(dir.path(), |_| (), &["bee/3.png", "5x6", "4x6", "--image-size"]);
    assert_eq!(
        of(dir.path(), |options| options.image_size = Some(4)).unwrap().train.shape(),
        (3, 4, 4)
    );
    let mut broken = png(3, COLOUR);
    broken[60] ^= 255;
    write(&dir.path().join("train/bee/3.png"), &broken);
    refused(dir.path(), |_| (), &["bee/3.png", "broken PNG", "--skip-bad"]);
    write(&dir.path().join("train/bee/2.png"), b"<html>");
    refused(dir.path(), |_| (), &["bee/2.png", "6 bytes that are not a PNG", "--skip-bad"]);
    // A picture in a format that is not read is not left out silently; nor are JPEG files with a rarer ending.
    write(&dir.path().join("train/ant/8.gif"), b"GIF89a\x01\0\x01\0\0\0\0;");
    refused(dir.path(), |_| (), &["ant/8.gif", "type image/gif", "a PNG, JPEG, WebP or BMP"]);
    write(&dir.path().join("train/ant/7.jfif"), b"nothing");
    refused(dir.path(), |_| (), &["ant/7.jfif", "7 bytes that are not"]);
    write(&dir.path().join("train/bee/1.png"), &png(2, COLOUR));
    let skipped = Arc::new(Mutex::new(Vec::new()));
    let seen = skipped.clone();
    let options =
        LoadOptions { data_dir: Some(dir.path().into()), skip_bad: true, ..LoadOptions::default() };
    let on_progress = Arc::new(move |progress: Progress<'_>| {
        if let Progress::Skipped { file, row: None, .. } = progress {
            seen.lock().unwrap().push(Path::new(file).file_name().unwrap().to_os_string());
        }
    });
    let data = load_with_progress("mine", &options, on_progress).unwrap();
    assert_eq!((data.train.labels(), data.test.len()), (&[0, 0, 1][..], 2));
    assert_eq!(*skipped.lock().unwrap(), ["7.jfif", "8.gif", "2.png", "3.png"]);
    fs::create_dir(dir.path().join("train/cow")).unwrap();
    refused(dir.path(), |_| (), &["train/cow", "no pictures", "if it is no class"]);
    fs::remove_dir(dir.path().join("train/cow")).unwrap();
    write(&dir.path().join("val/cow/6.png"), &png(6, COLOUR));
    refused(dir.path(), |_| (), &["val/cow", "\"cow\"", "ant, bee"]);
}

#[test]
fn tables_say_themselves_what_their_columns_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = |file: &str| dir.path().join("data").join(file);
    // Two files of a split, in order, with the names of the classes.
    write(
        &path("train-00001-of-00002.parquet"),
        &table(&pictures(2..4), &["2", "1"], Some(FEATURES)),
    );
    write(
        &path("train-00000-of-00002.parquet"),
        &table(&pictures(0..2), &["1", "0"], Some(FEATURES)),
    );
    write(&path("test-00000-of-00001.parquet"), &table(&pictures(4..5), &["2"], Some(FEATURES)));
    let data = of(dir.path(), |_| ()).unwrap();
    assert_eq!(data.class_names, ["wasp", "ant", "bee"]);
    assert_eq!((data.train.labels(), data.test.labels()), (&[1, 0, 2, 1][..], &[2][..]));
    assert!((0..4).all(|i| data.train.image(i).unwrap() == planes(i, COLOUR)));
    assert_eq!(data.test.image(0).unwrap(), planes(4, COLOUR));

    // Without that description, two columns could be the pictures, and two the labels.
    write(&path("test-00000-of-00001.parquet"), &table(&pictures(4..5), &["2"], None));
    refused(
        dir.path(),
        |_| (),
        &["photo.bytes", "other.bytes", "--image-column", "--label-column"],
    );
    let named = of(dir.path(), |options| {
        (options.image_column, options.label_column) = (Some("photo".into()), Some("kind".into()));
    });
    assert_eq!(named.unwrap().test.labels(), [2]);

    fs::remove_file(path("train-00001-of-00002.parquet")).unwrap();
    refused(dir.path(), |_| (), &["1 of the 2 files", "train"]);
}

/// Whole numbers are not taken for labels beside another column that could be labels: they may number the rows.
#[test]
fn the_column_of_labels_is_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, labels) in [
        (PhysicalType::INT64, ["ant", "bee"]),
        (PhysicalType::INT32, ["0", "1"]),
        (PhysicalType::BOOLEAN, ["0", "1"]),
    ] {
        let bytes = table_as((kind, Compression::UNCOMPRESSED), &pictures(0..2), &labels, None);
        write(&dir.path().join("train.parquet"), &bytes);
        let says = ["train.parquet", "id: INT64", "kind: ", "--label-column"];
        refused(dir.path(), |options| options.image_column = Some("photo".into()), &says);
    }
    // The column that is named for pictures is none of labels; the one that is left numbers the rows.
    write(&dir.path().join("train.parquet"), &table(&pictures(0..2), &["ant", "bee"], None));
    let says = ["train.parquet", "a different number in each row", ", id,"];
    refused(dir.path(), |options| options.image_column = Some("kind".into()), &says);
    // If it is to be the labels, the words are taken for pictures.
    let says = ["train.parquet", "3 bytes that are not a PNG"];
    let named = |options: &mut LoadOptions| {
        (options.image_column, options.label_column) = (Some("kind".into()), Some("id".into()));
    };
    refused(dir.path(), named, &says);
}

/// Numbers of which none comes twice number the rows, also if no other column could be labels.
#[test]
fn a_number_for_each_row_is_no_class() {
    let dir = tempfile::tempdir().unwrap();
    let schema = "message schema { optional group image { optional binary bytes; } \
                  optional int64 id; }";
    let save = |numbers: &[i64]| {
        let rows = numbers.iter().enumerate().map(|(i, &number)| (png(i, COLOUR), number));
        let rows: Vec<(Vec<u8>, i64)> = rows.collect();
        write(&dir.path().join("train.parquet"), &common::parquet(schema, &rows, 2));
    };
    save(&[2, 0, 3, 1]);
    let says = ["train.parquet", "a different number in each row", ", id,", "--label-column"];
    refused(dir.path(), |_| (), &says);
    let named = of(dir.path(), |options| options.label_column = Some("id".into())).unwrap();
    assert_eq!(named.class_names, ["0", "1", "2", "3"]);
    save(&[1, 0, 1, 0]);
    let data = of(dir.path(), |_| ()).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (2, 2));
}

/// Rows without a value are counted, and no intact file is called broken.
#[test]
fn rows_without_a_value_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let rows = common::rows(DatasetName::Mnist, 0, 3);
    let bytes = common::parquet(&common::schema(DatasetName::Mnist), &rows, 3);
    write(&dir.path().join("train.parquet"), &bytes);
    let says = ["train.parquet: found 3 of 3 rows without a value in the column image.path"];
    refused(dir.path(), |options| options.image_column = Some("image.path".into()), &says);
}

/// Tables of other programs: labels in 32 bits or true and false, and pages that are compressed.
#[test]
fn tables_of_other_programs() {
    let dir = tempfile::tempdir().unwrap();
    let path = |file: &str| dir.path().join(file);
    for kind in [PhysicalType::INT64, PhysicalType::INT32, PhysicalType::BOOLEAN] {
        for compression in
            [Compression::SNAPPY, Compression::GZIP(GzipLevel::default()), Compression::LZ4_RAW]
        {
            let stored = (kind, compression);
            let train = table_as(stored, &pictures(0..3), &["1", "0", "1"], Some(FEATURES));
            write(&path("train.parquet"), &train);
            let test = table_as(stored, &pictures(3..4), &["0"], Some(FEATURES));
            write(&path("test.parquet"), &test);
            let data = of(dir.path(), |_| ()).unwrap();
            assert_eq!((data.train.labels(), data.test.labels()), (&[1, 0, 1][..], &[0][..]));
            assert!((0..3).all(|i| data.train.image(i).unwrap() == planes(i, COLOUR)));
        }
    }
}

/// A broken picture is named once, also if a set turns out to have colour only after it; a set of broken pictures is
/// refused.
#[test]
fn broken_pictures_are_named_once() {
    let dir = tempfile::tempdir().unwrap();
    for (i, class) in ["ant", "bee"].into_iter().enumerate() {
        write(&dir.path().join(format!("train/{class}/0.png")), &png(i, GREY));
        write(&dir.path().join(format!("val/{class}/0.png")), &png(2 + i, GREY));
    }
    write(&dir.path().join("train/ant/1.png"), b"nothing");
    write(&dir.path().join("train/ant/2.png"), b"nothing more");
    write(&dir.path().join("train/bee/3.png"), &png(4, COLOUR));
    let skipped = Arc::new(Mutex::new(Vec::new()));
    let seen = skipped.clone();
    let options =
        LoadOptions { data_dir: Some(dir.path().into()), skip_bad: true, ..LoadOptions::default() };
    let on_progress = Arc::new(move |progress: Progress<'_>| {
        if let Progress::Skipped { file, .. } = progress {
            seen.lock().unwrap().push(Path::new(file).file_name().unwrap().to_os_string());
        }
    });
    let data = load_with_progress("mine", &options, on_progress).unwrap();
    assert_eq!((data.train.shape(), data.train.labels()), (COLOUR, &[0, 1, 1][..]));
    assert_eq!(data.train.image(2).unwrap(), planes(4, COLOUR));
    assert_eq!(*skipped.lock().unwrap(), ["1.png", "2.png"]);

    let all = tempfile::tempdir().unwrap();
    for class in ["ant", "bee"] {
        write(&all.path().join(format!("{class}/0.png")), b"nothing");
    }
    refused(all.path(), |options| options.skip_bad = true, &["ant/0.png", "7 bytes that are not"]);
}

/// A class keeps a picture to learn from, in memory or not: classes are not left out with their broken pictures.
#[test]
fn classes_are_not_left_out() {
    for memory in [LoadOptions::default().memory, 0] {
        let skip = |options: &mut LoadOptions| (options.skip_bad, options.memory) = (true, memory);
        let dir = tempfile::tempdir().unwrap();
        folders(dir.path());
        for picture in ["train/bee/2.png", "train/bee/3.png", "val/bee/5.png"] {
            write(&dir.path().join(picture), b"nothing");
        }
        let says = "train/bee: found no picture of the class \"bee\"";
        refused(dir.path(), skip, &[says, "--skip-bad", "repair or replace"]);
        // Images to test with need not be of every class.
        write(&dir.path().join("train/bee/2.png"), &png(2, COLOUR));
        let data = of(dir.path(), skip).unwrap();
        assert_eq!((data.train.labels(), data.test.labels()), (&[0, 0, 1][..], &[0][..]));

        let tables = tempfile::tempdir().unwrap();
        let mut some = pictures(0..3);
        some[1].truncate(70);
        let file = |split: &str| tables.path().join(format!("{split}.parquet"));
        write(&file("train"), &table(&some, &["1", "0", "1"], Some(FEATURES)));
        write(&file("test"), &table(&pictures(3..4), &["2"], Some(FEATURES)));
        let says = "train.parquet: found no picture of the class \"wasp\"";
        refused(tables.path(), skip, &[says, "--skip-bad"]);
        write(&file("train"), &table(&some, &["1", "1", "0"], Some(FEATURES)));
        assert_eq!(of(tables.path(), skip).unwrap().train.labels(), [1, 0]);
    }
}

/// The pixels of an image are those of the file that the set names, wherever the images are, and whatever was done to
/// the set.
#[test]
fn every_image_has_a_file() {
    let dir = tempfile::tempdir().unwrap();
    folders(dir.path());
    // Nothing of a picture that is left out moves to another one.
    write(&dir.path().join("train/ant/00.png"), b"nothing");
    write(&dir.path().join("unlabelled/9.png"), &png(9, COLOUR));
    for memory in [LoadOptions::default().memory, 0] {
        let loaded = |image_size| {
            let edit = |options: &mut LoadOptions| {
                (options.memory, options.skip_bad, options.image_size) = (memory, true, image_size);
            };
            of(dir.path(), edit).unwrap()
        };
        let check = |set: &ImageSet, names: &[&str]| {
            let found: Vec<_> = (0..set.len()).map(|i| set.file(i)).collect();
            let wanted = names.iter().map(|name| Some((dir.path().join(name), None)));
            assert_eq!(found, wanted.collect::<Vec<_>>(), "{memory}");
            assert_eq!(set.file(set.len()), None);
        };
        let data = loaded(None);
        let learned =
            ["train/ant/0.png", "train/ant/more/1.PNG", "train/bee/2.png", "train/bee/3.png"];
        check(&data.train, &learned);
        check(&data.test, &["val/ant/4.png", "val/bee/5.png"]);
        check(&data.train.select(&[3, 0]).unwrap(), &[learned[3], learned[0]]);
        check(&data.train.resized(2).unwrap().take(2), &learned[..2]);
        check(&loaded(Some(3)).train, &learned);
        check(&data.seen().unwrap(), &[&learned[..], &["unlabelled/9.png"]].concat());
    }
    assert_eq!(hebbian_data::digits().train.file(0), None);

    let tables = tempfile::tempdir().unwrap();
    let (first, second) = ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet");
    write(&tables.path().join(first), &table(&pictures(0..3), &["1", "0", "2"], Some(FEATURES)));
    write(&tables.path().join(second), &table(&pictures(3..5), &["1", "2"], Some(FEATURES)));
    let test = "test-00000-of-00001.parquet";
    write(&tables.path().join(test), &table(&pictures(5..6), &["2"], Some(FEATURES)));
    for memory in [LoadOptions::default().memory, 0] {
        let data = of(tables.path(), |options| options.memory = memory).unwrap();
        let found: Vec<_> = (0..5).map(|i| data.train.file(i).unwrap()).collect();
        let places = [(first, 0), (first, 1), (first, 2), (second, 0), (second, 1)];
        assert_eq!(found, places.map(|(file, row)| (tables.path().join(file), Some(row))));
    }
}

/// Pictures to classify: in the order in which they are named, of the size and the channels that are asked for.
#[test]
fn pictures_without_labels() {
    let dir = tempfile::tempdir().unwrap();
    folders(dir.path());
    write(&dir.path().join("grey.png"), &png(7, GREY));
    let at = |name: &str| dir.path().join(name);
    let read = |paths: &[&str], shape, skip_bad| {
        let paths: Vec<_> = paths.iter().map(|path| at(path)).collect();
        let options = LoadOptions { skip_bad, ..LoadOptions::default() };
        load_pictures(&paths, shape, &options, &common::quiet())
    };
    let set = read(&["val/bee/5.png", "train/ant"], COLOUR, false).unwrap();
    assert_eq!(set.labels(), [ImageSet::NO_LABEL; 3]);
    let names = ["val/bee/5.png", "train/ant/0.png", "train/ant/more/1.PNG"];
    for (image, (name, number)) in names.into_iter().zip([5, 0, 1]).enumerate() {
        assert_eq!(set.file(image), Some((at(name), None)));
        assert_eq!(set.image(image).unwrap(), planes(number, COLOUR));
    }
    // Squares are what --image-size makes of the pictures.
    let resized = of(dir.path(), |options| options.image_size = Some(3)).unwrap();
    let squares = read(&["train"], (3, 3, 3), false).unwrap();
    assert_eq!(contents(&squares).2, contents(&resized.train).2);
    // Three equal channels.
    let grey = read(&["grey.png"], (3, 4, 6), false).unwrap().image(0).unwrap();
    assert_eq!(grey, planes(7, GREY).repeat(3));

    let refused = |paths: &[&str], shape, texts: &[&str]| {
        assert_says(&read(paths, shape, false).unwrap_err().to_string(), texts);
    };
    let (_, height, width) = COLOUR;
    refused(&["grey.png", "val"], (1, 4, 4), &["val/ant/4.png", "found colour", "grey"]);
    refused(&["grey.png"], (2, 4, 6), &["channels", "found 2", "expected 3"]);
    for side in [0, usize::MAX] {
        refused(&["grey.png"], (3, side, side), &["an image size of", "1 to 16384"]);
    }
    refused(&["grey.png"], (1, height + 1, width), &["grey.png", "4x6 pixels"]);
    refused(&["nothing.png"], COLOUR, &["nothing.png"]);
    fs::create_dir(at("empty")).unwrap();
    refused(&["empty"], COLOUR, &["empty", "no pictures", "png"]);
    write(&at("empty/broken.png"), b"nothing");
    refused(&["empty", "val"], COLOUR, &["empty/broken.png", "7 bytes that are not"]);
    let broken = read(&["empty"], COLOUR, true).unwrap_err().to_string();
    assert_says(&broken, &["empty", "broken pictures only"]);
    let kept = read(&["empty", "val"], COLOUR, true).unwrap();
    assert_eq!((kept.len(), kept.file(0)), (2, Some((at("val/ant/4.png"), None))));
}

/// Columns are of tables: pictures beside the tables are not what they name, and a folder without tables has none.
#[test]
fn columns_are_of_tables() {
    let dir = tempfile::tempdir().unwrap();
    folders(dir.path());
    let column = |options: &mut LoadOptions| options.label_column = Some("kind".into());
    refused(dir.path(), column, &["no parquet files", "--label-column"]);
    write(
        &dir.path().join("train-00000-of-00001.parquet"),
        &table(&pictures(0..5), &["1", "0", "2", "1", "0"], Some(FEATURES)),
    );
    assert_eq!(of(dir.path(), column).unwrap().class_names, ["wasp", "ant", "bee"]);
    assert_eq!(of(dir.path(), |_| ()).unwrap().class_names, ["ant", "bee"]);
}

/// A file in place of a folder, links that lead nowhere or in a circle, and classes whose names are no text.
#[cfg(unix)]
#[test]
fn what_is_no_folder_of_pictures() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    folders(dir.path());
    write(&dir.path().join("t.csv"), b"0.png,ant");
    refused(&dir.path().join("t.csv"), |_| (), &["t.csv", "a file", "a folder"]);
    let link = |to: &Path, from: &str| symlink(to, dir.path().join(from)).unwrap();
    link(Path::new("/nonexistent"), "README.md");
    link(Path::new("/nonexistent"), "train/ant/notes");
    assert_eq!(of(dir.path(), |_| ()).unwrap().train.len(), 4);
    for place in ["train/ant/9.png", "train/cow", "dev"] {
        link(Path::new("/nonexistent"), place);
        refused(dir.path(), |_| (), &[place, "a link that leads nowhere"]);
        fs::remove_file(dir.path().join(place)).unwrap();
    }
    link(&dir.path().join("train"), "train/ant/again");
    refused(dir.path(), |_| (), &["train/ant/again", "a link to a folder that it is in"]);
    fs::remove_file(dir.path().join("train/ant/again")).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"\xff");
    fs::create_dir(dir.path().join("train").join(name)).unwrap();
    refused(dir.path(), |_| (), &["not UTF-8", "rename"]);
}

/// Among tables too, a link that leads nowhere matters only if it is called like one, and hidden folders do not.
#[cfg(unix)]
#[test]
fn what_is_no_table() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = table(&pictures(0..6), &["1", "0", "2", "1", "0", "2"], Some(FEATURES));
    write(&dir.path().join("small/train.parquet"), &bytes);
    write(&dir.path().join(".trash/train.parquet"), b"not a table");
    let link = |from: &str| {
        std::os::unix::fs::symlink("/nonexistent", dir.path().join(from)).unwrap();
    };
    link("small/README.md");
    assert_eq!(of(dir.path(), |_| ()).unwrap().train.len(), 3);
    link("small/test.parquet");
    refused(dir.path(), |_| (), &["small/test.parquet", "a link that leads nowhere"]);
}

/// The header of a BMP may say that there are no pixels.
#[test]
fn an_empty_picture_is_refused() {
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::new_rgb8(8, 8).write_to(&mut bytes, ImageFormat::Bmp).unwrap();
    let mut bytes = bytes.into_inner();
    bytes[18..22].fill(0);
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a/0.bmp"), &bytes);
    write(&dir.path().join("a/1.bmp"), &bytes);
    for image_size in [None, Some(4)] {
        refused(dir.path(), |options| options.image_size = image_size, &["a/0.bmp", "BMP"]);
    }
}

#[test]
fn words_are_classes_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = |file: &str| dir.path().join(file);
    let words = |options: &mut LoadOptions| {
        (options.image_column, options.label_column) = (Some("photo".into()), Some("kind".into()));
    };
    write(&path("train.parquet"), &table(&pictures(0..3), &["bee", "ant", "bee"], None));
    write(&path("validation.parquet"), &table(&pictures(3..4), &["cow"], None));
    let data = of(dir.path(), words).unwrap();
    assert_eq!(data.class_names, ["ant", "bee", "cow"]);
    assert_eq!((data.train.labels(), data.test.labels()), (&[1, 0, 1][..], &[2][..]));
    // Numbers are their own class names; a label that is not a class is reported with its row.
    for file in ["train.parquet", "validation.parquet"] {
        write(&path(file), &table(&pictures(0..3), &["0", "2", "0"], None));
    }
    assert_eq!(of(dir.path(), words).unwrap().class_names, ["0", "1", "2"]);
    write(&path("validation.parquet"), &table(&pictures(0..3), &["0", "2", "-1"], None));
    refused(dir.path(), words, &["validation.parquet", "label -1 in row 2", "from 0 to 2"]);
    let mut broken = pictures(0..3);
    broken[1].truncate(70);
    write(&path("validation.parquet"), &table(&broken, &["0", "2", "0"], None));
    refused(dir.path(), words, &["validation.parquet", "broken PNG", "in row 1", "--skip-bad"]);
    let skipping = of(dir.path(), |options| {
        words(options);
        options.skip_bad = true;
    });
    assert_eq!(skipping.unwrap().test.labels(), [0, 0]);
}
