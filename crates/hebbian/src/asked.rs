//! An experiment that flags ask for.

use anyhow::Result;
use hebbian_data::Dataset;
use hebbian_train::Study;
use std::fmt;

/// What an experiment does in a study.
pub enum Work {
    /// It learns from the images of a data set.
    OnImages(WorkOnImages),
    /// It makes its own data.
    OnItsOwn(WorkOnItsOwn),
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnImages(_) => "OnImages(..)",
            Self::OnItsOwn(_) => "OnItsOwn(..)",
        })
    }
}

/// Trains the networks of a study on a data set; returns the report.
pub type WorkOnImages = Box<dyn Fn(&Study, &Dataset) -> Result<String>>;

/// Trains the networks of a study on data that it makes; returns the report.
pub type WorkOnItsOwn = Box<dyn Fn(&Study) -> Result<String>>;

/// An experiment that flags ask for.
#[derive(Debug)]
pub struct Asked {
    /// Its name.
    pub name: &'static str,
    /// Passes over its data, if not as many as its presets say.
    pub epochs: Option<usize>,
    /// How many seeds each network is trained with.
    pub seeds: usize,
    /// Whether the flags leave the experiment as it is in the record.
    pub as_stated: bool,
    /// If its networks learn the test images of the data set, the number of training images that they are tested with.
    pub swapped: Option<usize>,
    /// Flags to try after it; may be empty.
    pub next: &'static str,
    /// The experiment.
    pub work: Work,
}

impl Asked {
    /// An experiment as it is in the record, on the images of a data set, with these epochs and seeds, if they are
    /// given; the default is 3 seeds.
    pub fn on_images(
        name: &'static str,
        (epochs, seeds): (Option<usize>, Option<usize>),
        work: impl Fn(&Study, &Dataset) -> Result<String> + 'static,
    ) -> Self {
        let (seeds, work) = (seeds.unwrap_or(3), Work::OnImages(Box::new(work)));
        Self { name, epochs, seeds, as_stated: true, swapped: None, next: "", work }
    }
}
