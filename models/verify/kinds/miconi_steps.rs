use super::Computed;
use crate::RuleKind;
use crate::miconi::{LayerConfig, Network, Patches, Phase, Plasticity, Preset, Training, Triangle};
use crate::verify::error::Problem;
use crate::verify::inputs::{Got, Inputs};
use candle::Tensor;
use candle_hebbian::Rng;
use hebbian_data::transforms::InputConfig;
use serde::Deserialize;

#[derive(Deserialize)]
struct Params {
    rule: RuleKind,
    binary: bool,
    triangle: bool,
    burn_in_batches: usize,
    threshold_rate: f64,
    pool: String,
    k: Vec<usize>,
    kernels: Vec<usize>,
    learning_rates: Vec<f64>,
    target_rates: Vec<f64>,
}

impl Params {
    /// Returns the side of the averaged windows, read from a text such as `avg 2x2/2`.
    fn pool(&self) -> Result<usize, Problem> {
        let side = |text: &str| {
            let (side, stride) = text.strip_prefix("avg ")?.split_once('/')?;
            let side = side.split_once('x').filter(|(height, width)| height == width)?.0;
            (side == stride).then(|| side.parse().ok())?
        };
        side(&self.pool).ok_or_else(|| Problem::Unsupported {
            name: "pool",
            found: self.pool.clone(),
            expected: "square averages side by side, as 'avg 2x2/2'".to_string(),
        })
    }

    fn layers(&self, inputs: &Inputs) -> Result<Vec<LayerConfig>, Problem> {
        let pool = self.pool()?;
        let mut layers = Vec::new();
        for (at, &k) in self.k.iter().enumerate() {
            let (Some(&kernel), Some(&learning_rate), Some(&target)) =
                (self.kernels.get(at), self.learning_rates.get(at), self.target_rates.get(at))
            else {
                return Err(Problem::Unsupported {
                    name: "kernels, learning_rates or target_rates",
                    found: "of fewer layers than k".to_string(),
                    expected: "one for each layer".to_string(),
                });
            };
            let layer = LayerConfig {
                units: inputs.get(&format!("layers.{at}.weight"))?.dim(0)?,
                kernel,
                stride: 1,
                pool,
                k,
                learning_rate,
                threshold_rate: self.threshold_rate,
                pruning: 0.5, // so that there is a mask, which is the file's
                patches: Patches::Whole {},
                frozen: false,
            };
            if (layer.target_rate() - target).abs() > 1e-9 {
                return Err(Problem::Unsupported {
                    name: "target_rates",
                    found: target.to_string(),
                    expected: format!("{}, k of the units", layer.target_rate()),
                });
            }
            layers.push(layer);
        }
        Ok(layers)
    }
}

pub(super) fn compute(inputs: &Inputs) -> Computed {
    let params: Params = inputs.params()?;
    let preset = Preset {
        name: "reference".into(),
        description: String::new(),
        dataset: "none".into(),
        input: InputConfig::NONE,
        layers: params.layers(inputs)?,
        training: Training {
            rule: params.rule,
            plasticity: if params.binary { Plasticity::Binary } else { Plasticity::Graded },
            triangle: if params.triangle { Triangle::Always } else { Triangle::Never },
            normalise: true,
            batch_size: 1,
            epochs: 1,
            burn_in_batches: params.burn_in_batches,
        },
        quirks: Default::default(),
    };
    let (x, dtype, device) = (inputs.get("x")?, inputs.dtype, inputs.device);
    let (steps, _, c, h, w) = x.dims5()?;
    let mut below = c;
    for (at, &LayerConfig { units, kernel, .. }) in preset.layers.iter().enumerate() {
        inputs.weights_of(&format!("layers.{at}.weight"), &[units, below, kernel, kernel])?;
        below = units;
    }
    let mut network = Network::new(&preset, (c, h, w), &Rng::new(0), dtype, device)?;
    network.restore(|name, shape| match inputs.find(name) {
        None if name.ends_with("threshold") => Ok(Tensor::zeros(shape, dtype, device)?),
        _ => inputs.get(name).cloned(),
    })?;
    let mut features = None;
    for step in 0..steps {
        let burn_in = step < params.burn_in_batches;
        let phase = if burn_in { Phase::BurnIn } else { Phase::Learn };
        features = network.step(&x.get(step)?, phase)?.pop();
    }
    let learnt = network.tensors().into_iter().filter(|(name, _)| !name.ends_with("mask"));
    let mut got: Vec<Got> = learnt.map(|(name, tensor)| Got::new(name, tensor)).collect();
    if let Some(last) = features {
        got.push(Got::new("features", last.output.flatten_from(1)?));
    }
    Ok(got)
}
