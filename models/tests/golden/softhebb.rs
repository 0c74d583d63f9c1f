//! `softhebb_steps`: then evaluation.

use candle::{DType, Device, Tensor};
use candle_hebbian::ops::Pool;
use candle_hebbian::{Competition, PaddingMode, Rate, Rng};
use hebbian_models::softhebb::{
    Activation, BlockConfig, HeadConfig, LayerConfig, Learning, Network, Preset,
};
use serde_json::Value;

use crate::{Case, Result};

fn block(params: &Value, layer: &Value) -> Result<BlockConfig> {
    let number = |name: &str| layer[name].as_f64().ok_or(format!("no number {name}"));
    let inverse_temperature = number("inverse_temperature")?;
    let competition = match params["competition"].as_str() {
        Some("hard_wta") => Competition::HardWta,
        Some("soft_wta") => Competition::SoftWta { inverse_temperature },
        Some("soft_wta_anti_hebbian") => Competition::SoftWtaAntiHebbian { inverse_temperature },
        other => return Err(format!("unknown competition {other:?}").into()),
    };
    assert_eq!(params["padding_mode"], "reflect");
    Ok(BlockConfig {
        layer: LayerConfig::Conv2d {
            channels: number("channels")? as usize,
            kernel: number("kernel")? as usize,
            padding: number("padding")? as usize,
            groups: 1,
            padding_mode: PaddingMode::Reflect,
        },
        batch_norm: true,
        learning: Learning::Hebbian {
            competition,
            rate: Rate::NormDependent {
                learning_rate: number("learning_rate")?,
                power: number("rate_power")?,
            },
            radius: number("radius")?,
            pre_triangle: false,
        },
        activation: Activation::Triangle { power: number("triangle_power")? },
        pool: Some(serde_json::from_value::<Pool>(layer["pool"].clone())?),
    })
}

fn check(case: &Case, dtype: DType) -> Result<()> {
    let Case { params, tensors, .. } = case;
    let layers = params["layers"].as_array().ok_or("no layers")?;
    let preset = Preset {
        name: "golden".into(),
        alias: None,
        description: String::new(),
        dataset: "none".into(),
        blocks: layers.iter().map(|layer| block(params, layer)).collect::<Result<_>>()?,
        head: HeadConfig::Linear { dropout: 0.0 },
        training: Default::default(),
    };
    let (steps, _, c, h, w) = tensors["x"].dims5()?;
    let mut network = Network::new(&preset, (c, h, w), &Rng::new(0), dtype, &Device::Cpu)?;
    network.restore(|name, shape| -> Result<Tensor> {
        match (tensors.get(name), name.rsplit('.').next()) {
            (Some(tensor), _) => Ok(tensor.clone()),
            (None, Some("running_mean")) => Ok(Tensor::zeros(shape, dtype, &Device::Cpu)?),
            (None, _) => Ok(Tensor::ones(shape, dtype, &Device::Cpu)?),
        }
    })?;
    for step in 0..steps {
        network.learn(&tensors["x"].get(step)?, 0.0)?;
    }
    let mut got = network.tensors();
    got.push(("features".to_string(), network.forward(&tensors["test"])?));
    case.check(got)
}

#[test]
fn softhebb_steps() -> Result<()> {
    let cases = Case::all("softhebb.", "softhebb_steps")?;
    assert_eq!(cases.len(), 2 * 4);
    cases.iter().try_for_each(|(case, dtype)| check(case, *dtype))
}
