//! What a preset says.

use super::protocol::Protocol;
use candle::Tensor;
use candle_hebbian::HingeHebb;
use candle_hebbian::ops::Edge;
use hebbian_data::transforms::InputConfig;
use hebbian_train::{Error, Result};
use serde::{Deserialize, Serialize};

/// A network and how it is trained. The data set gives the size of the images and the number of
/// classes, so a network can be used with any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// One line for lists.
    pub description: String,
    /// The data set it was made for.
    pub dataset: String,
    /// What the network sees of images. Default: images as they are.
    #[serde(default, skip_serializing_if = "InputConfig::is_empty")]
    pub input: InputConfig,
    /// The layers, from the image to the class layer, which comes last.
    pub layers: Vec<LayerConfig>,
    /// How it learns.
    pub training: Training,
}

/// A layer. Weight layers but the last are followed by the ramp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerConfig {
    /// A convolution of stride 1 whose output has the size of its input, zeros around.
    Conv {
        /// Output channels.
        units: usize,
        /// Side of the kernel, in pixels.
        kernel: usize,
        /// Add the input to the output, after the ramp; it must have as many channels.
        #[serde(default)]
        residual: bool,
        /// Give each position weights of its own, see [`Tied`].
        #[serde(default)]
        untied: bool,
        /// Learn nothing once the untied part of training begins; pass the error on.
        #[serde(default)]
        frozen: bool,
        /// Another protocol than the network's.
        #[serde(default)]
        protocol: Option<Protocol>,
    },
    /// A layer connected to everything below.
    Dense {
        /// How many units.
        units: usize,
        /// Another protocol than the network's.
        #[serde(default)]
        protocol: Option<Protocol>,
    },
    /// The class layer: as many linear units as there are classes.
    Classes {
        /// Another protocol than the network's.
        #[serde(default)]
        protocol: Option<Protocol>,
    },
    /// Maximum of each window, anchored at its upper left; ties all get the whole error.
    MaxPool {
        /// Side of the window, in pixels.
        kernel: usize,
        /// Step between windows, in pixels.
        stride: usize,
        /// What a window reads beyond the lower and right edge.
        edge: Edge,
    },
    /// Mean of each window, with padding that is counted.
    AvgPool {
        /// Side of the window, in pixels.
        kernel: usize,
        /// Step between windows, in pixels.
        stride: usize,
        /// Zeros added on each side.
        padding: usize,
    },
    /// Inverted dropout while training.
    Dropout {
        /// The share that is dropped (not kept), 0 to below 1.
        probability: f64,
    },
}

/// How a network learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// How the error goes back.
    pub protocol: Protocol,
    /// The loss of the class layer.
    pub loss: Loss,
    /// `η` of plain gradient descent, constant.
    pub learning_rate: f64,
    /// Images per step.
    pub batch_size: usize,
    /// Times the training images are seen.
    pub epochs: usize,
    /// Images at the end of the training file that are kept for validation; less where the file is
    /// small (a tenth at most).
    pub validation_images: usize,
    /// Slope `s` of the ramp `clip(s·h, −1, 1)`.
    pub ramp_slope: f64,
    /// Keep each connection with this probability, independently for weights and feedback weights;
    /// the class layer keeps all, and so does a convolution that comes first. Layers marked `untied` lose theirs when they are
    /// untied, each position its own. All when absent.
    #[serde(default)]
    pub connection_probability: Option<f64>,
    /// Training before the layers marked `untied` are untied; they are from the start when absent.
    #[serde(default)]
    pub tied: Option<Tied>,
}

/// The part of training in which layers marked `untied` are still convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tied {
    /// Epochs.
    pub epochs: usize,
    /// `η`
    pub learning_rate: f64,
    /// Images per step.
    pub batch_size: usize,
    /// Draw all weights again at the end but those of frozen layers: untied layers then start
    /// random, but shared over positions.
    pub redraw: bool,
}

/// The loss of the class layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// [`HingeHebb`].
    Hinge {
        /// `μ`; a tenth of the number of classes when absent (1 for ten, 10 for a hundred, as in
        /// the paper's experiments).
        #[serde(default)]
        mu: Option<f64>,
    },
    /// Softmax cross-entropy.
    Softmax {},
}

impl Loss {
    /// The mean loss of `fields (N, C)` for `labels (N)`.
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
    /// The names of the layers with weights: `conv1`, `conv2`, …, `dense1`, …, `classes`.
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

    /// What no network can be built or trained with, whatever the data set.
    ///
    /// # Errors
    /// The message names the field.
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
        if let Some(rate) = rates.into_iter().flatten().find(|rate| rate.is_nan() || *rate <= 0.0) {
            return refuse(format!("learning_rate {rate}, expected above 0"));
        }
        let batches = [Some(training.batch_size), training.tied.map(|tied| tied.batch_size)];
        if batches.contains(&Some(0)) {
            return refuse("batch_size 0, expected 1 or more".into());
        }
        if training.ramp_slope.is_nan() || training.ramp_slope <= 0.0 {
            return refuse(format!("ramp_slope {}, expected above 0", training.ramp_slope));
        }
        if let Some(p) = training.connection_probability.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return refuse(format!("connection_probability {p}, expected above 0 and at most 1"));
        }
        if let Loss::Hinge { mu: Some(mu) } = training.loss {
            HingeHebb::new(mu)?;
        }
        training.protocol.check()?;
        Ok(())
    }
}
