//! A data set in three parts.

use hebbian_data::{Dataset, ImageSet};
use hebbian_train::{Counts, Error, Result};

/// A data set in three parts.
#[derive(Debug, Clone)]
pub struct Splits {
    /// The images to learn from.
    pub train: ImageSet,
    /// The last images of the training file.
    pub validation: ImageSet,
    /// The test images.
    pub test: ImageSet,
    /// How many classes there are.
    pub classes: usize,
}

impl Splits {
    /// Keeps the last `validation_images` training images for validation, a tenth of all at most.
    ///
    /// # Errors
    /// No images.
    pub fn of(data: &Dataset, validation_images: usize) -> Result<Self> {
        let (count, held) = (data.train.len(), validation_images.min(data.train.len() / 10));
        let validation: Vec<usize> = (count - held..count).collect();
        let classes = data.class_names.len();
        let wrong = |set: &ImageSet| set.labels().iter().any(|&label| label as usize >= classes);
        if count == 0 || data.test.is_empty() || wrong(&data.train) || wrong(&data.test) {
            return Err(Error::Argument(format!(
                "{}: {count} training and {} test images with labels below {classes}: expected one \
                 or more of each, and no other label",
                data.name,
                data.test.len()
            )));
        }
        Ok(Self {
            train: data.train.take(count - held),
            validation: data.train.select(&validation)?,
            test: data.test.clone(),
            classes,
        })
    }
}

impl Splits {
    /// How many images each part has.
    pub(super) fn counts(&self) -> Counts {
        let [train, validation, test] =
            [&self.train, &self.validation, &self.test].map(ImageSet::len);
        Counts { train, validation, test }
    }
}
