//! SoftHebb as a method that the engine runs.

use super::check;
use super::config::Preset;
use super::learner::{Learner, with_labels};
use super::model::Model;
use super::options::Options;
use candle::Device;
use candle_hebbian::Rng;
use hebbian_data::{Dataset, ImageSet};
use hebbian_train::{Counts, Method, Result, Start};

/// SoftHebb (Journé et al. 2023), for [`hebbian_train::train`].
///
/// ```
/// use candle::Device;
/// use hebbian_models::softhebb::{Options, Softhebb, preset};
/// use hebbian_train::{RunOptions, train};
/// # let folder = tempfile::tempdir()?;
/// let mut preset = preset("softhebb-cnn-digits")?;
/// (preset.training.epochs, preset.training.head_epochs) = (1, 10);
/// let options = Options { preset, baselines: false };
/// let how = RunOptions { quiet: true, ..RunOptions::default() };
/// let run = train::<Softhebb>(&options, &hebbian_data::digits(), &Device::Cpu, &how, folder.path())?;
/// assert!(run.results.test_accuracy > 0.9); // ten classes: chance is 0.1
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Softhebb;

impl Method for Softhebb {
    const NAME: &'static str = "softhebb";

    /// The head is always trained from the start on the features of the network, so its number of epochs may change.
    /// Back-propagation, whose learning rates depend on the number of epochs, refuses to continue with another number.
    const MAY_GROW: &'static [&'static str] = &["/preset/training/head_epochs"];

    type Preset = Preset;
    type Options = Options;
    type Learner = Learner;

    fn preset(options: &Options) -> &Preset {
        &options.preset
    }

    fn preset_mut(options: &mut Options) -> &mut Preset {
        &mut options.preset
    }

    fn counts(options: &Options, data: &Dataset) -> Counts {
        let unlabelled = data.unlabelled.iter().map(ImageSet::len).sum();
        let unlabelled = if with_labels(&options.preset) { 0 } else { unlabelled };
        Counts { train: data.train.len(), unlabelled, validation: 0, test: data.test.len() }
    }

    fn learner(options: &Options, data: &Dataset, start: &Start) -> Result<Learner> {
        Learner::new(options, data, start)
    }

    fn model(
        options: &Options,
        image: (usize, usize, usize),
        classes: usize,
        device: &Device,
    ) -> Result<Model> {
        check::preset(&options.preset)?;
        Model::new(&options.preset, image, classes, &Rng::new(0), device)
    }
}
