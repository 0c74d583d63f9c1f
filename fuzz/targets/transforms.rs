//! Transforms in the form of a flag, and as JSON.
#![no_main]

use candle_hebbian::Rng;
use hebbian_data::transforms::{InputConfig, Pipeline, Transform as _, TransformList};
use hebbian_fuzz::{choice, few_digits};
use libfuzzer_sys::fuzz_target;

/// The most values of an image, and of one that a transform is fitted to: larger ones may legitimately take long, for
/// whitening with the third power of their number.
const LARGEST: usize = 1 << 12;
const LARGEST_FITTED: usize = 1 << 9;

fn size((channels, height, width): (usize, usize, usize)) -> usize {
    channels.saturating_mul(height).saturating_mul(width)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((form, text)) = choice(bytes, 2) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let list = match form {
        0 => text.parse::<TransformList>().ok(),
        _ => serde_json::from_str::<InputConfig>(text).ok().map(|config| config.transforms),
    };
    let Some(list) = list.filter(|list| list.0.len() <= 8) else { return };
    // A list that makes a pipeline can be printed and parsed again.
    if Pipeline::unfitted(&list).is_ok() {
        assert_eq!(list.to_string().parse::<TransformList>().ok().as_ref(), Some(&list));
    }
    let train = few_digits().train;
    for shape in [(1, 8, 8), (3, 9, 7)] {
        let _ = Pipeline::unfitted(&list).and_then(|pipeline| pipeline.shape(shape));
    }
    let Ok(augmentation) = Pipeline::new(&list).and_then(|pipeline| {
        let shape = pipeline.shape(train.shape())?;
        Ok((pipeline, size(shape)))
    }) else {
        // What is fitted sees all images, as large as the transforms before it make them.
        let is_small = |count: usize| {
            let before = TransformList(list.0[..count].to_vec());
            let shape = Pipeline::unfitted(&before).and_then(|before| before.shape(train.shape()));
            shape.map_or(true, |shape| size(shape) <= LARGEST_FITTED)
        };
        if (0..=list.0.len()).all(is_small) {
            let _ = Pipeline::fit(&list, &train, &Rng::new(0), None, |_| ());
        }
        return;
    };
    if augmentation.1 > LARGEST {
        return;
    }
    if let Ok(set) = train.with_transforms(augmentation.0.clone(), Pipeline::default()) {
        let _ = set.batch(&[0, 3], candle::DType::F32, &candle::Device::Cpu);
    }
    if let Ok(set) = train.with_transforms(Pipeline::default(), augmentation.0) {
        let rng = Rng::new(0);
        let _ = set.augmented_batch(&[0, 3], &rng, "a", candle::DType::F32, &candle::Device::Cpu);
    }
});
