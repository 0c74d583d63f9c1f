use super::Computed;
use super::feedback::{self, layer};
use crate::amit::{LayerConfig, Loss, Network, Preset, Protocol, Training};
use crate::verify::error::Problem;
use crate::verify::inputs::{Got, Inputs};
use candle::{Module, Tensor};
use candle_hebbian::ops::{Edge, Ties, max_pool2d, ramp};
use candle_hebbian::{Conv2dConfig, FeedbackLayer, Geometry, Rng, Steps, WithFeedback};
use candle_nn::Optimizer;
use hebbian_data::transforms::InputConfig;
use serde::Deserialize;

#[derive(Deserialize)]
struct Params {
    loss: LossName,
    mu: f64,
    learning_rate: f64,
    ramp_slope: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum LossName {
    Hinge,
    Softmax,
}

/// The layers of the network that all these cases have: two convolutions, the first followed by a pool, a dense layer
/// and the class layer.
const LAYERS: [&str; 4] = ["conv1", "conv2", "dense1", "classes"];

/// Computes the case with layers that are put together by hand and, if both sides of the images are even, with the
/// network of the paper, whose pools include the last row or column of an odd number.
pub(super) fn compute(inputs: &Inputs) -> Computed {
    let protocol = inputs.params::<feedback::Params>()?.protocol();
    let mut got = by_layers(inputs, protocol)?;
    let (.., height, width) = inputs.get("x")?.dims5()?;
    if height % 2 == 0 && width % 2 == 0 {
        got.extend(by_network(inputs, protocol)?);
    }
    Ok(got)
}

impl Params {
    fn loss(&self) -> Loss {
        match self.loss {
            LossName::Hinge => Loss::Hinge { mu: Some(self.mu) },
            LossName::Softmax => Loss::Softmax {},
        }
    }
}

/// Takes the steps. Returns the losses and all weights except the unused feedback weights of the first layer.
fn learn(
    way: &'static str,
    inputs: &Inputs,
    layers: &[&FeedbackLayer],
    forward: impl Fn(&Tensor) -> candle::Result<Tensor>,
) -> Computed {
    let params: Params = inputs.params()?;
    let (x, labels) = (inputs.get("x")?, inputs.get("labels")?);
    let vars = layers.iter().map(|layer| layer.var()).collect::<candle::Result<Vec<_>>>()?;
    let sgd = |vars| Steps::builder(params.learning_rate).build(vars);
    let mut optimizer = WithFeedback::build(vars, layers.iter().copied(), sgd)?;
    let mut losses = Vec::new();
    for step in 0..x.dim(0)? {
        let loss = params.loss().of(&forward(&x.get(step)?)?, &labels.get(step)?)?;
        optimizer.backward_step(&loss)?;
        losses.push(loss.detach());
    }
    let mut got = vec![Got::by(way, "losses", Tensor::stack(&losses, 0)?)];
    for (at, (name, layer)) in LAYERS.iter().zip(layers).enumerate() {
        got.push(Got::by(way, format!("{name}.weight"), layer.weight().detach()));
        if at > 0 {
            let name = format!("{name}.feedback");
            // Back-propagation has no feedback weights: the file's stay as they are.
            let feedback = match layer.feedback() {
                Some(feedback) => feedback.detach(),
                None => inputs.get(&name)?.clone(),
            };
            got.push(Got::by(way, name, feedback));
        }
    }
    Ok(got)
}

fn by_layers(inputs: &Inputs, protocol: Protocol) -> Computed {
    let slope = inputs.params::<Params>()?.ramp_slope;
    let build = |name: &str| -> Result<FeedbackLayer, Problem> {
        let get = |what: &str| inputs.get(&format!("{name}.{what}"));
        let (w, r) = (get("weight")?, get("feedback")?);
        let geometry = match w.dims() {
            &[_, _, kernel, _] => Geometry::Conv2d(Conv2dConfig::same(kernel)),
            _ => Geometry::Dense,
        };
        Ok(layer(w, r, geometry, protocol)?)
    };
    let [conv1, conv2, dense1, classes] = LAYERS.map(build);
    let (conv1, conv2, dense1, classes) = (conv1?, conv2?, dense1?, classes?);
    learn("layers", inputs, &[&conv1, &conv2, &dense1, &classes], |x| {
        let x = max_pool2d(&ramp(&conv1.forward(x)?, slope)?, 2, 2, 0, Ties::All)?;
        let x = ramp(&conv2.forward(&x)?, slope)?.flatten_from(1)?;
        classes.forward(&ramp(&dense1.forward(&x)?, slope)?)
    })
}

fn by_network(inputs: &Inputs, protocol: Protocol) -> Computed {
    let params: Params = inputs.params()?;
    let units = |name: &str| -> Result<usize, Problem> {
        Ok(inputs.get(&format!("{name}.weight"))?.dim(0)?)
    };
    let conv = |name: &str| -> Result<LayerConfig, Problem> {
        Ok(LayerConfig::Conv {
            units: units(name)?,
            kernel: inputs.get(&format!("{name}.weight"))?.dim(2)?,
            residual: false,
            untied: false,
            frozen: false,
            protocol: None,
        })
    };
    let preset = Preset {
        name: "reference".into(),
        description: String::new(),
        dataset: "none".into(),
        input: InputConfig::NONE,
        layers: vec![
            conv("conv1")?,
            LayerConfig::MaxPool { kernel: 2, stride: 2, edge: Edge::Excluded },
            conv("conv2")?,
            LayerConfig::Dense { units: units("dense1")?, protocol: None },
            LayerConfig::Classes { protocol: None },
        ],
        training: Training {
            protocol,
            loss: params.loss(),
            learning_rate: params.learning_rate,
            weight_decay: 0.0,
            batch_size: 1,
            epochs: 1,
            validation_images: 0,
            ramp_slope: params.ramp_slope,
            connection_probability: None,
            tied: None,
        },
    };
    let (_, _, c, h, w) = inputs.get("x")?.dims5()?;
    let (dtype, device) = (inputs.dtype, inputs.device);
    let classes = units("classes")?;
    // The other sizes are taken from the weights.
    let (first, second, dense) = (units("conv1")?, units("conv2")?, units("dense1")?);
    let side = |name: &str| inputs.get(&format!("{name}.weight"))?.dim(2).map_err(Problem::from);
    let (k1, k2) = (side("conv1")?, side("conv2")?);
    inputs.weights_of("conv1.weight", &[first, c, k1, k1])?;
    inputs.weights_of("conv2.weight", &[second, first, k2, k2])?;
    inputs.weights_of("dense1.weight", &[dense, second * (h / 2) * (w / 2)])?;
    inputs.weights_of("classes.weight", &[classes, dense])?;
    let mut network = Network::new(&preset, (c, h, w), classes, &Rng::new(0), dtype, device)?;
    network.stack_mut().restore(|name, _| match name.split('.').collect::<Vec<_>>()[..] {
        [_, index, what] => {
            let layer = index.parse().ok().and_then(|index: usize| LAYERS.get(index));
            inputs.get(&format!("{}.{what}", layer.unwrap_or(&index))).cloned()
        }
        _ => inputs.get(name).cloned(),
    })?;
    let layers: Vec<_> = network.weight_layers().map(|layer| layer.layer()).collect();
    learn("network", inputs, &layers, |x| network.forward(x))
}
