//! The config of a block, as JSON with a checked schema.

use crate::feedback::FeedbackConfig;
use crate::init;
use crate::ops::Pool;
use crate::window::Conv2dConfig;
use candle_nn::Init;
use serde::{Deserialize, Serialize};

/// The config of a block of a [`Stack`](super::Stack). Unknown fields are refused; all fields may
/// be left out.
///
/// `C` is the competition: one of this library's, your own, an enum of those that presets may name,
/// or a `Box<dyn Competition>` in a stack built by hand.
///
/// ```
/// use candle_hebbian::{Activation, BlockConfig, LayerConfig, SoftWta};
/// let block: BlockConfig<()> = serde_json::from_str(
///     r#"{
///         "norm": { "kind": "batch_norm" },
///         "layer": { "kind": "conv2d", "units": 96, "kernel": 5, "window": { "padding": 2 } },
///         "activation": { "kind": "triangle", "power": 0.7 },
///         "pool": { "kind": "max", "kernel": 4, "stride": 2, "padding": 1 }
///     }"#,
/// )?;
/// assert_eq!(block.activation, Activation::Triangle { power: 0.7 });
/// assert_eq!(block.dropout, 0.0);
///
/// let by_hand = BlockConfig {
///     layer: Some(LayerConfig::Dense { units: 10 }),
///     competition: Some(SoftWta { inverse_temperature: 1.0 }),
///     ..BlockConfig::default()
/// };
/// assert_eq!(by_hand.activation, Activation::Linear {});
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlockConfig<C> {
    /// Normalisation of the input. Default: none.
    pub norm: Option<Norm>,
    /// The weights. Default: none, for a block that only activates, pools or drops.
    pub layer: Option<LayerConfig>,
    /// The distribution of new weights. Default: [`InitConfig::FanInUniform`].
    pub init: InitConfig,
    /// How the error goes back through the layer, and how feedback weights learn. Default:
    /// back-propagation.
    pub feedback: FeedbackConfig,
    /// Transformation of the response before competition. Default: none.
    pub excitation: Excitation,
    /// The competition that turns excitation into activity. Default: none, so that units do not compete.
    pub competition: Option<C>,
    /// The output of the block. Default: the excitation itself.
    pub activation: Activation,
    /// The output while the block learns by a local rule, if it is another. Default: the same.
    pub learning_activation: Option<Activation>,
    /// Add the block's input to its activation, which must have the same shape. Default: no.
    pub residual: bool,
    /// Pooling of images. Default: none.
    pub pool: Option<Pool>,
    /// The share of the output that is dropped in [`forward_train`](super::Stack::forward_train),
    /// but not in local learning. Default: 0.
    pub dropout: f64,
}

impl<C> Default for BlockConfig<C> {
    fn default() -> Self {
        Self {
            norm: None,
            layer: None,
            init: InitConfig::default(),
            feedback: FeedbackConfig::default(),
            excitation: Excitation::default(),
            competition: None,
            activation: Activation::default(),
            learning_activation: None,
            residual: false,
            pool: None,
            dropout: 0.0,
        }
    }
}

/// The normalisation of a block's input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Norm {
    /// [`BatchNorm`](crate::ops::BatchNorm) of each channel.
    BatchNorm {},
    /// [`standardise`](crate::ops::standardise): each sample by itself.
    Standardise {
        /// `ε`, which keeps the division finite. Default: 1e-10.
        #[serde(default = "tiny")]
        epsilon: f64,
    },
}

fn tiny() -> f64 {
    1e-10
}

/// The weights' geometry. A dense layer flattens its input, channel-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerConfig {
    /// Every unit sees the whole input.
    Dense {
        /// How many units.
        units: usize,
    },
    /// Units see a window, and share weights over positions.
    Conv2d {
        /// Output channels.
        units: usize,
        /// Side of the kernel, in pixels.
        kernel: usize,
        /// Stride, padding, dilation, groups.
        #[serde(default)]
        window: Conv2dConfig,
    },
    /// Like `Conv2d`, but with separate weights at each position.
    LocallyConnected2d {
        /// Output channels.
        units: usize,
        /// Side of the kernel, in pixels.
        kernel: usize,
        /// Stride, padding, dilation.
        #[serde(default)]
        window: Conv2dConfig,
    },
}

/// The distribution of new weights: see [`init`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum InitConfig {
    /// [`init::radius_normal`]
    RadiusNormal {
        /// The root mean square of a unit's norm, `R`.
        radius: f64,
    },
    /// [`init::radius_uniform`]
    RadiusUniform {
        /// The root mean square of a unit's norm, `R`.
        radius: f64,
    },
    /// [`init::fan_in_uniform`]
    FanInUniform {},
    /// [`init::glorot_uniform`]
    GlorotUniform {},
    /// [`init::standard_normal`]
    StandardNormal {},
}

impl Default for InitConfig {
    fn default() -> Self {
        Self::FanInUniform {}
    }
}

impl InitConfig {
    /// The distribution for weights of `shape`.
    pub fn of(&self, shape: &[usize]) -> Init {
        match *self {
            Self::RadiusNormal { radius } => init::radius_normal(shape, radius),
            Self::RadiusUniform { radius } => init::radius_uniform(shape, radius),
            Self::FanInUniform {} => init::fan_in_uniform(shape),
            Self::GlorotUniform {} => init::glorot_uniform(shape),
            Self::StandardNormal {} => init::standard_normal(),
        }
    }
}

/// The excitation: units compete with it, and the activation is applied to it. It is computed from
/// the linear response `u`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Excitation {
    /// `u`
    Linear {},
    /// `relu(u − mean over channels)`
    Triangle {},
    /// `u − θ` with an [`AdaptiveThreshold`](crate::AdaptiveThreshold) for each unit.
    Threshold {
        /// `μ`
        rate: f64,
        /// `ρ`
        target: f64,
    },
}

impl Default for Excitation {
    fn default() -> Self {
        Self::Linear {}
    }
}

/// The output of a block, computed from the excitation `r`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    /// `r`
    Linear {},
    /// `relu(r − mean over channels)^power`. In the backward pass the mean is a constant, as in the
    /// released code of Journé et al. 2023.
    Triangle {
        /// The power.
        power: f64,
    },
    /// `relu(r)^power`
    Repu {
        /// The power.
        power: f64,
    },
    /// `relu(r)`
    Relu {},
    /// `softmax(scale·r)` over units
    Softmax {
        /// The scale.
        scale: f64,
    },
    /// [`ramp`](crate::ops::ramp): `clip(slope·r, −1, 1)`
    Ramp {
        /// The slope.
        slope: f64,
    },
    /// The activity that the competition made, which carries no gradient.
    Winners {},
}

impl Default for Activation {
    fn default() -> Self {
        Self::Linear {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For four units of three inputs: 1/√3 = 0.577…, √(3·2²/3) = 2, 3/√3 = √3, √(6/(3 + 4)).
    #[test]
    fn the_distributions_of_new_weights() {
        let uniform = |config: InitConfig| match config.of(&[4, 3]) {
            Init::Uniform { lo, up } => (lo, up),
            other => panic!("{other:?}"),
        };
        let normal = |config: InitConfig| match config.of(&[4, 3]) {
            Init::Randn { mean, stdev } => (mean, stdev),
            other => panic!("{other:?}"),
        };
        let near = |(a, b): (f64, f64), want: (f64, f64)| {
            assert!((a - want.0).abs() < 1e-15 && (b - want.1).abs() < 1e-15, "{a} {b}");
        };
        near(uniform(InitConfig::RadiusUniform { radius: 2.0 }), (0.0, 2.0));
        let bound = 1.0 / 3f64.sqrt();
        near(uniform(InitConfig::FanInUniform {}), (-bound, bound));
        let bound = (6.0 / 7f64).sqrt();
        near(uniform(InitConfig::GlorotUniform {}), (-bound, bound));
        near(normal(InitConfig::RadiusNormal { radius: 3.0 }), (0.0, 3f64.sqrt()));
        near(normal(InitConfig::StandardNormal {}), (0.0, 1.0));
    }
}
