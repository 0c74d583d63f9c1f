//! Named sets of photographs on the hub.

use crate::{Dataset, Hub, LoadOptions, OnProgress, Result, hub};

/// A named set of photographs of various sizes, which are resized to 160 pixels a side unless the options give
/// another size. The files determine the classes and their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Photographs {
    /// Its name.
    pub name: &'static str,
    /// The path of the set on the hub.
    pub repo: &'static str,
    /// Whether the hub gives access only to users who have accepted the terms of the set.
    pub is_gated: bool,
    /// The split to test with if the options name none. The labels of other test splits are not public.
    test: &'static str,
}

/// The default size of the images in pixels a side: that of the networks of SoftHebb.
const SIDE: usize = 160;

impl Photographs {
    /// ImageNette (J. Howard, 2019), ten classes of ImageNet with 9,469 training images and 3,925 test images; and
    /// ImageNet (ILSVRC 2012; O. Russakovsky et al., 2015), 1,000 classes with 1,281,167 and 50,000 images.
    pub const ALL: [Self; 2] = [
        Self {
            name: "imagenette",
            repo: "frgfm/imagenette/160px",
            is_gated: false,
            test: "validation",
        },
        Self { name: "imagenet", repo: "ILSVRC/imagenet-1k", is_gated: true, test: "validation" },
    ];

    /// Returns the set of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name == name)
    }

    /// The options with an image size, without which photographs of various sizes cannot form a batch.
    pub(crate) fn options(&self, options: &LoadOptions) -> LoadOptions {
        LoadOptions { image_size: options.image_size.or(Some(SIDE)), ..options.clone() }
    }

    /// Loads the set from the hub.
    pub(crate) fn load(
        &self,
        hub: &Hub,
        options: &LoadOptions,
        on_progress: &OnProgress,
    ) -> Result<Option<Dataset>> {
        let test_split = options.test_split.clone().or(Some(self.test.to_string()));
        let options = LoadOptions { test_split, ..self.options(options) };
        let data = hub::load(self.repo, hub, &options, on_progress)?;
        Ok(data.map(|data| Dataset { name: self.name.to_string(), ..data }))
    }
}
