//! The `softhebb_steps` reference vectors: whole networks, several steps, then evaluation.

use candle::{DType, Device, Tensor};
use candle_hebbian::ops::Pool;
use candle_hebbian::{Competition, PaddingMode, Rate, Rng};
use hebbian_models::softhebb::{
    Activation, BlockConfig, HeadConfig, LayerConfig, Learning, Network, Preset,
};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

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

fn check(path: &Path, dtype: DType) -> Result<()> {
    let bytes = std::fs::read(path)?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    assert_eq!(metadata["case"], "softhebb_steps");
    let params: Value = serde_json::from_str(&metadata["params"])?;
    let tensors: HashMap<String, Tensor> = candle::safetensors::load_buffer(&bytes, &Device::Cpu)?
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_dtype(dtype)?)))
        .collect::<Result<_>>()?;

    let layers = params["layers"].as_array().ok_or("no layers")?;
    let preset = Preset {
        name: "golden".into(),
        alias: None,
        description: String::new(),
        dataset: "none".into(),
        blocks: layers.iter().map(|layer| block(&params, layer)).collect::<Result<_>>()?,
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

    let expected = tensors.keys().filter(|name| name.starts_with("expect.")).count();
    assert_eq!(got.len(), expected, "every expected tensor is compared");
    let rtol = params["rtol"].as_f64().ok_or("no rtol")?;
    for (name, got) in got {
        let want = &tensors[&format!("expect.{name}")];
        assert_eq!(got.dims(), want.dims(), "{name}");
        let largest = |t: &Tensor| t.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>();
        let (error, allowed) = (largest(&(got - want)?)?, rtol * largest(want)?);
        assert!(error <= allowed, "{path:?} {name}: error {error:e}, allowed {allowed:e}");
    }
    Ok(())
}

#[test]
fn softhebb_steps() -> Result<()> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/candle-hebbian/tests/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    cases.retain(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("softhebb."))
    });
    assert_eq!(cases.len(), 4);
    for path in cases {
        check(&path, DType::F32)?;
        check(&path, DType::F64)?;
    }
    Ok(())
}
