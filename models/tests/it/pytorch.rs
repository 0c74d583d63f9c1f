//! Exchange with PyTorch: the authors' checkpoints are loaded, and PyTorch computes the same from this library's
//! models.
//!
//! `pytorch/` holds what PyTorch 2.15 wrote, by the script there. If Python (that of `PYTHON`, or `python3`) lacks
//! torch or safetensors, the tests that need them are skipped.

use crate::common::{self, Result};
use candle::{DType, Device, Tensor};
use candle_hebbian::Activation;
use candle_hebbian::ops::{Edge, Pool};
use hebbian_data::digits;
use hebbian_models::{
    Model, amit, ghl, golkar, k_means, krotov_hopfield, miconi, patches, softhebb,
};
use hebbian_train::{
    Checkpoint, Method, Model as _, RunOptions, find_preset, save_checkpoint, train,
};
use softhebb::{LayerConfig, Learning, Mode, Softhebb};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const CPU: &Device = &Device::Cpu;
/// One network, as saved by the authors' two programs; the second also as safetensors, with wrappers' prefixes.
const THEIRS: [&str; 3] = ["release.pth.tar", "demo.pth", "demo.safetensors"];

fn of_pytorch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch").join(name)
}

/// The network of `pytorch/authors.py`: that for the digits with fewer channels, and with its own powers.
fn small(channels_of: &[usize]) -> Result<softhebb::Options> {
    let mut preset = softhebb::preset("softhebb-cnn-digits")?;
    while preset.blocks.len() < channels_of.len() {
        preset.blocks.push(preset.blocks[1].clone());
    }
    for block in &mut preset.blocks[1..] {
        block.activation = Activation::Triangle { power: 1.0 };
    }
    for (block, &units) in preset.blocks.iter_mut().zip(channels_of) {
        if let LayerConfig::Conv2d { channels, .. } = &mut block.layer {
            *channels = units;
        }
    }
    Ok(softhebb::Options { preset, baselines: false })
}

fn options() -> RunOptions {
    RunOptions { device: "cpu".to_string(), quiet: true, ..RunOptions::default() }
}

/// Checks that two tensors differ by no more than 1e-5 of the largest expected value.
#[track_caller]
fn near(found: &Tensor, expected: &Tensor, what: &str) -> Result {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let expected = expected.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    assert!(largest > 0.0, "{what}");
    common::near(what, found, &expected, 1e-5 * largest)
}

#[test]
fn what_the_authors_saved_makes_of_images_what_pytorch_made_of_them() -> Result {
    let expected = Checkpoint::load(of_pytorch("expected.safetensors"), CPU)?;
    let images = expected.take("images", (5, 1, 8, 8), DType::F32)?;
    let classes = expected.take("classes", 5, DType::U32)?.to_vec1::<u32>()?;
    for file in THEIRS {
        let mut model = Softhebb::model(&small(&[4, 6])?, (1, 8, 8), 10, CPU)?;
        model.restore(&mut Checkpoint::load(of_pytorch(file), CPU)?)?;
        near(&model.features(&images)?, &expected.tensor("features")?, file)?;
        assert_eq!(model.predict(&images)?.to_vec1::<u32>()?, classes, "{file}");
    }
    Ok(())
}

/// A run with `--load` that does not learn keeps what was loaded.
#[test]
fn a_run_starts_with_what_the_authors_saved() -> Result {
    let mut of_method = small(&[4, 6])?;
    (of_method.preset.training.mode, of_method.preset.training.head_epochs) =
        (Mode::RandomIdentity, 1);
    for file in THEIRS {
        let folder = tempfile::tempdir()?;
        let how = RunOptions { load: Some(of_pytorch(file)), ..options() };
        train::<Softhebb>(&of_method, &digits(), CPU, &how, folder.path())?;
        let model = Checkpoint::load(folder.path(), CPU)?;
        let theirs = Checkpoint::load(of_pytorch("demo.safetensors"), CPU)?;
        for (ours, name) in [
            ("layers.0.weight", "conv1.weight"),
            ("layers.1.weight", "conv2.weight"),
            ("layers.0.running_mean", "bn1.running_mean"),
            ("layers.1.running_var", "bn2.running_var"),
        ] {
            let [ours, theirs] = [model.tensor(ours)?, theirs.tensor(name)?]
                .map(|tensor| tensor.flatten_all().and_then(|tensor| tensor.to_vec1::<f32>()));
            assert_eq!(ours?, theirs?, "{file}: {name}");
        }
    }
    Ok(())
}

#[test]
fn what_the_authors_saved_of_another_network_is_refused() -> Result {
    let refused = |file: &str, channels: &[usize], parts: &[&str]| -> Result {
        let mut model = Softhebb::model(&small(channels)?, (1, 8, 8), 10, CPU)?;
        let loaded = model.restore(&mut Checkpoint::load(of_pytorch(file), CPU)?);
        let error = loaded.unwrap_err().to_string();
        for part in [&[file], parts].concat() {
            assert!(error.contains(part), "no {part:?} in: {error}");
        }
        Ok(())
    };
    // Each tensor has the name that it has in the file.
    let other = ["[6, 4, 3, 3]", "needs [7, 4, 3, 3]"];
    let said = |name: &'static str| [&[name], &other[..]].concat();
    refused("release.pth.tar", &[4, 7], &said("\"blocks.1.layer.weight\""))?;
    refused("demo.pth", &[4, 7], &said("\"module.conv2.weight\""))?;
    refused("demo.safetensors", &[4, 7], &said("\"_orig_mod.conv2.weight\""))?;
    // With one block more: in the release, the head is in its place.
    let head = ["\"blocks.2.layer.weight\"", "[10, 24]", "needs [5, 6, 3, 3]"];
    refused("release.pth.tar", &[4, 6, 5], &head)?;
    let missing =
        ["no tensor \"layers.2.weight\"", "module.bn1.running_mean", "module.conv2.weight"];
    refused("demo.pth", &[4, 6, 5], &missing)?;

    // Another method.
    let of_golkar = golkar::Options { preset: golkar::preset("golkar-digits")?, backprop: false };
    let mut model = golkar::Golkar::model(&of_golkar, (1, 8, 8), 10, CPU)?;
    let error = model.restore(&mut Checkpoint::load(of_pytorch("release.pth.tar"), CPU)?);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("no tensor \"w1\"") && error.contains("blocks.0.layer.weight"),
        "{error}"
    );
    Ok(())
}

/// A Python with torch and safetensors; `None`, with a message, if there is none.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PYTHON.get_or_init(|| {
        let python = PathBuf::from(std::env::var_os("PYTHON").unwrap_or("python3".into()));
        let check = Command::new(&python).args(["-c", "import torch, safetensors.torch"]).output();
        check.is_ok_and(|check| check.status.success()).then_some(python)
    });
    if found.is_none() {
        println!("skipped: Python has no torch and safetensors; set PYTHON to one that has");
    }
    found.as_deref()
}

/// Trains on a part of the digits, and compares the features and classes of images with those that
/// `models/METHOD/pytorch.py` computes from the folder.
fn agrees<M: Method>(of_method: &M::Options, what: &str) -> Result {
    let Some(python) = python() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let [run, images_at, out] =
        ["run", "images.safetensors", "out.safetensors"].map(|name| folder.path().join(name));
    let mut data = digits();
    data.train = data.train.take(300);
    train::<M>(of_method, &data, CPU, &options(), &run)?;
    let (images, _) = data.test.batch(&(0..20).collect::<Vec<_>>(), DType::F32, CPU)?;
    save_checkpoint(&images_at, &[("images".to_string(), images.clone())], &BTreeMap::new())?;

    let script = format!("{}/{}/pytorch.py", env!("CARGO_MANIFEST_DIR"), M::NAME.replace('-', "_"));
    let mut command = Command::new(python);
    let ran = command.arg(script).args([&run, &images_at, &out]).output()?;
    assert!(ran.status.success(), "{what}: {}", String::from_utf8_lossy(&ran.stderr));
    let (model, found) = (Model::load(&run)?, Checkpoint::load(&out, CPU)?);
    near(&found.tensor("features")?, &model.features(&images)?, what)?;
    let classes = found.take("classes", 20, DType::I64)?.to_dtype(DType::U32)?;
    let classes = classes.to_vec1::<u32>()?;
    assert_eq!(classes, model.predict(&images)?.to_vec1::<u32>()?, "{what}");
    Ok(())
}

#[test]
fn pytorch_agrees_on_softhebb() -> Result {
    let mut of_method = small(&[4, 6])?;
    (of_method.preset.training.epochs, of_method.preset.training.head_epochs) = (1, 2);
    agrees::<Softhebb>(&of_method, "convolutions")?;

    let Learning::Hebbian { pre_triangle, .. } = &mut of_method.preset.blocks[1].learning else {
        return Err("the digits' preset learns by the rule".into());
    };
    *pre_triangle = true;
    of_method.preset.blocks[0].pool = Some(Pool::Max { kernel: 4, stride: 2, padding: 1 });
    of_method.preset.blocks[1].pool = Some(Pool::Avg { kernel: 3, stride: 2, padding: 1 });
    if let LayerConfig::Conv2d { groups, padding_mode, .. } = &mut of_method.preset.blocks[1].layer
    {
        (*groups, *padding_mode) = (2, candle_hebbian::PaddingMode::Zeros);
    }
    let layers = softhebb::HeadLayers::All;
    of_method.preset.head = softhebb::HeadConfig::Linear { dropout: 0.2, layers, mirrored: true };
    agrees::<Softhebb>(
        &of_method,
        "groups, zeros around, windows that overlap, all layers read from both sides",
    )?;

    let mut dense = small(&[4, 6])?;
    (dense.preset.training.epochs, dense.preset.training.head_epochs) = (1, 2);
    dense.preset.blocks[1].layer = LayerConfig::Dense { units: 20 };
    // Responses are in the hundreds; a larger scale would amplify their rounding errors.
    dense.preset.blocks[1].activation = Activation::Softmax { scale: 0.1 };
    dense.preset.blocks[1].pool = None;
    let rate = softhebb::Rate::LinearDecay { learning_rate: 0.045 };
    dense.preset.head = softhebb::HeadConfig::SupervisedHebbian { rate, radius: 35.0 };
    agrees::<Softhebb>(&dense, "a dense block and a Hebbian head")
}

#[test]
fn pytorch_agrees_on_amit() -> Result {
    use amit::LayerConfig::{AvgPool, Classes, Conv, Dense, Dropout, MaxPool};
    let mut preset = amit::preset("amit-digits")?;
    (preset.training.epochs, preset.training.validation_images) = (1, 20);
    agrees::<amit::Amit>(&amit::Options { preset: preset.clone() }, "dense")?;

    let conv = |kernel, residual, untied| {
        let (frozen, protocol) = (false, None);
        Conv { units: 4, kernel, residual, untied, frozen, protocol }
    };
    for (edge, thinned) in [(Edge::Zeros, None), (Edge::Excluded, Some(0.7))] {
        preset.layers = vec![
            conv(3, false, false),
            MaxPool { kernel: 3, stride: 2, edge },
            Dropout { probability: 0.2 },
            conv(2, true, false),
            conv(3, false, true),
            AvgPool { kernel: 2, stride: 1, padding: 1 },
            MaxPool { kernel: 2, stride: 3, edge },
            Dense { units: 16, protocol: None },
            Classes { protocol: None },
        ];
        preset.training.connection_probability = thinned;
        agrees::<amit::Amit>(&amit::Options { preset: preset.clone() }, &format!("{edge:?}"))?;
    }
    Ok(())
}

#[test]
fn pytorch_agrees_on_golkar() -> Result {
    for name in ["golkar-digits", "golkar-digits-linear"] {
        let mut preset = golkar::preset(name)?;
        preset.training.epochs = 2;
        for (backprop, readout) in [(false, None), (false, Some(0.01)), (true, None)] {
            preset.training.readout = readout;
            let of_method = golkar::Options { preset: preset.clone(), backprop };
            let what = format!("{name}, backprop {backprop}, read-out {readout:?}");
            agrees::<golkar::Golkar>(&of_method, &what)?;
        }
    }
    Ok(())
}

#[test]
fn pytorch_agrees_on_ghl() -> Result {
    let mut preset: ghl::Preset = find_preset("ghl-digits")?;
    preset.training.epochs = 2;
    agrees::<ghl::Ghl>(&ghl::Options { preset: preset.clone() }, "digits")?;
    (preset.output_norm, preset.hidden, preset.dropout) = (true, Some(16), 0.5);
    preset.blocks[0].batch_norm = false;
    preset.blocks[1].pool = None;
    preset.blocks[0].pool = Some(Pool::Max { kernel: 4, stride: 2, padding: 1 });
    agrees::<ghl::Ghl>(&ghl::Options { preset }, "as FastHebb")
}

#[test]
fn pytorch_agrees_on_krotov_hopfield() -> Result {
    let mut preset: krotov_hopfield::Preset = find_preset("krotov-hopfield-digits")?;
    (preset.epochs, preset.head.epochs) = (2, 3);
    let of_method = krotov_hopfield::Options { preset };
    agrees::<krotov_hopfield::KrotovHopfield>(&of_method, "digits")
}

#[test]
fn pytorch_agrees_on_miconi() -> Result {
    use miconi::{Patches, Plasticity, Triangle};
    let sees = |transforms: &str| transforms.parse().expect("transforms");
    let agrees = |edit: &dyn Fn(&mut miconi::Preset), what: &str| -> Result {
        let mut preset = miconi::preset("miconi-digits")?;
        preset.training.epochs = 1;
        preset.training.burn_in_batches = 2;
        preset.layers.truncate(2);
        edit(&mut preset);
        let decoder = miconi::Decoder::default();
        let of_method = miconi::Options { preset, decoder, standardise_last: false };
        agrees::<miconi::Miconi>(&of_method, what)
    };
    agrees(&|_| (), "ZCA, triangle")?;
    agrees(
        &|preset| {
            preset.input.transforms = sees("standardise-image,difference-of-gaussians");
            preset.training.triangle = Triangle::Never;
            (preset.layers[0].pool, preset.layers[0].k) = (2, 3);
        },
        "difference of Gaussians, binary winners, a pool",
    )?;
    agrees(
        &|preset| {
            preset.input.transforms = sees("standardise-image");
            preset.layers[0].patches = Patches::Whiten { epsilon: 0.1 };
            preset.layers[1].patches = Patches::Standardise {};
            preset.layers[0].stride = 2;
            preset.layers[0].kernel = 2;
            (preset.training.triangle, preset.training.plasticity) =
                (Triangle::Never, Plasticity::Graded);
        },
        "whitened patches, graded winners, a stride",
    )
}

#[test]
fn pytorch_agrees_on_k_means() -> Result {
    let mut preset: k_means::Preset = find_preset("k-means-digits")?;
    preset.patches = 5_000; // Of 300 images there are fewer than the preset's 10,000.
    agrees::<k_means::KMeans>(&k_means::Options { preset }, "triangle")
}

#[test]
fn pytorch_agrees_on_patches() -> Result {
    let mut preset: patches::Preset = find_preset("patches-digits")?;
    preset.units = 40;
    agrees::<patches::Patches>(&patches::Options { preset: preset.clone() }, "hard code")?;
    preset.frame = patches::Frame::Pixel;
    (preset.temperature, preset.windows) = (Some(0.5), Some((4, 3)));
    let soft = patches::Options { preset: preset.clone() };
    agrees::<patches::Patches>(&soft, "soft code, windows over the edge")?;
    // Five averages to a side, of which each of the grid's three covers two or three.
    (preset.windows, preset.grid) = (Some((2, 1)), Some(3));
    agrees::<patches::Patches>(&patches::Options { preset }, "a grid of averages")
}
