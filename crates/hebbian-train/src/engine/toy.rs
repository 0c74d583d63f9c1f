//! A method for tests that learns nothing, and whose preset says what goes wrong.

use super::{Measured, OwnReadout, Recipe, Unsupervised, UnsupervisedMethod};
use crate::{Checkpoint, LinearHeadConfig, Picture, Result, RunFolder};
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::transforms::InputConfig;
use hebbian_data::{Dataset, ImageSet};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Images for training, and as many for testing.
const IMAGES: usize = 20;

/// A few digits.
pub(crate) fn images() -> Dataset {
    let digits = hebbian_data::digits();
    Dataset { train: digits.train.take(IMAGES), test: digits.test.take(IMAGES), ..digits }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preset {
    pub name: String,
    pub description: String,
    pub dataset: String,
    #[serde(default, skip_serializing_if = "InputConfig::is_empty")]
    pub input: InputConfig,
    /// Epochs of one step each.
    pub epochs: usize,
    /// The epoch, counted from 1, in which the weight becomes NaN; 0 for none.
    pub weight_fails_in: usize,
    /// Whether the features are NaN, and not the pixels.
    pub features_fail: bool,
    /// The folder in which another run is begun while this one begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_run_in: Option<PathBuf>,
}

impl Preset {
    /// So many epochs in which nothing goes wrong.
    pub fn of_epochs(epochs: usize) -> Self {
        let [name, description, dataset] = ["toy", "for tests", "digits"].map(str::to_string);
        let (weight_fails_in, features_fail) = (0, false);
        let (input, other_run_in) = (InputConfig::NONE, None);
        Self {
            name,
            description,
            dataset,
            input,
            epochs,
            weight_fails_in,
            features_fail,
            other_run_in,
        }
    }
}

impl crate::Preset for Preset {
    const METHOD: &'static str = "a toy";
    const EMBEDDED: &'static [&'static str] = &[];
    const RECORD: &'static [&'static str] = &[];

    crate::preset_fields!();
}

#[derive(Debug)]
pub(crate) struct Network {
    weight: Tensor,
    width: usize,
    preset: Preset,
}

impl Unsupervised for Network {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        vec![("weight".to_string(), self.weight.clone())]
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.weight = checkpoint.take("weight", 1, DType::F32)?;
        Ok(())
    }

    fn width(&self) -> usize {
        self.width
    }

    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let factor = if self.preset.features_fail { f64::NAN } else { 1.0 };
        Ok((images.flatten_from(1)? * factor)?)
    }

    fn begin(&mut self, _: &ImageSet, _: &Rng, _: bool) -> Result<()> {
        self.preset.other_run_in.iter().try_for_each(|folder| RunFolder::create(folder).map(drop))
    }

    fn own_readout(&self) -> Option<OwnReadout<'_>> {
        Some(OwnReadout::Ridge(&[1.0]))
    }

    fn learn(&mut self, _: &Tensor, progress: f64) -> Result<()> {
        let epoch = 1 + (progress * self.preset.epochs as f64).round() as usize;
        if epoch == self.preset.weight_fails_in {
            self.weight = (&self.weight * f64::NAN)?;
        }
        Ok(())
    }

    fn measure(&self) -> Result<Measured> {
        Ok(Measured::default())
    }

    fn pictures(&self, _: (usize, usize, usize)) -> Result<Vec<(String, Picture)>> {
        Ok(Vec::new())
    }
}

#[derive(Debug)]
pub(crate) struct Toy;

impl UnsupervisedMethod for Toy {
    const NAME: &'static str = "toy";
    const MAY_GROW: &'static [&'static str] = &["/preset/epochs"];
    type Preset = Preset;
    type Network = Network;

    fn network(
        preset: &Preset,
        (channels, height, width): (usize, usize, usize),
        _: &Rng,
        device: &Device,
    ) -> Result<Network> {
        let weight = Tensor::ones(1, DType::F32, device)?;
        Ok(Network { weight, width: channels * height * width, preset: preset.clone() })
    }

    fn recipe(preset: &Preset) -> Recipe {
        let head = LinearHeadConfig::default();
        Recipe { epochs: preset.epochs, batch_size: IMAGES, head }
    }
}
