//! The configuration of a SoftHebb network, as JSON with a checked schema.

use crate::competition_kind::{CompetitionKind, no_fields};
use candle_hebbian::ops::Pool;
use candle_hebbian::{
    Activation, ExponentialDecay, LargestEntry, LinearDecay, NormDependent, PaddingMode, Steps,
    StepsBuilder,
};
use hebbian_data::transforms::InputConfig;
use hebbian_train::{Error, Result, choose};
use serde::{Deserialize, Serialize};
use std::ops::Not;
use std::str::FromStr;

/// A network with its recipe. Unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// A readable name.
    pub name: String,
    /// Its name in the authors' release, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// One line for `--list`.
    pub description: String,
    /// The data set that it was made for (`digits`, `mnist`, `cifar10`, …, or one that cannot be loaded here).
    pub dataset: String,
    /// The transforms and the augmentation of images before the network sees them. Default: none. The augmentation
    /// applies to what learns from labels, see [`TrainingConfig::augment_layers`]; without it, the head's features are
    /// computed once.
    #[serde(default, skip_serializing_if = "InputConfig::is_empty")]
    pub input: InputConfig,
    /// The blocks before the head, in order.
    pub blocks: Vec<BlockConfig>,
    /// The head that reads out the features.
    pub head: HeadConfig,
    /// How it is trained.
    #[serde(default)]
    pub training: TrainingConfig,
}

/// A block: normalise, respond, activate, pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockConfig {
    /// Dense or convolutional.
    pub layer: LayerConfig,
    /// Batch normalisation (no affine part) of the block's input.
    pub batch_norm: bool,
    /// How the weights are learned.
    pub learning: Learning,
    /// The activation that is applied to the linear response.
    pub activation: Activation,
    /// Pooling after the activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
}

/// The weights' geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerConfig {
    /// Every unit sees the whole (flattened) input.
    Dense {
        /// Number of units.
        units: usize,
    },
    /// Shared weights.
    Conv2d {
        /// Output channels.
        channels: usize,
        /// Side of the kernel, in pixels.
        kernel: usize,
        /// Pixels of padding per side. Default: 0.
        #[serde(default)]
        padding: usize,
        /// Channel groups. Default: 1.
        #[serde(default = "one")]
        groups: usize,
        /// What the padding holds. Default: a mirror image.
        #[serde(default = "reflect")]
        padding_mode: PaddingMode,
    },
}

impl LayerConfig {
    /// Returns the number of units.
    pub fn units(self) -> usize {
        match self {
            Self::Dense { units } => units,
            Self::Conv2d { channels, .. } => channels,
        }
    }
}

fn one() -> usize {
    1
}

fn reflect() -> PaddingMode {
    PaddingMode::Reflect
}

/// How a block's weights are learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Learning {
    /// The SoftHebb rule, without labels.
    Hebbian {
        /// The competition that turns the response into activity.
        competition: CompetitionKind,
        /// The units' learning rates.
        rate: Rate,
        /// The expected norm of a unit's initial weights, `R`, above 0.
        radius: f64,
        /// Centre and rectify the response before the competition (`e1` in the release).
        #[serde(default)]
        pre_triangle: bool,
    },
    /// Back-propagation from the head, as a comparison.
    #[serde(deserialize_with = "no_fields")]
    Backprop,
}

/// How fast each unit learns. For every kind, the rate is the size of the largest entry of a step: see
/// [`LargestEntry`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rate {
    /// `η`
    Constant {
        /// `η`
        learning_rate: f64,
    },
    /// See [`LinearDecay`].
    LinearDecay {
        /// The first `η`.
        learning_rate: f64,
    },
    /// See [`ExponentialDecay`].
    ExponentialDecay {
        /// The first `η`.
        learning_rate: f64,
        /// How early the rate falls.
        speed: f64,
        /// The first `η` divided by the last.
        divisor: f64,
    },
    /// See [`NormDependent`].
    NormDependent {
        /// `η`
        learning_rate: f64,
        /// `q`
        power: f64,
    },
}

impl Rate {
    /// Returns a builder of the steps at this rate, which is then given the weights.
    pub fn steps(self) -> StepsBuilder {
        let chain = |learning_rate| Steps::builder(learning_rate).then(LargestEntry);
        match self {
            Self::Constant { learning_rate } => chain(learning_rate),
            Self::LinearDecay { learning_rate } => chain(learning_rate).then(LinearDecay),
            Self::ExponentialDecay { learning_rate, speed, divisor } => {
                chain(learning_rate).then(ExponentialDecay { speed, divisor })
            }
            Self::NormDependent { learning_rate, power } => {
                chain(learning_rate).then(NormDependent { power })
            }
        }
    }
}

/// A head that reads out the features.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HeadConfig {
    /// A linear layer, trained with softmax cross-entropy and Adam.
    Linear {
        /// The share of features dropped while training.
        dropout: f64,
        /// Which blocks it reads.
        #[serde(default, skip_serializing_if = "HeadLayers::is_last")]
        layers: HeadLayers,
        /// Whether it reads the mean of the features of an image and of its mirror image, left for right, so that both
        /// get the same class. Default: no, as in the paper.
        #[serde(default, skip_serializing_if = "Not::not")]
        mirrored: bool,
    },
    /// The SoftHebb rule with the label as the activity.
    SupervisedHebbian {
        /// The units' learning rates.
        rate: Rate,
        /// The expected norm of a unit's initial weights, `R`, above 0.
        radius: f64,
    },
}

impl HeadConfig {
    /// Which blocks it reads.
    pub fn layers(&self) -> HeadLayers {
        match *self {
            Self::Linear { layers, .. } => layers,
            Self::SupervisedHebbian { .. } => HeadLayers::Last,
        }
    }

    /// Whether it reads the mean of the features of an image and of its mirror image.
    pub fn mirrored(&self) -> bool {
        matches!(self, Self::Linear { mirrored: true, .. })
    }
}

/// Which blocks a head reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadLayers {
    /// The last one, as in the paper.
    #[default]
    Last,
    /// All of them, one after the other.
    All,
}

impl HeadLayers {
    fn is_last(&self) -> bool {
        *self == Self::Last
    }
}

impl FromStr for HeadLayers {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        choose("choice of layers", name, &[("last", Self::Last), ("all", Self::All)])
    }
}

/// The order in which the parts learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Each Hebbian block learns alone for the unsupervised epochs, with the blocks below it frozen; then the head.
    /// This is the paper's order.
    Successive,
    /// All Hebbian blocks learn in the same epochs; then the head.
    Consecutive,
    /// All Hebbian blocks and the head learn in the same epochs, batch by batch; then the head
    /// alone for its epochs.
    Simultaneous,
    /// Control: nothing learns but the head; batch-norm statistics are estimated from the
    /// training images.
    RandomCalibrated,
    /// The authors' control: nothing learns but the head; batch-norm statistics stay at mean 0
    /// and variance 1.
    RandomIdentity,
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = [
            ("successive", Self::Successive),
            ("consecutive", Self::Consecutive),
            ("simultaneous", Self::Simultaneous),
            ("random-calibrated", Self::RandomCalibrated),
            ("random-identity", Self::RandomIdentity),
        ];
        choose("mode", name, &all)
    }
}

/// How a preset is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// The order of learning. Default: successive.
    pub mode: Mode,
    /// Unsupervised epochs. Default: 1.
    pub epochs: usize,
    /// Images per unsupervised step. Default: 10. The number of steps, not the batch size, sets how far
    /// training goes.
    pub batch_size: usize,
    /// Epochs of the head, or of the whole network if it learns by back-propagation. Default: 50.
    pub head_epochs: usize,
    /// Images per step of the head. Default: 64.
    pub head_batch_size: usize,
    /// Initial learning rate of Adam, which is halved repeatedly during training. Default: 1e-3.
    pub head_learning_rate: f64,
    /// Whether the Hebbian layers learn from augmented images too, not only the parts that learn from labels. Default:
    /// no.
    pub augment_layers: bool,
    /// The number of augmented copies of the training images that the head learns from in turn; their features are
    /// computed once and kept in memory. By default each epoch has a new copy, which takes longer the deeper the
    /// network is. Without augmentation it makes no difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augmented_copies: Option<usize>,
    /// The type in which the read-outs' features are kept in memory. The default is f32, or bf16 (two to three
    /// significant digits, half the memory) if f32 would take more than two gibibytes for the training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<FeatureType>,
}

/// The type of stored features, see [`TrainingConfig::features`]. The read-outs learn from them in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureType {
    /// Four bytes for each feature.
    F32,
    /// Two bytes for each feature.
    Bf16,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Successive,
            epochs: 1,
            batch_size: 10,
            head_epochs: 50,
            head_batch_size: 64,
            head_learning_rate: 1e-3,
            augment_layers: false,
            augmented_copies: None,
            features: None,
        }
    }
}
