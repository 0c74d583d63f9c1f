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
pub(crate) fn dataset(
    name: &str,
    sets: Vec<ImageSet>,
    class_names: Vec<String>,
    options: &LoadOptions,
) -> Result<Dataset> {
    let mut sets = sets.into_iter();
    let (train, test) = match (sets.next(), sets.next()) {
        (Some(train), Some(test)) => (train, test),
        (Some(all), None) => split(&all, options.test_share, options.seed)?,
        (None, _) => return Err(Error::Size { what: "splits", found: 0, expected: 1 }),
    };
    Ok(Dataset { name: name.to_string(), train, test, class_names })
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
}
