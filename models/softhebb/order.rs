//! In which order images are shown.

use candle_hebbian::Rng;
use hebbian_data::{Batches, ImageSet};
use hebbian_train::{Error, Result};

/// Batches of all images, epoch after epoch without end, in an order that is drawn again for each.
#[derive(Debug)]
pub(super) struct Order {
    rng: Rng,
    images: ImageSet,
    batch_size: usize,
    /// What is left of this epoch.
    left: Batches,
}

impl Order {
    /// Over these images, in orders from `rng`.
    pub(super) fn new(rng: Rng, images: ImageSet, batch_size: usize) -> Result<Self> {
        Ok(Self { rng, images, batch_size, left: Batches::sequential(0, batch_size)? })
    }

    /// The images of the next batch.
    pub(super) fn next(&mut self) -> Result<Vec<usize>> {
        self.begin()?;
        self.left.next().ok_or_else(nothing)
    }

    /// Leaves out so many batches, whose orders are drawn all the same.
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

    /// Begins an epoch, if one has ended.
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
