//! The full MNIST and CIFAR-10, if a Hugging Face folder with them lies beside the workspace.

use std::path::PathBuf;
use std::time::Instant;

use crate::common::quiet;
use hebbian_data::{Dataset, DatasetName, Hub, ImageSet, LoadOptions, load_from_hub};

fn shared(name: DatasetName) -> Option<Dataset> {
    let cache = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/hf/hub");
    if !cache.is_dir() {
        println!("skipped: there is no {}", cache.display());
        return None;
    }
    let start = Instant::now();
    let hub = Hub::new("http://127.0.0.1:1", &cache).offline();
    let data = load_from_hub(name.as_str(), &hub, &LoadOptions::default(), quiet()).unwrap();
    println!("{name}: {} images in {:.2?}", data.train.len() + data.test.len(), start.elapsed());
    Some(data)
}

/// Mean and standard deviation of each channel, pixels in [0, 1].
fn statistics(set: &ImageSet) -> Vec<(f64, f64)> {
    let (channels, height, width) = set.shape();
    let plane = height * width;
    let mut sums = vec![(0_u64, 0_u64); channels];
    for i in 0..set.len() {
        for ((sum, squares), plane) in sums.iter_mut().zip(set.image(i).unwrap().chunks(plane)) {
            *sum += plane.iter().map(|&p| u64::from(p)).sum::<u64>();
            *squares += plane.iter().map(|&p| u64::from(p).pow(2)).sum::<u64>();
        }
    }
    let n = (set.len() * plane) as f64;
    let moments = |(sum, squares): (u64, u64)| {
        let mean = sum as f64 / n / 255.;
        (mean, (squares as f64 / n / 65025. - mean * mean).sqrt())
    };
    sums.into_iter().map(moments).collect()
}

fn per_class(set: &ImageSet) -> Vec<usize> {
    (0..10).map(|class| set.labels().iter().filter(|&&label| label == class).count()).collect()
}

#[test]
fn cifar10_has_the_published_statistics() {
    let Some(data) = shared(DatasetName::Cifar10) else { return };
    assert_eq!((data.train.len(), data.test.len()), (50_000, 10_000));
    assert_eq!(data.train.shape(), (3, 32, 32));
    assert_eq!((per_class(&data.train), per_class(&data.test)), (vec![5000; 10], vec![1000; 10]));
    // The mean and standard deviation that recipes for CIFAR-10 quote.
    let published = [(0.49140, 0.24703), (0.48216, 0.24349), (0.44653, 0.26159)];
    for ((mean, std), expected) in statistics(&data.train).into_iter().zip(published) {
        assert!((mean - expected.0).abs() < 1e-5, "{mean} {expected:?}");
        assert!((std - expected.1).abs() < 1e-5, "{std} {expected:?}");
    }
    // In upright photographs the sky is at the top: the upper rows are lighter than the lower ones, while left and
    // right are alike.
    let part = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
        let mut sum = 0_u64;
        for i in 0..data.train.len() {
            let image = data.train.image(i).unwrap();
            for row in rows.clone() {
                let row = &image[row * 32..][columns.clone()];
                sum += row.iter().map(|&p| u64::from(p)).sum::<u64>();
            }
        }
        sum as f64
    };
    let vertical = part(0..8, 0..32) / part(24..32, 0..32);
    let horizontal = part(0..32, 0..8) / part(0..32, 24..32);
    assert!(vertical > 1.05 && (horizontal - 1.).abs() < 0.02, "{vertical} {horizontal}");
}

#[test]
fn mnist_has_the_published_statistics() {
    let Some(data) = shared(DatasetName::Mnist) else { return };
    assert_eq!((data.train.len(), data.test.len()), (60_000, 10_000));
    assert_eq!(data.train.shape(), (1, 28, 28));
    assert_eq!(data.train.labels()[..5], [5, 0, 4, 1, 9]);
    // The mean and standard deviation that recipes for MNIST quote.
    let (mean, std) = statistics(&data.train)[0];
    assert!((mean - 0.1307).abs() < 1e-4 && (std - 0.3081).abs() < 1e-4, "{mean} {std}");
}
