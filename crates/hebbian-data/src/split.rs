//! Drawing of test images and of images that keep their labels, and the data set of several splits.

use std::collections::BTreeMap;

use candle_hebbian::Rng;

use crate::{Dataset, Error, ImageSet, LoadOptions, Result};

/// Draws `share` of the images of each class by `seed`, rounded. If a class has two or more images, at least one
/// is drawn and at least one is left. Returns the indices of the images that are left and of those that are drawn,
/// both in order.
pub(crate) fn stratified(labels: &[u32], share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut rng = Rng::new(seed).stream("test-share");
    let mut drawn = vec![false; labels.len()];
    for places in places(labels) {
        let order = rng.permutation(places.len());
        let most = places.len().saturating_sub(1);
        let count = ((places.len() as f64 * share).round() as usize).max(1).min(most);
        order[..count].iter().for_each(|&at| drawn[places[at]] = true);
    }
    (0..labels.len()).partition(|&at| !drawn[at])
}

/// # Errors
/// A share that is not between 0 and 1.
pub(crate) fn check_share(share: f64) -> Result<()> {
    match share > 0.0 && share < 1.0 {
        true => Ok(()),
        false => Err(Error::Share(share)),
    }
}

/// The error for a split of this set, or a folder, that would be both learned from and tested with.
pub(crate) fn is_both(name: &str, split: &str) -> Error {
    Error::HubSet {
        name: name.to_string(),
        reason: format!("the split {split:?} is both to learn from and to test with"),
        advice: "choose two different splits with --train-split and --test-split",
    }
}

/// Splits images into training images and test images.
///
/// # Errors
/// A share that is not between 0 and 1, or no images.
pub(crate) fn split(all: &ImageSet, share: f64, seed: u64) -> Result<(ImageSet, ImageSet)> {
    check_share(share)?;
    if all.is_empty() {
        return Err(Error::Size { what: "images to draw some from", found: 0, expected: 1 });
    }
    let (train, test) = stratified(all.labels(), share, seed);
    Ok((all.select(&train)?, all.select(&test)?))
}

/// The data set of the training images and, if there are any, the test images; otherwise a share of the training
/// images is drawn for testing.
///
/// The last `unlabelled` sets are the unlabelled ones.
pub(crate) fn dataset(
    name: &str,
    mut sets: Vec<ImageSet>,
    unlabelled: usize,
    class_names: Vec<String>,
    options: &LoadOptions,
) -> Result<Dataset> {
    let unlabelled = sets.split_off(sets.len().saturating_sub(unlabelled));
    let mut sets = sets.into_iter();
    let (train, test) = match (sets.next(), sets.next()) {
        (Some(train), Some(test)) => (train, test),
        (Some(all), None) => split(&all, options.test_share, options.seed)?,
        (None, _) => return Err(Error::Size { what: "splits", found: 0, expected: 1 }),
    };
    Ok(Dataset { name: name.to_string(), train, test, unlabelled, class_names })
}

/// The names of the split to learn from, in the order of preference. These and those of [`TEST`] are the names by which
/// the hub's library tells splits.
pub(crate) const TRAIN: [&str; 2] = ["train", "training"];
/// The names of the split to test with, in the order of preference.
pub(crate) const TEST: [&str; 8] =
    ["test", "testing", "eval", "evaluation", "validation", "valid", "val", "dev"];

/// Those of the splits that have one of these names, in small or capital letters, in the order of the names.
pub(crate) fn with_names<'a>(
    splits: impl Iterator<Item = &'a String>,
    names: &[&str],
) -> Vec<&'a str> {
    let place = |split: &str| names.iter().position(|name| split.eq_ignore_ascii_case(name));
    let mut found: Vec<(usize, &str)> =
        splits.filter_map(|split| Some((place(split)?, split.as_str()))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, split)| split).collect()
}

/// Whether the name of a split says that it is for testing.
pub(crate) fn is_for_tests(name: &str) -> bool {
    TEST.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The names of a split of images without labels.
const UNLABELLED: [&str; 2] = ["unlabelled", "unlabeled"];

/// Whether the name of a split says that its images have no labels.
pub(crate) fn is_unlabelled(name: &str) -> bool {
    UNLABELLED.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The places of the images of each class that has any, in the order of the labels, which may be any.
fn places(labels: &[u32]) -> Vec<Vec<usize>> {
    let mut places: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, &label) in labels.iter().enumerate() {
        places.entry(label).or_default().push(at);
    }
    places.into_values().collect()
}

/// The number of images of each class if there are `count` in all: at least one, and otherwise the proportional share,
/// rounded so that all classes are as close to their shares as possible. `count` is at least the number of classes and
/// at most that of images.
fn shares(places: &[Vec<usize>], count: usize) -> Vec<usize> {
    // Starts with one image of each class; each further image goes to the class that is furthest below its share.
    let mut shares = vec![1; places.len()];
    let images: usize = places.iter().map(Vec::len).sum();
    let wanted = |class: usize| places[class].len() as f64 * count as f64 / images as f64;
    for _ in places.len()..count {
        let open = (0..places.len()).filter(|&class| shares[class] < places[class].len());
        let short = |class: usize| wanted(class) - shares[class] as f64;
        // The first of the classes that are equally far below.
        let next = open.rev().max_by(|&one, &other| short(one).total_cmp(&short(other)));
        next.into_iter().for_each(|class| shares[class] += 1);
    }
    shares
}

/// Draws by `seed` the `count` images that keep their labels, with at least one of each class. Returns their
/// indices and those of the others, both in order. Each class has its [share](shares).
pub(crate) fn labelled(labels: &[u32], count: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let places = places(labels);
    let mut rng = Rng::new(seed).stream("labelled");
    let mut keeps = vec![false; labels.len()];
    for (places, share) in places.iter().zip(shares(&places, count)) {
        let order = rng.permutation(places.len());
        order[..share].iter().for_each(|&at| keeps[places[at]] = true);
    }
    (0..labels.len()).partition(|&at| keeps[at])
}

/// Splits a set with these labels after `count` images: returns their indices and those of the others, both in order.
/// If the set is sorted by class, or a class is missing among the first images, the first ones of each class are taken
/// instead, in proportion and at least one. Fewer images than classes are the first ones.
///
/// ```
/// assert_eq!(hebbian_data::split_at(&[0, 1, 1, 0], 2), (vec![0, 1], vec![2, 3]));
/// assert_eq!(hebbian_data::split_at(&[0, 0, 1, 1], 2), (vec![0, 2], vec![1, 3]));
/// ```
pub fn split_at(labels: &[u32], count: usize) -> (Vec<usize>, Vec<usize>) {
    let places = places(labels);
    let mixed = !labels.is_sorted() && places.iter().all(|places| places[0] < count);
    if count >= labels.len() || count < places.len() || mixed {
        return (0..labels.len()).partition(|&at| at < count);
    }
    let mut is_first = vec![false; labels.len()];
    for (places, share) in places.iter().zip(shares(&places, count)) {
        places[..share].iter().for_each(|&at| is_first[at] = true);
    }
    (0..labels.len()).partition(|&at| is_first[at])
}

/// Returns `count` of the indices below `all`, evenly spread: one from each of `count` stretches of equal length, where
/// it is drawn, with the same result each time. At equal distances, they would all be of one class where classes take
/// turns.
///
/// ```
/// let some = hebbian_data::evenly(100, 4);
/// assert!(some.iter().enumerate().all(|(i, index)| (25 * i..25 * (i + 1)).contains(index)));
/// ```
pub fn evenly(all: usize, count: usize) -> Vec<usize> {
    let count = count.min(all);
    let mut rng = Rng::new(0).stream("evenly");
    let mut one = |start: usize, end: usize| start + rng.below(end - start);
    (0..count).map(|i| one(i * all / count, (i + 1) * all / count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evenly_spread_indices_do_not_follow_classes_that_take_turns() {
        for (all, count) in [(0, 5), (7, 7), (10, 3), (20_000, 2_000)] {
            let chosen = evenly(all, count);
            assert_eq!(chosen.len(), count.min(all));
            for (i, &index) in chosen.iter().enumerate() {
                assert!((i * all / chosen.len()..(i + 1) * all / chosen.len()).contains(&index));
            }
        }
        // Ten classes take turns: each has 200 of 2,000 images, with a standard deviation of 13.
        let mut counts = [0; 10];
        evenly(20_000, 2_000).into_iter().for_each(|index| counts[index % 10] += 1);
        assert!(counts.iter().all(|count| (150..250).contains(count)), "{counts:?}");
    }

    /// Ten of class 0, five of class 1, one of class 2, none of 3, two of 4.
    #[test]
    fn every_class_is_in_both_parts() {
        let labels = [[0; 10].as_slice(), &[1; 5], &[2], &[4; 2]].concat();
        let (train, test) = stratified(&labels, 0.2, 7);
        let count = |part: &[usize], class| part.iter().filter(|&&at| labels[at] == class).count();
        for (class, left, drawn) in [(0, 8, 2), (1, 4, 1), (2, 1, 0), (3, 0, 0), (4, 1, 1)] {
            assert_eq!((count(&train, class), count(&test, class)), (left, drawn), "{class}");
        }
        let mut all = [&train[..], &test].concat();
        assert!(train.is_sorted() && test.is_sorted());
        all.sort_unstable();
        assert!(all.into_iter().eq(0..18));
        assert_eq!(stratified(&labels, 0.2, 7), (train.clone(), test));
        assert_ne!(stratified(&labels, 0.2, 8).0, train);
    }

    /// The same labels: 18 images. Nine of them are half of each class, that is 5, 2.5, 0.5 and 1, rounded, and at
    /// least one.
    #[test]
    fn so_many_keep_their_labels() {
        let labels = [[0; 10].as_slice(), &[1; 5], &[2], &[4; 2]].concat();
        let of = |count| {
            let (kept, others) = labelled(&labels, count, 7);
            let mut all = [&kept[..], &others].concat();
            assert!(kept.is_sorted() && others.is_sorted());
            all.sort_unstable();
            assert!(all.into_iter().eq(0..18));
            [0, 1, 2, 4].map(|class| kept.iter().filter(|&&at| labels[at] == class).count())
        };
        assert_eq!(of(4), [1, 1, 1, 1]);
        assert_eq!(of(18), [10, 5, 1, 2]);
        let [a, b, c, d] = of(9);
        assert!((a, c, d) == (5, 1, 1) && b == 2, "{a} {b} {c} {d}");
        assert_ne!(labelled(&labels, 9, 7), labelled(&labels, 9, 8));
        assert_eq!(labelled(&labels, 9, 7), labelled(&labels, 9, 7));
        // Images without labels are of one class.
        assert_eq!(labelled(&[ImageSet::NO_LABEL; 3], 2, 7).0.len(), 2);
    }

    /// The same labels, sorted by class: half of them are those of above, from the start of each class.
    #[test]
    fn the_first_images_have_all_classes() {
        let labels = [[0; 10].as_slice(), &[1; 5], &[2], &[4; 2]].concat();
        let taken = |labels: &[u32], count| {
            let (first, others) = split_at(labels, count);
            let mut all = [&first[..], &others].concat();
            assert!(first.is_sorted() && others.is_sorted());
            all.sort_unstable();
            assert!(all.into_iter().eq(0..labels.len()));
            first
        };
        assert_eq!(taken(&labels, 9), [0, 1, 2, 3, 4, 10, 11, 15, 16]);
        assert_eq!(taken(&labels, 4), [0, 10, 15, 16]);
        // More classes than images, all images, and more.
        assert_eq!(taken(&labels, 3), [0, 1, 2]);
        for count in [18, 100] {
            assert_eq!(taken(&labels, count), (0..18).collect::<Vec<_>>());
        }
        assert_eq!(taken(&[0, 0, 0, 1, 1, 1], 4), [0, 1, 3, 4]);
        // Not sorted by class: the first ones, unless class 2 is missing.
        assert_eq!(taken(&[0, 1, 0, 0, 2, 1], 5), [0, 1, 2, 3, 4]);
        assert_eq!(taken(&[0, 1, 0, 0, 2, 1], 4), [0, 1, 2, 4]);
        assert!(taken(&[], 3).is_empty());
        assert_eq!(taken(&[ImageSet::NO_LABEL; 3], 2), [0, 1]);
    }
}
