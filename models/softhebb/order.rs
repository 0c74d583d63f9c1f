//! In which order images are shown.

use candle_hebbian::Rng;
use hebbian_data::Batches;
use hebbian_train::{Error, Result};

/// Batches of all images, epoch after epoch without end, in an order that is drawn anew for each.
#[derive(Debug)]
pub(super) struct Order {
    rng: Rng,
    images: usize,
    batch_size: usize,
    /// What is left of this epoch.
    left: Batches,
}

impl Order {
    /// Over so many images, in orders from `rng`.
    pub(super) fn new(rng: Rng, images: usize, batch_size: usize) -> Result<Self> {
        Ok(Self { rng, images, batch_size, left: Batches::sequential(0, batch_size)? })
    }

    /// The images of the next batch.
    pub(super) fn next(&mut self) -> Result<Vec<usize>> {
        if self.left.len() == 0 {
            self.left = Batches::shuffled(self.images, self.batch_size, &mut self.rng)?;
        }
        let nothing = || Error::Argument("there are no images to learn from".to_string());
        self.left.next().ok_or_else(nothing)
    }

    /// Leaves out so many batches, which are drawn all the same.
    pub(super) fn skip(&mut self, batches: u64) -> Result<()> {
        (0..batches).try_for_each(|_| self.next().map(drop))
    }
}
