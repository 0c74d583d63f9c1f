use candle_hebbian::Rng;

use crate::{Error, Result};

/// The batches of one epoch, as indices into a split. The last batch holds what is left and may be
/// shorter.
///
/// ```
/// use candle_hebbian::Rng;
/// use hebbian_data::Batches;
/// let sizes: Vec<usize> =
///     Batches::shuffled(10, 4, &mut Rng::new(0))?.map(|indices| indices.len()).collect();
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok::<(), hebbian_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Batches {
    order: std::vec::IntoIter<usize>,
    batch_size: usize,
}

impl Batches {
    /// The numbers `0..n` in random order. Call it again for each epoch: the generator moves on.
    ///
    /// # Errors
    /// When `batch_size` is 0.
    pub fn shuffled(n: usize, batch_size: usize, rng: &mut Rng) -> Result<Self> {
        Self::new(rng.permutation(n), batch_size)
    }

    /// The numbers `0..n` in order.
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
        Ok(Self { order: order.into_iter(), batch_size })
    }
}

impl Iterator for Batches {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let batch: Vec<usize> = self.order.by_ref().take(self.batch_size).collect();
        (!batch.is_empty()).then_some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.order.len().div_ceil(self.batch_size);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches {}
