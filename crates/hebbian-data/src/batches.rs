use std::ops::Range;
use std::sync::Arc;

use candle_hebbian::Rng;

use crate::ahead::{Ahead, Parts};
use crate::store::Store;
use crate::{Error, ImageSet, Result};

/// The batches of one epoch, as indices into a split. The last batch holds the remaining images and may be
/// shorter.
///
/// If the images are in files, the batches of [`ImageSet::shuffled`] and [`ImageSet::in_order`] let the set read
/// the next images while a batch is being processed.
///
/// ```
/// use candle_hebbian::Rng;
/// use hebbian_data::Batches;
/// let sizes: Vec<usize> =
///     Batches::shuffled(10, 4, &mut Rng::new(0))?.map(|indices| indices.len()).collect();
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok::<(), hebbian_data::Error>(())
/// ```
#[derive(Debug)]
pub struct Batches {
    order: Vec<usize>,
    batch_size: usize,
    /// The number of images that were handed out or skipped.
    done: usize,
    source: Option<Source>,
}

/// Where images that are not in memory are read from.
#[derive(Debug)]
struct Source {
    store: Arc<Store>,
    /// The order as indices into the store; empty once reading ahead has begun.
    order: Vec<usize>,
    parts: Parts,
    ahead: Option<Ahead>,
}

impl Batches {
    /// The indices `0..n` in random order. Call it again for each epoch: the generator moves on.
    ///
    /// # Errors
    /// When `batch_size` is 0.
    pub fn shuffled(n: usize, batch_size: usize, rng: &mut Rng) -> Result<Self> {
        Self::new(rng.permutation(n), batch_size)
    }

    /// The indices `0..n` in order.
    ///
    /// # Errors
    /// When `batch_size` is 0.
    pub fn sequential(n: usize, batch_size: usize) -> Result<Self> {
        Self::new((0..n).collect(), batch_size)
    }

    fn new(order: Vec<usize>, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::BatchSizeZero);
        }
        Ok(Self { order, batch_size, done: 0, source: None })
    }

    /// Skips this number of batches, or all that are left if there are fewer. Their images are not read.
    pub fn pass(&mut self, batches: usize) {
        let images = batches.saturating_mul(self.batch_size);
        self.done = self.done.saturating_add(images).min(self.order.len());
    }

    /// How many images are left.
    pub fn images(&self) -> usize {
        self.order.len() - self.done
    }
}

impl Iterator for Batches {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let at = self.done..self.order.len().min(self.done.saturating_add(self.batch_size));
        self.done = at.end;
        let batch = self.order[at.clone()].to_vec();
        if batch.is_empty() {
            self.source = None;
            return None;
        }
        if let Some(source) = &mut self.source {
            source.go_to(at);
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.images().div_ceil(self.batch_size);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches {}

impl Source {
    fn go_to(&mut self, at: Range<usize>) {
        match &self.ahead {
            Some(ahead) => ahead.go_to(at),
            None => {
                let (order, parts) = (std::mem::take(&mut self.order), self.parts.clone());
                // If no thread can be started, each batch is read when it is asked for.
                self.ahead = match order.is_empty() {
                    true => None,
                    false => Ahead::start(&self.store, order, parts, at),
                };
            }
        }
    }
}

/// How many images are read ahead together if each is in a file of its own, and the buffer holds them.
const TOGETHER: usize = 64;
/// The same for rows of tables, which come in larger blocks.
const BLOCKS_AHEAD: usize = 512;

/// The ends of parts with others between them, so that no part has more than `longest` images.
fn cut(ends: &[usize], longest: usize) -> Vec<usize> {
    let (mut start, mut all) = (0, Vec::with_capacity(ends.len()));
    for &end in ends {
        all.extend((start..end).step_by(longest).skip(1));
        all.push(end);
        start = end;
    }
    all
}

impl ImageSet {
    /// Returns the images in random order. Call it again for each epoch: the generator moves on.
    ///
    /// The order depends on the generator and the number of images and, for tables that decode to more than the
    /// [buffer](crate::LoadOptions::buffer), on their row groups: these are drawn in random order, and the rows
    /// of as many groups as fill half of the buffer are mixed, so that a set is read once an epoch. The order
    /// does not depend on whether the pixels are in memory or in files.
    ///
    /// # Errors
    /// When `batch_size` is 0.
    pub fn shuffled(&self, batch_size: usize, rng: &mut Rng) -> Result<Batches> {
        let (count, buffer) = (self.len(), self.store().buffer());
        let Some(runs) = self.runs() else {
            return self.read_ahead(rng.permutation(count), None, batch_size);
        };
        if count <= buffer {
            let parts = Parts { ends: vec![count], most: buffer };
            return self.read_ahead(rng.permutation(count), Some(parts), batch_size);
        }
        let (mut order, mut ends, mut mixed) = (Vec::with_capacity(count), Vec::new(), Vec::new());
        let drawn = rng.permutation(runs.len() - 1);
        let mut mix = |mixed: &mut Vec<usize>| {
            order.extend(rng.permutation(mixed.len()).into_iter().map(|at| mixed[at]));
            ends.push(order.len());
            mixed.clear();
        };
        for block in drawn {
            let rows = runs[block]..runs[block + 1];
            if !mixed.is_empty() && mixed.len() + rows.len() > buffer / 2 {
                mix(&mut mixed);
            }
            mixed.extend(rows);
        }
        mix(&mut mixed);
        // A block of more images than that is mixed as a whole, but not read as a whole.
        let ends = cut(&ends, (buffer / 2).max(1));
        self.read_ahead(order, Some(Parts { ends, most: buffer }), batch_size)
    }

    /// Returns the images in order.
    ///
    /// # Errors
    /// When `batch_size` is 0.
    pub fn in_order(&self, batch_size: usize) -> Result<Batches> {
        let ahead = BLOCKS_AHEAD.min(self.store().buffer());
        let parts = self.runs().map(|runs| Parts {
            ends: cut(&runs[1..], ahead),
            most: batch_size.saturating_mul(2).saturating_add(ahead),
        });
        self.read_ahead((0..self.len()).collect(), parts, batch_size)
    }

    /// Batches in this order, read ahead in these parts, or a few images at a time if `parts` is `None`.
    fn read_ahead(
        &self,
        order: Vec<usize>,
        parts: Option<Parts>,
        batch_size: usize,
    ) -> Result<Batches> {
        let mut batches = Batches::new(order, batch_size)?;
        if !self.is_in_memory() {
            let count = batches.order.len();
            let together = TOGETHER.min(self.store().buffer());
            let parts = parts.unwrap_or_else(|| Parts {
                ends: (0..count).step_by(together).map(|at| count.min(at + together)).collect(),
                most: batch_size.saturating_add(together).saturating_mul(2),
            });
            let order = batches.order.iter().map(|&i| self.in_store(i)).collect();
            let store = self.store().clone();
            batches.source = Some(Source { store, order, parts, ahead: None });
        }
        Ok(batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::{Form, How};
    use crate::store::{Encoded, Pile};
    use std::path::PathBuf;

    /// 1,000 pictures in blocks of 256, which are never read.
    #[derive(Debug)]
    struct Blocks;

    impl Pile for Blocks {
        fn len(&self) -> usize {
            1000
        }

        fn blocks(&self) -> Option<&[usize]> {
            Some(&[0, 256, 512, 768, 1000])
        }

        fn read(&self, _: &[usize]) -> Result<Vec<Encoded>> {
            Ok(Vec::new())
        }

        fn place(&self, _: usize) -> (PathBuf, Option<usize>) {
            (PathBuf::new(), None)
        }
    }

    /// What is read ahead fits the buffer, although a block has more images; the blocks are mixed as they always were.
    #[test]
    fn no_more_is_read_ahead_than_the_buffer_holds() {
        let of = |buffer| {
            let how = How { shape: (3, 2048, 2048), form: Form::AsTheyAre };
            let store = Store::in_files(Arc::new(Blocks), how, 0, buffer);
            ImageSet::of_store(store, vec![0; 1000])
        };
        let parts = |batches: &Batches| batches.source.as_ref().unwrap().parts.clone();
        let longest = |parts: &Parts| {
            let starts = std::iter::once(0).chain(parts.ends.iter().copied());
            parts.ends.iter().zip(starts).map(|(end, start)| end - start).max().unwrap()
        };
        let (small, large) = (of(21), of(600));
        let batches = small.shuffled(4, &mut Rng::new(3)).unwrap();
        let read = parts(&batches);
        assert_eq!((longest(&read), read.most, read.ends.last()), (10, 21, Some(&1000)));
        let order = &batches.order;
        for rows in [256_usize, 512, 768, 1000].map(|end| end - 232..end) {
            let at = |row: usize| order.iter().position(|&other| other == row).unwrap();
            let places: Vec<usize> = rows.map(at).collect();
            let (first, last) = (places.iter().min().unwrap(), places.iter().max().unwrap());
            assert!(last - first < 256, "a block is mixed by itself");
            assert!(!places.is_sorted(), "a block is mixed as a whole");
        }
        let batches = small.in_order(4).unwrap();
        let read = parts(&batches);
        assert_eq!((longest(&read), read.most, read.ends.last()), (21, 8 + 21, Some(&1000)));
        // Small pictures are read block by block.
        let read = parts(&large.in_order(4).unwrap());
        assert_eq!((read.ends, read.most), (vec![256, 512, 768, 1000], 8 + 512));
        let read = parts(&large.shuffled(4, &mut Rng::new(3)).unwrap());
        assert_eq!((read.ends.len(), longest(&read)), (4, 256));
    }
}
