//! Images without labels: those that a set has besides others, and those whose labels are not kept.

use std::path::Path;

use candle::{DType, Device};

use crate::common::tables::{COLOUR, FEATURES, pictures, table};
use crate::common::{assert_says, contents, planes, png, write};
use hebbian_data::transforms::Pipeline;
use hebbian_data::{Dataset, ImageSet, LoadOptions, Result, digits, load};

fn of(name: &str, dir: &Path, memory: u64) -> Result<Dataset> {
    let options = LoadOptions { data_dir: Some(dir.into()), memory, ..LoadOptions::default() };
    load(name, &options)
}

fn pixels(range: std::ops::Range<usize>) -> Vec<u8> {
    range.flat_map(|i| planes(i, COLOUR)).collect()
}

/// Checks four images with labels, one for testing and three without labels, in memory or in their files: all seven are
/// seen, and only the first four have labels.
fn check(data: &Dataset) {
    let none = [ImageSet::NO_LABEL; 3];
    assert_eq!((data.train.len(), data.test.len(), data.unlabelled.len()), (4, 1, 1));
    assert_eq!(contents(&data.unlabelled[0]), (COLOUR, none.to_vec(), pixels(5..8)));
    let seen = data.seen().unwrap();
    let labels = [data.train.labels(), &none].concat();
    assert_eq!(contents(&seen), (COLOUR, labels, [pixels(0..4), pixels(5..8)].concat()));
    // Whichever image is asked for first.
    assert_eq!(seen.pixels(&[5, 1]).unwrap(), [pixels(6..7), pixels(1..2)].concat());
    // Transforms apply to all of them.
    let transforms = Pipeline::new(&"grey".parse().unwrap()).unwrap();
    let grey = data.clone().with_transforms(transforms, Pipeline::default()).unwrap();
    let grey = [grey.seen().unwrap(), grey.unlabelled[0].clone()];
    assert!(grey.iter().all(|set| set.shape() == (1, 4, 6)));
    assert_eq!(grey[0].batch(&[6], DType::F32, &Device::Cpu).unwrap().0.dims(), [1, 1, 4, 6]);
    // Labels that are not kept are gone, and the images that are seen are the same.
    let kept = data.clone().with_labelled(2, 0).unwrap();
    assert_eq!((kept.train.len(), kept.unlabelled.len()), (2, 2));
    assert!(kept.unlabelled.iter().all(|set| set.labels().iter().all(|&l| l == none[0])));
    assert_eq!(contents(&kept.seen().unwrap()).2, contents(&seen).2);
}

#[test]
fn a_folder_and_a_table_of_images_without_labels() {
    let folder = tempfile::tempdir().unwrap();
    for (i, path) in ["train/ant/0", "train/ant/1", "train/bee/2", "train/bee/3", "test/bee/4"]
        .iter()
        .enumerate()
    {
        write(&folder.path().join(format!("{path}.png")), &png(i, COLOUR));
    }
    for i in 5..8 {
        write(&folder.path().join(format!("unlabeled/{}/{i}.png", i / 6)), &png(i, COLOUR));
    }
    let tables = tempfile::tempdir().unwrap();
    let file = |name: &str| tables.path().join(format!("{name}.parquet"));
    let labels = ["1", "1", "2", "2", "0"];
    write(&file("train"), &table(&pictures(0..4), &labels[..4], Some(FEATURES)));
    write(&file("test"), &table(&pictures(4..5), &labels[4..], Some(FEATURES)));
    // Whatever is in the place of the labels.
    write(&file("unlabelled"), &table(&pictures(5..8), &["-1", "-1", "-1"], Some(FEATURES)));
    for dir in [folder.path(), tables.path()] {
        for memory in [u64::MAX, 300, 0] {
            check(&of("mine", dir, memory).unwrap());
        }
    }
}

/// STL-10's images without labels are stored column by column, like the others.
#[test]
fn stl10_without_labels() {
    let dir = tempfile::tempdir().unwrap();
    let (shape, file) = ((3, 96, 96), |name: &str| dir.path().join(name));
    let images = |range: std::ops::Range<usize>| -> Vec<u8> {
        let column = |i, c, x| (0..96).map(move |y| crate::common::pixel(i, c, y, x));
        let plane = |i, c| (0..96).flat_map(move |x| column(i, c, x));
        range.flat_map(|i| (0..3).flat_map(move |c| plane(i, c))).collect()
    };
    write(&file("train_X.bin"), &images(0..2));
    write(&file("train_y.bin"), &[1, 2]);
    write(&file("test_X.bin"), &images(2..3));
    write(&file("test_y.bin"), &[1]);
    write(&file("unlabeled_X.bin"), &images(3..7));
    for memory in [u64::MAX, 0] {
        let data = of("stl10", dir.path(), memory).unwrap();
        let others = &data.unlabelled[0];
        assert_eq!((others.len(), others.fits_in_memory()), (4, memory > 0));
        for i in 0..4 {
            assert_eq!(others.image(i).unwrap(), planes(3 + i, shape), "{i}");
        }
        let seen = data.seen().unwrap();
        assert_eq!((seen.len(), seen.image(4).unwrap()), (6, planes(5, shape)));
    }
    write(&file("unlabeled_X.bin"), &[0; 27_649]);
    let error = of("stl10", dir.path(), 0).unwrap_err().to_string();
    assert_says(&error, &["unlabeled_X.bin", "27649 bytes", "a multiple of 27648"]);
}

#[test]
fn labels_are_kept_of_so_many_images() {
    let data = digits();
    let kept = data.clone().with_labelled(100, 1).unwrap();
    assert_eq!((kept.train.len(), kept.unlabelled[0].len()), (100, 1342));
    // Each class keeps its share of the hundred, in proportion to its number of images, rounded.
    for class in 0..10 {
        let count = |set: &ImageSet| set.labels().iter().filter(|&&label| label == class).count();
        let share = count(&data.train) as f64 * 100. / 1442.;
        assert!((count(&kept.train) as f64 - share).abs() < 1., "{class}");
    }
    // All images are seen, in their old order.
    let seen = kept.seen().unwrap();
    let all: Vec<usize> = (0..1442).collect();
    assert_eq!(seen.pixels(&all).unwrap(), data.train.pixels(&all).unwrap());
    let with_label = seen.labels().iter().filter(|&&label| label != ImageSet::NO_LABEL).count();
    assert_eq!(with_label, 100);
    let other = data.clone().with_labelled(100, 2).unwrap();
    assert_ne!(contents(&other.train), contents(&kept.train));
    assert!(data.clone().with_labelled(1442, 1).unwrap().unlabelled.is_empty());
    for (count, found) in [(0, "0 images"), (9, "9 images"), (1443, "1443 images")] {
        let error = data.clone().with_labelled(count, 1).unwrap_err().to_string();
        assert_says(&error, &[found, "10 (one of each class) to 1442"]);
    }
}
