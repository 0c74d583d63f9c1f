//! What tells data sets apart whose splits have the same sizes.

use sha2::{Digest, Sha256};

use crate::text::hex;
use crate::{Dataset, ImageSet, Result};

/// The most images of a set whose pixels are read. All of them may be in other blocks of a file, and each block is then
/// read for one image.
const READ: usize = 16;

impl Dataset {
    /// Returns the SHA-256, in hexadecimal digits, of the shape and all labels of every split, and of the pixels of up
    /// to 16 of its images, spread evenly, before transforms. So it differs if images or labels were exchanged, added,
    /// removed or put in another order, and reads little of a large set. It is the same where only other images were
    /// changed.
    ///
    /// # Errors
    /// If a file cannot be read or holds no picture that fits.
    pub fn fingerprint(&self) -> Result<String> {
        let mut sum = Sha256::new();
        for set in [&self.train, &self.test].into_iter().chain(&self.unlabelled) {
            add(&mut sum, set)?;
        }
        Ok(hex(sum))
    }
}

fn add(sum: &mut Sha256, set: &ImageSet) -> Result<()> {
    let (channels, height, width) = set.stored_shape();
    // The sizes first, so that no labels can be taken for those of the next split.
    for size in [set.len(), channels, height, width] {
        sum.update((size as u64).to_le_bytes());
    }
    set.labels().iter().for_each(|label| sum.update(label.to_le_bytes()));
    let read = set.len().min(READ);
    // The first and the last image are among them.
    let places: Vec<usize> =
        (0..read).map(|at| at * (set.len() - 1) / read.saturating_sub(1).max(1)).collect();
    sum.update(set.pixels(&places)?);
    Ok(())
}
