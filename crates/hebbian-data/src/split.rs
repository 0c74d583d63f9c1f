//! A test share, drawn.

use candle_hebbian::Rng;

use crate::{Dataset, Error, ImageSet, LoadOptions, Result};

/// Of each class, `share` of the images drawn by the seed, rounded, but one at least where there are two or
/// more, and one at least left: the places of those left, and of those drawn, both in order.
pub(crate) fn stratified(labels: &[u32], share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let classes = labels.iter().max().map_or(0, |&most| most as usize + 1);
    let mut places = vec![Vec::new(); classes];
    for (at, &label) in labels.iter().enumerate() {
        places[label as usize].push(at);
    }
    let mut rng = Rng::new(seed).stream("test-share");
    let mut drawn = vec![false; labels.len()];
    for places in places {
        let order = rng.permutation(places.len());
        let most = places.len().saturating_sub(1);
        let count = ((places.len() as f64 * share).round() as usize).max(1).min(most);
        order[..count].iter().for_each(|&at| drawn[places[at]] = true);
    }
    (0..labels.len()).partition(|&at| !drawn[at])
}

/// Images to learn from and images to test with.
pub(crate) fn split(all: &ImageSet, share: f64, seed: u64) -> Result<(ImageSet, ImageSet)> {
    let (train, test) = stratified(all.labels(), share, seed);
    Ok((all.select(&train)?, all.select(&test)?))
}

/// The data set of the images to learn from and, if there are any, those to test with; else a share of the
/// former is drawn.
///
/// The last sets are the unlabelled ones.
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

/// What a split of images without labels is called.
const UNLABELLED: [&str; 2] = ["unlabelled", "unlabeled"];

/// Whether a split is of images without labels, by its name.
pub(crate) fn is_unlabelled(name: &str) -> bool {
    UNLABELLED.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// So many images, drawn by the seed, that keep their labels, with one at least of each class: the places of those
/// that do, and of the others, both in order. Each class has its share, rounded to what is nearest of all.
pub(crate) fn labelled(labels: &[u32], count: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let classes = labels.iter().max().map_or(0, |&most| most as usize + 1);
    let mut places = vec![Vec::new(); classes];
    for (at, &label) in labels.iter().enumerate() {
        places[label as usize].push(at);
    }
    places.retain(|places| !places.is_empty());
    // The classes beyond one each, in the order of what they are short of.
    let mut kept: Vec<usize> = places.iter().map(|_| 1).collect();
    let wanted = |class: usize| places[class].len() as f64 * count as f64 / labels.len() as f64;
    for _ in places.len()..count {
        let open = (0..places.len()).filter(|&class| kept[class] < places[class].len());
        let short = |class: usize| wanted(class) - kept[class] as f64;
        // The first of those that are short of as much.
        let next = open.rev().max_by(|&one, &other| short(one).total_cmp(&short(other)));
        next.into_iter().for_each(|class| kept[class] += 1);
    }
    let mut rng = Rng::new(seed).stream("labelled");
    let mut keeps = vec![false; labels.len()];
    for (places, kept) in places.iter().zip(kept) {
        let order = rng.permutation(places.len());
        order[..kept].iter().for_each(|&at| keeps[places[at]] = true);
    }
    (0..labels.len()).partition(|&at| keeps[at])
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// The same labels: 18 images, of which 9 are half of each class, 5 and 2.5, 0.5 and 1, rounded; and one at
    /// least.
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
    }
}
