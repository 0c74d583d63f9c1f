//! Splits, batches, transforms and names.

mod common;

use candle::{DType, Device, IndexOp as _, Tensor};
use candle_hebbian::Rng;
use common::contents;
use hebbian_data::transforms::{CropAndFlip, difference_of_gaussians};
use hebbian_data::{Batches, DatasetName, Error, ImageSet};

/// Three images of 2×2×3; the bytes count up.
fn three() -> ImageSet {
    ImageSet::new((0..36).collect(), vec![5, 6, 7], 2, 2, 3).unwrap()
}

#[test]
fn sizes_must_fit() {
    let error = ImageSet::new(vec![0; 35], vec![0; 3], 2, 2, 3).unwrap_err().to_string();
    assert!(error.contains("found 35, expected 36"), "{error}");
    assert!(ImageSet::new(vec![], vec![0], 1, 0, 3).is_err());
    assert!(ImageSet::new(vec![], vec![0; 2], usize::MAX, 2, 3).is_err());
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

/// `[[1, 2, 3], [4, 5, 6], [7, 8, 9]]` reflected by 1, written by hand.
const REFLECTED: [[u8; 5]; 5] =
    [[5, 4, 5, 6, 5], [2, 1, 2, 3, 2], [5, 4, 5, 6, 5], [8, 7, 8, 9, 8], [5, 4, 5, 6, 5]];

#[test]
fn a_crop_is_a_window_of_the_reflected_image() {
    // The second channel is the first plus 100.
    let image: Vec<u8> = (1..=9).chain(101..=109).collect();
    let windows: Vec<Vec<u8>> = (0..18)
        .map(|i| {
            let (top, left, flip) = (i / 6, i / 2 % 3, i % 2 == 1);
            let mut window = Vec::new();
            for add in [0, 100] {
                for row in &REFLECTED[top..top + 3] {
                    let mut row = row[left..left + 3].to_vec();
                    if flip {
                        row.reverse();
                    }
                    window.extend(row.iter().map(|&p| p + add));
                }
            }
            window
        })
        .collect();
    let mut counts = vec![0; windows.len()];
    let mut rng = Rng::new(1).stream("augmentation");
    for _ in 0..3600 {
        let mut crop = Vec::new();
        CropAndFlip { padding: 1 }.apply(&image, (2, 3, 3), &mut rng, &mut crop).unwrap();
        // The reflected image is symmetric, so two draws may give one window: count each equal one.
        for (count, window) in counts.iter_mut().zip(&windows) {
            *count += usize::from(*window == crop);
        }
        assert!(windows.contains(&crop), "{crop:?}");
    }
    // 18 equally likely draws, some with the same window: each draw comes 200 times of 3,600, with a
    // standard deviation of 14, or 27 where four share a window.
    let distinct: std::collections::HashSet<_> = windows.iter().collect();
    let expected = |window: &Vec<u8>| 200 * windows.iter().filter(|other| *other == window).count();
    assert!(distinct.len() > 9);
    for (count, window) in counts.iter().zip(&windows) {
        assert!(count.abs_diff(expected(window)) < 100, "{count} of {}", expected(window));
    }
}

#[test]
fn the_recipe_pads_by_four() {
    assert_eq!(CropAndFlip::default().padding, 4);
    // A row of 0 to 7: padded by 4 it is 4 3 2 1, 0 to 7, 6 5 4 3.
    let padded = [4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 6, 5, 4, 3];
    let image: Vec<u8> = (0..64).map(|i| i % 8).collect();
    let mut rng = Rng::new(2);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..400 {
        let mut crop = Vec::new();
        CropAndFlip::default().apply(&image, (1, 8, 8), &mut rng, &mut crop).unwrap();
        assert!(crop.chunks(8).all(|row| row == &crop[..8]));
        let place = (0..=8).flat_map(|left| [(left, false), (left, true)]).find(|&(left, flip)| {
            let mut row: Vec<u8> = padded[left..left + 8].to_vec();
            if flip {
                row.reverse();
            }
            row == crop[..8]
        });
        seen.insert(place.expect("a window of the padded row"));
    }
    assert!(seen.len() >= 9, "{seen:?}");
}

#[test]
fn without_padding_there_is_only_the_flip() {
    let image: Vec<u8> = (0..12).collect();
    let mirrored = [2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9];
    let mut rng = Rng::new(4);
    let mut flips = 0;
    for _ in 0..1000 {
        let mut output = Vec::new();
        CropAndFlip { padding: 0 }.apply(&image, (2, 2, 3), &mut rng, &mut output).unwrap();
        assert!(output == image || output == mirrored, "{output:?}");
        flips += usize::from(output == mirrored);
    }
    // Half of them, with a standard deviation of 16.
    assert!(flips.abs_diff(500) < 80, "{flips}");
}

#[test]
fn grey_is_the_luma_of_the_colours() {
    // Red, green, blue, white, black and (10, 20, 30): 0.299 R + 0.587 G + 0.114 B is 76.2, 149.7,
    // 29.1, 255, 0 and 18.15.
    let pixels =
        [[255, 0, 0, 255, 0, 10], [0, 255, 0, 255, 0, 20], [0, 0, 255, 255, 0, 30]].concat();
    let colour = ImageSet::new([&pixels[..], &[100; 18]].concat(), vec![4, 2], 3, 2, 3).unwrap();
    let grey = colour.to_grey().unwrap();
    assert_eq!((grey.shape(), grey.labels()), ((1, 2, 3), &[4, 2][..]));
    assert_eq!(grey.image(0).unwrap(), [76, 150, 29, 255, 0, 18]);
    assert_eq!(grey.image(1).unwrap(), [100; 6]);
    assert_eq!(contents(&grey.to_grey().unwrap()), contents(&grey));
    let second = colour.select(&[1]).unwrap().to_grey().unwrap();
    assert_eq!(contents(&second), contents(&grey.select(&[1]).unwrap()));
    let error = three().to_grey().unwrap_err().to_string();
    assert!(error.contains("channels") && error.contains("found 2, expected 3"), "{error}");
}

/// A point of light shows the filter, here of known values; the last row and column are beyond it.
#[test]
fn a_point_shows_the_difference_of_gaussians() -> Result<(), Box<dyn std::error::Error>> {
    for dtype in [DType::F64, DType::F32] {
        // Image 0 has a point in channel 0, image 1 one of -2 in channel 1, at its last pixel.
        let mut pixels = vec![0_f64; 2 * 2 * 9 * 11];
        pixels[4 * 11 + 5] = 1.;
        pixels[4 * 99 - 1] = -2.;
        let images = Tensor::from_vec(pixels, (2, 2, 9, 11), &Device::Cpu)?.to_dtype(dtype)?;
        let filtered = difference_of_gaussians(&images)?;
        assert_eq!((filtered.dims(), filtered.dtype()), (&[2, 2, 10, 12][..], dtype));
        let filtered = filtered.to_dtype(DType::F64)?;
        let point = filtered.i((0, 0))?.to_vec2::<f64>()?;
        let rays = [(1, 0), (-1, 0), (0, 1), (0, -1)];
        let along = [0.459538, -0.012802, -0.021332, -0.001768, -0.000053];
        for (y, x) in rays {
            for (distance, expected) in along.iter().enumerate() {
                let d = distance as isize;
                let found = point[(4 + y * d) as usize][(5 + x * d) as usize];
                assert!((found - expected).abs() < 6e-7, "{found} at {distance}");
            }
        }
        for (y, x) in [(3, 4), (3, 6), (5, 4), (5, 6)] {
            assert!((point[y][x] + 0.0472).abs() < 6e-5, "{}", point[y][x]);
        }
        assert_eq!((point[4][0], point[4][10], point[9][5]), (0., 0., 0.));
        let sum: f64 = point.iter().flatten().sum();
        assert!(sum.abs() < if dtype == DType::F64 { 1e-14 } else { 1e-6 }, "{sum}");

        let corner = filtered.i((1, 1))?.to_vec2::<f64>()?;
        for (y, x, expected) in [(8, 10, 0.459538), (9, 10, -0.012802), (8, 11, -0.012802)] {
            assert!((corner[y][x] + 2. * expected).abs() < 2e-6, "{}", corner[y][x]);
        }
        for (image, channel) in [(0, 1), (1, 0)] {
            let dark = filtered.i((image, channel))?.abs()?.max_all()?.to_scalar::<f64>()?;
            assert_eq!(dark, 0., "the channels do not mix");
        }
    }
    assert!(difference_of_gaussians(&Tensor::zeros((9, 11), DType::F32, &Device::Cpu)?).is_err());
    Ok(())
}

#[test]
fn augmented_batches_are_seeded_and_checked() -> Result<(), Box<dyn std::error::Error>> {
    let set = ImageSet::new((0..192).collect(), vec![0, 1, 2], 1, 8, 8)?;
    let batch = |seed| {
        let mut rng = Rng::new(seed);
        let crop = CropAndFlip::default();
        set.augmented_batch(&[2, 0], &crop, &mut rng, DType::F32, &Device::Cpu)
    };
    let (images, labels) = batch(1)?;
    assert_eq!((images.dims(), labels.to_vec1::<u32>()?), (&[2, 1, 8, 8][..], vec![2, 0]));
    let values = |seed| -> Result<_, Box<dyn std::error::Error>> {
        Ok(batch(seed)?.0.flatten_all()?.to_vec1::<f32>()?)
    };
    assert_eq!(values(1)?, values(1)?);
    assert_ne!(values(1)?, values(2)?);
    let mut rng = Rng::new(0);
    let error = three()
        .augmented_batch(&[0], &CropAndFlip::default(), &mut rng, DType::F32, &Device::Cpu)
        .unwrap_err();
    assert!(matches!(error, Error::Padding { padding: 4, height: 2, width: 3 }), "{error}");
    Ok(())
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
