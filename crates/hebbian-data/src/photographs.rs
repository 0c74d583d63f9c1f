//! Sets of photographs on the hub that have a name here.

use crate::{Dataset, Hub, LoadOptions, OnProgress, Result, hub_set};

/// A set of photographs of all sizes, which are resized unless the options say to how many pixels. Its classes, and
/// their names, are those that its files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Photographs {
    /// Its name.
    pub name: &'static str,
    /// Where it is on the hub.
    pub repo: &'static str,
    /// Whether the hub gives it only to those who have accepted its terms.
    pub is_gated: bool,
    /// The split to test with, where the options name none: labels of the others are not public.
    test: &'static str,
}

/// Pixels a side that images get: those of the networks of SoftHebb.
const SIDE: usize = 160;

impl Photographs {
    /// ImageNette (J. Howard, 2019), ten classes of ImageNet, 9,469 images to learn from and 3,925 to test with; and
    /// ImageNet (ILSVRC 2012; O. Russakovsky et al., 2015), 1,000 classes, 1,281,167 and 50,000 images.
    pub const ALL: [Self; 2] = [
        Self {
            name: "imagenette",
            repo: "frgfm/imagenette/160px",
            is_gated: false,
            test: "validation",
        },
        Self { name: "imagenet", repo: "ILSVRC/imagenet-1k", is_gated: true, test: "validation" },
    ];

    /// The set of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name == name)
    }

    /// The options for it: photographs of all sizes cannot be a batch.
    pub(crate) fn options(&self, options: &LoadOptions) -> LoadOptions {
        LoadOptions { image_size: options.image_size.or(Some(SIDE)), ..options.clone() }
    }

    /// The set, from the hub.
    pub(crate) fn load(
        &self,
        hub: &Hub,
        options: &LoadOptions,
        on_progress: &OnProgress,
    ) -> Result<Option<Dataset>> {
        let test_split = options.test_split.clone().or(Some(self.test.to_string()));
        let options = LoadOptions { test_split, ..self.options(options) };
        let data = hub_set::load(self.repo, hub, &options, on_progress)?;
        Ok(data.map(|data| Dataset { name: self.name.to_string(), ..data }))
    }
}
