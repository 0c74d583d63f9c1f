//! The order in which protocols err on the mixture task: by the rate of their feedback weights, by depth, by
//! connectivity, and beside the rules that are younger than Amit 2019.
//!
//! Errors that are quoted are means over draws by an independent NumPy version. It met each bound here in six draws or
//! more, with room to spare, although the errors themselves differ between draws by up to 0.1.

use crate::common::Result;
use candle::{D, DType, Device, Tensor};
use candle_hebbian::{Rng, Steps};
use candle_nn::Optimizer;
use hebbian_data::Batches;
use hebbian_data::transforms::InputConfig;
use hebbian_models::amit::{
    LayerConfig, LayerDiagnostics, Loss, Mixture, MixtureConfig, Network, Preset, Protocol,
    Training, diagnose,
};

const CPU: &Device = &Device::Cpu;
const SEED: u64 = 11;
const BATCH: usize = 100;

fn task() -> Result<Mixture> {
    Ok(Mixture::draw(&MixtureConfig::default(), &Rng::new(SEED))?)
}

/// A network for the task: `hidden` layers of 128 units, of which each pair is connected with probability `connected`.
#[derive(Clone, Copy)]
struct Setting {
    hidden: usize,
    connected: Option<f64>,
    epochs: usize,
}

struct Learned {
    /// The share of the test examples that are classified wrongly.
    error: f64,
    /// All layers, from the input to the classes, on the first 200 test examples.
    layers: Vec<LayerDiagnostics>,
}

/// Learns the task by a protocol. The start and the order of the examples are the same for all protocols.
fn learned(task: &Mixture, setting: Setting, protocol: Protocol) -> Result<Learned> {
    let mut layers = vec![LayerConfig::Dense { units: 128, protocol: None }; setting.hidden];
    layers.push(LayerConfig::Classes { protocol: None });
    let preset = Preset {
        name: "mixture".into(),
        description: String::new(),
        dataset: "mixture".into(),
        input: InputConfig::NONE,
        layers,
        training: Training {
            protocol,
            loss: Loss::Hinge { mu: Some(1.0) },
            learning_rate: 0.1,
            weight_decay: 0.0,
            batch_size: BATCH,
            epochs: setting.epochs,
            validation_images: 0,
            ramp_slope: 0.5,
            connection_probability: setting.connected,
            tied: None,
        },
    };
    let rng = Rng::new(SEED);
    let network = Network::new(&preset, (1, 1, 32), 10, &rng, DType::F32, CPU)?;
    let mut steps = network.optimizer(|vars| Steps::builder(0.1).build(vars))?;
    let (inputs, labels) = (&task.train.inputs, Tensor::new(&task.train.labels[..], CPU)?);
    let [mut order, mut masks, mut noise] =
        ["batches", "masks", "noise"].map(|purpose| rng.stream(purpose));
    for _ in 0..setting.epochs {
        for indices in Batches::shuffled(task.train.labels.len(), BATCH, &mut order)? {
            let indices: Vec<u32> = indices.into_iter().map(|index| index as u32).collect();
            let indices = Tensor::new(indices, CPU)?;
            let (x, y) = (inputs.index_select(&indices, 0)?, labels.index_select(&indices, 0)?);
            let fields = network.forward_train(&x, &mut masks)?;
            steps.backward_step(&network.loss(&fields, &y)?)?;
            if let Protocol::WeightMirror { .. } = protocol {
                for layer in network.weight_layers() {
                    let shape = (BATCH, layer.layer().weight().dim(1)?);
                    layer.layer().mirror(&noise.normal(0.0, 1.0, shape, DType::F32, CPU)?)?;
                }
            }
        }
    }
    let predicted = network.forward(&task.test.inputs)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let wrong = predicted.iter().zip(&task.test.labels).filter(|(a, b)| a != b).count();
    let (x, y) = (task.test.inputs.narrow(0, 0, 200)?, &task.test.labels[..200]);
    Ok(Learned {
        error: wrong as f64 / predicted.len() as f64,
        layers: diagnose(&network, &x, &Tensor::new(y, CPU)?)?,
    })
}

fn all(setting: Setting, protocols: &[Protocol]) -> Result<Vec<Learned>> {
    let task = task()?;
    protocols.iter().map(|&protocol| learned(&task, setting, protocol)).collect()
}

fn errors(learned: &[Learned]) -> Vec<f64> {
    learned.iter().map(|learned| learned.error).collect()
}

/// The cosines of weights and feedback weights, above the first layer.
fn cosines(learned: &Learned) -> Result<Vec<f64>> {
    let angles = learned.layers[1..].iter().map(|layer| layer.weight_feedback_angle);
    angles.map(|angle| Ok(angle.ok_or("no feedback")?.to_radians().cos())).collect()
}

/// With four hidden layers, the error grows as ε falls: 0.18, 0.26, 0.33, 0.40 and 0.48 after 25 epochs, at least 0.028
/// from one to the next in each of twelve draws. By then the errors that URFB sends are within 90° of those of
/// back-propagation in every layer.
#[test]
fn the_error_grows_as_feedback_learns_more_slowly() -> Result {
    let setting = Setting { hidden: 4, connected: None, epochs: 25 };
    let found = all(
        setting,
        &[
            Protocol::Backprop,
            Protocol::Urfb,
            Protocol::Partial { rate: 0.5 },
            Protocol::Partial { rate: 0.25 },
            Protocol::Frfb,
        ],
    )?;
    let errors = errors(&found);
    assert!(errors.is_sorted_by(|a, b| a < b), "{errors:?}");
    for layer in &found[1].layers[..4] {
        let angle = layer.error_angle.ok_or("no error")?;
        assert!(angle < 90.0, "{}: {angle}°", layer.layer);
    }
    Ok(())
}

/// With one hidden layer all protocols end within about a point of each other, here within two: 0.151, 0.150, 0.154 and
/// 0.156. With four, FRFB ends more than five points above URFB: see `amit::behaviour`.
#[test]
fn one_hidden_layer_does_not_tell_protocols_apart() -> Result {
    let setting = Setting { hidden: 1, connected: None, epochs: 60 };
    let found = all(
        setting,
        &[Protocol::Backprop, Protocol::Urfb, Protocol::Partial { rate: 0.25 }, Protocol::Frfb],
    )?;
    let errors = errors(&found);
    let most = errors.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(most < 0.3 && most - least < 0.02, "{errors:?}");
    assert!((errors[3] - errors[1]).abs() < 0.015, "{errors:?}");
    Ok(())
}

/// With two hidden layers, half of the connections are nearly as good as all of them if feedback is updated: 0.151 and
/// 0.146. If it is fixed, they are not: 0.190.
#[test]
fn half_of_the_connections_still_learn() -> Result {
    let setting = |connected| Setting { hidden: 2, connected, epochs: 60 };
    let whole = all(setting(None), &[Protocol::Urfb])?[0].error;
    let half = errors(&all(setting(Some(0.5)), &[Protocol::Urfb, Protocol::Frfb])?);
    assert!(half[0] < whole + 0.025, "{whole}, with half of the connections {half:?}");
    assert!(half[0] + 0.01 < half[1], "updated and fixed: {half:?}");
    Ok(())
}

/// With four hidden layers and 20 epochs, direct feedback and weight mirrors err as back-propagation does, 0.22 each,
/// and URFB more, 0.37. Mirrors have the angle that their formula has for 128 inputs and 100 samples, of a cosine of
/// 0.97; signs of the weights with one size have √3/2 at first and then more, up to 0.9 for the class layer.
#[test]
fn direct_feedback_and_mirrors_keep_up_with_backprop() -> Result {
    let setting = Setting { hidden: 4, connected: None, epochs: 20 };
    let found = all(
        setting,
        &[
            Protocol::Backprop,
            Protocol::DirectFeedback,
            Protocol::WeightMirror { rate: 0.1 },
            Protocol::Urfb,
            Protocol::UniformSign,
        ],
    )?;
    let errors = errors(&found);
    let [backprop, direct, mirror, urfb, _] = errors[..] else { return Err("five".into()) };
    for error in [direct, mirror] {
        assert!((error - backprop).abs() < 0.04 && error + 0.03 < urfb, "{errors:?}");
    }
    let mirrored = cosines(&found[2])?;
    assert!(mirrored.iter().all(|cosine| (cosine - 0.97).abs() < 0.02), "{mirrored:?}");
    let signs = cosines(&found[4])?;
    for (cosine, want) in signs.iter().zip([0.86, 0.86, 0.86, 0.89]) {
        assert!((cosine - want).abs() < 0.05, "{signs:?}");
    }
    Ok(())
}
