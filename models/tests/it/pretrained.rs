//! Models from their folders: evaluation needs only what a run has written, for every method.

#[path = "../../../crates/hebbian-data/tests/common/mirror.rs"]
#[allow(dead_code, reason = "the mirror can misbehave in more ways than are tried here")]
mod mirror;

use crate::common::Result;
use candle::{DType, Device, Tensor, Var};
use hebbian_data::Hub;
use hebbian_models::{
    Model, amit, ghl, golkar, k_means, krotov_hopfield, miconi, patches, softhebb,
};
use hebbian_train::{
    Method, Progress, Results, RunFolder, RunOptions, evaluate, find_preset, save_checkpoint, train,
};
use std::path::Path;

const CPU: &Device = &Device::Cpu;

fn options() -> RunOptions {
    RunOptions { device: "cpu".to_string(), quiet: true, ..RunOptions::default() }
}

/// Trains on the digits, loads the folder, and compares.
fn agrees<M: Method>(
    options_of_method: &M::Options,
    layers: &[&[usize]],
    features: usize,
) -> Result {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    let data = hebbian_data::digits();
    let run = train::<M>(options_of_method, &data, CPU, &options(), &out)?;
    let model = Model::load(&out)?;
    assert_eq!((model.method(), model.dataset(), model.image()), (M::NAME, "digits", (1, 8, 8)));
    assert_eq!(model.class_names(), data.class_names);
    let mut silent = Progress::new(0, "", true);
    let found = evaluate(model.inner(), &data.test, 10, CPU, &mut silent)?;
    let Results { test_accuracy, confusion, .. } = run.results;
    assert!((found.accuracy - test_accuracy).abs() < 1e-12, "{} {test_accuracy}", found.accuracy);
    assert_eq!(Some(found.confusion), confusion);

    let (images, _) = data.test.batch(&[0, 1, 2], DType::F32, CPU)?;
    assert_eq!(model.features(&images)?.dims(), [3, features]);
    assert_eq!(model.layers(), layers.len());
    for (at, shape) in layers.iter().enumerate() {
        assert_eq!(&model.layer_features(at, &images)?.dims()[1..], *shape, "layer {at}");
    }
    let says = |error: hebbian_train::Error, words: &[&str]| {
        let error = error.to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error}");
    };
    says(model.layer_features(layers.len(), &images).unwrap_err(), &["layer"]);
    scored(&model, &images)?;
    match model.random(&data, 1, CPU)? {
        Some(random) => assert_eq!(random.features(&images)?.dims(), [3, features]),
        None => assert!(["k-means", "patches"].contains(&M::NAME), "{} takes steps", M::NAME),
    }
    let wrong = Tensor::zeros((2, 3, 8, 8), DType::F32, CPU)?;
    says(model.features(&wrong).unwrap_err(), &["[2, 3, 8, 8]", "(batch, 1, 8, 8)"]);
    // A saved copy is the same model.
    let copy = folder.path().join("a/copy");
    model.save(&copy)?;
    assert_eq!(bits(&Model::load(&copy)?, &images)?, bits(&model, &images)?);
    says(model.save(&copy).unwrap_err(), &["config.json", "is there already"]);
    let told = shared(&out)?;
    assert_eq!(names(&copy)?, told);
    // The weights have been compared; the configuration may name its values in another order.
    for name in
        told.iter().filter(|name| !["model.safetensors", "config.json"].contains(&&name[..]))
    {
        assert!(std::fs::read(copy.join(name))? == std::fs::read(out.join(name))?, "{name}");
    }
    assert_eq!(RunFolder::config(&copy)?, RunFolder::config(&out)?.map(without_the_machine));
    spoilt(&out)
}

/// The features of the images, bit by bit.
fn bits(model: &Model, images: &Tensor) -> Result<Vec<u32>> {
    let features = model.features(images)?.to_dtype(DType::F32)?.flatten_all()?;
    Ok(features.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
}

/// The names of a folder's files, in alphabetical order.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    let mut names: Vec<String> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// The files in the folder of a run that are shared: all except its mark, its logs, and the state to continue from.
fn shared(run: &Path) -> Result<Vec<String>> {
    let own = |name: &String| {
        ["run.json", "metrics.jsonl", "state.safetensors"].contains(&name.as_str())
            || name.starts_with("events.out.")
    };
    let shared: Vec<String> = names(run)?.into_iter().filter(|name| !own(name)).collect();
    for name in ["README.md", "config.json", "model.safetensors", "results.json"] {
        assert!(shared.iter().any(|there| there == name), "{name} in {shared:?}");
    }
    Ok(shared)
}

/// Checks that the class is that of the largest score. If scores have a gradient in the images, the slope along it is
/// its norm; with hard codes and normalised patches there is none.
fn scored(model: &Model, images: &Tensor) -> Result {
    let scores = model.scores(images)?;
    assert_eq!(scores.dims(), [3, 10]);
    let classes = model.predict(images)?.to_vec1::<u32>()?;
    assert_eq!(scores.argmax(1)?.to_vec1::<u32>()?, classes);

    let weights = candle_hebbian::Rng::new(3).normal(0.0, 1.0, 10, DType::F32, CPU)?;
    let sum = |images: &Tensor| -> Result<Tensor> {
        Ok(model.scores(images)?.broadcast_mul(&weights)?.sum_all()?)
    };
    let var = Var::from_tensor(images)?;
    let grads = sum(&var)?.backward()?;
    let Some(gradient) = grads.get(&var) else {
        assert!(["k-means", "patches", "miconi"].contains(&model.method()), "{}", model.method());
        return Ok(());
    };
    let norm = f64::from(gradient.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?);
    let step = (gradient * (0.01 / norm))?;
    let at = |images: candle::Result<Tensor>| -> Result<f64> {
        Ok(f64::from(sum(&images?)?.to_scalar::<f32>()?))
    };
    let slope = (at(images + &step)? - at(images - &step)?) / 0.02;
    assert!((slope - norm).abs() < 0.05 * norm, "{}: {slope}, {norm}", model.method());
    Ok(())
}

/// The random network beside a run is the one that the run started from: SoftHebb's control, which learns only the
/// statistics of batch norm, has its features; with other methods, a run without steps has them.
#[test]
fn a_random_network_is_the_one_that_a_run_starts_from() -> Result {
    fn started<M: Method>(learned: &M::Options, control: &M::Options) -> Result {
        let folder = tempfile::tempdir()?;
        let (data, how) = (hebbian_data::digits(), RunOptions { seed: 5, ..options() });
        let model = |options: &M::Options, name: &str| -> Result<Model> {
            let out = folder.path().join(name);
            train::<M>(options, &data, CPU, &how, &out)?;
            Ok(Model::load(&out)?)
        };
        let (learned, control) = (model(learned, "learned")?, model(control, "control")?);
        let random = learned.random(&data, 5, CPU)?.expect("something to learn");
        let (images, _) = data.test.batch(&[0, 1, 2], DType::F32, CPU)?;
        let numbers = |model: &Model| -> Result<Vec<f32>> {
            Ok(model.features(&images)?.flatten_all()?.to_vec1()?)
        };
        assert_eq!(numbers(&random)?, numbers(&control)?, "{}", M::NAME);
        assert_ne!(numbers(&random)?, numbers(&learned)?, "{}", M::NAME);
        assert_ne!(
            numbers(&learned.random(&data, 6, CPU)?.expect("something to learn"))?,
            numbers(&random)?
        );
        // It has the weights that the run begins with, before and after it is calibrated.
        let start = learned.at_start(&data, 5, CPU)?.expect("something to learn");
        let weights = |model: &Model| -> Result<Vec<Vec<f32>>> {
            let units = model.network().units()?;
            units.iter().map(|units| Ok(units.weight.flatten_all()?.to_vec1()?)).collect()
        };
        assert_eq!(weights(&start)?, weights(&control)?, "{}", M::NAME);
        assert_ne!(weights(&start)?, weights(&learned)?, "{}", M::NAME);
        // A control has no control.
        assert!(control.random(&data, 5, CPU)?.is_none());
        let mut other = data.clone();
        other.train = other.train.resized(6)?;
        let error = learned.random(&other, 5, CPU).unwrap_err().to_string();
        assert!(error.contains("(1, 6, 6)") && error.contains("(1, 8, 8)"), "{error}");
        Ok(())
    }
    let mut preset = softhebb::preset("softhebb-cnn-digits")?;
    (preset.training.epochs, preset.training.head_epochs) = (1, 1);
    let learned = softhebb::Options { preset: preset.clone(), baselines: false };
    preset.training.mode = softhebb::Mode::RandomCalibrated;
    started::<softhebb::Softhebb>(&learned, &softhebb::Options { preset, baselines: false })?;
    let mut preset: krotov_hopfield::Preset = find_preset("krotov-hopfield-digits")?;
    (preset.epochs, preset.head.epochs) = (1, 1);
    let learned = krotov_hopfield::Options { preset: preset.clone() };
    preset.epochs = 0;
    started::<krotov_hopfield::KrotovHopfield>(&learned, &krotov_hopfield::Options { preset })
}

/// Checks that a weight that is not a number is named.
fn spoilt(out: &Path) -> Result {
    let path = out.join("model.safetensors");
    let checkpoint = hebbian_train::Checkpoint::load(&path, CPU)?;
    let metadata = checkpoint.metadata.clone();
    let mut tensors = Vec::new();
    for name in checkpoint.names() {
        tensors.push((name.to_string(), checkpoint.tensor(name)?.copy()?));
    }
    drop(checkpoint);
    let (name, first) = &mut tensors[0];
    let mut values = first.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    values[0] = f32::NAN;
    *first = Tensor::from_vec(values, first.shape(), CPU)?;
    let name = name.clone();
    save_checkpoint(&path, &tensors, &metadata)?;
    let error = Model::load(out).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("1 NaN"), "{error}");
    Ok(())
}

/// The part of a run's configuration that is shared: not the command, nor the machine.
fn without_the_machine(mut config: serde_json::Value) -> serde_json::Value {
    config["command"] = serde_json::Value::Null;
    config["environment"] = serde_json::Value::Null;
    config
}

#[test]
fn of_amit() -> Result {
    let mut preset = amit::preset("amit-digits")?;
    preset.training.epochs = 1;
    let units = [128; 4].map(|units| [units]);
    let layers: Vec<&[usize]> = units.iter().map(|units| &units[..]).collect();
    agrees::<amit::Amit>(&amit::Options { preset }, &layers, 128)
}

#[test]
fn of_ghl() -> Result {
    let mut preset: ghl::Preset = find_preset("ghl-digits")?;
    preset.training.epochs = 1;
    let layers: [&[usize]; 2] = [&[8, 4, 4], &[32, 2, 2]];
    agrees::<ghl::Ghl>(&ghl::Options { preset: preset.clone() }, &layers, 128)?;
    (preset.output_norm, preset.hidden) = (true, Some(16));
    agrees::<ghl::Ghl>(&ghl::Options { preset }, &layers, 16)
}

#[test]
fn of_golkar() -> Result {
    let mut preset = golkar::preset("golkar-digits")?;
    preset.training.epochs = 1;
    for backprop in [false, true] {
        let options = golkar::Options { preset: preset.clone(), backprop };
        agrees::<golkar::Golkar>(&options, &[&[64]], 64)?;
    }
    Ok(())
}

#[test]
fn of_krotov_hopfield() -> Result {
    let mut preset: krotov_hopfield::Preset = find_preset("krotov-hopfield-digits")?;
    (preset.epochs, preset.head.epochs) = (2, 3);
    let options = krotov_hopfield::Options { preset };
    agrees::<krotov_hopfield::KrotovHopfield>(&options, &[&[100]], 100)
}

#[test]
fn of_miconi() -> Result {
    let mut preset = miconi::preset("miconi-digits")?;
    preset.training.epochs = 1;
    let model = {
        let options = miconi::Options {
            preset: preset.clone(),
            decoder: miconi::Decoder::default(),
            standardise_last: false,
        };
        miconi::Miconi::model(&options, (1, 8, 8), 10, CPU)?
    };
    let shapes: Vec<Vec<usize>> =
        model.network().stack().blocks().iter().map(|block| block.output().to_vec()).collect();
    let layers: Vec<&[usize]> = shapes.iter().map(|shape| &shape[..]).collect();
    let features = layers[layers.len() - 1].iter().product();
    for decoder in ["ridge", "svm", "logistic"] {
        let options = miconi::Options {
            preset: preset.clone(),
            decoder: decoder.parse()?,
            standardise_last: false,
        };
        agrees::<miconi::Miconi>(&options, &layers, features)?;
    }
    Ok(())
}

#[test]
fn of_k_means() -> Result {
    let preset: k_means::Preset = hebbian_train::find_preset("k-means-digits")?;
    let width = 128 * 4;
    agrees::<k_means::KMeans>(&k_means::Options { preset }, &[&[128, 2, 2]], width)
}

#[test]
fn of_patches() -> Result {
    for frame in [patches::Frame::Code, patches::Frame::Pixel] {
        let preset = patches::Preset { frame, ..hebbian_train::find_preset("patches-digits")? };
        let width = 2 * 128 * 4;
        agrees::<patches::Patches>(&patches::Options { preset }, &[&[256, 2, 2]], width)?;
    }
    Ok(())
}

#[test]
fn of_softhebb() -> Result {
    let mut preset = softhebb::preset("softhebb-cnn-digits")?;
    (preset.training.epochs, preset.training.head_epochs) = (1, 3);
    let shapes: Vec<Vec<usize>> = {
        let rng = candle_hebbian::Rng::new(0);
        let network = softhebb::Network::new(&preset, (1, 8, 8), &rng, DType::F32, CPU)?;
        network.stack().blocks().iter().map(|block| block.output().to_vec()).collect()
    };
    let layers: Vec<&[usize]> = shapes.iter().map(|shape| &shape[..]).collect();
    let features = layers[layers.len() - 1].iter().product();
    agrees::<softhebb::Softhebb>(&softhebb::Options { preset, baselines: false }, &layers, features)
}

#[test]
fn folders_that_are_no_models() -> Result {
    let folder = tempfile::tempdir()?;
    let says = |words: &[&str]| {
        let error = Model::load(folder.path()).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error}");
    };
    says(&["no config.json"]);
    let config = folder.path().join("config.json");
    let write = |text: &str| std::fs::write(&config, text);
    write("{}")?;
    says(&["config.json", "\"method\" is missing"]);
    write(
        r#"{"method": "perceptron", "dataset": "digits", "image": [1, 8, 8], "class_names": []}"#,
    )?;
    says(&["\"perceptron\"", "softhebb"]);
    write(r#"{"method": "amit", "dataset": "digits", "image": [1, 8], "class_names": []}"#)?;
    says(&["\"image\"", "height"]);
    write(r#"{"method": "amit", "dataset": "digits", "image": [1, 8, 8], "class_names": ["0"]}"#)?;
    says(&["options", "amit"]);
    Ok(())
}

/// A configuration whose sizes do not fit its weights is refused before it takes memory for them.
#[test]
fn sizes_that_do_not_fit_the_weights() -> Result {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, at: &str, value: serde_json::Value| -> Result {
        let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo").join(name);
        std::fs::copy(zoo.join("model.safetensors"), folder.path().join("model.safetensors"))?;
        let config = std::fs::read(zoo.join("config.json"))?;
        let mut config: serde_json::Value = serde_json::from_slice(&config)?;
        *config.pointer_mut(at).ok_or("a place")? = value;
        Ok(std::fs::write(folder.path().join("config.json"), config.to_string())?)
    };
    for (name, at, size) in [
        ("amit-digits", "/options/preset/layers/0/units", 4_000_000),
        ("golkar-digits", "/options/preset/units", 60_000),
        ("krotov-hopfield-digits", "/options/preset/units", 4_000_000),
        ("miconi-digits", "/options/preset/layers/0/units", 4_000_000),
        ("patches-digits", "/options/preset/units", 65_000),
        ("softhebb-digits", "/options/preset/blocks/0/layer/channels", 4_000_000),
    ] {
        write(name, at, size.into())?;
        let error = Model::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("that are given to one tensor"), "{name}: {error}");
    }
    for image in [[1_u64, 1 << 40, 1 << 40], [1 << 62, 4, 1], [0, 8, 8], [3, 10_001, 10_000]] {
        write("krotov-hopfield-digits", "/image", image.to_vec().into())?;
        let error = Model::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("\"image\" has not 1 to 300000000 pixels"), "{error}");
    }
    Ok(())
}

/// The configuration that a run resolved is a preset.
#[test]
fn a_run_s_configuration_is_a_preset() -> Result {
    let folder = tempfile::tempdir()?;
    let mut preset = golkar::preset("golkar-digits")?;
    (preset.training.epochs, preset.units) = (0, 7);
    let options_of_method = golkar::Options { preset: preset.clone(), backprop: false };
    let data = hebbian_data::digits();
    train::<golkar::Golkar>(&options_of_method, &data, CPU, &options(), folder.path())?;
    let path = folder.path().join("config.json");
    assert_eq!(golkar::preset(path.to_str().ok_or("a path")?)?, preset);
    let error = amit::preset(path.to_str().ok_or("a path")?).unwrap_err().to_string();
    assert!(error.contains("is not a preset of Amit 2019: it is of a run of golkar"), "{error}");
    let empty = tempfile::tempdir()?;
    let error = amit::preset(empty.path().to_str().ok_or("a path")?).unwrap_err().to_string();
    assert!(error.contains("has no config.json") && error.contains("--list"), "{error}");
    Ok(())
}

/// A model comes from a server on loopback, then from the cache alone; a missing or changed file is an error.
#[test]
fn from_the_hub() -> Result {
    use mirror::{Manner, Mirror, Served, Twist};
    let (folder, cache) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut preset = golkar::preset("golkar-digits")?;
    preset.training.epochs = 1;
    let data = hebbian_data::digits();
    let of_method = golkar::Options { preset, backprop: false };
    train::<golkar::Golkar>(&of_method, &data, CPU, &options(), folder.path())?;
    let mirror = Mirror::start();
    for file in ["config.json", "model.safetensors"] {
        let served = Served::lfs(std::fs::read(folder.path().join(file))?, Manner::Good);
        mirror.serve_model("someone/digits", "main", file, served);
    }
    let silent: hebbian_data::OnProgress = std::sync::Arc::new(|_| ());
    let hub = Hub::new(&mirror.endpoint, cache.path());
    let fetched = hebbian_models::fetch(&hub, "someone/digits", "main", &silent)?;
    let (images, _) = data.test.batch(&[0, 1, 2, 3], DType::F32, CPU)?;
    let predict = |path: &Path| -> Result<Vec<u32>> {
        Ok(Model::load(path)?.predict(&images)?.to_vec1::<u32>()?)
    };
    assert_eq!(predict(&fetched)?, predict(folder.path())?);
    mirror.log();
    let offline = Hub::new(&mirror.endpoint, cache.path()).offline();
    assert_eq!(hebbian_models::fetch(&offline, "someone/digits", "main", &silent)?, fetched);
    assert!(mirror.log().is_empty());

    let says = |id: &str, words: &[&str]| {
        let error = hebbian_models::fetch(&hub, id, "main", &silent).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error}");
    };
    says(
        "someone/nothing",
        &["model.safetensors", "someone/nothing", "check the name", "HF_TOKEN"],
    );
    let locked = r#"{"error": "Access is restricted"}"#.to_string();
    mirror.twist("/someone/locked/", Twist::Refuse("401 Unauthorized", locked));
    says(
        "someone/locked",
        &["someone/locked", "Authentication required", "accept the terms", "HF_TOKEN"],
    );
    let wrong =
        Served::lfs(std::fs::read(folder.path().join("model.safetensors"))?, Manner::WrongBody);
    mirror.serve_model("someone/changed", "main", "model.safetensors", wrong);
    says("someone/changed", &["model.safetensors"]);
    Ok(())
}

/// A model that is pushed to a server on loopback and fetched from there is the same model, with all files that
/// describe it; files that only the run needs are not there.
#[test]
fn to_the_hub() -> Result {
    use mirror::{Mirror, READ_ONLY, Repo, TOKEN};
    const ID: &str = "someone/digits";
    let (folder, cache) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut preset: krotov_hopfield::Preset = find_preset("krotov-hopfield-digits")?;
    (preset.epochs, preset.head.epochs) = (1, 1);
    let of_method = krotov_hopfield::Options { preset };
    let (data, run) = (hebbian_data::digits(), folder.path());
    train::<krotov_hopfield::KrotovHopfield>(&of_method, &data, CPU, &options(), run)?;
    let mut config = RunFolder::config(run)?.ok_or("no configuration")?;
    config["load"] = "/home/someone/weights.safetensors".into();
    hebbian_train::save_json(run.join("config.json"), &config)?;
    let model = Model::load(run)?;
    let told = shared(run)?;
    assert!(told.iter().any(|name| name.ends_with(".png")), "{told:?}");

    let mirror = Mirror::start();
    let silent: hebbian_data::OnProgress = std::sync::Arc::new(|_| ());
    let hub = Hub::new(&mirror.endpoint, cache.path());
    let push =
        |token: &str| model.push_to(&hub.clone().with_token(token), ID, "main", true, &silent);
    let error = push(READ_ONLY).unwrap_err().to_string();
    assert!(error.contains(ID) && error.contains("right to write"), "{error}");
    let address = push(TOKEN)?;
    assert!(address.starts_with(&format!("{}/{ID}/commit/", mirror.endpoint)), "{address}");
    let Repo { private, commits, .. } = mirror.repo(ID).ok_or("no repository")?;
    assert!(private);
    let [commit] = &commits[..] else { panic!("{commits:?}") };
    assert_eq!(commit.message, "krotov-hopfield: krotov-hopfield-digits, trained on digits");
    let mut pushed: Vec<String> = commit.files.iter().map(|(name, _)| name.clone()).collect();
    pushed.sort();
    assert_eq!(pushed, told);

    let (images, _) = data.test.batch(&[0, 1, 2, 3], DType::F32, CPU)?;
    let fetched = hebbian_models::fetch(&hub, ID, "main", &silent)?;
    assert_eq!(bits(&Model::load(&fetched)?, &images)?, bits(&model, &images)?);
    // The path on this machine from which it continued to learn is private.
    config["load"] = serde_json::Value::Null;
    assert_eq!(RunFolder::config(&fetched)?, Some(without_the_machine(config)));
    let card = hub.fetch(hebbian_data::RepoKind::Model, ID, "main", "README.md", &silent)?;
    let card = std::fs::read_to_string(card)?;
    assert_eq!(card, std::fs::read_to_string(run.join("README.md"))?);
    assert!(card.starts_with("---\n") && card.contains("\nmodel-index:\n"), "{card}");
    Ok(())
}

/// A server may keep a model for several threads.
#[test]
fn a_model_is_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Model>();
}

/// Numbers of any floating-point type are pixels; integers could be from 0 to 255. An empty batch has no classes.
#[test]
fn what_images_may_be() -> Result {
    let (images, _) = hebbian_data::digits().test.batch(&[0, 1], DType::F32, CPU)?;
    for name in ["krotov-hopfield-digits", "patches-digits", "softhebb-digits", "golkar-digits"] {
        let model = Model::from_zoo(name)?;
        let classes = model.predict(&images)?.to_vec1::<u32>()?;
        let wide = images.to_dtype(DType::F64)?;
        assert_eq!(model.predict(&wide)?.to_vec1::<u32>()?, classes, "{name}");
        let whole = model.predict(&images.to_dtype(DType::U8)?).unwrap_err().to_string();
        assert!(whole.contains("U8") && whole.contains("from 0 to 1"), "{name}: {whole}");
        assert_eq!(model.predict(&images.narrow(0, 0, 0)?)?.dims(), [0], "{name}");
    }
    Ok(())
}
