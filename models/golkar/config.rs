//! The settings of a preset.

use super::circuit::{CircuitConfig, Initial, Rates, Way};
use hebbian_data::transforms::InputConfig;
use hebbian_train::{Error, Result, choose};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The largest number of hidden units, for which `Q` takes 17 GB in f32.
const MOST_UNITS: usize = 1 << 16;

/// A circuit and how it learns, with back-propagation for comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The name of the preset.
    pub name: String,
    /// A one-line description, for lists.
    pub description: String,
    /// The data set that the preset was made for.
    pub dataset: String,
    /// How images are transformed before the network sees them. Default: not at all.
    #[serde(default, skip_serializing_if = "InputConfig::is_empty")]
    pub input: InputConfig,
    /// If `Some(count)`, learn the test images and test with the first `count` training images, as the
    /// paper does; `None` for the usual roles.
    #[serde(default)]
    pub swapped: Option<usize>,
    /// The scaling of pixels from 0 to 1; `None` for the mean and deviation of all pixels of the images to
    /// learn.
    #[serde(default)]
    pub scaling: Option<Scaling>,
    /// Hidden units `k`.
    pub units: usize,
    /// The circuit.
    pub circuit: CircuitConfig,
    /// The initial weights.
    pub initial: Initial,
    /// How the circuit learns.
    pub training: Training,
    /// How back-propagation learns.
    pub backprop: BackpropTraining,
}

/// `(pixel − mean) / deviation`, with one mean and one deviation for all pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// The mean that is subtracted.
    pub mean: f64,
    /// The deviation by which the difference is divided.
    pub deviation: f64,
}

/// How the circuit learns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The initial learning rates.
    pub rates: Rates,
    /// `t₀` of the schedule `η(t) = η / (1 + t/t₀)`, `t` in samples seen; `None` for constant rates.
    #[serde(default)]
    pub half_time: Option<f64>,
    /// Samples per step; 1 is the paper's online learning.
    pub batch_size: usize,
    /// Number of passes over the samples.
    pub epochs: usize,
    /// How increments are computed.
    #[serde(default = "surrogates")]
    pub way: Way,
    /// Initial learning rate of a separate read-out that learns by the delta rule, with the schedule of
    /// back-propagation ([`BackpropTraining::half_time`]); `None` to predict with `W₂`.
    #[serde(default)]
    pub readout: Option<f64>,
}

/// How back-propagation learns, for as many epochs as the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackpropTraining {
    /// The initial learning rate of both layers.
    pub rate: f64,
    /// As in [`Training`].
    #[serde(default)]
    pub half_time: Option<f64>,
    /// As in [`Training`].
    pub batch_size: usize,
}

impl FromStr for Way {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = [
            ("surrogates", Self::Surrogates),
            ("energy", Self::Energy),
            ("explicit", Self::Explicit),
        ];
        choose("way", name, &all)
    }
}

fn surrogates() -> Way {
    Way::Surrogates
}

impl Preset {
    /// Checks what the schema cannot.
    ///
    /// # Errors
    /// The first problem found.
    pub fn check(&self) -> Result<()> {
        let Training { rates, half_time, batch_size, way, readout, .. } = self.training;
        let least_one = [
            ("units", self.units),
            ("the batch size", batch_size),
            ("back-propagation's batch size", self.backprop.batch_size),
        ];
        if let Some((name, _)) = least_one.into_iter().find(|(_, count)| *count == 0) {
            return Err(Error::Argument(format!("{name}: found 0, expected 1 or more")));
        }
        if self.units > MOST_UNITS {
            return Err(Error::Argument(format!(
                "units: found {}, expected at most {MOST_UNITS}, for the interneurons have as many \
                 weights as its square",
                self.units
            )));
        }
        let CircuitConfig { mean_rate, ridge, level, decoupled, .. } = self.circuit;
        let numbers = [
            ("rates.w1", rates.w1),
            ("rates.w2", rates.w2),
            ("rates.q", rates.q),
            ("backprop.rate", self.backprop.rate),
            ("readout", readout.unwrap_or(0.0)),
            ("mean_rate", mean_rate),
            ("ridge", ridge),
            ("initial.w1", self.initial.w1),
            ("initial.w2", self.initial.w2),
        ];
        let refuse = |(name, found): (&str, f64), expected: &str| {
            Err(Error::Argument(format!("{name} is {found}, expected a number {expected}")))
        };
        if let Some(wrong) = numbers.into_iter().find(|(_, x)| !(*x >= 0.0 && x.is_finite())) {
            return refuse(wrong, "≥ 0");
        }
        let positive = [
            ("initial.q", self.initial.q),
            ("level", level),
            ("half_time", half_time.unwrap_or(1.0)),
            ("backprop.half_time", self.backprop.half_time.unwrap_or(1.0)),
            ("scaling.deviation", self.scaling.map_or(1.0, |scaling| scaling.deviation)),
        ];
        if let Some(wrong) = positive.into_iter().find(|(_, x)| !(*x > 0.0 && x.is_finite())) {
            return refuse(wrong, "above 0");
        }
        if way == Way::Energy && decoupled {
            return Err(Error::Argument(
                "a decoupled circuit has no energy: its way is surrogates or explicit".to_string(),
            ));
        }
        if decoupled && ridge > 0.0 {
            return Err(Error::Argument(format!(
                "a decoupled circuit has no ridge, because the paper does not say what it adds to R: ridge is {ridge}, \
                 expected 0"
            )));
        }
        Ok(())
    }
}

/// Computes `1 / (1 + t/t₀)` after `seen` samples.
pub(super) fn schedule(half_time: Option<f64>, seen: usize) -> f64 {
    half_time.map_or(1.0, |half_time| 1.0 / (1.0 + seen as f64 / half_time))
}
