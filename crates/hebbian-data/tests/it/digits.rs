//! The embedded digits.

use std::collections::HashSet;

use hebbian_data::{LoadOptions, digits, load};

/// Images per class of the source, counted in its text file.
const CLASSES: [usize; 10] = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180];
/// The same without every fifth image, rounded down: 35, 36, 35, 36, 36, 36, 36, 35, 34, 36 are for testing.
const TRAIN: [usize; 10] = [143, 146, 142, 147, 145, 146, 145, 144, 140, 144];

fn counts(labels: &[u32]) -> [usize; 10] {
    std::array::from_fn(|class| labels.iter().filter(|&&label| label as usize == class).count())
}

#[test]
fn each_class_is_split_four_to_one() {
    let data = digits();
    assert_eq!(data.name, "digits");
    assert_eq!(data.class_names, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!((data.train.len(), data.test.len()), (1442, 355));
    assert_eq!((data.train.shape(), data.test.shape()), ((1, 8, 8), (1, 8, 8)));
    assert_eq!(counts(data.train.labels()), TRAIN);
    let test = counts(data.test.labels());
    assert_eq!(std::array::from_fn(|class| TRAIN[class] + test[class]), CLASSES);
}

#[test]
fn the_first_image_is_that_of_the_source() {
    // The first line of digits.csv, label 0 at its end.
    let ink = [
        [0, 0, 5, 13, 9, 1, 0, 0],
        [0, 0, 13, 15, 10, 15, 5, 0],
        [0, 3, 15, 2, 0, 11, 8, 0],
        [0, 4, 12, 0, 0, 8, 8, 0],
        [0, 5, 8, 0, 0, 9, 8, 0],
        [0, 4, 11, 0, 1, 12, 7, 0],
        [0, 2, 14, 5, 10, 12, 0, 0],
        [0, 0, 6, 13, 10, 0, 0, 0],
    ];
    let train = digits().train;
    let expected: Vec<u8> =
        ink.as_flattened().iter().map(|&v| (f64::from(v) * 255. / 16.).round() as u8).collect();
    assert_eq!(train.image(0).unwrap(), expected);
    // By hand: 13 x 255 / 16 = 207.19, 8 x 255 / 16 = 127.5.
    assert_eq!((train.image(0).unwrap()[3], train.image(0).unwrap()[30]), (207, 128));
    // The source begins with 0 1 2 3 4 5 6 7 8 9, each the first of its class, so all are for training.
    assert_eq!(train.labels()[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(train.image(1).unwrap()[3..6], [191, 207, 80], "12, 13 and 5 in the second line");
}

#[test]
fn no_image_is_in_both_splits() {
    let data = digits();
    let train: HashSet<Vec<u8>> =
        (0..data.train.len()).map(|i| data.train.image(i).unwrap()).collect();
    assert!((0..data.test.len()).all(|i| !train.contains(&data.test.image(i).unwrap())));
    // Every sixteenth of ink occurs, and nothing between.
    let levels: HashSet<u8> = (0..=16).map(|v| (f64::from(v) * 255. / 16.).round() as u8).collect();
    let found: HashSet<u8> = train.into_iter().flatten().collect();
    assert_eq!(found, levels);
}

#[test]
fn digits_need_no_folder_and_no_network() {
    let options = LoadOptions {
        data_dir: Some("no such folder".into()),
        offline: true,
        ..LoadOptions::default()
    };
    let all: Vec<usize> = (0..digits().train.len()).collect();
    let train = load("digits", &options).unwrap().train;
    assert_eq!(train.pixels(&all).unwrap(), digits().train.pixels(&all).unwrap());
    assert_eq!(train.labels(), digits().train.labels());
}

#[test]
fn the_source_is_credited() {
    let credit = include_str!("../../data/README.md");
    for word in ["Alpaydin", "Kaynak", "UCI", "CC BY 4.0"] {
        assert!(credit.contains(word), "{word}");
    }
}
