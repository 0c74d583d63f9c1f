//! The networks of Amit 2019 (Frontiers in Computational Neuroscience 13:18): presets against the published tables,
//! networks against the same computation written with core layers, training against its consequences, and what can be
//! wrong in a file.

use candle::{D, DType, Device, Module, Tensor};
use candle_hebbian::ops::{Dropout, Edge, Ties, max_pool2d_same, ramp};
use candle_hebbian::{FeedbackLayer, Rng, Steps};
use candle_nn::Optimizer;
use hebbian_data::transforms::InputConfig;
use hebbian_data::{Batches, Dataset, ImageSet};
use hebbian_models::amit::{
    LayerConfig, LayerDiagnostics, Learner, Loss, Mixture, MixtureConfig, Network, Preset,
    Protocol, Splits, Tied, Training, correlation, diagnose, preset, presets,
};
use hebbian_train::{Checkpoint, Learner as _, Model as _, save_checkpoint};
use std::collections::HashMap;
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const CPU: &Device = &Device::Cpu;
const CIFAR: (usize, usize, usize) = (3, 32, 32);

fn flat(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn bits(t: &Tensor) -> Result<Vec<u32>> {
    Ok(t.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
}

fn assert_close(name: &str, got: &Tensor, want: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(got.dims(), want.dims(), "{name}");
    let (got, want) = (flat(got)?, flat(want)?);
    let scale = want.iter().fold(0f64, |scale, x| scale.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() <= tolerance * scale, "{name}[{i}]: {got}, expected {want}");
    }
    Ok(())
}

fn network(preset: &Preset, image: (usize, usize, usize)) -> Result<Network> {
    Ok(Network::new(preset, image, 10, &Rng::new(1), DType::F32, CPU)?)
}

fn images(count: usize, (c, h, w): (usize, usize, usize)) -> Result<Tensor> {
    Ok(Rng::new(2).uniform(0.0, 1.0, (count, c, h, w), DType::F32, CPU)?)
}

/// The labels `0, 1, …` below `classes`, repeated.
fn labels(count: u32, classes: u32) -> Result<Tensor> {
    Ok(Tensor::from_vec((0..count).map(|i| i % classes).collect(), count as usize, CPU)?)
}

fn training(protocol: Protocol) -> Training {
    Training {
        protocol,
        loss: Loss::Hinge { mu: None },
        learning_rate: 0.1,
        weight_decay: 0.0,
        batch_size: 10,
        epochs: 4,
        validation_images: 0,
        ramp_slope: 0.5,
        connection_probability: None,
        tied: None,
    }
}

fn conv(units: usize, kernel: usize) -> LayerConfig {
    LayerConfig::Conv {
        units,
        kernel,
        residual: false,
        untied: false,
        frozen: false,
        protocol: None,
    }
}

/// A convolution whose input is added to its output.
fn residual(units: usize, kernel: usize) -> LayerConfig {
    let mut layer = conv(units, kernel);
    if let LayerConfig::Conv { residual, .. } = &mut layer {
        *residual = true;
    }
    layer
}

fn dense(units: usize) -> LayerConfig {
    LayerConfig::Dense { units, protocol: None }
}

fn pool(kernel: usize, edge: Edge) -> LayerConfig {
    LayerConfig::MaxPool { kernel, stride: 2, edge }
}

const CLASSES: LayerConfig = LayerConfig::Classes { protocol: None };

/// A network with one layer of each kind, for images of 6×6 and three classes.
fn small(protocol: Protocol) -> Preset {
    Preset {
        name: "small".into(),
        description: "for tests".into(),
        dataset: "digits".into(),
        input: InputConfig::NONE,
        layers: vec![
            conv(4, 3),
            pool(3, Edge::Zeros),
            LayerConfig::Dropout { probability: 0.3 },
            residual(4, 2),
            dense(8),
            LayerConfig::Dropout { probability: 0.2 },
            CLASSES,
        ],
        training: training(protocol),
    }
}

/// Marks the convolutions as untied, or not.
fn with_untied(preset: &Preset, value: bool) -> Preset {
    let mut preset = preset.clone();
    for layer in &mut preset.layers {
        if let LayerConfig::Conv { untied, .. } = layer {
            *untied = value;
        }
    }
    preset
}

/// Images that are brighter in a quarter that depends on the class.
fn quarters(count: usize, seed: u64) -> Result<ImageSet> {
    let mut rng = Rng::new(seed);
    let labels: Vec<u32> = (0..count).map(|_| rng.below(3) as u32).collect();
    let mut pixels = Vec::new();
    for &label in &labels {
        for at in 0..36 {
            let quarter = (at / 18 * 2 + usize::from(at % 6 >= 3)) as u32;
            pixels.push((rng.below(120) + if quarter == label { 130 } else { 30 }) as u8);
        }
    }
    Ok(ImageSet::new(pixels, labels, 1, 6, 6)?)
}

fn splits() -> Result<Splits> {
    Ok(Splits {
        train: quarters(60, 3)?,
        validation: quarters(20, 4)?,
        test: quarters(20, 5)?,
        classes: 3,
    })
}

/// The last images are held out; of images that are sorted by class, the last ones of each class.
#[test]
fn validation_images_are_of_all_classes() -> Result<()> {
    let validation = |labels: Vec<u32>, held| -> Result<(Vec<u8>, Vec<u32>)> {
        let test = ImageSet::new(vec![0], vec![0], 1, 1, 1)?;
        let train = ImageSet::new((0..40).collect(), labels, 1, 1, 1)?;
        let class_names = ["a", "b"].map(String::from).to_vec();
        let unlabelled = Vec::new();
        let data = Dataset { name: "own".to_string(), train, test, unlabelled, class_names };
        let Splits { train, validation, .. } = Splits::of(&data, held)?;
        assert_eq!(train.len() + validation.len(), 40);
        let all: Vec<usize> = (0..validation.len()).collect();
        Ok((validation.pixels(&all)?, validation.labels().to_vec()))
    };
    let mixed = (0..40).map(|at| at % 2).collect();
    assert_eq!(validation(mixed, 3)?, (vec![37, 38, 39], vec![1, 0, 1]));
    let sorted = (0..40).map(|at| at / 20).collect();
    assert_eq!(validation(sorted, 100)?, (vec![18, 19, 38, 39], vec![0, 0, 1, 1]));
    Ok(())
}

/// Every tensor of a checkpoint, by its name, as bits.
fn snapshot(network: &Network) -> Result<Vec<(String, Vec<u32>)>> {
    network.tensors().into_iter().map(|(name, tensor)| Ok((name, bits(&tensor)?))).collect()
}

fn copies(network: &Network) -> Result<HashMap<String, Tensor>> {
    network.tensors().into_iter().map(|(name, tensor)| Ok((name, tensor.copy()?))).collect()
}

fn fresh(preset: &Preset) -> Result<Learner> {
    Ok(Learner::new(preset, splits()?, &Rng::new(6), CPU)?)
}

fn learn(mut learner: Learner, epochs: usize) -> Result<Learner> {
    while learner.epoch() < epochs {
        learner.step()?;
    }
    Ok(learner)
}

fn trained(preset: &Preset, epochs: usize) -> Result<Learner> {
    learn(fresh(preset)?, epochs)
}

/// The saved tensors of a learner, read back from a file.
fn saved(learner: &Learner, folder: &Path) -> Result<Checkpoint> {
    let path = folder.join("state.safetensors");
    let mut tensors = learner.model().tensors();
    tensors.extend(learner.state()?.tensors);
    save_checkpoint(&path, &tensors, &Default::default())?;
    Ok(Checkpoint::load(&path, CPU)?)
}

mod tables {
    use super::*;

    /// Weights, an untied layer's counted once.
    fn weights(network: &Network) -> usize {
        let count = |dims: &[usize]| dims[dims.len().saturating_sub(4)..].iter().product::<usize>();
        network.weight_layers().map(|layer| count(layer.layer().weight().dims())).sum()
    }

    #[test]
    fn weights_as_published() -> Result<()> {
        for (name, count) in [
            ("amit-simpnet", 4_103_400),
            ("amit-simpnet-untied", 4_103_400),
            ("amit-simpnet-s-untied", 4_103_400),
            ("amit-deepnet", 593_128),
            ("amit-deepnet-average", 593_128),
            ("amit-deepernet", 1_281_080),
            ("amit-deepernet-s", 374_584),
            ("amit-deepernet-s-untied", 374_584),
            ("amit-deepernet-s-untied-all", 374_584),
            ("amit-deepernet2-s-untied", 373_048),
            // 11·11·32 inputs to the dense layer.
            ("amit-simpnet-stride-3", 2_400 + 1_936_000 + 5_000),
        ] {
            assert_eq!(weights(&network(&preset(name)?, CIFAR)?), count, "{name}");
        }
        // A hundred classes: 90 more rows of 500.
        let network =
            Network::new(&preset("amit-deepernet")?, CIFAR, 100, &Rng::new(1), DType::F32, CPU)?;
        assert_eq!(weights(&network), 1_281_080 + 90 * 500);
        Ok(())
    }

    /// Height, width and units of each layer.
    #[test]
    fn outputs_as_published() -> Result<()> {
        let deepernet_s: &[&[usize]] = &[
            &[32, 32, 16],
            &[32, 32, 16],
            &[11, 11, 64],
            &[11, 11, 64],
            &[6, 6, 64],
            &[6, 6, 64],
            &[500],
            &[10],
        ];
        let tables: [(&str, &[&[usize]]); 4] = [
            ("amit-simpnet", &[&[32, 32, 32], &[500], &[10]]),
            (
                "amit-deepnet",
                &[
                    &[32, 32, 32],
                    &[16, 16, 32],
                    &[16, 16, 32],
                    &[8, 8, 64],
                    &[8, 8, 64],
                    &[500],
                    &[10],
                ],
            ),
            (
                "amit-deepernet",
                &[
                    &[32, 32, 16],
                    &[32, 32, 16],
                    &[32, 32, 32],
                    &[32, 32, 32],
                    &[16, 16, 64],
                    &[16, 16, 64],
                    &[8, 8, 128],
                    &[8, 8, 128],
                    &[500],
                    &[10],
                ],
            ),
            ("amit-deepernet-s", deepernet_s),
        ];
        for (name, table) in tables {
            let network = network(&preset(name)?, CIFAR)?;
            let errors = network.errors(&images(1, CIFAR)?, &labels(1, 10)?, false)?;
            let units_last = |error: &Tensor| [&error.dims()[2..], &error.dims()[1..2]].concat();
            let dims: Vec<Vec<usize>> = errors.iter().map(units_last).collect();
            assert_eq!(dims, table, "{name}");
        }
        Ok(())
    }

    /// Positions of layers, each with the limit of its weights.
    type Limits = &'static [(usize, f64)];

    /// The limits `a` of Glorot's draw, for the position of a layer in its network: with a hundred classes, the last
    /// layer of deepernet has another. The author's code before 4 January 2019 had a third or less for kernels.
    const LIMITS: [(&str, usize, Limits); 4] = [
        ("amit-simpnet", 10, &[(0, 0.08281), (1, 0.02627), (2, 0.10847)]),
        ("amit-deepnet", 10, &[(0, 0.08281), (1, 0.10206), (2, 0.10206), (5, 0.06275)]),
        ("amit-deepernet", 100, &[(8, 0.04853), (9, 0.10)]),
        ("amit-deepernet-s", 10, &[(2, 0.09129), (4, 0.10825), (6, 0.07467), (7, 0.10847)]),
    ];

    /// The initial weights and feedback weights have Glorot's limits, and his standard deviations `a/√3`.
    #[test]
    fn initial_spread() -> Result<()> {
        for (name, classes, limits) in LIMITS {
            let preset = preset(name)?;
            let network = Network::new(&preset, CIFAR, classes, &Rng::new(1), DType::F32, CPU)?;
            for &(at, limit) in limits {
                let layer = network.weight_layers().nth(at).ok_or("a layer")?.layer();
                for weights in [Some(layer.weight()), layer.feedback()] {
                    let values = flat(weights.ok_or("weights")?)?;
                    let n = values.len() as f64;
                    let largest = values.iter().fold(0f64, |a, b| a.max(b.abs()));
                    let is_limit = largest <= limit + 5e-6 && largest > 0.98 * limit;
                    assert!(is_limit, "{name} {at}: {largest}, expected {limit}");
                    // Squares of a uniform variable spread by √(4/5) of their mean.
                    let (sd, want) = (
                        (values.iter().map(|v| v * v).sum::<f64>() / n).sqrt(),
                        limit / 3f64.sqrt(),
                    );
                    let error = want * (0.2 / n).sqrt();
                    assert!((sd - want).abs() < 4.0 * error + 5e-6, "{name} {at}: {sd}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn all_build_for_all_images() -> Result<()> {
        for preset in presets()? {
            preset.check()?;
            let json = serde_json::to_string(&preset)?;
            assert_eq!(serde_json::from_str::<Preset>(&json)?, preset);
            for image in [(1, 8, 8), (1, 28, 28), CIFAR] {
                let fields = network(&preset, image)?.forward(&images(1, image)?)?;
                assert_eq!(fields.dims(), [1, 10], "{} {image:?}", preset.name);
            }
        }
        Ok(())
    }
}

/// The names in presets and on the command line.
#[test]
fn protocol_names() -> Result<()> {
    let names = [
        (Protocol::Backprop, "bp"),
        (Protocol::Urfb, "urfb"),
        (Protocol::Frfb, "frfb"),
        (Protocol::Identical, "identical"),
        (Protocol::KolenPollack, "kp"),
        (Protocol::WeightMirror { rate: 0.1 }, "wm"),
        (Protocol::WeightMirror { rate: 0.25 }, "wm:0.25"),
        (Protocol::UniformSign, "usf"),
        (Protocol::BatchwiseRandomSign, "brsf"),
        (Protocol::FixedRandomSign, "frsf"),
        (Protocol::DirectFeedback, "dfa"),
        (Protocol::Partial { rate: 0.0 }, "partial:0"),
        (Protocol::Partial { rate: 0.1 + 0.2 }, "partial:0.30000000000000004"),
        (Protocol::Partial { rate: 1e-9 }, "partial:0.000000001"),
        (Protocol::Partial { rate: 1.0 }, "partial:1"),
    ];
    for (protocol, name) in names {
        assert_eq!(protocol.to_string(), name);
        assert_eq!(name.parse::<Protocol>()?, protocol);
        let json = serde_json::to_string(&protocol)?;
        assert_eq!(json, format!("\"{name}\""));
        assert_eq!(serde_json::from_str::<Protocol>(&json)?, protocol);
    }
    assert_eq!("fa".parse::<Protocol>()?, Protocol::Frfb);
    for wrong in
        ["", "BP", "urfb ", "partial", "partial:", "partial:x", "partial:0.5:1", "wm:", "kp:1"]
    {
        refusals::says(wrong.parse::<Protocol>(), &[&format!("{wrong:?}"), "partial:RATE"]);
        assert!(serde_json::from_value::<Protocol>(wrong.into()).is_err());
    }
    for rate in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let (partial, says) = (Protocol::Partial { rate }, ["ε", "0 (fixed) to 1"]);
        refusals::says(partial.check(), &says);
        refusals::says(partial.to_string().parse::<Protocol>(), &says);
        let json = serde_json::from_str::<Protocol>(&format!("\"partial:{rate}\""));
        refusals::says(json, &says);
        let mirror = Protocol::WeightMirror { rate };
        refusals::says(mirror.check(), &["κ", "0 (fixed) to 1"]);
        refusals::says(mirror.to_string().parse::<Protocol>(), &["κ", "0 (fixed) to 1"]);
    }
    Ok(())
}

mod refusals {
    use super::*;

    pub fn says(result: std::result::Result<impl Sized, impl ToString>, words: &[&str]) {
        let message = result.err().expect("accepted").to_string();
        for word in words {
            assert!(message.contains(word), "{word:?} is missing in: {message}");
        }
    }

    fn built(layers: Vec<LayerConfig>) -> hebbian_models::amit::Result<Network> {
        let preset = Preset { layers, ..small(Protocol::Urfb) };
        Network::new(&preset, (3, 8, 8), 10, &Rng::new(1), DType::F32, CPU)
    }

    #[test]
    fn names_and_files() -> Result<()> {
        says(preset("amit-simpnetz"), &["amit-simpnetz", "nearest are: amit-simpnet,", ".json"]);
        says(preset("/nowhere/at/all.json"), &["/nowhere/at/all.json"]);
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("own.json");
        let path = path.to_str().ok_or("a path")?;
        let good = serde_json::to_value(small(Protocol::Urfb))?;
        std::fs::write(path, good.to_string())?;
        assert_eq!(preset(path)?, small(Protocol::Urfb));
        for (pointer, field) in [("", "colour"), ("/training", "momentum"), ("/layers/0", "bias")] {
            let mut wrong = good.clone();
            wrong.pointer_mut(pointer).ok_or("an object")?[field] = 1.into();
            std::fs::write(path, wrong.to_string())?;
            says(preset(path), &[path, "unknown field", field]);
        }
        let mut wrong = good.clone();
        wrong["training"]["protocol"] = "partial:2".into();
        std::fs::write(path, wrong.to_string())?;
        says(preset(path), &[path, "ε = 2"]);
        std::fs::write(path, "{")?;
        says(preset(path), &[path]);
        Ok(())
    }

    #[test]
    fn layers() {
        says(built(vec![dense(5)]), &["small", "last layer", "classes"]);
        says(built(vec![]), &["last layer", "classes"]);
        says(built(vec![CLASSES, dense(5), CLASSES]), &["2 layers of kind 'classes'"]);
        says(built(vec![dense(0), CLASSES]), &["layer 0", "0 units"]);
        says(built(vec![conv(4, 0), CLASSES]), &["layer 0", "kernel of 0"]);
        let dfa = Some(Protocol::DirectFeedback);
        let classes = LayerConfig::Classes { protocol: dfa };
        says(built(vec![dense(5), classes]), &["3x8x8", "layer 1", "dfa on the class layer"]);
        says(built(vec![residual(4, 3), CLASSES]), &["layer 0", "4 channels with 3"]);
        says(built(vec![dense(5), conv(4, 3), CLASSES]), &["layer 1", "expects an image"]);
        let none = LayerConfig::MaxPool { kernel: 0, stride: 2, edge: Edge::Zeros };
        says(built(vec![none, CLASSES]), &["layer 0", "kernel 0"]);
        let all = LayerConfig::Dropout { probability: 1.0 };
        says(built(vec![all, CLASSES]), &["layer 0", "dropout is 1", "below 1"]);
        let wide = LayerConfig::AvgPool { kernel: 20, stride: 2, padding: 0 };
        says(built(vec![wide, CLASSES]), &["layer 0", "too small"]);
    }

    #[test]
    fn recipes() {
        let with = |change: fn(&mut Training)| {
            let mut preset = small(Protocol::Urfb);
            change(&mut preset.training);
            preset.check()
        };
        says(with(|t| t.learning_rate = 0.0), &["small", "learning_rate 0"]);
        says(with(|t| t.learning_rate = f64::NAN), &["learning_rate NaN"]);
        says(with(|t| t.batch_size = 0), &["batch_size 0"]);
        says(with(|t| t.ramp_slope = 0.0), &["ramp_slope 0"]);
        says(with(|t| t.connection_probability = Some(1.5)), &["connection_probability 1.5"]);
        says(with(|t| t.loss = Loss::Hinge { mu: Some(-1.0) }), &["μ", "-1"]);
        says(with(|t| t.protocol = Protocol::Partial { rate: 2.0 }), &["ε = 2"]);
        for decay in [-0.1, f64::NAN, f64::INFINITY] {
            let mut preset = small(Protocol::Frfb);
            preset.training.weight_decay = decay;
            says(preset.check(), &["weight_decay", "from 0"]);
        }
        // Decay on both is what Kolen–Pollack adds to URFB, and URFB allows none.
        says(with(|t| t.weight_decay = 0.1), &["urfb", "weight_decay 0.1", "expected 0", "kp"]);
        says(
            with(|t| t.protocol = Protocol::KolenPollack),
            &["kp", "without weight_decay", "urfb"],
        );
        let mut mixed = small(Protocol::Backprop);
        mixed.training.weight_decay = 0.1;
        assert!(mixed.check().is_ok());
        mixed.layers[4] = LayerConfig::Dense { units: 8, protocol: Some(Protocol::Urfb) };
        says(mixed.check(), &["urfb", "weight_decay 0.1"]);
        let tied = Tied { epochs: 1, learning_rate: 0.1, batch_size: 0, redraw: false };
        says(
            {
                let mut preset = with_untied(&small(Protocol::Urfb), true);
                preset.training.tied = Some(tied);
                preset.check()
            },
            &["batch_size 0"],
        );
        // Nothing would be untied, frozen or drawn again after the tied part.
        says(
            {
                let mut preset = small(Protocol::Urfb);
                preset.training.tied = Some(Tied { batch_size: 10, ..tied });
                preset.check()
            },
            &["'tied'", "untied"],
        );
    }
}

/// Weights that saturate a good part of the units.
fn saturate(network: &Network) -> Result<()> {
    for layer in network.weight_layers() {
        let weight = layer.layer().var()?;
        weight.set(&(weight.as_detached_tensor() * 4.0)?)?;
    }
    Ok(())
}

/// If a maximum is pooled next, the network takes the ramp after it; here the ramp comes before. Values and gradients
/// are the same, even with saturated units, which tie.
#[test]
fn pool_before_ramp_is_ramp_before_pool() -> Result<()> {
    for edge in [Edge::Zeros, Edge::Excluded] {
        for protocol in [Protocol::Backprop, Protocol::Urfb, Protocol::FixedRandomSign] {
            let preset = Preset {
                layers: vec![
                    conv(6, 3),
                    pool(3, edge),
                    conv(5, 5),
                    pool(2, edge),
                    dense(7),
                    CLASSES,
                ],
                ..small(protocol)
            };
            let image = (2, 9, 10);
            let network = Network::new(&preset, image, 10, &Rng::new(1), DType::F64, CPU)?;
            saturate(&network)?;
            let x = (images(4, image)?.to_dtype(DType::F64)? - 0.5)?;
            let y = labels(4, 10)?;
            let layers: Vec<_> = network.weight_layers().map(|layer| layer.layer()).collect();
            let mut saturated = 0.0;
            let mut active = |h: Tensor| -> Result<Tensor> {
                let at_edge = h.abs()?.ge(2.0)?.to_dtype(DType::F64)?.mean_all()?;
                saturated += at_edge.to_scalar::<f64>()? / 3.0;
                Ok(ramp(&h, 0.5)?)
            };
            let h = active(layers[0].forward(&x)?)?;
            let h = max_pool2d_same(&h, 3, 2, edge, Ties::All)?;
            let h = active(layers[1].forward(&h)?)?;
            let h = max_pool2d_same(&h, 2, 2, edge, Ties::All)?.flatten_from(1)?;
            let h = active(layers[2].forward(&h)?)?;
            let want = layers[3].forward(&h)?;
            assert!(saturated > 0.2, "{saturated} of all units are saturated");
            let got = network.forward(&x)?;
            assert_close("fields", &got, &want, 1e-13)?;
            let (got, want) = (network.loss(&got, &y)?, network.loss(&want, &y)?);
            let (got, want) = (got.backward()?, want.backward()?);
            for var in network.vars()? {
                let grads = (got.get(&var), want.get(&var));
                let (Some(got), Some(want)) = grads else { return Err("no gradient".into()) };
                assert_close(&format!("{protocol} {:?}", var.dims()), got, want, 1e-12)?;
            }
        }
    }
    Ok(())
}

/// In training, the network equals its layers one by one, with dropout, a residual sum, and channels first throughout.
#[test]
fn forward_is_the_layers_one_by_one() -> Result<()> {
    let network =
        Network::new(&small(Protocol::Urfb), (1, 6, 6), 3, &Rng::new(1), DType::F64, CPU)?;
    saturate(&network)?;
    let x = images(5, (1, 6, 6))?.to_dtype(DType::F64)?;
    let layers: Vec<_> = network.weight_layers().map(|layer| layer.layer()).collect();
    let mut rng = Rng::new(9);
    let h = ramp(&layers[0].forward(&x)?, 0.5)?;
    let h = max_pool2d_same(&h, 3, 2, Edge::Zeros, Ties::All)?;
    // Masks are drawn in the order of memory, channels last.
    let h = Dropout::new(0.3)?.apply(&h.permute((0, 2, 3, 1))?, &mut rng)?.permute((0, 3, 1, 2))?;
    let h = (&h + ramp(&layers[1].forward(&h)?, 0.5)?)?.flatten_from(1)?;
    let h = ramp(&layers[2].forward(&h)?, 0.5)?;
    let want = layers[3].forward(&Dropout::new(0.2)?.apply(&h, &mut rng)?)?;
    let got = network.forward_train(&x, &mut Rng::new(9))?;
    assert_close("fields", &got, &want, 1e-13)?;
    // In evaluation nothing is dropped: the result is the same every time, and not that of training.
    assert_eq!(flat(&network.forward(&x)?)?, flat(&network.forward(&x)?)?);
    assert_ne!(flat(&network.forward(&x)?)?, flat(&got)?);
    Ok(())
}

/// The loss is `1 + μ` if all fields are tiny, with the μ of ten and of a hundred classes.
#[test]
fn initial_loss() -> Result<()> {
    for (classes, loss) in [(10, 2.0), (100, 11.0)] {
        let network = Network::new(
            &preset("amit-digits")?,
            (1, 8, 8),
            classes,
            &Rng::new(1),
            DType::F32,
            CPU,
        )?;
        for layer in network.weight_layers() {
            layer.layer().var()?.set(&(layer.layer().weight().detach() * 1e-3)?)?;
        }
        let fields = network.forward(&images(20, (1, 8, 8))?)?;
        let got = network.loss(&fields, &labels(20, classes as u32)?)?.to_scalar::<f32>()?;
        assert!((f64::from(got) - loss).abs() < 1e-4, "{got}, expected {loss}");
    }
    Ok(())
}

/// Zipser & Rumelhart 1990 with dropout, pools and a residual sum: back-propagation, bit for bit.
#[test]
fn identical_feedback_is_backprop() -> Result<()> {
    for probability in [None, Some(0.5)] {
        let make = |protocol| -> Result<Learner> {
            let mut preset = small(protocol);
            preset.training.connection_probability = probability;
            trained(&preset, 20) // 120 steps
        };
        let (identical, backprop) = (make(Protocol::Identical)?, make(Protocol::Backprop)?);
        let layers = identical.model().weight_layers().zip(backprop.model().weight_layers());
        for (a, b) in layers {
            let (w, r) = (a.layer().weight(), a.layer().feedback().ok_or("feedback weights")?);
            assert_eq!(bits(w)?, bits(r)?);
            assert_eq!(bits(w)?, bits(b.layer().weight())?);
        }
    }
    Ok(())
}

/// All protocols start from the same weights, and only below the class layer do gradients differ.
#[test]
fn protocols_share_the_start() -> Result<()> {
    let (x, y) = (images(8, (1, 6, 6))?, labels(8, 3)?);
    let mut seen = Vec::new();
    for protocol in [
        Protocol::Backprop,
        Protocol::Urfb,
        Protocol::Frfb,
        Protocol::DirectFeedback,
        Protocol::UniformSign,
    ] {
        let network = Network::new(&small(protocol), (1, 6, 6), 3, &Rng::new(1), DType::F32, CPU)?;
        let grads = network.loss(&network.forward(&x)?, &y)?.backward()?;
        let layers: Vec<_> = network.weight_layers().map(|l| l.layer().weight().clone()).collect();
        let weights: Vec<_> = layers.iter().map(|w| bits(w)).collect::<Result<_>>()?;
        let gradient = |w: &Tensor| bits(grads.get(w).ok_or("a gradient")?);
        let grads: Vec<_> = layers.iter().map(gradient).collect::<Result<_>>()?;
        seen.push((protocol, weights, grads));
    }
    let (_, weights, grads) = &seen[0];
    for (protocol, w, g) in &seen[1..] {
        assert_eq!(w, weights, "{protocol}");
        assert_eq!(g[3], grads[3], "{protocol}");
        for (g, grads) in g[..3].iter().zip(grads) {
            assert_ne!(g, grads, "{protocol}");
        }
    }
    Ok(())
}

/// Batchwise sizes are drawn again once for each batch of training, and not for evaluation.
#[test]
fn batchwise_sizes_are_redrawn_in_training() -> Result<()> {
    let preset = small(Protocol::BatchwiseRandomSign);
    let network = Network::new(&preset, (1, 6, 6), 3, &Rng::new(1), DType::F32, CPU)?;
    let sizes = || -> Result<Vec<Vec<u32>>> {
        network.weight_layers().map(|l| bits(l.layer().feedback().ok_or("sizes")?)).collect()
    };
    let (x, y, before) = (images(4, (1, 6, 6))?, labels(4, 3)?, sizes()?);
    network.forward(&x)?;
    network.errors(&x, &y, false)?;
    assert_eq!(sizes()?, before);
    let mut rng = Rng::new(2);
    let mut seen = vec![before];
    for _ in 0..3 {
        let loss = network.loss(&network.forward_train(&x, &mut rng)?, &y)?;
        seen.push(sizes()?);
        loss.backward()?;
        assert_eq!(&sizes()?, seen.last().ok_or("drawn")?);
    }
    for layer in 0..4 {
        for at in 1..seen.len() {
            assert!(seen[..at].iter().all(|old| old[layer] != seen[at][layer]), "{layer} {at}");
        }
    }
    Ok(())
}

/// Direct feedback, layer by layer: the error at each field is the ramp's slope times `e·B`.
#[test]
fn direct_feedback_errors() -> Result<()> {
    let network = Network::new(
        &small(Protocol::DirectFeedback),
        (1, 6, 6),
        3,
        &Rng::new(1),
        DType::F64,
        CPU,
    )?;
    let (x, y) = (images(4, (1, 6, 6))?.to_dtype(DType::F64)?, labels(4, 3)?);
    let errors = network.errors(&x, &y, false)?;
    let tensors: HashMap<String, Tensor> = network.tensors().into_iter().collect();
    let e = &errors[3];
    for (at, error) in errors[..3].iter().enumerate() {
        // No unit is saturated at the start.
        let want = (e.matmul(&tensors[&format!("layers.{at}.feedback")])? * 0.5)?;
        let error = match error.rank() {
            4 => error.permute((0, 2, 3, 1))?,
            _ => error.clone(),
        };
        assert_close(&format!("layer {at}"), &error, &want.reshape(error.shape())?, 1e-13)?;
    }
    Ok(())
}

/// Untied networks respond as the tied ones do before any training, up to the order of sums.
#[test]
fn untied_starts_as_tied() -> Result<()> {
    let (image, mut seen) = ((1, 8, 8), 0);
    for preset in presets()? {
        let untied =
            preset.layers.iter().any(|l| matches!(l, LayerConfig::Conv { untied: true, .. }));
        if !untied {
            continue;
        }
        let mut from_start = preset.clone();
        from_start.training.tied = None;
        let (untied, tied) =
            (network(&from_start, image)?, network(&with_untied(&from_start, false), image)?);
        assert!(untied.is_untied());
        let (x, y) = (images(50, image)?, labels(50, 10)?);
        let (got, want) = (untied.forward(&x)?, tied.forward(&x)?);
        assert_close(&preset.name, &got, &want, 1e-5)?;
        let classes = |fields: &Tensor| fields.argmax(D::Minus1)?.to_vec1::<u32>();
        assert_eq!(classes(&got)?, classes(&want)?, "{}", preset.name);
        for (got, want) in untied.errors(&x, &y, false)?.iter().zip(tied.errors(&x, &y, false)?) {
            assert_close(&format!("{}, errors", preset.name), got, &want, 1e-5)?;
        }
        seen += 1;
    }
    assert!(seen > 0);
    Ok(())
}

/// Thinned connections: the class layer and a convolution that comes first keep all of theirs; an untied layer loses
/// connections of single positions, not taps of the kernel everywhere.
#[test]
fn thinned_networks() -> Result<()> {
    let p = 0.5;
    for untied in [false, true] {
        let mut preset = with_untied(&small(Protocol::Urfb), untied);
        if let LayerConfig::Conv { units, .. } = &mut preset.layers[0] {
            *units = 40; // enough to count
        }
        preset.layers.remove(3); // the residual layer has fewer units
        preset.training.connection_probability = Some(p);
        let network = Network::new(&preset, (1, 6, 6), 3, &Rng::new(1), DType::F32, CPU)?;
        for layer in network.weight_layers() {
            let (mask_w, mask_r) = layer.layer().masks();
            if layer.name() == "classes" || (layer.name() == "conv1" && !untied) {
                assert!(mask_w.is_none() && mask_r.is_none());
                continue;
            }
            let (Some(w), Some(r)) = (mask_w, mask_r) else { return Err(layer.name().into()) };
            // Only taps in the image count: for the untied kernel of 3×3, 16² of 18².
            let exists = match (untied, layer.name()) {
                (true, "conv1") => {
                    let tied = network_without_masks(&preset)?;
                    let first = tied.weight_layers().next().ok_or("a layer")?;
                    first.layer().weight().ne(0.0)?.to_dtype(DType::F32)?
                }
                _ => w.ones_like()?,
            };
            let n = flat(&exists)?.iter().sum::<f64>();
            for (mask, share) in [(w.clone(), p), (r.clone(), p), ((w * r)?, p * p)] {
                let found = flat(&(mask * &exists)?)?.iter().sum::<f64>() / n;
                let error = (share * (1.0 - share) / n).sqrt();
                assert!((found - share).abs() < 4.0 * error, "{}: {found}", layer.name());
            }
            if let (true, "conv1") = (untied, layer.name()) {
                let first = w.get(2)?.get(2)?;
                assert_ne!(flat(&first)?, flat(&w.get(2)?.get(3)?)?);
            }
        }
    }
    Ok(())
}

fn network_without_masks(preset: &Preset) -> Result<Network> {
    let mut preset = preset.clone();
    preset.training.connection_probability = None;
    Ok(Network::new(&preset, (1, 6, 6), 3, &Rng::new(1), DType::F32, CPU)?)
}

mod trainer {
    use super::*;

    /// Presets that keep more than weights: masks, untied weights, direct feedback, redrawn sizes, a tied phase, fresh
    /// weights after it.
    fn kinds() -> Vec<(&'static str, Preset)> {
        let mut kinds: Vec<(&str, Preset)> = vec![
            ("plain", small(Protocol::Urfb)),
            ("dfa", small(Protocol::DirectFeedback)),
            ("brsf", small(Protocol::BatchwiseRandomSign)),
            ("kp", kolen_pollack(0.5)),
            ("wm", small(Protocol::WeightMirror { rate: 0.1 })),
            ("wm, untied", with_untied(&small(Protocol::WeightMirror { rate: 0.1 }), true)),
        ];
        let untied = with_untied(&small(Protocol::Partial { rate: 0.5 }), true);
        kinds.push(("untied", untied.clone()));
        for (name, redraw) in [("tied first", false), ("tied first, redrawn", true)] {
            let mut preset = untied.clone();
            preset.training.tied =
                Some(Tied { epochs: 2, learning_rate: 0.05, batch_size: 20, redraw });
            kinds.push((name, preset));
        }
        let thin = kinds.clone().into_iter().map(|(name, mut preset)| {
            preset.training.connection_probability = Some(0.6);
            (name, preset)
        });
        let thin: Vec<_> = thin.collect();
        kinds.extend(thin);
        kinds
    }

    /// A network that is untied after it has learned responds as before.
    #[test]
    fn untied_after_learning_responds_as_before() -> Result<()> {
        let mut preset = with_untied(&small(Protocol::Urfb), true);
        preset.training.learning_rate = 1e-30;
        preset.training.tied =
            Some(Tied { epochs: 2, learning_rate: 0.05, batch_size: 20, redraw: false });
        let (x, _) = splits()?.test.batch(&[0, 1, 2, 3, 4, 5, 6, 7], DType::F32, CPU)?;
        let [start, tied, untied] = [0, 2, 3].map(|epochs| trained(&preset, epochs));
        let (start, tied, untied) = (start?, tied?, untied?);
        // Two tied epochs of three batches of twenty, and four of six batches of ten.
        let whole = trained(&preset, 6)?;
        assert_eq!((whole.total().steps, whole.total().images), (30, 360));
        assert_eq!(whole.clock(), whole.total());
        assert!(!tied.model().is_untied() && untied.model().is_untied());
        let fields = |learner: &Learner| learner.model().forward(&x);
        let (want, got) = (fields(&tied)?, fields(&untied)?);
        assert!((fields(&start)? - &want)?.abs()?.max_all()?.to_scalar::<f32>()? > 1e-2);
        assert_close("fields", &got, &want, 1e-5)
    }

    fn kolen_pollack(weight_decay: f64) -> Preset {
        let mut preset = small(Protocol::KolenPollack);
        preset.training.weight_decay = weight_decay;
        preset
    }

    /// By Kolen & Pollack `W − R` is `(1 − ηλ)^t` of what it was: here 0.95 to the power of 24 steps.
    #[test]
    fn weights_and_feedback_weights_converge() -> Result<()> {
        let apart = |learner: &Learner| -> Result<Vec<Tensor>> {
            let layers = learner.model().weight_layers();
            let apart = |layer: &FeedbackLayer| -> Result<Tensor> {
                let feedback = layer.feedback().ok_or("feedback weights")?;
                Ok((layer.weight().detach() - feedback.detach())?)
            };
            layers.map(|layer| apart(layer.layer())).collect()
        };
        let preset = kolen_pollack(0.5);
        let before = apart(&fresh(&preset)?)?;
        let learner = trained(&preset, 4)?;
        assert_eq!(learner.clock().steps, 24);
        for (after, before) in apart(&learner)?.iter().zip(&before) {
            assert_close("W − R", after, &(before * 0.95f64.powi(24))?, 1e-5)?;
        }
        Ok(())
    }

    /// The angle between weights that hardly change and their mirror has the expected tangent `√((F/N)·κ/(2 − κ))`,
    /// with a batch as the `N` samples: 13.3° for 64 inputs and 60 samples.
    #[test]
    fn mirrors_follow_the_weights() -> Result<()> {
        let mut preset = small(Protocol::WeightMirror { rate: 0.1 });
        preset.layers = vec![dense(64), dense(64), CLASSES];
        (preset.training.batch_size, preset.training.learning_rate) = (60, 1e-6);
        let learner = trained(&preset, 100)?;
        let layer = learner.model().weight_layers().nth(1).ok_or("a layer")?.layer();
        let (weight, feedback) = (layer.weight(), layer.feedback().ok_or("feedback weights")?);
        let angle = correlation(weight, feedback)?.acos().to_degrees();
        let expected = (64.0 / 60.0 * 0.1 / 1.9f64).sqrt().atan().to_degrees();
        assert!((angle - expected).abs() < 0.05 * expected, "{angle} {expected}");
        Ok(())
    }

    #[test]
    fn same_seed_same_bits() -> Result<()> {
        for (name, preset) in kinds() {
            let (a, b) = (trained(&preset, 3)?, trained(&preset, 3)?);
            assert_eq!(snapshot(a.model())?, snapshot(b.model())?, "{name}");
            let other = Learner::new(&preset, splits()?, &Rng::new(7), CPU)?;
            assert_ne!(snapshot(a.model())?, snapshot(other.model())?, "{name}");
        }
        Ok(())
    }

    /// A learner that stops after any step, also in the middle of an epoch, and continues as a new one has the same
    /// weights and measurements as one that never stopped.
    #[test]
    fn resumed_is_uninterrupted() -> Result<()> {
        let folder = tempfile::tempdir()?;
        for (name, preset) in kinds() {
            let mut whole = fresh(&preset)?;
            let mut measured = Vec::new();
            while whole.epoch() < 4 {
                whole.step()?;
                if whole.is_due() {
                    measured.push(whole.measure()?);
                }
            }
            for stop in [0, 1, 5, 6, 8, 13, 17] {
                let mut first = fresh(&preset)?;
                for _ in 0..stop {
                    first.step()?;
                    if first.is_due() {
                        first.measure()?;
                    }
                }
                let mut checkpoint = saved(&first, folder.path())?;
                let mut second = fresh(&preset)?;
                second.model_mut().restore(&mut checkpoint)?;
                second.go_on(first.clock(), &first.state()?.values, &mut checkpoint)?;
                assert_eq!(snapshot(first.model())?, snapshot(second.model())?, "{name} {stop}");
                let done = second.epoch();
                let mut later = Vec::new();
                while second.epoch() < 4 {
                    second.step()?;
                    if second.is_due() {
                        later.push(second.measure()?);
                    }
                }
                assert_eq!(snapshot(whole.model())?, snapshot(second.model())?, "{name} {stop}");
                assert_eq!(later, measured[done..], "{name} {stop}");
                assert_eq!(whole.clock(), second.clock());
            }
        }
        Ok(())
    }

    /// A checkpoint restores into a network of another seed: every tensor is in it.
    #[test]
    fn checkpoints_are_complete() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (x, _) = splits()?.test.batch(&[0, 1, 2, 3, 4], DType::F32, CPU)?;
        for (name, mut preset) in kinds() {
            preset.training.tied = None;
            let first = trained(&preset, 2)?;
            let mut other = Network::new(&preset, (1, 6, 6), 3, &Rng::new(99), DType::F32, CPU)?;
            other.restore(&mut saved(&first, folder.path())?)?;
            assert_eq!(bits(&first.model().forward(&x)?)?, bits(&other.forward(&x)?)?, "{name}");
            assert_eq!(snapshot(first.model())?, snapshot(&other)?, "{name}");
        }
        Ok(())
    }

    /// A frozen layer learns while layers are tied, and no longer.
    #[test]
    fn frozen_layers() -> Result<()> {
        let mut preset = with_untied(&small(Protocol::Urfb), true);
        if let LayerConfig::Conv { untied, frozen, .. } = &mut preset.layers[0] {
            (*untied, *frozen) = (false, true);
        }
        preset.training.tied =
            Some(Tied { epochs: 2, learning_rate: 0.1, batch_size: 10, redraw: true });
        let first = |epochs| -> Result<Vec<u32>> {
            let trainer = trained(&preset, epochs)?;
            let layer = trainer.model().weight_layers().next().ok_or("a layer")?;
            bits(layer.layer().weight())
        };
        assert_ne!(first(0)?, first(2)?);
        assert_eq!(first(2)?, first(4)?);
        Ok(())
    }

    /// Images that are easy to tell apart are classified.
    #[test]
    fn learns() -> Result<()> {
        let splits = splits()?;
        for protocol in [Protocol::Backprop, Protocol::Urfb] {
            let trainer = trained(&small(protocol), 60)?;
            let error = trainer.evaluate(&splits.test)?.confusion.error();
            assert!(error <= 0.1, "{protocol}: {error}");
        }
        Ok(())
    }
}

mod diagnostics {
    use super::*;

    /// If the error goes back through the weights themselves, the angle is 0 and the ratio 1.
    #[test]
    fn of_backprop() -> Result<()> {
        let (x, y) = splits()?.test.batch(&[0, 1, 2, 3, 4], DType::F32, CPU)?;
        for (protocol, correlated) in [(Protocol::Backprop, None), (Protocol::Identical, Some(1.0))]
        {
            let trainer = trained(&small(protocol), 2)?;
            for layer in diagnose(trainer.model(), &x, &y)? {
                let (angle, ratio) = (layer.error_angle, layer.error_norm_ratio);
                assert!(angle.ok_or("an angle")? < 1e-3, "{layer:?}");
                assert!(layer.update_angle.ok_or("an angle")? < 1e-3, "{layer:?}");
                assert!((ratio.ok_or("a ratio")? - 1.0).abs() < 1e-6, "{layer:?}");
                let found = layer.weight_feedback_correlation;
                assert_eq!(found.is_some(), correlated.is_some());
                assert!(found.is_none_or(|found| (found - 1.0).abs() < 1e-6));
            }
        }
        Ok(())
    }

    /// Only connections that exist in both directions are compared: where the feedback weights are the weights times 2,
    /// the correlation is 1, whatever connections each of them lacks.
    #[test]
    fn of_thinned_layers() -> Result<()> {
        let (x, y) = splits()?.test.batch(&[0, 1, 2, 3, 4], DType::F32, CPU)?;
        let mut preset = small(Protocol::Urfb);
        preset.training.connection_probability = Some(0.5);
        let splits = splits()?;
        let image = splits.test.shape();
        let network = Network::new(&preset, image, splits.classes, &Rng::new(1), DType::F32, CPU)?;
        let mut masked = 0;
        for layer in network.weight_layers() {
            let layer = layer.layer();
            let (Some(forward), Some(backward)) = layer.masks() else { continue };
            assert!((forward - backward)?.abs()?.sum_all()?.to_scalar::<f32>()? > 0.0);
            let whole = Rng::new(5).normal(0.0, 1.0, forward.shape(), DType::F32, CPU)?;
            layer.var()?.set(&(&whole * forward)?)?;
            layer.feedback_var()?.expect("R").set(&((&whole * backward)? * 2.0)?)?;
            masked += 1;
        }
        assert!(masked > 0);
        let thinned: Vec<String> = network
            .weight_layers()
            .filter(|layer| layer.layer().masks().0.is_some())
            .map(|layer| layer.name().to_string())
            .collect();
        for layer in diagnose(&network, &x, &y)?.iter().filter(|l| thinned.contains(&l.layer)) {
            let found = layer.weight_feedback_correlation.ok_or("a correlation")?;
            assert!((found - 1.0).abs() < 1e-6, "{layer:?}");
            assert!(layer.weight_feedback_angle.ok_or("an angle")? < 1e-3, "{layer:?}");
            let ratio = layer.weight_feedback_norm_ratio.ok_or("a ratio")?;
            assert!((ratio - 2.0).abs() < 1e-12 && layer.same_sign == Some(1.0), "{layer:?}");
        }
        Ok(())
    }

    /// The class layer's error is that of the loss, whatever feedback is used below it: of the hinge loss with μ = 1
    /// and three classes, −1 at the label if its field is below 1, and ½ at every other class whose field is above −1.
    #[test]
    fn of_the_class_layer() -> Result<()> {
        let (x, y) = splits()?.test.batch(&[0, 1, 2, 3, 4], DType::F32, CPU)?;
        let mut preset = small(Protocol::Frfb);
        preset.training.loss = Loss::Hinge { mu: Some(1.0) };
        let trainer = trained(&preset, 1)?;
        let layers = diagnose(trainer.model(), &x, &y)?;
        assert!(layers[3].error_angle.ok_or("an angle")? < 1e-3);
        assert!(layers[3].update_angle.ok_or("an angle")? < 1e-3);
        assert!(layers[0].error_angle.ok_or("an angle")? > 10.0);
        assert!(layers[0].update_angle.ok_or("an angle")? > 10.0);
        let fields = trainer.model().forward(&x)?.to_vec2::<f32>()?;
        let norm = |(fields, label): (&Vec<f32>, u32)| {
            let of_class = |(class, &field): (usize, &f32)| match class == label as usize {
                true => f64::from(u8::from(field < 1.0)),
                false => 0.25 * f64::from(u8::from(field > -1.0)),
            };
            fields.iter().enumerate().map(of_class).sum::<f64>().sqrt()
        };
        let norms = fields.iter().zip(y.to_vec1::<u32>()?).map(norm).collect::<Vec<_>>();
        let want = norms.iter().sum::<f64>() / 5.0;
        assert!((layers[3].error_norm.ok_or("a norm")? - want).abs() < 1e-6, "{want}");
        Ok(())
    }

    /// The validation error is that of the validation images: all are misread here, and no test image is.
    #[test]
    fn of_validation_images() -> Result<()> {
        let (preset, all) = (small(Protocol::Urfb), (0..20).collect::<Vec<usize>>());
        let network = fresh(&preset)?.into_model();
        let relabelled = |set: &ImageSet, by: u32| -> Result<ImageSet> {
            let (x, _) = set.batch(&all, DType::F32, CPU)?;
            let predicted = network.forward(&x)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
            let labels = predicted.into_iter().map(|class| (class + by) % 3).collect();
            Ok(ImageSet::new(set.pixels(&all)?, labels, 1, 6, 6)?)
        };
        let splits = splits()?;
        let (validation, test) = (relabelled(&splits.validation, 1)?, relabelled(&splits.test, 0)?);
        let splits = Splits { validation, test, ..splits };
        let mut learner = Learner::new(&preset, splits, &Rng::new(6), CPU)?;
        let measured = learner.measure()?.values;
        let found = measured.iter().find(|(name, _)| name == "validation_error");
        assert_eq!(found.map(|(_, error)| *error), Some(1.0));
        Ok(())
    }

    /// Without validation images, the first 100 test images are compared, or as many as there are.
    #[test]
    fn of_test_images() -> Result<()> {
        let none = Splits { validation: quarters(0, 4)?, ..splits()? };
        let preset = small(Protocol::Urfb);
        let mut learner = Learner::new(&preset, none, &Rng::new(1), CPU)?;
        let all: Vec<usize> = (0..20).collect();
        let (x, y) = splits()?.test.batch(&all, DType::F32, CPU)?;
        let want = diagnose(learner.model(), &x, &y)?;
        let measured = learner.measure()?.values;
        for layer in want {
            for ((name, _), want) in LayerDiagnostics::MEASURES.iter().zip(layer.values()) {
                let name = format!("{name}/{}", layer.layer);
                let found = measured.iter().find(|(found, _)| *found == name);
                assert_eq!(found.map(|(_, value)| *value), want, "{name}");
            }
        }
        Ok(())
    }
}

/// Four hidden layers on the mixture task: updated feedback ends with a smaller error than fixed feedback, and comes to
/// agree with the weights.
mod behaviour {
    use super::*;

    struct Run {
        network: Network,
        error: f64,
        start: HashMap<String, Tensor>,
        correlations: [Vec<f64>; 2],
        /// To back-propagation, for each layer, before and after learning.
        angles: [Vec<f64>; 2],
    }

    fn run(protocol: Protocol, task: &Mixture) -> Result<Run> {
        let preset = preset("amit-digits")?; // four layers of 128
        let training = Training { protocol, ramp_slope: 0.5, ..preset.training.clone() };
        let preset = Preset { training, ..preset };
        let image = (1, 1, 32);
        let network = Network::new(&preset, image, 10, &Rng::new(3), DType::F32, CPU)?;
        let start = copies(&network)?;
        let train = (&task.train.inputs, Tensor::new(&task.train.labels[..], CPU)?);
        let (x, y) = (task.test.inputs.narrow(0, 0, 200)?, labels_of(&task.test.labels[..200])?);
        let agreement = |network: &Network| -> Result<(Vec<f64>, Vec<f64>)> {
            let layers = diagnose(network, &x, &y)?.into_iter();
            layers
                .map(|layer| {
                    let correlation = layer.weight_feedback_correlation.ok_or("no feedback")?;
                    Ok((correlation, layer.error_angle.ok_or("no error")?))
                })
                .collect()
        };
        let before = agreement(&network)?;
        let mut optimizer = network.optimizer(|vars| Steps::builder(0.1).build(vars))?;
        let mut order = Rng::new(3).stream("batches");
        for _ in 0..EPOCHS {
            for indices in Batches::shuffled(task.train.labels.len(), 100, &mut order)? {
                let indices: Vec<u32> = indices.into_iter().map(|i| i as u32).collect();
                let indices = Tensor::new(indices, CPU)?;
                let fields = network.forward(&train.0.index_select(&indices, 0)?)?;
                let loss = network.loss(&fields, &train.1.index_select(&indices, 0)?)?;
                optimizer.backward_step(&loss)?;
            }
        }
        let predicted = network.forward(&task.test.inputs)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let wrong = predicted.iter().zip(&task.test.labels).filter(|(a, b)| a != b).count();
        let after = agreement(&network)?;
        Ok(Run {
            error: wrong as f64 / predicted.len() as f64,
            correlations: [before.0, after.0],
            angles: [before.1, after.1],
            network,
            start,
        })
    }

    fn labels_of(labels: &[u32]) -> Result<Tensor> {
        Ok(Tensor::new(labels, CPU)?)
    }

    const EPOCHS: usize = 60;

    #[test]
    fn updated_against_fixed() -> Result<()> {
        let task = Mixture::draw(&MixtureConfig::default(), &Rng::new(3))?;
        let (urfb, frfb) = (run(Protocol::Urfb, &task)?, run(Protocol::Frfb, &task)?);
        assert!(urfb.error + 0.05 < frfb.error, "{} and {}", urfb.error, frfb.error);
        let [before, after] = &urfb.correlations;
        assert!(before.iter().all(|r| r.abs() < 0.1), "{before:?}");
        assert!(after.iter().all(|&r| r > 0.25), "{after:?}");
        let (classes, hidden) = after.split_last().ok_or("layers")?;
        assert!(hidden.iter().all(|r| r < classes), "{after:?}");
        // The error of the class layer has not gone back through any weights.
        let hidden = |run: &Run, at: usize| run.angles[at][..4].to_vec();
        for run in [&urfb, &frfb] {
            let before = hidden(run, 0);
            assert!(before.iter().all(|angle| (angle - 90.0).abs() < 12.0), "{before:?}");
        }
        let (urfb_angles, frfb_angles) = (hidden(&urfb, 1), hidden(&frfb, 1));
        let least = 0.6f64.acos().to_degrees();
        assert!(urfb_angles.iter().all(|&angle| angle < least), "{urfb_angles:?}");
        // Fixed feedback agrees less, and the less the nearer a layer is to the input.
        assert!(frfb_angles[0] < 90.0 && frfb_angles.is_sorted_by(|a, b| a > b), "{frfb_angles:?}");
        let layers = urfb_angles.iter().zip(&frfb_angles);
        assert!(layers.clone().all(|(u, f)| u < f), "{urfb_angles:?} {frfb_angles:?}");
        // The correlations that an independent NumPy version ended with, from the input to the classes.
        for (run, want) in
            [(&urfb, [0.58, 0.38, 0.37, 0.36, 0.76]), (&frfb, [0.00, 0.05, 0.07, 0.11, 0.69])]
        {
            let [_, found] = &run.correlations;
            let near = found.iter().zip(want).all(|(found, want)| (found - want).abs() < 0.05);
            assert!(near, "{found:?}, expected {want:?}");
        }
        formula(&urfb)
    }

    /// The correlation from the common increment `D` and the two initial draws.
    fn formula(run: &Run) -> Result<()> {
        let covariance = |a: &Tensor, b: &Tensor| -> Result<f64> {
            let (a, b) = (flat(a)?, flat(b)?);
            let n = a.len() as f64;
            let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
            let (ma, mb) = (mean(&a), mean(&b));
            Ok(a.iter().zip(&b).map(|(a, b)| (a - ma) * (b - mb)).sum::<f64>() / n)
        };
        for (i, layer) in run.network.weight_layers().enumerate() {
            let (w0, r0) = (
                &run.start[&format!("layers.{i}.weight")],
                &run.start[&format!("layers.{i}.feedback")],
            );
            let (w, r) = (layer.layer().weight(), layer.layer().feedback().ok_or("feedback")?);
            let d = (w.detach() - w0)?;
            let var_d = covariance(&d, &d)?;
            let joint = covariance(w0, r0)? + covariance(w0, &d)? + covariance(&d, r0)? + var_d;
            let var_w = covariance(w0, w0)? + 2.0 * covariance(w0, &d)? + var_d;
            let var_r = covariance(r0, r0)? + 2.0 * covariance(r0, &d)? + var_d;
            let (found, want) = (correlation(w, r)?, joint / (var_w * var_r).sqrt());
            assert!((found - want).abs() < 0.01, "{}: {found}, expected {want}", layer.name());
        }
        Ok(())
    }
}
