//! The flags that say what a network sees of images.

use clap::Args;
use hebbian_data::transforms::{InputConfig, TransformList};

/// Flags that say what a network sees of images.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What the network sees")]
pub struct TransformArgs {
    /// Transforms of every image, applied in the order given: of resize=32, centre-crop=28, grey, standardise-image,
    /// standardise (fitted to the training images), zca, difference-of-gaussians; or none [default: the preset's]
    #[arg(long, value_name = "LIST")]
    pub transform: Option<TransformList>,
    /// Random changes to training images before the transforms: random-crop=32:padding=4:reflect,
    /// random-resized-crop=32, flip, colour-jitter; or none [default: the preset's]
    #[arg(long, value_name = "LIST")]
    pub augment: Option<TransformList>,
}

impl TransformArgs {
    /// Whether any of the flags is given.
    pub(crate) fn are_given(&self) -> bool {
        self.transform.is_some() || self.augment.is_some()
    }

    /// Replaces the lists of `input` by those that are given.
    pub(crate) fn put_into(&self, input: &mut InputConfig) {
        for (given, there) in
            [(&self.transform, &mut input.transforms), (&self.augment, &mut input.augmentation)]
        {
            if let Some(given) = given {
                *there = given.clone();
            }
        }
    }
}
