//! The settings of a preset.

use super::protocol::Protocol;
use candle::Tensor;
use candle_hebbian::HingeHebb;
use candle_hebbian::feedback::Learning;
use candle_hebbian::ops::Edge;
use hebbian_data::transforms::InputConfig;
use hebbian_train::{Error, Result};
use serde::{Deserialize, Serialize};

/// A network and how it is trained. The data set determines the size of the images and the number of
/// classes, so a preset can be used with any data set.
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
    /// The layers, from the image to the class layer, which comes last.
    pub layers: Vec<LayerConfig>,
    /// How the network learns.
    pub training: Training,
}

/// A layer. Every layer with weights except the last is followed by the ramp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerConfig {
    /// A convolution of stride 1, padded with zeros so that its output has the size of its input.
    Conv {
        /// Output channels.
        units: usize,
        /// Side of the kernel, in pixels.
        kernel: usize,
        /// Add the input to the output, after the ramp; both must have the same number of channels.
        #[serde(default)]
        residual: bool,
        /// Give each position its own weights, see [`Tied`].
        #[serde(default)]
        untied: bool,
        /// Stop learning once the untied part of training begins; the layer still passes the error on.
        #[serde(default)]
        frozen: bool,
        /// A protocol for this layer in place of the network's.
        #[serde(default)]
        protocol: Option<Protocol>,
    },
    /// A layer connected to all units of the layer below.
    Dense {
        /// Number of units.
        units: usize,
        /// A protocol for this layer in place of the network's.
        #[serde(default)]
        protocol: Option<Protocol>,
    },
    /// The class layer: as many linear units as there are classes.
    Classes {
        /// A protocol for this layer in place of the network's.
        #[serde(default)]
        protocol: Option<Protocol>,
    },
    /// Maximum of each window, anchored at its upper left; pixels that tie each get the whole error.
    MaxPool {
        /// Side of the window, in pixels.
        kernel: usize,
        /// Step between windows, in pixels.
        stride: usize,
        /// What a window reads beyond the lower and right edge.
        edge: Edge,
    },
    /// Mean of each window; padded zeros count towards the mean.
    AvgPool {
        /// Side of the window, in pixels.
        kernel: usize,
        /// Step between windows, in pixels.
        stride: usize,
        /// Zeros added on each side.
        padding: usize,
    },
    /// Inverted dropout during training.
    Dropout {
        /// The probability that a unit is dropped (not kept), from 0 to below 1.
        probability: f64,
    },
}

/// How a network learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// How the error is propagated back.
    pub protocol: Protocol,
    /// The loss of the class layer.
    pub loss: Loss,
    /// The constant learning rate `η` of plain gradient descent.
    pub learning_rate: f64,
    /// The decay `λ` of all weights, `w ← (1 − ηλ)w − ηG`, and of the feedback weights of [`Protocol::KolenPollack`].
    /// Feedback weights that learn from the step of the weights without decay do not allow one. Default: 0, as in the
    /// paper.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub weight_decay: f64,
    /// Images per step.
    pub batch_size: usize,
    /// Number of passes over the training images.
    pub epochs: usize,
    /// Number of images at the end of the training file that are held out for validation; at most a
    /// tenth of the file.
    pub validation_images: usize,
    /// Slope `s` of the ramp `clip(s·h, −1, 1)`.
    pub ramp_slope: f64,
    /// The probability with which each connection is kept, independently for weights and feedback
    /// weights. The class layer keeps all connections, and so does a convolution that comes first. Layers
    /// marked `untied` lose connections when they are untied, separately at each position. If absent, all
    /// connections are kept.
    #[serde(default)]
    pub connection_probability: Option<f64>,
    /// Training before the layers marked `untied` are untied; if absent, they are untied from the start.
    #[serde(default)]
    pub tied: Option<Tied>,
}

fn is_zero(rate: &f64) -> bool {
    *rate == 0.0
}

/// The part of training in which layers marked `untied` are still convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tied {
    /// Number of epochs.
    pub epochs: usize,
    /// The learning rate `η`.
    pub learning_rate: f64,
    /// Images per step.
    pub batch_size: usize,
    /// At the end, redraw all weights except those of frozen layers: untied layers then start with
    /// random weights that are the same at all positions.
    pub redraw: bool,
}

/// The loss of the class layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// [`HingeHebb`].
    Hinge {
        /// `μ`; if absent, a tenth of the number of classes (1 for ten, 10 for a hundred, as in the
        /// paper's experiments).
        #[serde(default)]
        mu: Option<f64>,
    },
    /// Softmax cross-entropy.
    Softmax {},
}

impl Loss {
    /// Computes the mean loss of `fields (N, C)` for `labels (N)`, integers below `C`.
    ///
    /// # Errors
    /// If `fields` does not have two axes, `labels` does not hold an integer for each row, or, on the CPU, a label is
    /// not below `C`. The hinge also refuses fewer than two classes and a `μ` that is not a finite number above 0;
    /// softmax also refuses an empty batch, and labels in other types than u8, u32 and i64.
    pub fn of(&self, fields: &Tensor, labels: &Tensor) -> candle::Result<Tensor> {
        match self {
            Self::Hinge { mu } => {
                let mu = match mu {
                    Some(mu) => *mu,
                    None => fields.dim(1)? as f64 / 10.0,
                };
                HingeHebb::new(mu)?.loss(fields, labels)
            }
            Self::Softmax {} => candle_nn::loss::cross_entropy(fields, labels),
        }
    }
}

impl Preset {
    /// Returns the names of the layers with weights: `conv1`, `conv2`, …, `dense1`, …, `classes`.
    pub fn weight_layers(&self) -> Vec<String> {
        let (mut convolutions, mut dense) = (0, 0);
        let name = |layer: &LayerConfig| match layer {
            LayerConfig::Conv { .. } => {
                convolutions += 1;
                Some(format!("conv{convolutions}"))
            }
            LayerConfig::Dense { .. } => {
                dense += 1;
                Some(format!("dense{dense}"))
            }
            LayerConfig::Classes { .. } => Some("classes".to_string()),
            _ => None,
        };
        self.layers.iter().filter_map(name).collect()
    }

    /// The protocols of the network and of its layers.
    fn protocols(&self) -> impl Iterator<Item = Protocol> {
        let own = self.layers.iter().filter_map(|layer| match *layer {
            LayerConfig::Conv { protocol, .. }
            | LayerConfig::Dense { protocol, .. }
            | LayerConfig::Classes { protocol } => protocol,
            _ => None,
        });
        std::iter::once(self.training.protocol).chain(own)
    }

    /// Checks for settings with which no network can be built or trained, whatever the data set.
    ///
    /// # Errors
    /// If there is such a setting; the message names it.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::Argument(format!("preset '{}': {what}", self.name)));
        let training = &self.training;
        if !matches!(self.layers.last(), Some(LayerConfig::Classes { .. })) {
            return refuse("the last layer must be of kind 'classes'".into());
        }
        let mut classes = 0;
        for (i, layer) in self.layers.iter().enumerate() {
            match layer {
                LayerConfig::Classes { .. } => classes += 1,
                LayerConfig::Conv { units: 0, .. } | LayerConfig::Dense { units: 0, .. } => {
                    return refuse(format!("layer {i} has 0 units, expected 1 or more"));
                }
                LayerConfig::Conv { kernel: 0, .. } => {
                    return refuse(format!("layer {i} has a kernel of 0, expected 1 or more"));
                }
                _ => {}
            }
        }
        if classes != 1 {
            return refuse(format!("{classes} layers of kind 'classes', expected one, the last"));
        }
        if !(training.ramp_slope.is_finite() && training.ramp_slope > 0.0) {
            return refuse(format!("ramp_slope {}, expected above 0", training.ramp_slope));
        }
        let rates = [Some(training.learning_rate), training.tied.map(|tied| tied.learning_rate)];
        let is_rate = |rate: &f64| rate.is_finite() && *rate > 0.0;
        if let Some(rate) = rates.into_iter().flatten().find(|rate| !is_rate(rate)) {
            return refuse(format!("learning_rate {rate}, expected a finite number above 0"));
        }
        let untied = |layer: &LayerConfig| matches!(layer, LayerConfig::Conv { untied: true, .. });
        if training.tied.is_some() && !self.layers.iter().any(untied) {
            return refuse("'tied' without a layer that is untied afterwards: mark one as untied, or leave out 'tied'".into());
        }
        let batches = [Some(training.batch_size), training.tied.map(|tied| tied.batch_size)];
        if batches.contains(&Some(0)) {
            return refuse("batch_size 0, expected 1 or more".into());
        }
        if let Some(p) = training.connection_probability.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return refuse(format!("connection_probability {p}, expected above 0 and at most 1"));
        }
        if let Loss::Hinge { mu: Some(mu) } = training.loss {
            HingeHebb::new(mu)?;
        }
        if !(training.weight_decay.is_finite() && training.weight_decay >= 0.0) {
            let found = training.weight_decay;
            return refuse(format!("weight_decay {found}, expected a finite number from 0"));
        }
        for protocol in self.protocols() {
            protocol.check()?;
            match (protocol.feedback().learning, training.weight_decay > 0.0) {
                (Learning::KolenPollack, false) => {
                    return refuse(
                        "protocol kp without weight_decay, which would be urfb: expected above 0, such as 0.001".into(),
                    );
                }
                (Learning::LikeWeights { rate }, true) if rate > 0.0 => {
                    return refuse(format!(
                        "protocol {protocol} with weight_decay {}: its feedback weights do not decay; expected 0, or \
                         protocol kp, in which both decay",
                        training.weight_decay
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
