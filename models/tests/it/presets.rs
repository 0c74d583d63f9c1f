//! The embedded presets against those of the release, whose dash-separated strings are transcribed here in words
//! (Journé et al. 2023, `presets.json` of the released code), and their schema.

use candle::{DType, Device};
use candle_hebbian::ops::Pool;
use candle_hebbian::{Activation, PaddingMode, Rng};
use hebbian_data::transforms::InputConfig;
use hebbian_models::CompetitionKind;
use hebbian_models::softhebb::{
    BlockConfig, HeadConfig, HeadLayers, LayerConfig, Learning, Mode, Network, Preset, Rate,
    preset, presets,
};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Blocks and head. SK = soft with anti-Hebbian losers, S = soft, H = hard, BP = back-propagation; `96·k5p2` = 96
/// channels, kernel 5, padding 2 by reflection; t = inverse temperature, η and q = rate and its power of the norm's
/// distance from 1, R = initial radius if it is not 25.
#[rustfmt::skip]
const RELEASE: &[(&str, &[&str])] = &[
    ("2SoftMlpMNIST", &[
        "S dense 2000 t12 η0.045 q0.2 R35, softmax_5, noBN",
        "drop 0",
    ]),
    ("2SoftMlpMNIST_linearDecay", &[
        "S dense 2000 t12 η0.045 R35 adaptive=off, softmax_5, noBN",
        "drop 0",
    ]),
    ("2SoftHebbCnnCIFAR", &[
        "SK 96·k5p2 t1 η0.08 q0.5, triangle_0.7, avg_4_2_1",
        "drop 0.5",
    ]),
    ("2HardCnnCIFAR", &[
        "H 96·k5p2 η0.08 q0.5, triangle_0.7, avg_4_2_1",
        "drop 0.5",
    ]),
    ("2HardCnnCIFAR_speed", &[
        "H 96·k5p2 η0.05 q0.5 R10, triangle_0.7, avg_4_2_1",
        "drop 0.5",
    ]),
    ("2HardCnnCIFA_speed_linearDecay", &[
        "H 96·k5p2 η0.025 R10 adaptive=off, triangle_0.7, avg_4_2_1",
        "drop 0.5",
    ]),
    ("2CnnCIFAR", &[
        "BP 96·k5p2, relu, avg_4_2_1",
        "drop 0.5",
    ]),
    ("3CnnCIFAR", &[
        "BP 96·k5p2, relu, max_4_2_1",
        "BP 384·k3p1, relu, max_4_2_1",
        "drop 0.5",
    ]),
    ("4CnnCIFAR", &[
        "BP 96·k5p2, relu, max_4_2_1",
        "BP 384·k3p1, relu, max_4_2_1",
        "BP 1536·k1p0 g192, relu, max_2_2_0",
        "drop 0.5",
    ]),
    ("3SoftHebbCnnCIFAR", &[
        "SK 96·k5p2 t1 η0.08 q0.5, triangle_0.7, avg_4_2_1",
        "SK 384·k3p1 t0.65 η0.005 q0.5 preTri, triangle_1.4, max_4_2_1",
        "drop 0.5",
    ]),
    ("3SoftHebbCnnCIFAR_wf2", &[
        "SK 96·k5p2 t1 η0.08 q0.5, triangle_0.7, avg_4_2_1",
        "SK 192·k3p1 t0.65 η0.005 q0.5 preTri, triangle_1.4, max_4_2_1",
        "drop 0.5",
    ]),
    ("3SoftHebbCnnCIFAR_wf1", &[
        "SK 96·k5p2 t1 η0.08 q0.5, triangle_0.7, avg_4_2_1",
        "SK 96·k3p1 t0.65 η0.005 q0.5 preTri, triangle_1.4, max_4_2_1",
        "drop 0.5",
    ]),
    ("3HardCnnCIFAR", &[
        "H 96·k5p1 η0.05 q0.75, triangle, max_4_2_1",
        "H 384·k3p1 η0.05 q0.75, triangle, max_4_2_1",
        "drop 0.5",
    ]),
    ("4SoftHebbCnnCIFAR", &[
        "SK 96·k5p2 t1 η0.08 q0.5, triangle_0.7, max_4_2_1",
        "SK 384·k3p1 t0.65 η0.005 q0.5, triangle_1.4, max_4_2_1",
        "SK 1536·k3p1 t0.25 η0.01 q0.5, triangle, avg_2_2_0",
        "drop 0.5",
    ]),
    ("4SoftHebbCnnCIFAR_HebbClassifier", &[
        "SK 96·k5p2 t1 η0.08 q0.5, triangle_0.7, max_4_2_1",
        "SK 384·k3p1 t0.65 η0.005 q0.5, triangle_1.4, max_4_2_1",
        "SK 1536·k3p1 t0.25 η0.01 q0.5, triangle, avg_2_2_0",
        "SupSK η0.045 R35 adaptive=off",
    ]),
    ("4SoftHebbCnnCIFAR_noBatchNorm", &[
        "SK 96·k5p2 t1 η0.08 q0.5, triangle_0.7, max_4_2_1, noBN",
        "SK 384·k3p1 t0.65 η0.005 q0.5, triangle_1.4, max_4_2_1, noBN",
        "SK 1536·k3p1 t0.25 η0.01 q0.5, triangle, avg_2_2_0, noBN",
        "drop 0.5",
    ]),
    ("4SoftHebbCnnCIFAR_doubleNeurons", &[
        "SK 192·k5p2 t1 η0.08 q0.5, triangle_0.7, max_4_2_1",
        "SK 768·k3p1 t0.65 η0.005 q0.5, triangle_1.4, max_4_2_1",
        "SK 3072·k3p1 t0.25 η0.01 q0.5, triangle, avg_2_2_0",
        "drop 0.5",
    ]),
    ("4SoftHebbCnnCIFAR_halfNeurons", &[
        "SK 48·k5p2 t1 η0.08 q0.5, triangle_0.7, max_4_2_1",
        "SK 192·k3p1 t0.65 η0.005 q0.5, triangle_1.4, max_4_2_1",
        "SK 768·k3p1 t0.25 η0.01 q0.5, triangle, avg_2_2_0",
        "drop 0.5",
    ]),
    ("4SoftHebbCnnCIFAR_quarterNeurons", &[
        "SK 24·k5p2 t1 η0.08 q0.5, triangle_0.7, max_4_2_1",
        "SK 96·k3p1 t0.65 η0.005 q0.5, triangle_1.4, max_4_2_1",
        "SK 384·k3p1 t0.25 η0.01 q0.5, triangle, avg_2_2_0",
        "drop 0.5",
    ]),
    ("4SoftHebbCnnCIFAR_wf2", &[
        "SK 96·k5p2 t1 η0.08 q0.5, triangle_0.7, max_4_2_1",
        "SK 192·k3p1 t0.65 η0.005 q0.5, triangle_1.4, max_4_2_1",
        "SK 384·k3p1 t0.25 η0.01 q0.5, triangle, avg_2_2_0",
        "drop 0.5",
    ]),
    ("4SoftHebbCnnCIFAR_wf1", &[
        "SK 96·k5p2 t1 η0.08 q0.5, triangle_0.7, max_4_2_1",
        "SK 96·k3p1 t0.65 η0.005 q0.5, triangle_1.4, max_4_2_1",
        "SK 96·k3p1 t0.25 η0.01 q0.5, triangle, avg_2_2_0",
        "drop 0.5",
    ]),
    ("4HardCnnCIFAR", &[
        "H 96·k5p1 η0.05 q0.75, triangle, max_4_2_1",
        "H 384·k3p1 η0.05 q0.75, triangle, max_4_2_1",
        "H 1536·k3p0 η0.05 q0.75, triangle, max_2_2_0",
        "drop 0.5",
    ]),
    ("5SoftHebbCnnSTL", &[
        "SK 96·k5p2 t1 η0.08 q0.5, triangle_0.7, avg_4_2_1",
        "SK 384·k3p1 t0.65 η0.005 q0.5, triangle_0.7, max_4_2_1",
        "SK 1536·k3p1 t0.45 η0.01 q0.5, triangle_1.4, avg_4_2_1",
        "SK 6144·k3p1 t0.25 η0.01 q0.5, triangle, avg_2_2_0",
        "drop 0.5",
    ]),
    ("4SoftHebbCnnSTL", &[
        "SK 96·k5p2 t1 η0.08 q0.5, triangle_0.7, avg_4_2_1",
        "SK 384·k3p1 t0.65 η0.005 q0.5, triangle_1.4, max_4_2_1",
        "SK 1536·k3p1 t0.45 η0.01 q0.5, triangle, avg_4_2_1",
        "drop 0.4",
    ]),
    ("4CnnSTL", &[
        "BP 96·k7p3, relu, max_4_2_1",
        "BP 384·k5p2, relu, max_4_2_1",
        "BP 1536·k3p1, relu, max_4_2_1",
        "drop 0.4",
    ]),
    ("5CnnSTL", &[
        "BP 96·k7p3, relu, max_4_2_1",
        "BP 384·k5p2, relu, max_4_2_1",
        "BP 1536·k3p1, relu, max_4_2_1",
        "BP 6144·k3p1, relu, avg_2_2_0",
        "drop 0.5",
    ]),
    ("2HardCnnImNet", &[
        "H 48·k7p3 η0.05 q0.75 R2, triangle, max_4_2_1",
        "drop 0.5",
    ]),
    ("3HardCnnImNet", &[
        "H 48·k7p3 η0.07 q0.75 R2, triangle, max_4_2_1",
        "H 192·k5p2 η0.03 q0.75 R2, triangle, max_4_2_1",
        "drop 0.5",
    ]),
    ("4HardCnnImNet", &[
        "H 48·k7p3 η0.07 q0.75 R2, triangle, max_4_2_1",
        "H 192·k5p2 η0.03 q0.75 R2, triangle, max_4_2_1",
        "H 768·k3p1 η0.02 q0.75 R2, triangle, max_4_2_1",
        "drop 0.4",
    ]),
    ("5HardCnnImNet", &[
        "H 48·k7p3 η0.05 q0.75 R2, triangle, max_4_2_1",
        "H 192·k5p2 η0.03 q0.75 R2, triangle, max_4_2_1",
        "H 768·k3p1 η0.02 q0.75 R2, triangle, max_4_2_1",
        "H 3072·k3p1 η0.01 q0.75 R2, triangle, max_4_2_1",
        "drop 0.5",
    ]),
    ("6HardCnnImNet", &[
        "H 48·k7p3 η0.05 q0.75, triangle, max_4_2_1",
        "H 192·k5p2 η0.03 q0.75, triangle, max_4_2_1",
        "H 768·k3p1 η0.02 q0.75, triangle, max_4_2_1",
        "H 3072·k3p1 η0.01 q0.75, triangle, max_4_2_1",
        "H 12288·k1p0 g768 η0.02 q0.75, triangle, max_2_2_0",
        "drop 0.5",
    ]),
    ("2SoftHebbCnnImNet", &[
        "SK 48·k7p3 t1 η0.05 q0.75 R2, triangle, max_4_2_1",
        "drop 0.5",
    ]),
    ("3SoftHebbCnnImNet", &[
        "SK 48·k7p3 t1 η0.07 q0.75 R2, triangle, max_4_2_1",
        "SK 192·k5p2 t0.7 η0.03 q0.75 R2, triangle, max_4_2_1",
        "drop 0.5",
    ]),
    ("4SoftHebbCnnImNet", &[
        "SK 48·k7p3 t1 η0.07 q0.75 R2, triangle, max_4_2_1",
        "SK 192·k5p2 t0.7 η0.03 q0.75 R2, triangle, max_4_2_1",
        "SK 768·k3p1 t0.5 η0.02 q0.75 R2, triangle, max_4_2_1",
        "drop 0.4",
    ]),
    ("5SoftHebbCnnImNet", &[
        "SK 48·k7p3 t1 η0.05 q0.75 R2, triangle, max_4_2_1",
        "SK 192·k5p2 t0.7 η0.03 q0.75 R2, triangle, max_4_2_1",
        "SK 768·k3p1 t0.7 η0.02 q0.75 R2, triangle, max_4_2_1",
        "SK 3072·k3p1 t0.5 η0.01 q0.75 R2, triangle, max_4_2_1",
        "drop 0.5",
    ]),
    ("2CnnImNet", &[
        "BP 48·k7p3, triangle, max_4_2_1",
        "drop 0.5",
    ]),
    ("3CnnImNet", &[
        "BP 48·k7p3, relu, max_4_2_1",
        "BP 192·k5p2, relu, max_4_2_1",
        "drop 0.5",
    ]),
    ("4CnnImNet", &[
        "BP 48·k7p3, relu, max_4_2_1",
        "BP 192·k5p2, relu, max_4_2_1",
        "BP 768·k3p1, relu, max_4_2_1",
        "drop 0.4",
    ]),
    ("5CnnImNet", &[
        "BP 48·k7p3, relu, max_4_2_1",
        "BP 192·k5p2, relu, max_4_2_1",
        "BP 768·k3p1, relu, max_4_2_1",
        "BP 3072·k3p1, relu, max_4_2_1",
        "drop 0.5",
    ]),
    ("6CnnImNet", &[
        "BP 48·k7p3, triangle, max_4_2_1",
        "BP 192·k5p2, triangle, max_4_2_1",
        "BP 768·k3p1, triangle, max_4_2_1",
        "BP 3072·k3p1, triangle, max_4_2_1",
        "BP 12288·k1p0 g768, triangle, max_4_2_1",
        "drop 0.5",
    ]),
    ("6SoftHebbCnnImNet", &[
        "SK 48·k5p2 t1.1 η0.08 q0.75, triangle_0.7, max_4_2_1",
        "SK 192·k3p1 t0.7 η0.01 q0.75, triangle_0.7, max_4_2_1",
        "SK 768·k3p1 t0.5 η0.01 q0.75, triangle_0.7, max_4_2_1",
        "SK 3072·k3p1 t0.4 η0.01 q0.75, triangle_1.4, max_4_2_1",
        "SK 12288·k3p1 t0.25 η0.01 q0.75, triangle, avg_2_2_0",
        "drop 0.5",
    ]),
];

/// A preset in the words of the table.
fn describe(preset: &Preset) -> Vec<String> {
    let mut lines: Vec<String> = preset.blocks.iter().map(describe_block).collect();
    lines.push(match preset.head {
        HeadConfig::Linear { dropout, layers: HeadLayers::Last, mirrored: false } => {
            format!("drop {dropout}")
        }
        HeadConfig::Linear { .. } => format!("{:?}", preset.head),
        HeadConfig::SupervisedHebbian { rate, radius } => {
            format!("SupSK{}", describe_rate(rate, radius))
        }
    });
    lines
}

fn describe_rate(rate: Rate, radius: f64) -> String {
    let radius = if radius == 25.0 { String::new() } else { format!(" R{radius}") };
    match rate {
        Rate::NormDependent { learning_rate, power } => {
            format!(" η{learning_rate} q{power}{radius}")
        }
        Rate::LinearDecay { learning_rate } => format!(" η{learning_rate}{radius} adaptive=off"),
        other => format!(" {other:?}"),
    }
}

fn describe_block(block: &BlockConfig) -> String {
    let (kind, learning) = match block.learning {
        Learning::Backprop => ("BP", String::new()),
        Learning::Hebbian { competition, rate, radius, pre_triangle } => {
            let (kind, t) = match competition {
                CompetitionKind::HardWta => ("H", String::new()),
                CompetitionKind::SoftWta { inverse_temperature: t } => ("S", format!(" t{t}")),
                CompetitionKind::SoftWtaAntiHebbian { inverse_temperature: t } => {
                    ("SK", format!(" t{t}"))
                }
                other => ("?", format!(" {other:?}")),
            };
            let pre_triangle = if pre_triangle { " preTri" } else { "" };
            (kind, format!("{t}{}{pre_triangle}", describe_rate(rate, radius)))
        }
    };
    let layer = match block.layer {
        LayerConfig::Dense { units } => format!("dense {units}"),
        LayerConfig::Conv2d { channels, kernel, padding, groups, padding_mode } => {
            let groups = if groups == 1 { String::new() } else { format!(" g{groups}") };
            assert_eq!(padding_mode, PaddingMode::Reflect);
            format!("{channels}·k{kernel}p{padding}{groups}")
        }
    };
    let activation = match block.activation {
        Activation::Triangle { power: 1.0 } => "triangle".to_string(),
        Activation::Triangle { power } => format!("triangle_{power}"),
        Activation::Relu {} => "relu".to_string(),
        Activation::Softmax { scale } => format!("softmax_{scale}"),
        other => format!("{other:?}"),
    };
    let pool = match block.pool {
        None => String::new(),
        Some(Pool::Max { kernel, stride, padding }) => format!(", max_{kernel}_{stride}_{padding}"),
        Some(Pool::Avg { kernel, stride, padding }) => format!(", avg_{kernel}_{stride}_{padding}"),
        Some(other) => format!(", {other:?}"),
    };
    let batch_norm = if block.batch_norm { "" } else { ", noBN" };
    format!("{kind} {layer}{learning}, {activation}{pool}{batch_norm}")
}

#[test]
fn presets_are_the_release() -> Result<()> {
    for (alias, wanted) in RELEASE {
        assert_eq!(describe(&preset(alias)?), *wanted, "{alias}");
    }
    let ours: Vec<_> = presets()?.into_iter().filter(|p| p.alias.is_some()).collect();
    assert_eq!(ours.len(), RELEASE.len());
    Ok(())
}

/// Random-resized crops with torchvision's scale and ratio, and flips.
const IMAGENET_TYPE: &str = "random-resized-crop=160,flip";

/// Epochs, batches, transforms and augmentation of the release's data set entries that its README pairs with the
/// presets.
#[test]
fn training_is_the_release() -> Result<()> {
    for preset in presets()?.into_iter().filter(|preset| preset.alias.is_some()) {
        let t = preset.training;
        let speed = preset.name.contains("-speed");
        assert_eq!(speed, t.mode == Mode::Simultaneous, "{}", preset.name);
        let crop_flip = ("none", "random-crop:padding=4:reflect,flip");
        let resized = ("resize=160x160", IMAGENET_TYPE);
        let (batch, head_epochs, head_batch, input) = match preset.dataset.as_str() {
            // The speed study: one epoch of everything at once, `CIFAR10_1-50`.
            "cifar10" if speed => (50, 0, 64, ("none", "none")),
            "mnist" => (32, 10, 32, ("none", "none")),
            "cifar10" => (10, 50, 64, ("none", "none")),
            "stl10" => (32, 100, 64, crop_flip),
            "imagenette" | "imagenet" => (10, 200, 32, resized),
            other => return Err(format!("{}: unknown data set {other}", preset.name).into()),
        };
        let InputConfig { transforms, augmentation } = &preset.input;
        let found = (transforms.to_string(), augmentation.to_string());
        assert_eq!((found.0.as_str(), found.1.as_str()), input, "{}", preset.name);
        // `ImageNet_1160` uses such images for learning without labels too; `ImageNette_1` and `STL10_unlabel` do not.
        let layers = preset.dataset == "imagenet" && !preset.name.starts_with("backprop");
        assert_eq!(t.augment_layers, layers, "{}", preset.name);
        let found = (t.epochs, t.batch_size, t.head_epochs, t.head_batch_size);
        assert_eq!(found, (1, batch, head_epochs, head_batch), "{}", preset.name);
        assert_eq!(t.head_learning_rate, 1e-3, "{}", preset.name);
    }
    Ok(())
}

#[test]
fn names_are_unique_and_found() -> Result<()> {
    let all = presets()?;
    for one in &all {
        assert_eq!(all.iter().filter(|p| p.name == one.name).count(), 1, "{}", one.name);
        assert_eq!(preset(&one.name)?, *one);
    }
    let error = preset("softhebb-cnn9-cifar").expect_err("no such preset").to_string();
    for part in ["softhebb-cnn9-cifar", "softhebb-cnn3-cifar"] {
        assert!(error.contains(part), "{error}");
    }
    Ok(())
}

#[test]
fn presets_round_trip() -> Result<()> {
    for preset in presets()? {
        let text = serde_json::to_string(&preset)?;
        assert_eq!(serde_json::from_str::<Preset>(&text)?, preset, "{}", preset.name);
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("mine.json");
        std::fs::write(&path, &text)?;
        let path = path.to_str().ok_or("a path")?;
        assert_eq!(hebbian_models::softhebb::preset(path)?, preset);
    }
    Ok(())
}

fn image(dataset: &str) -> (usize, usize, usize) {
    match dataset {
        "digits" => (1, 8, 8),
        "mnist" => (1, 28, 28),
        "cifar10" => (3, 32, 32),
        "stl10" => (3, 96, 96),
        _ => (3, 160, 160),
    }
}

/// Weights by block and the number of features, by the formulas
/// `⌊(H + 2p − k) / s⌋ + 1` and `C_in/groups·k²·C_out`.
fn sizes(preset: &Preset) -> (Vec<usize>, usize) {
    let (mut channels, mut side, _) = image(&preset.dataset);
    let mut weights = Vec::new();
    for block in &preset.blocks {
        match block.layer {
            LayerConfig::Dense { units } => {
                weights.push(units * channels * side * side);
                (channels, side) = (units, 1);
            }
            LayerConfig::Conv2d { channels: out, kernel, padding, groups, .. } => {
                weights.push(out * channels / groups * kernel * kernel);
                side = side + 2 * padding - kernel + 1;
                channels = out;
            }
        }
        if let Some(Pool::Max { kernel, stride, padding } | Pool::Avg { kernel, stride, padding }) =
            block.pool
        {
            side = (side + 2 * padding - kernel) / stride + 1;
        }
    }
    (weights, channels * side * side)
}

/// Weights and features of the published networks.
#[test]
fn published_sizes() -> Result<()> {
    let wide: &[usize] = &[7_200, 331_776, 5_308_416];
    let published: &[(&str, &[usize], usize)] = &[
        ("2SoftHebbCnnCIFAR", &wide[..1], 24_576),
        ("3SoftHebbCnnCIFAR", &wide[..2], 24_576),
        ("4SoftHebbCnnCIFAR", wide, 24_576),
        ("5SoftHebbCnnSTL", &[7_200, 331_776, 5_308_416, 84_934_656], 221_184),
        ("6SoftHebbCnnImNet", &[3_600, 82_944, 1_327_104, 21_233_664, 339_738_624], 307_200),
        ("softhebb-cnn-mnist", &[2_400, 331_776, 5_308_416], 13_824),
    ];
    for (name, weights, features) in published {
        assert_eq!(sizes(&preset(name)?), (weights.to_vec(), *features), "{name}");
    }
    let totals = [
        ("4SoftHebbCnnCIFAR", 5_647_392, 24_576),
        ("4SoftHebbCnnCIFAR_halfNeurons", 1_413_648, 12_288),
        ("4SoftHebbCnnCIFAR_quarterNeurons", 354_312, 6_144),
        ("4SoftHebbCnnCIFAR_doubleNeurons", 22_575_168, 49_152),
        ("4SoftHebbCnnCIFAR_wf1", 173_088, 1_536),
        ("4SoftHebbCnnCIFAR_wf2", 836_640, 6_144),
    ];
    for (name, total, features) in totals {
        let (weights, found) = sizes(&preset(name)?);
        assert_eq!((weights.iter().sum::<usize>(), found), (total, features), "{name}");
    }
    // The comparison's third convolution: one pixel, 192 groups.
    assert_eq!(sizes(&preset("4CnnCIFAR")?).0[2], 3_072);
    Ok(())
}

/// Every preset with at most 200 MiB of weights makes a network for its data set's images, of the sizes above.
#[test]
fn presets_build() -> Result<()> {
    const LIMIT: usize = 200 << 20;
    for preset in presets()? {
        let (weights, features) = sizes(&preset);
        let bytes = weights.iter().sum::<usize>() * 4;
        if bytes > LIMIT {
            println!("{}: {} MiB of weights, not built", preset.name, bytes >> 20);
            continue;
        }
        let (rng, image) = (Rng::new(0), image(&preset.dataset));
        let network = Network::new(&preset, image, &rng, DType::F32, &Device::Cpu)?;
        let found: Vec<usize> = network
            .stack()
            .tensors()
            .iter()
            .filter(|(name, _)| name.ends_with("weight"))
            .map(|(_, w)| w.elem_count())
            .collect();
        assert_eq!((found, network.features()), (weights, features), "{}", preset.name);
    }
    Ok(())
}

/// The JSON with one more field, for each of its objects in turn.
fn with_a_surprise(value: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    match value {
        Value::Object(fields) => {
            let mut more = fields.clone();
            more.insert("surprise".to_string(), Value::from(1));
            all.push((String::new(), Value::Object(more)));
            for (name, inner) in fields {
                for (path, changed) in with_a_surprise(inner) {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), changed);
                    all.push((format!(".{name}{path}"), Value::Object(fields)));
                }
            }
        }
        Value::Array(items) => {
            for (i, inner) in items.iter().enumerate() {
                for (path, changed) in with_a_surprise(inner) {
                    let mut items = items.clone();
                    items[i] = changed;
                    all.push((format!("[{i}]{path}"), Value::Array(items)));
                }
            }
        }
        _ => {}
    }
    all
}

#[test]
fn unknown_fields_are_refused() -> Result<()> {
    let mut accepted = std::collections::BTreeSet::new();
    for preset in presets()? {
        for (path, changed) in with_a_surprise(&serde_json::to_value(&preset)?) {
            match serde_json::from_value::<Preset>(changed.clone()) {
                Ok(_) => {
                    let kind = changed.pointer(&pointer(&path)).map(|at| at["kind"].to_string());
                    accepted.insert(format!("{path} {}", kind.unwrap_or_default()));
                }
                Err(error) => assert!(error.to_string().contains("surprise"), "{path}: {error}"),
            }
        }
    }
    assert!(accepted.is_empty(), "an unknown field is accepted in {accepted:?}");
    Ok(())
}

/// `.blocks[0].layer` as `/blocks/0/layer`.
fn pointer(path: &str) -> String {
    path.replace(['.', '['], "/").replace(']', "")
}

#[test]
fn unknown_fields_of_every_competition_are_refused() -> Result<()> {
    for competition in [
        CompetitionKind::None,
        CompetitionKind::HardWta,
        CompetitionKind::KWtaBinary { k: 2 },
        CompetitionKind::KWtaGraded { k: 2 },
        CompetitionKind::SoftWta { inverse_temperature: 1.0 },
        CompetitionKind::SoftWtaAntiHebbian { inverse_temperature: 1.0 },
    ] {
        let mut value = serde_json::to_value(competition)?;
        assert_eq!(serde_json::from_value::<CompetitionKind>(value.clone())?, competition);
        value["surprise"] = Value::from(1);
        let outcome = serde_json::from_value::<CompetitionKind>(value);
        assert!(outcome.is_err(), "{competition:?} with an unknown field");
    }
    Ok(())
}

/// A file that is not a preset is named, with what is wrong.
#[test]
fn a_bad_file_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.json");
    let path = path.to_str().ok_or("a path")?;
    assert!(preset(path).expect_err("no file").to_string().contains("mine.json"));
    let mut value = serde_json::to_value(preset("softhebb-cnn3-cifar")?)?;
    value["blocks"][1]["learning"]["competition"]["kind"] = Value::from("soft_wat");
    std::fs::write(path, value.to_string())?;
    let error = preset(path).expect_err("an unknown competition").to_string();
    assert!(error.contains("mine.json") && error.contains("soft_wat"), "{error}");
    Ok(())
}

/// A file as Windows writes it, with a byte-order mark; files in other encodings are refused.
#[test]
fn a_preset_may_have_a_byte_order_mark_and_must_be_utf_8() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.json");
    let name = path.to_str().ok_or("a path")?;
    let wanted = preset("softhebb-cnn3-cifar")?;
    let text = serde_json::to_string(&wanted)?;
    std::fs::write(&path, format!("\u{feff}{text}"))?;
    assert_eq!(serde_json::to_string(&preset(name)?)?, text);

    let utf_16 = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin_1 = text.replacen("cifar", "cif\u{e9}r", 1).chars().map(|c| c as u8).collect();
    for (bytes, found) in [(utf_16, "is in UTF-16"), (latin_1, "is no UTF-8")] {
        let bytes: Vec<u8> = bytes;
        std::fs::write(&path, bytes)?;
        let error = preset(name).expect_err("another encoding").to_string();
        assert!(error.contains("mine.json") && error.contains(found), "{error}");
        assert!(error.contains("expected a text in UTF-8"), "{error}");
    }
    Ok(())
}

#[test]
fn of_an_unknown_preset_the_nearest_are_told() {
    let error = preset("softheb-cnn3-cifar").expect_err("a typing error").to_string();
    let start = "there is no preset 'softheb-cnn3-cifar'; the nearest are: softhebb-cnn3-cifar, ";
    assert!(error.starts_with(start), "{error}");
    assert!(error.contains("--list") && error.contains(".json"), "{error}");
    assert!(!error.contains('\n') && error.matches(", softhebb-").count() == 4, "{error}");
}
