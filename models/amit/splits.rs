//! A data set in three parts.

use hebbian_data::{Dataset, ImageSet};
use hebbian_train::{Counts, Result, check_images};

/// The training, validation and test images of a data set.
#[derive(Debug, Clone)]
pub struct Splits {
    /// The images to learn from.
    pub train: ImageSet,
    /// The last images of the training file, or of each class in it.
    pub validation: ImageSet,
    /// The test images.
    pub test: ImageSet,
    /// The number of classes.
    pub classes: usize,
}

impl Splits {
    /// Holds out the last `validation_images` training images for validation, but at most a tenth of all; of a set that
    /// is sorted by class, the last ones of each class ([`ImageSet::split_at`]).
    ///
    /// # Errors
    /// If there are no images.
    pub fn of(data: &Dataset, validation_images: usize) -> Result<Self> {
        check_images(data)?;
        let (count, held) = (data.train.len(), validation_images.min(data.train.len() / 10));
        let (train, validation) = data.train.split_at(count - held);
        Ok(Self { train, validation, test: data.test.clone(), classes: data.class_names.len() })
    }

    /// The number of images in each part.
    pub(super) fn counts(&self) -> Counts {
        let [train, validation, test] =
            [&self.train, &self.validation, &self.test].map(ImageSet::len);
        Counts { train, unlabelled: 0, validation, test }
    }
}
