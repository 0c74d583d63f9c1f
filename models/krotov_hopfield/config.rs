//! The configuration of a preset.

use candle_hebbian::RankedWta;
use hebbian_data::transforms::InputConfig;
use hebbian_train::{Error, LinearHeadConfig, Result};
use serde::{Deserialize, Serialize};

/// A layer, how it learns, and how it is read out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// One line for lists.
    pub description: String,
    /// The data set it was made for.
    pub dataset: String,
    /// The transforms and the augmentation of images before the network sees them. Default: none.
    #[serde(default, skip_serializing_if = "InputConfig::is_empty")]
    pub input: InputConfig,
    /// The number of hidden units, `K`.
    pub units: usize,
    /// `p` of the p-norm of a unit's weights, which converges to 1.
    pub norm: f64,
    /// The rank `k` of the unit that unlearns, and the strength `Δ` of its unlearning.
    pub competition: RankedWta,
    /// `ε₀`, the largest change of a weight in a step of the first epoch; it falls linearly.
    pub learning_rate: f64,
    /// Images per step.
    pub batch_size: usize,
    /// Times the images are seen.
    pub epochs: usize,
    /// `n` of the features `max(0, w·x/‖x‖)ⁿ`.
    pub power: f64,
    /// How classes are read out of the features.
    pub head: LinearHeadConfig,
}

impl hebbian_train::Preset for Preset {
    const METHOD: &'static str = "Krotov & Hopfield 2019";
    const EMBEDDED: &'static [&'static str] = &[
        include_str!("presets/krotov-hopfield-digits.json"),
        include_str!("presets/krotov-hopfield-mnist.json"),
        include_str!("presets/krotov-hopfield-mnist-100.json"),
    ];
    const RECORD: &'static [&'static str] = &[
        include_str!("record/digits.json"),
        include_str!("record/held-out.json"),
        include_str!("record/mnist.json"),
    ];

    hebbian_train::preset_fields!();

    fn validate(&self) -> Result<()> {
        let (RankedWta { k, delta }, any) = (self.competition, f64::INFINITY);
        let numbers = [
            ("units", self.units as f64, 2.0, any),
            ("competition.k", k as f64, 2.0, self.units as f64),
            ("competition.delta", delta, 0.0, 1.0),
            ("norm", self.norm, 1.0, any),
            ("learning_rate", self.learning_rate, 0.0, any),
            ("batch_size", self.batch_size as f64, 1.0, any),
            ("power", self.power, 1.0, any),
            ("head.learning_rate", self.head.learning_rate, 0.0, any),
        ];
        let fits = |found: f64, least, most| found.is_finite() && least <= found && found <= most;
        match numbers.into_iter().find(|&(_, found, least, most)| !fits(found, least, most)) {
            Some((name, found, least, most)) => {
                let to = if most.is_finite() { format!(" to {most}") } else { String::new() };
                Err(Error::Argument(format!(
                    "{name} is {found}, expected a finite number from {least}{to}"
                )))
            }
            None => Ok(()),
        }
    }
}
