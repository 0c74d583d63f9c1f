//! The order in which images are shown.

use candle_hebbian::Rng;
use hebbian_data::{Batches, ImageSet};
use hebbian_train::{Error, Result};

/// Batches of all images, epoch after epoch without end, in an order that is drawn for each epoch.
#[derive(Debug)]
pub(super) struct Order {
    rng: Rng,
    images: ImageSet,
    batch_size: usize,
    /// The batches of this epoch that are left.
    left: Batches,
}

impl Order {
    /// Batches of `images`, in orders that are drawn from `rng`.
    pub(super) fn new(rng: Rng, images: ImageSet, batch_size: usize) -> Result<Self> {
        Ok(Self { rng, images, batch_size, left: Batches::sequential(0, batch_size)? })
    }

    /// Returns the indices of the images of the next batch.
    pub(super) fn next(&mut self) -> Result<Vec<usize>> {
        self.begin()?;
        self.left.next().ok_or_else(nothing)
    }

    /// Skips `batches` batches. The orders of their epochs are drawn all the same.
    pub(super) fn skip(&mut self, batches: u64) -> Result<()> {
        let mut left = usize::try_from(batches).unwrap_or(usize::MAX);
        while left > 0 {
            self.begin()?;
            let passed = left.min(self.left.len());
            if passed == 0 {
                return Err(nothing());
            }
            self.left.pass(passed);
            left -= passed;
        }
        Ok(())
    }

    /// Begins an epoch if no batches are left.
    fn begin(&mut self) -> Result<()> {
        if self.left.len() == 0 {
            self.left = self.images.shuffled(self.batch_size, &mut self.rng)?;
        }
        Ok(())
    }
}

fn nothing() -> Error {
    Error::Argument("there are no images to learn from".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten images in batches of three: each epoch ends with one image, has all of them, and has an order of its own.
    #[test]
    fn each_epoch_has_an_order_of_its_own() -> Result<()> {
        let images = hebbian_data::digits().train.take(10);
        let mut order = Order::new(Rng::new(1), images, 3)?;
        let mut epochs: Vec<Vec<usize>> = Vec::new();
        for _ in 0..3 {
            let mut epoch = Vec::new();
            for count in [3, 3, 3, 1] {
                let batch = order.next()?;
                assert_eq!(batch.len(), count);
                epoch.extend(batch);
            }
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
            assert!(!epochs.contains(&epoch), "{epoch:?} came before");
            epochs.push(epoch);
        }
        Ok(())
    }
}
