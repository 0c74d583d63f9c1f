//! The configuration of a preset.

use candle_hebbian::ops::Pool;
use candle_hebbian::{Activation, Conv2dConfig, InitConfig, LayerConfig, Norm, SoftWta};
use hebbian_data::transforms::InputConfig;
use hebbian_train::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::SQRT_2;

/// A network with its recipe. Unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// One line for lists.
    pub description: String,
    /// The data set it was made for.
    pub dataset: String,
    /// The transforms and the augmentation of images before the network scales pixels to −1 to 1. Default: none.
    #[serde(default, skip_serializing_if = "InputConfig::is_empty")]
    pub input: InputConfig,
    /// The convolutions, in order.
    pub blocks: Vec<BlockConfig>,
    /// Whether the output of the last block is batch-normalised. Default: no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_norm: bool,
    /// Units of a dense layer between the convolutions and the classes, with bias, ReLU and an affine batch norm; it
    /// learns by back-propagation. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// The share of features that is dropped before the class layer in training.
    pub dropout: f64,
    /// How it is trained.
    pub training: Training,
}

/// A block: normalise, convolve, rectify, pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockConfig {
    /// Batch normalisation (no affine part) of the block's input.
    pub batch_norm: bool,
    /// Output channels.
    pub channels: usize,
    /// Side of the kernel, in pixels.
    pub kernel: usize,
    /// Pixels of zero padding per side. Default: 0.
    #[serde(default)]
    pub padding: usize,
    /// `t` of the softmax over channels.
    pub inverse_temperature: f64,
    /// Pooling after the rectifier. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
}

/// How a network is trained: by gradient descent without momentum and with coupled weight decay, at rates that fall
/// along a cosine to 0 over all steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// How the convolutions learn. Default: by the rule.
    #[serde(default)]
    pub learning: Learning,
    /// `η` of the convolutions at the first step.
    pub conv_learning_rate: f64,
    /// `λ`, the weight decay of the convolutions; nothing else decays.
    pub weight_decay: f64,
    /// `η` of everything else at the first step.
    pub learning_rate: f64,
    /// Images per step.
    pub batch_size: usize,
    /// The number of passes over the images.
    pub epochs: usize,
}

/// How the convolutions learn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Learning {
    /// [`GlobalDirection`](candle_hebbian::GlobalDirection): the paper's rule.
    GlobalDirection {},
    /// Control: every weight changes by the same amount, in the direction that its gradient gives. It shows what the
    /// local size contributes.
    SignOnly {
        /// The amount that replaces the local size, relative to the rule's largest size.
        size: f64,
    },
    /// Control: back-propagation.
    Backprop {
        /// `η` of the convolutions at the first step. The step also scales with the size of the gradient, so this rate
        /// has to be tuned separately. Default: that of the rule.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        learning_rate: Option<f64>,
    },
    /// Control: the convolutions keep their random weights.
    Frozen {},
}

impl Default for Learning {
    fn default() -> Self {
        Self::GlobalDirection {}
    }
}

impl Learning {
    /// The paper's rule and its controls, with their names on the command line.
    pub const ALL: [(&'static str, Self); 4] = [
        ("ghl", Self::GlobalDirection {}),
        ("sign-only", Self::SignOnly { size: 0.15 }),
        ("bp", Self::Backprop { learning_rate: None }),
        ("frozen", Self::Frozen {}),
    ];
}

impl Training {
    /// The learning rate of the convolutions at the first step, which depends on how they learn.
    pub fn first_conv_rate(&self) -> f64 {
        match self.learning {
            Learning::Backprop { learning_rate: Some(own) } => own,
            _ => self.conv_learning_rate,
        }
    }
}

impl BlockConfig {
    /// Returns the configuration that a stack makes the block from, with weights from `N(0, 2/F)`.
    pub(super) fn stacked(&self) -> candle_hebbian::BlockConfig<SoftWta> {
        let window = Conv2dConfig { padding: self.padding, ..Conv2dConfig::default() };
        candle_hebbian::BlockConfig {
            norm: self.batch_norm.then_some(Norm::BatchNorm {}),
            layer: Some(LayerConfig::Conv2d { units: self.channels, kernel: self.kernel, window }),
            init: InitConfig::RadiusNormal { radius: SQRT_2 },
            competition: Some(SoftWta { inverse_temperature: self.inverse_temperature }),
            activation: Activation::Relu {},
            pool: self.pool,
            ..candle_hebbian::BlockConfig::default()
        }
    }
}

impl hebbian_train::Preset for Preset {
    const METHOD: &'static str = "GHL (Hua et al. 2026)";
    const EMBEDDED: &'static [&'static str] = &[
        include_str!("presets/deephebb-cifar.json"),
        include_str!("presets/deephebb-cifar-eighth-width.json"),
        include_str!("presets/deephebb-cifar-half-width.json"),
        include_str!("presets/deephebb-cifar-quarter-width.json"),
        include_str!("presets/fasthebb-cifar.json"),
        include_str!("presets/ghl-digits.json"),
    ];
    const RECORD: &'static [&'static str] = &[
        include_str!("record/cifar10.json"),
        include_str!("record/cifar10-10000-images.json"),
        include_str!("record/cifar10-first-images.json"),
        include_str!("record/digits.json"),
        include_str!("record/held-out.json"),
        include_str!("record/same-read-outs.json"),
    ];

    hebbian_train::preset_fields!();

    fn validate(&self) -> Result<()> {
        let Training { learning, conv_learning_rate, weight_decay, learning_rate, .. } =
            self.training;
        if self.blocks.is_empty() {
            return Err(Error::Argument("there are no blocks, expected one or more".to_string()));
        }
        if self.hidden == Some(0) {
            return Err(Error::Argument("hidden is 0, expected 1 or more, or none".to_string()));
        }
        let any = f64::INFINITY;
        let numbers = [
            ("training.conv_learning_rate", conv_learning_rate, any),
            ("training.weight_decay", weight_decay, any),
            ("training.learning_rate", learning_rate, any),
            ("dropout", self.dropout, 1.0 - f64::EPSILON),
        ];
        let own = match learning {
            Learning::SignOnly { size } => Some(("training.learning.size", size, any)),
            Learning::Backprop { learning_rate } => {
                learning_rate.map(|rate| ("training.learning.learning_rate", rate, any))
            }
            Learning::GlobalDirection {} | Learning::Frozen {} => None,
        };
        let wrong = numbers
            .into_iter()
            .chain(own)
            .find(|&(_, found, most)| !found.is_finite() || !(0.0..=most).contains(&found));
        if let Some((name, found, most)) = wrong {
            let most = if most == any { "finite".to_string() } else { "below 1".to_string() };
            return Err(Error::Argument(format!(
                "{name} is {found}, expected a number from 0, {most}"
            )));
        }
        if self.training.batch_size == 0 {
            return Err(Error::Argument(
                "training.batch_size is 0, expected 1 or more".to_string(),
            ));
        }
        for (at, block) in self.blocks.iter().enumerate() {
            let t = block.inverse_temperature;
            if !(t.is_finite() && t > 0.0) {
                return Err(Error::Argument(format!(
                    "blocks[{at}].inverse_temperature is {t}, expected a finite number above 0"
                )));
            }
        }
        Ok(())
    }
}
