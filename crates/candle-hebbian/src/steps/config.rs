//! A chain as JSON with a checked schema.

use super::builder::StepsBuilder;
use super::{
    CosineDecay, ExponentialDecay, LargestEntry, LinearDecay, NormDependent, Steps, UnitNorm,
    WeightDecay,
};
use serde::{Deserialize, Serialize};

/// The config of [`Steps`]. Unknown fields are refused.
///
/// ```
/// use candle::{Device, Var};
/// use candle_hebbian::{NormDependent, PartConfig, Steps, StepsConfig};
/// use candle_nn::Optimizer;
/// let config: StepsConfig = serde_json::from_str(
///     r#"{ "learning_rate": 0.08, "parts": [{ "kind": "largest_entry" }, { "kind": "norm_dependent" }] }"#,
/// )?;
/// let norm_dependent = PartConfig::NormDependent(NormDependent { power: 0.5 });
/// assert_eq!(config.parts, [PartConfig::LargestEntry {}, norm_dependent]);
/// let weight = Var::zeros((10, 784), candle::DType::F32, &Device::Cpu)?;
/// assert_eq!(Steps::new(vec![weight], config)?.learning_rate(), 0.08);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepsConfig {
    /// `η`, before any schedule. Default: 0.01.
    pub learning_rate: f64,
    /// The parts, in the order in which they act. Default: none, which is plain gradient descent.
    pub parts: Vec<PartConfig>,
}

impl Default for StepsConfig {
    fn default() -> Self {
        Self { learning_rate: 0.01, parts: Vec::new() }
    }
}

/// A built-in part. To add your own parts, use the [`StepsBuilder`] that [`StepsConfig::builder`]
/// returns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PartConfig {
    /// See [`LargestEntry`].
    LargestEntry {},
    /// See [`NormDependent`].
    NormDependent(NormDependent),
    /// See [`WeightDecay`].
    WeightDecay(WeightDecay),
    /// See [`UnitNorm`].
    UnitNorm {},
    /// See [`LinearDecay`].
    LinearDecay {},
    /// See [`CosineDecay`].
    CosineDecay {},
    /// See [`ExponentialDecay`].
    ExponentialDecay(ExponentialDecay),
}

impl StepsConfig {
    /// Returns the chain, to add parts to it or to give it its variables.
    pub fn builder(&self) -> StepsBuilder {
        self.parts.iter().fold(Steps::builder(self.learning_rate), |chain, part| match *part {
            PartConfig::LargestEntry {} => chain.then(LargestEntry),
            PartConfig::NormDependent(part) => chain.then(part),
            PartConfig::WeightDecay(part) => chain.then(part),
            PartConfig::UnitNorm {} => chain.then(UnitNorm),
            PartConfig::LinearDecay {} => chain.then(LinearDecay),
            PartConfig::CosineDecay {} => chain.then(CosineDecay),
            PartConfig::ExponentialDecay(part) => chain.then(part),
        })
    }
}
