//! `miconi_steps`: then the features of the last batch.

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_models::miconi::{
    InputConfig, LayerConfig, Network, Patches, Phase, Plasticity, Preset, Training, Triangle,
    Whitening,
};

use crate::{Case, Result};

const CPU: &Device = &Device::Cpu;

fn check(case: &Case, dtype: DType) -> Result<()> {
    let Case { params, tensors, .. } = case;
    let list =
        |name: &str| -> Result<Vec<f64>> { Ok(serde_json::from_value(params[name].clone())?) };
    let (k, rates, targets) = (list("k")?, list("learning_rates")?, list("target_rates")?);
    let kernels = list("kernels")?;
    assert_eq!(params["pool"], "avg 2x2/2");
    let layers: Vec<LayerConfig> = (0..k.len())
        .map(|at| {
            Ok(LayerConfig {
                units: tensors[&format!("layers.{at}.weight")].dim(0)?,
                kernel: kernels[at] as usize,
                stride: 1,
                pool: 2,
                k: k[at] as usize,
                learning_rate: rates[at],
                threshold_rate: params["threshold_rate"].as_f64().ok_or("no threshold_rate")?,
                pruning: 0.5, // the mask is restored
                patches: Patches::Whole {},
                frozen: false,
            })
        })
        .collect::<Result<_>>()?;
    for (layer, target) in layers.iter().zip(targets) {
        assert!((layer.target_rate() - target).abs() < 1e-12);
    }
    let flag = |name: &str| params[name].as_bool().ok_or(format!("no {name}"));
    let preset = Preset {
        name: "golden".into(),
        description: String::new(),
        dataset: "none".into(),
        input: InputConfig { grey: false, flip: false, whitening: Whitening::None {} },
        layers,
        training: Training {
            rule: serde_json::from_value(params["rule"].clone())?,
            plasticity: if flag("binary")? { Plasticity::Binary } else { Plasticity::Graded },
            triangle: if flag("triangle")? { Triangle::Always } else { Triangle::Never },
            normalise: true,
            batch_size: 4,
            epochs: 1,
            burn_in_batches: params["burn_in_batches"].as_u64().ok_or("no burn_in_batches")?
                as usize,
        },
        quirks: Default::default(),
    };
    let (steps, _, c, h, w) = tensors["x"].dims5()?;
    let mut network = Network::new(&preset, (c, h, w), &Rng::new(0), dtype, CPU)?;
    network.restore(|name, shape| -> Result<Tensor> {
        match tensors.get(name) {
            Some(tensor) => Ok(tensor.clone()),
            None if name.ends_with("threshold") => Ok(Tensor::zeros(shape, dtype, CPU)?),
            None => Err(format!("{name} is not in the file").into()),
        }
    })?;
    let mut got = Vec::new();
    for step in 0..steps {
        let burn_in = step < preset.training.burn_in_batches;
        let phase = if burn_in { Phase::BurnIn } else { Phase::Learn };
        let activities = network.step(&tensors["x"].get(step)?, phase)?;
        let features = activities.last().ok_or("no layers")?.output.flatten_from(1)?;
        got = vec![("features".to_string(), features)];
    }
    got.extend(network.tensors()?.into_iter().filter(|(name, _)| !name.ends_with("mask")));
    case.check(got)
}

#[test]
fn miconi_steps() -> Result<()> {
    let cases = Case::all("miconi.", "miconi_steps")?;
    assert_eq!(cases.len(), 2 * 3);
    cases.iter().try_for_each(|(case, dtype)| check(case, *dtype))
}
