use super::Computed;
use crate::CompetitionKind;
use crate::softhebb::{
    BlockConfig, HeadConfig, HeadLayers, LayerConfig, Learning, Mode, Network, Preset, Rate,
};
use crate::verify::error::Problem;
use crate::verify::inputs::{Got, Inputs};
use candle::Tensor;
use candle_hebbian::ops::Pool;
use candle_hebbian::{Activation, PaddingMode, Rng};
use hebbian_data::transforms::InputConfig;
use serde::Deserialize;

#[derive(Deserialize)]
struct Params {
    layers: Vec<Layer>,
    competition: Winners,
    padding_mode: PaddingMode,
    batch_norm: BatchNorm,
    mode: Mode,
    step_normalisation: String,
}

#[derive(Deserialize)]
struct Layer {
    channels: usize,
    kernel: usize,
    padding: usize,
    inverse_temperature: f64,
    learning_rate: f64,
    rate_power: f64,
    radius: f64,
    triangle_power: f64,
    pool: Pool,
    #[serde(default)]
    pre_triangle: bool,
    #[serde(default = "one")]
    groups: usize,
}

fn one() -> usize {
    1
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Winners {
    HardWta,
    SoftWta,
    SoftWtaAntiHebbian,
}

#[derive(Debug, PartialEq, Deserialize)]
struct BatchNorm {
    affine: bool,
    eps: f64,
    momentum: f64,
}

impl Params {
    /// Checks that the settings are those of the only way in which this library's networks normalise and step.
    fn check(&self) -> Result<(), Problem> {
        let unsupported = |name, found, expected: &str| {
            Err(Problem::Unsupported { name, found, expected: expected.to_string() })
        };
        if self.batch_norm != (BatchNorm { affine: false, eps: 1e-5, momentum: 0.1 }) {
            let found = format!("{:?}", self.batch_norm);
            return unsupported("batch_norm", found, "affine false, eps 1e-5, momentum 0.1");
        }
        if self.mode != Mode::Simultaneous {
            return unsupported("mode", format!("{:?}", self.mode), "simultaneous");
        }
        if self.step_normalisation != "max_abs" {
            let found = self.step_normalisation.clone();
            return unsupported("step_normalisation", found, "max_abs");
        }
        Ok(())
    }

    fn block(&self, layer: &Layer) -> BlockConfig {
        let inverse_temperature = layer.inverse_temperature;
        let competition = match self.competition {
            Winners::HardWta => CompetitionKind::HardWta,
            Winners::SoftWta => CompetitionKind::SoftWta { inverse_temperature },
            Winners::SoftWtaAntiHebbian => {
                CompetitionKind::SoftWtaAntiHebbian { inverse_temperature }
            }
        };
        let (learning_rate, power) = (layer.learning_rate, layer.rate_power);
        BlockConfig {
            layer: LayerConfig::Conv2d {
                channels: layer.channels,
                kernel: layer.kernel,
                padding: layer.padding,
                groups: layer.groups,
                padding_mode: self.padding_mode,
            },
            batch_norm: true,
            learning: Learning::Hebbian {
                competition,
                rate: Rate::NormDependent { learning_rate, power },
                radius: layer.radius,
                pre_triangle: layer.pre_triangle,
            },
            activation: Activation::Triangle { power: layer.triangle_power },
            pool: Some(layer.pool),
        }
    }
}

pub(super) fn compute(inputs: &Inputs) -> Computed {
    let params: Params = inputs.params()?;
    params.check()?;
    let preset = Preset {
        name: "reference".into(),
        alias: None,
        description: String::new(),
        dataset: "none".into(),
        input: InputConfig::NONE,
        blocks: params.layers.iter().map(|layer| params.block(layer)).collect(),
        head: HeadConfig::Linear { dropout: 0.0, layers: HeadLayers::Last, mirrored: false },
        training: Default::default(),
    };
    let (x, dtype, device) = (inputs.get("x")?, inputs.dtype, inputs.device);
    let (steps, _, c, h, w) = x.dims5()?;
    let mut below = c;
    for (at, &Layer { channels, kernel, groups, .. }) in params.layers.iter().enumerate() {
        let shape = [channels, below / groups.max(1), kernel, kernel];
        inputs.weights_of(&format!("layers.{at}.weight"), &shape)?;
        below = channels;
    }
    let mut network = Network::new(&preset, (c, h, w), &Rng::new(0), dtype, device)?;
    network.stack_mut().restore(|name, shape| match name.rsplit('.').next() {
        Some("running_mean") => Ok(Tensor::zeros(shape, dtype, device)?),
        Some("running_var") => Ok(Tensor::ones(shape, dtype, device)?),
        _ => inputs.get(name).cloned(),
    })?;
    for step in 0..steps {
        network.learn(&x.get(step)?, 0.0)?;
    }
    let features = network.forward(inputs.get("test")?)?;
    let tensors =
        network.stack().tensors().into_iter().map(|(name, tensor)| Got::new(name, tensor));
    Ok(tensors.chain([Got::new("features", features)]).collect())
}
