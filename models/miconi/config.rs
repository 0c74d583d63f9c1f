//! What a preset says.

use crate::RuleKind;
use hebbian_data::ZcaConfig;
use hebbian_data::transforms::{InputConfig, TransformConfig};
use hebbian_train::{Error, Result, choose};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A network and how it learns. The data set gives the size of the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// One line for lists.
    pub description: String,
    /// The data set it was made for.
    pub dataset: String,
    /// What images become before the first layer sees them. The full notebook has ZCA of whole images and flips, the
    /// simple one a difference of Gaussians of grey images.
    #[serde(default, skip_serializing_if = "InputConfig::is_empty")]
    pub input: InputConfig,
    /// The layers, first to last. All learn at once.
    pub layers: Vec<LayerConfig>,
    /// How they learn.
    pub training: Training,
    /// What the notebooks do that we do not.
    #[serde(default)]
    pub quirks: Quirks,
}

/// A convolutional layer, without padding, and what is pooled of its output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerConfig {
    /// Filters (`N`).
    pub units: usize,
    /// Side of a filter, in pixels.
    pub kernel: usize,
    /// Step between windows, in pixels. Default: 1.
    #[serde(default = "one")]
    pub stride: usize,
    /// Side of the windows that are averaged, and the step between them; 1 for no pooling.
    pub pool: usize,
    /// Winners at each position (`k`).
    pub k: usize,
    /// `η`, for the sum over batch and positions. It is for one batch size: for another, scale it by
    /// the inverse.
    pub learning_rate: f64,
    /// `μ` of the adaptive thresholds, see [`candle_hebbian::AdaptiveThreshold`].
    pub threshold_rate: f64,
    /// The probability `p` with which each connection is missing, drawn once. Default: 0.
    #[serde(default)]
    pub pruning: f64,
    /// What is done to each patch before the filters see it. Default: nothing.
    #[serde(default)]
    pub patches: Patches,
    /// Learn no weights. Thresholds still adapt.
    #[serde(default)]
    pub frozen: bool,
}

/// What is done to each patch by itself ("method 2", unfolding convolution).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Patches {
    /// Nothing.
    Whole {},
    /// Mean 0 and standard deviation 1.
    Standardise {},
    /// The same, then ZCA by a patch of each of 9,000 training images, then the same again. First layer only: the input
    /// of the others changes as the network learns.
    Whiten {
        /// Added to the eigenvalues of the covariance, the sum of products over the number of patches. The author divides by
        /// the values of a patch and adds 1e-3: of 75 values and 9,000 patches that is 1e-3 · 75 / 9000 here.
        epsilon: f64,
    },
}

impl Default for Patches {
    fn default() -> Self {
        Self::Whole {}
    }
}

/// What a winner's activity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plasticity {
    /// 1
    Binary,
    /// Its response above its threshold.
    Graded,
}

/// When a layer hands on [`triangle`](candle_hebbian::ops::triangle) responses, of which about half
/// are above 0, and not the winners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Triangle {
    /// While learning and for read-outs.
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
    /// The learning rule. With [`Plasticity::Binary`] and norm 1 all are nearly the same.
    pub rule: RuleKind,
    /// What a winner's activity is.
    pub plasticity: Plasticity,
    /// What a layer hands on.
    pub triangle: Triangle,
    /// Scale every filter to norm 1 after every batch.
    pub normalise: bool,
    /// Images per batch.
    pub batch_size: usize,
    /// Times the training images are seen.
    pub epochs: usize,
    /// Batches at the start in which only the thresholds change.
    pub burn_in_batches: usize,
}

/// What the notebooks do that we do not, unless asked to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// Flip images at random for read-outs too, test images among them.
    pub flip_in_evaluation: bool,
    /// Let thresholds adapt while features are collected, first of the training images, then of the
    /// test images, so that features depend on the order of images.
    pub adapt_in_evaluation: bool,
    /// Graded winners may be negative, which unlearns; they end at 50.
    pub negative_winners: bool,
    /// Fit the read-out on training and test images together and score it on the same. The simple
    /// notebook's 43.1 % is such a number, and no test accuracy.
    pub resubstitution: bool,
    /// Draw receptive fields with each lower one at the top left of its pooling window only.
    pub top_left_receptive_fields: bool,
}

impl Quirks {
    /// Those of the full notebook.
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
    /// `k/N`, the share of positions that each unit is to win.
    pub fn target_rate(&self) -> f64 {
        self.k as f64 / self.units as f64
    }
}

impl Preset {
    /// What the schema cannot say.
    ///
    /// # Errors
    /// The first thing that is wrong, with its layer.
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
                && (at > 0 || epsilon.is_nan() || epsilon <= 0.0)
            {
                return wrong(format!(
                    "patches are whitened in the first layer only and with epsilon above 0, found \
                     epsilon {epsilon}"
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

    /// Does as the full notebook does where we do not: its [`Quirks`], and its ZCA of 9,000 images.
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
