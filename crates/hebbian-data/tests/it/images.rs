//! Splits, batches and names.

use crate::common::contents;
use candle::{DType, Device};
use candle_hebbian::Rng;
use hebbian_data::transforms::{Image, Pipeline};
use hebbian_data::{Batches, Dataset, DatasetName, Error, ImageSet};

/// Three images of 2×2×3; the bytes count up.
fn three() -> ImageSet {
    ImageSet::new((0..36).collect(), vec![5, 6, 7], 2, 2, 3).unwrap()
}

#[test]
fn sizes_must_fit() {
    let error = ImageSet::new(vec![0; 35], vec![0; 3], 2, 2, 3).unwrap_err().to_string();
    assert!(error.contains("found 35, expected 36"), "{error}");
    let error = ImageSet::new(vec![], vec![0], 1, 0, 3).unwrap_err();
    assert!(matches!(error, Error::Size { what: "pixels per image", found: 0, .. }), "{error}");
    let error = ImageSet::new(vec![], vec![0; 2], usize::MAX, 2, 3).unwrap_err();
    assert!(matches!(error, Error::Size { found: 0, expected: usize::MAX, .. }), "{error}");
    assert!(ImageSet::new(vec![], vec![], 1, 2, 3).unwrap().is_empty());
}

#[test]
fn parts_keep_image_and_label_together() {
    let set = three();
    assert_eq!((set.len(), set.shape(), set.labels()), (3, (2, 2, 3), &[5, 6, 7][..]));
    assert_eq!(set.image(1).unwrap(), (12..24).collect::<Vec<u8>>());
    let selected = set.select(&[2, 0, 2]).unwrap();
    assert_eq!(selected.labels(), [7, 5, 7]);
    assert_eq!(selected.image(0).unwrap(), set.image(2).unwrap());
    assert_eq!(selected.image(1).unwrap(), set.image(0).unwrap());
    assert_eq!(contents(&set.take(2)), contents(&set.select(&[0, 1]).unwrap()));
    assert_eq!(contents(&set.take(9)), contents(&set));
    // A part of a part.
    assert_eq!(contents(&selected.take(1)), contents(&set.select(&[2]).unwrap()));
    let error = set.select(&[0, 3]).unwrap_err();
    assert!(matches!(error, Error::Index { index: 3, len: 3 }), "{error}");
}

/// A model that knows five classes sees images of two of them, in another order, and images without labels.
#[test]
fn classes_are_numbered_by_their_names() {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let set = |labels: Vec<u32>| ImageSet::new(vec![0; labels.len()], labels, 1, 1, 1).unwrap();
    let data = Dataset {
        name: "pets".to_string(),
        train: set(vec![0, 1, 1, ImageSet::NO_LABEL]),
        test: set(vec![1, 0]),
        unlabelled: vec![set(vec![ImageSet::NO_LABEL])],
        class_names: names(&["dog", "cat"]),
    };
    let known = names(&["bird", "cat", "deer", "dog", "frog"]);
    let seen = data.clone().with_class_names(&known).unwrap();
    assert_eq!(seen.train.labels(), [3, 1, 1, ImageSet::NO_LABEL]);
    assert_eq!(seen.test.labels(), [1, 3]);
    assert_eq!(seen.unlabelled[0].labels(), [ImageSet::NO_LABEL]);
    assert_eq!(seen.class_names, known);
    let error = data.clone().with_class_names(&names(&["bird", "cat"])).unwrap_err().to_string();
    assert!(error.contains("dog, cat") && error.contains("bird, cat"), "{error}");

    // Two classes of one name stay two in the same list; by their name they cannot be told apart.
    let twins = Dataset { class_names: names(&["cat", "cat"]), ..data.clone() };
    let same = twins.clone().with_class_names(&names(&["cat", "cat"])).unwrap();
    assert_eq!(same.train.labels(), [0, 1, 1, ImageSet::NO_LABEL]);
    for (data, known) in [(twins, names(&["cat", "dog"])), (data, names(&["cat", "dog", "cat"]))] {
        let error = data.with_class_names(&known).unwrap_err().to_string();
        assert!(error.contains("two classes are called 'cat'"), "{error}");
    }
}

/// A batch of no images has the shape of the images, with transforms or without.
#[test]
fn a_batch_of_no_images_has_their_shape() -> Result<(), Box<dyn std::error::Error>> {
    let list = |text: &str| Pipeline::new(&text.parse().unwrap()).unwrap();
    let set = ImageSet::new((0..36).collect(), vec![5], 3, 3, 4)?;
    let transformed = set.with_transforms(list("grey,resize=7"), Pipeline::default())?;
    let augmented = transformed.with_transforms(list("grey,resize=7"), list("flip"))?;
    let (rng, device) = (Rng::new(1), &Device::Cpu);
    for set in [set, transformed, augmented] {
        let (channels, height, width) = set.shape();
        for (images, labels) in [
            set.batch(&[], DType::F64, device)?,
            set.augmented_batch(&[], &rng, "one", DType::F64, device)?,
        ] {
            assert_eq!(images.dims(), [0, channels, height, width]);
            assert_eq!((images.dtype(), labels.dims()), (DType::F64, &[0][..]));
        }
    }
    let error = Image::tensor(&[]).unwrap_err().to_string();
    assert!(error.contains("images of a batch: found 0"), "{error}");
    Ok(())
}

/// One pixel wide and 100,000 high: with 160 pixels of width there would be 2.56 thousand million before the crop.
#[test]
fn a_narrow_image_is_not_resized_to_any_length() {
    let narrow = ImageSet::new(vec![7; 100_000], vec![0], 1, 100_000, 1).unwrap();
    let error = narrow.resized(160).unwrap_err().to_string();
    assert!(error.contains("found 2560000000, expected 104857600"), "{error}");
    assert_eq!(narrow.resized(2).unwrap().image(0).unwrap(), [7; 4]);
}

#[test]
fn a_batch_is_the_pixels_over_255() -> Result<(), Box<dyn std::error::Error>> {
    let set = ImageSet::new((0..=255).collect(), vec![1; 4], 1, 8, 8)?;
    let (images, labels) = set.batch(&[0, 1, 2, 3], DType::F32, &Device::Cpu)?;
    assert_eq!((images.dims(), labels.dims()), (&[4, 1, 8, 8][..], &[4][..]));
    assert_eq!((images.dtype(), labels.dtype()), (DType::F32, DType::U32));
    let values = images.flatten_all()?.to_vec1::<f32>()?;
    assert!((0..=255_u8).all(|p| values[usize::from(p)] == f32::from(p) / 255.));
    let (images, _) = set.batch(&[0, 1, 2, 3], DType::F64, &Device::Cpu)?;
    let values = images.flatten_all()?.to_vec1::<f64>()?;
    assert!((0..=255_u8).all(|p| values[usize::from(p)] == f64::from(p) / 255.));

    let (images, labels) = three().batch(&[1, 0], DType::BF16, &Device::Cpu)?;
    assert_eq!((images.dims(), images.dtype()), (&[2, 2, 2, 3][..], DType::BF16));
    assert_eq!(labels.to_vec1::<u32>()?, [6, 5]);
    assert!(matches!(three().batch(&[4], DType::F32, &Device::Cpu), Err(Error::Index { .. })));
    Ok(())
}

#[test]
fn an_epoch_shows_every_image_once() {
    let mut rng = Rng::new(3).stream("batches");
    let epochs: Vec<Vec<Vec<usize>>> =
        (0..2).map(|_| Batches::shuffled(103, 10, &mut rng).unwrap().collect()).collect();
    for epoch in &epochs {
        assert_eq!(epoch.len(), 11);
        assert!(epoch[..10].iter().all(|batch| batch.len() == 10));
        assert_eq!(epoch[10].len(), 3);
        let mut all = epoch.concat();
        assert_ne!(all, (0..103).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
    }
    assert_ne!(epochs[0], epochs[1], "each epoch has an order of its own");
    let mut again = Rng::new(3).stream("batches");
    assert_eq!(Batches::shuffled(103, 10, &mut again).unwrap().collect::<Vec<_>>(), epochs[0]);

    let batches = Batches::sequential(5, 2).unwrap();
    assert_eq!(batches.len(), 3);
    assert_eq!(batches.collect::<Vec<_>>(), [vec![0, 1], vec![2, 3], vec![4]]);
    assert_eq!(Batches::sequential(0, 2).unwrap().count(), 0);
    assert!(matches!(Batches::sequential(5, 0), Err(Error::BatchSizeZero)));
    assert!(matches!(Batches::shuffled(5, 0, &mut rng), Err(Error::BatchSizeZero)));
}

#[test]
fn names_are_read_and_written() {
    let names = ["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "stl10"];
    assert_eq!(DatasetName::ALL.map(|name| name.to_string()), names);
    for (name, known) in names.into_iter().zip(DatasetName::ALL) {
        assert_eq!(name.parse::<DatasetName>().unwrap(), known);
        let classes = if known == DatasetName::Cifar100 { 100 } else { 10 };
        let mut found = known.class_names();
        assert_eq!(found.len(), classes);
        found.dedup();
        assert_eq!(found.len(), classes);
    }
    let error = "imagenet".parse::<DatasetName>().unwrap_err().to_string();
    assert!(names.iter().all(|name| error.contains(name)) && error.contains("imagenet"), "{error}");
    // The fine labels are in alphabetical order.
    assert!(DatasetName::Cifar100.class_names().is_sorted());
    assert_eq!(DatasetName::Cifar10.class_names()[3], "cat");
}

/// Whatever is exchanged, added, removed or moved changes the fingerprint; transforms do not.
#[test]
fn the_fingerprint_tells_data_sets_apart() {
    let class_names = || vec!["a".to_string(), "b".to_string()];
    let of = |train: &ImageSet, test: &ImageSet, unlabelled: &[&ImageSet]| Dataset {
        name: "some".to_string(),
        train: train.clone(),
        test: test.clone(),
        unlabelled: unlabelled.iter().copied().cloned().collect(),
        class_names: class_names(),
    };
    let set = |pixels: &[u8], labels: &[u32]| {
        ImageSet::new(pixels.to_vec(), labels.to_vec(), 1, 1, 2).unwrap()
    };
    let train = set(&[1, 2, 3, 4, 5, 6], &[0, 1, 0]);
    let test = set(&[7, 8], &[1]);
    let sets = [
        of(&train, &test, &[]),
        // Another pixel, another label, another order, another shape.
        of(&set(&[1, 2, 3, 4, 5, 7], &[0, 1, 0]), &test, &[]),
        of(&set(&[1, 2, 3, 4, 5, 6], &[0, 1, 1]), &test, &[]),
        of(&train.select(&[2, 1, 0]).unwrap(), &test, &[]),
        of(&ImageSet::new((1..7).collect(), vec![0, 1, 0], 1, 2, 1).unwrap(), &test, &[]),
        // An image fewer, the same images in other splits, an empty split, one without labels.
        of(&train.take(2), &test, &[]),
        of(&train.take(2), &set(&[5, 6, 7, 8], &[0, 1]), &[]),
        of(&test, &train, &[]),
        of(&train, &train.take(0), &[]),
        of(&train, &test, &[&test]),
    ];
    let prints: Vec<String> = sets.iter().map(|set| set.fingerprint().unwrap()).collect();
    for (at, print) in prints.iter().enumerate() {
        assert!(print.len() == 64 && print.chars().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(prints.iter().position(|other| other == print), Some(at));
    }
    let standardised = Pipeline::new(&"standardise-image".parse().unwrap()).unwrap();
    let seen = sets[0].clone().with_transforms(standardised, Pipeline::default()).unwrap();
    assert_eq!(seen.fingerprint().unwrap(), prints[0]);
    assert_eq!(
        of(&train.select(&[0, 1, 2]).unwrap(), &test, &[]).fingerprint().unwrap(),
        prints[0]
    );

    // Of many images, the first and the last are read too.
    let many = |changed: usize| {
        let mut pixels = vec![0; 2000];
        pixels.iter_mut().skip(changed).take(1).for_each(|pixel| *pixel = 1);
        of(&set(&pixels, &[0; 1000]), &test, &[]).fingerprint().unwrap()
    };
    assert_ne!(many(0), many(2000));
    assert_ne!(many(1999), many(2000));
}
