//! The settings of a preset.

use crate::RuleKind;
use hebbian_data::ZcaConfig;
use hebbian_data::transforms::{InputConfig, TransformConfig};
use hebbian_train::{Error, Result, choose};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A network and how it learns. The data set determines the size of the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The name of the preset.
    pub name: String,
    /// A one-line description, for lists.
    pub description: String,
    /// The data set that the preset was made for.
    pub dataset: String,
    /// How images are transformed before the first layer sees them. The full notebook uses ZCA of whole images and
    /// flips, the simple one a difference of Gaussians of grey images.
    #[serde(default, skip_serializing_if = "InputConfig::is_empty")]
    pub input: InputConfig,
    /// The layers, first to last. All learn at once.
    pub layers: Vec<LayerConfig>,
    /// How the layers learn.
    pub training: Training,
    /// Behaviour of the author's notebooks that is off by default.
    #[serde(default)]
    pub quirks: Quirks,
}

/// A convolutional layer without padding, and the pooling of its output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerConfig {
    /// Number of filters (`N`).
    pub units: usize,
    /// Side of a filter, in pixels.
    pub kernel: usize,
    /// Step between windows, in pixels. Default: 1.
    #[serde(default = "one")]
    pub stride: usize,
    /// Side of the windows of average pooling, and the step between them; 1 for no pooling.
    pub pool: usize,
    /// Number of winners at each position (`k`).
    pub k: usize,
    /// `η`, for the sum of updates over batch and positions. It holds for one batch size: if the batch
    /// grows by a factor, divide `η` by it.
    pub learning_rate: f64,
    /// `μ` of the adaptive thresholds, see [`candle_hebbian::AdaptiveThreshold`].
    pub threshold_rate: f64,
    /// The probability `p` that a connection is missing; connections are drawn once. Default: 0.
    #[serde(default)]
    pub pruning: f64,
    /// How each patch is processed before the filters see it. Default: not at all.
    #[serde(default)]
    pub patches: Patches,
    /// Keep the weights fixed. Thresholds still adapt.
    #[serde(default)]
    pub frozen: bool,
}

/// How each patch is processed by itself ("method 2", unfolding convolution).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Patches {
    /// Patches as they are.
    Whole {},
    /// Standardise to mean 0 and standard deviation 1.
    Standardise {},
    /// Standardise, apply ZCA computed from one patch of each of 9,000 training images, then standardise again. First
    /// layer only: the input of the others changes as the network learns.
    Whiten {
        /// Added to the eigenvalues of the covariance, which is the sum of products divided by the number of
        /// patches. The author divides by the number of values in a patch instead and adds 1e-3: with 75 values and
        /// 9,000 patches, that corresponds to 1e-3 · 75 / 9000 here.
        epsilon: f64,
    },
}

impl Default for Patches {
    fn default() -> Self {
        Self::Whole {}
    }
}

/// The activity of a winner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plasticity {
    /// 1
    Binary,
    /// The response of the winner minus its threshold.
    Graded,
}

/// When a layer passes on [`triangle`](candle_hebbian::ops::triangle) responses, about half of which
/// are above 0, instead of the winners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Triangle {
    /// During learning and for read-outs.
    Always,
    /// Never: the next layer and the read-out get the winners.
    Never,
    /// For read-outs only.
    Features,
}

/// How the layers learn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The learning rule. With [`Plasticity::Binary`] and norm 1, all rules are nearly the same.
    pub rule: RuleKind,
    /// The activity of a winner.
    pub plasticity: Plasticity,
    /// What a layer passes on.
    pub triangle: Triangle,
    /// Scale every filter to norm 1 after every batch.
    pub normalise: bool,
    /// Images per batch.
    pub batch_size: usize,
    /// Number of passes over the training images.
    pub epochs: usize,
    /// Number of batches at the start in which only the thresholds change.
    pub burn_in_batches: usize,
}

/// Behaviour of the author's notebooks that is off by default here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// Flip images at random for read-outs too, including test images.
    pub flip_in_evaluation: bool,
    /// Let thresholds adapt while features are collected, first from the training images, then from the
    /// test images, so that features depend on the order of the images.
    pub adapt_in_evaluation: bool,
    /// Let graded winners be negative, so that they unlearn; their activity is at most 50.
    pub negative_winners: bool,
    /// Fit the read-out on training and test images together and score it on the same images. The simple
    /// notebook's 43.1 % is such a number, not a test accuracy.
    pub resubstitution: bool,
    /// Draw receptive fields with each lower field only at the top left of its pooling window.
    pub top_left_receptive_fields: bool,
}

impl Quirks {
    /// The quirks of the full notebook.
    pub const AUTHOR: Self = Self {
        flip_in_evaluation: true,
        adapt_in_evaluation: true,
        negative_winners: true,
        resubstitution: false,
        top_left_receptive_fields: true,
    };
}

fn one() -> usize {
    1
}

impl LayerConfig {
    /// Returns `k/N`, the share of positions that each unit should win.
    pub fn target_rate(&self) -> f64 {
        self.k as f64 / self.units as f64
    }
}

impl Preset {
    /// Checks what the schema cannot.
    ///
    /// # Errors
    /// The first problem found, with its layer.
    pub fn check(&self) -> Result<()> {
        let wrong = |problem: String| Err(Error::Argument(problem));
        if self.layers.is_empty() {
            return wrong("there are no layers".to_string());
        }
        let Training { batch_size, .. } = self.training;
        if batch_size == 0 {
            return wrong("the batch size is 0, expected 1 or more".to_string());
        }
        for (at, layer) in self.layers.iter().enumerate() {
            let LayerConfig { units, kernel, stride, pool, k, pruning, .. } = *layer;
            let wrong = |problem: String| wrong(format!("layer {}: {problem}", at + 1));
            if [units, kernel, stride, pool].contains(&0) {
                return wrong(format!(
                    "units {units}, kernel {kernel}, stride {stride} and pool {pool} must all be at \
                     least 1"
                ));
            }
            if k == 0 || k > units {
                return wrong(format!("k is {k}, expected 1 to {units}, the number of filters"));
            }
            if !(0.0..1.0).contains(&pruning) {
                return wrong(format!(
                    "the pruning probability is {pruning}, expected 0 (keep all) to below 1"
                ));
            }
            for (name, rate) in
                [("learning", layer.learning_rate), ("threshold", layer.threshold_rate)]
            {
                if !(rate >= 0.0 && rate.is_finite()) {
                    return wrong(format!("the {name} rate is {rate}, expected a number ≥ 0"));
                }
            }
            if let Patches::Whiten { epsilon } = layer.patches
                && (at > 0 || !(epsilon > 0.0 && epsilon.is_finite()))
            {
                return wrong(format!(
                    "patches are whitened in the first layer only and with a finite epsilon above \
                     0, found epsilon {epsilon}"
                ));
            }
        }
        if self.training.rule == RuleKind::Softhebb {
            return wrong(
                "the rule is softhebb, which has a network of its own; expected hebb, instar or oja"
                    .to_string(),
            );
        }
        Ok(())
    }

    /// Follows the full notebook where the presets differ from it: sets its [`Quirks`], and its ZCA of 9,000
    /// images.
    pub fn as_the_author(&mut self) {
        self.quirks = Quirks::AUTHOR;
        for transform in &mut self.input.transforms.0 {
            if let TransformConfig::Zca(config) = transform {
                *config = ZcaConfig::author();
            }
        }
    }

    /// Sets the probability `p` of a missing connection in every layer but the first.
    pub fn prune(&mut self, p: f64) {
        for layer in self.layers.iter_mut().skip(1) {
            layer.pruning = p;
        }
    }
}

impl FromStr for Triangle {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = [("always", Self::Always), ("never", Self::Never), ("features", Self::Features)];
        choose("triangle setting", name, &all)
    }
}

impl FromStr for Plasticity {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        choose("plasticity", name, &[("binary", Self::Binary), ("graded", Self::Graded)])
    }
}
