//! Writes `seeds/`: small valid files of every kind, from which the fuzzer starts.
//!
//! ```console
//! $ cargo run --manifest-path fuzz/Cargo.toml --example seeds
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::{fs, iter};

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use flate2::Compression;
use flate2::write::GzEncoder;
use hebbian_data::{CacheOutcome, DatasetName, ImageSet, Zca, ZcaConfig};
use hebbian_train::{Moment, Picture, Results, RunFolder, save_checkpoint};
use image::{DynamicImage, ImageFormat};
use serde_json::{Value, json};

#[path = "../../crates/hebbian-data/tests/common/mod.rs"]
mod data;
#[allow(dead_code)]
#[path = "../../crates/hebbian-train/tests/common/pth.rs"]
mod pth;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn seed(target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Result {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), bytes)?)
}

/// Writes a seed of a target that takes one of several kinds, which the first byte selects.
fn of_kind(target: &str, name: &str, kind: u8, bytes: impl AsRef<[u8]>) -> Result {
    seed(target, name, [&[kind][..], bytes.as_ref()].concat())
}

fn checkpoints() -> Result {
    let folder = tempfile::tempdir()?;
    let ones = |dtype| Tensor::ones((2, 3), dtype, &Device::Cpu);
    let types =
        [DType::F32, DType::F64, DType::F16, DType::BF16, DType::U8, DType::U32, DType::I64];
    let tensors = types.map(|dtype| Ok((dtype.as_str().to_string(), ones(dtype)?)));
    let tensors = tensors.into_iter().collect::<Result<Vec<_>>>()?;
    let path = folder.path().join("model");
    save_checkpoint(&path, &tensors, &BTreeMap::from([("steps".into(), "1".into())]))?;
    seed("checkpoint", "own", fs::read(&path)?)?;
    candle::safetensors::save(&tensors.into_iter().collect(), &path)?;
    seed("checkpoint", "foreign", fs::read(&path)?)?;
    let names = ["module.head.weight", "module.head.bias"].map(str::to_string);
    let tensors = names.map(|name| (name, ones(DType::F32)));
    let tensors = tensors.into_iter().map(|(name, tensor)| Ok((name, tensor?)));
    let whole = pth::pth(&tensors.collect::<Result<Vec<_>>>()?);
    seed("checkpoint", "state_dict", &whole)?;
    let torch = fs::read(root().join("crates/hebbian-train/tests/pth/tensors.pth"))?;
    seed("checkpoint", "torch", &torch)?;
    let start = whole.windows(2).position(|bytes| bytes == b"\x80\x02").ok_or("a pickle")?;
    seed("state_dict", "dictionary", [&whole[start..]].concat())?;
    let tensor = |kind, shape: &[usize], strides: &[usize]| {
        [pth::text("a"), pth::tensor_of(kind, 0, 16, 1, shape, strides)].concat()
    };
    for (name, one) in [
        ("transposed", tensor("FloatStorage", &[3, 4], &[1, 3])),
        ("expanded", tensor("LongStorage", &[3, 2], &[0, 1])),
        ("empty", tensor("BoolStorage", &[0, 5], &[5, 1])),
    ] {
        let nested = [b"\x80\x02}(", &pth::text("state_dict")[..], b"}(", &one, b"uu."].concat();
        seed("state_dict", name, nested)?;
    }
    Ok(())
}

/// Replaces large numbers by one for which a fuzzer has the time.
fn small(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|number| number > 20) => {
            *value = 12.into();
        }
        Value::Array(values) => values.iter_mut().for_each(small),
        Value::Object(values) => values.values_mut().for_each(small),
        _ => {}
    }
}

fn models() -> Result {
    let methods =
        ["amit", "golkar", "krotov-hopfield", "miconi", "patches", "softhebb", "ghl", "k-means"];
    for (kind, method) in (0..).zip(methods) {
        let config = root().join(format!("models/zoo/{method}-digits/config.json"));
        if config.exists() {
            of_kind("model", method, kind, fs::read(config)?)?;
        }
        let folder = root().join("models").join(method.replace('-', "_")).join("presets");
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let mut preset: Value = serde_json::from_slice(&fs::read(&path)?)?;
            small(&mut preset);
            preset["description"] = "".into();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if !name.contains("imagenette") && !name.contains("stl10") {
                of_kind("preset", &name, kind, preset.to_string())?;
            }
        }
    }
    for (name, text) in [
        ("none", "none"),
        ("fixed", "resize=12,centre-crop=8x6,grey,standardise-image"),
        (
            "random",
            "random-crop=8:padding=2:reflect,flip=0.3,colour-jitter,random-resized-crop=8:ratio=0.5/2",
        ),
        ("fitted", "standardise,zca=0.01"),
    ] {
        of_kind("transforms", name, 0, text)?;
    }
    let input = json!({ "transforms": [{ "kind": "resize", "size": 12 }, { "kind": "grey" }] });
    of_kind("transforms", "json", 1, input.to_string())
}

fn pictures() -> Result {
    let grey = data::png(1, (1, 4, 6));
    let colour = image::load_from_memory(&data::png(2, (3, 4, 6)))?;
    seed("picture", "grey.png", grey)?;
    for (name, picture, format) in [
        ("colour.png", colour.clone(), ImageFormat::Png),
        ("deep.png", DynamicImage::from(colour.to_rgba16()), ImageFormat::Png),
        ("colour.jpg", colour.clone(), ImageFormat::Jpeg),
        ("grey.jpg", DynamicImage::from(colour.to_luma8()), ImageFormat::Jpeg),
        ("colour.webp", colour.clone(), ImageFormat::WebP),
        ("colour.bmp", colour.clone(), ImageFormat::Bmp),
    ] {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format)?;
        seed("picture", name, bytes.into_inner())?;
    }
    seed("table", "mnist", data::split(DatasetName::Mnist, 0, 3))?;
    seed("table", "cifar10", data::split(DatasetName::Cifar10, 0, 1))?;
    let labels = ["1", "0", "2", "1"];
    let pictures = data::tables::pictures(0..4);
    seed(
        "table",
        "classes",
        data::tables::table(&pictures, &labels, Some(data::tables::FEATURES)),
    )?;
    let words = ["ant", "bee", "ant", "bee"];
    seed("table", "words", data::tables::table(&pictures, &words, None))
}

fn originals() -> Result {
    let idx = |sizes: &[u32], bytes: usize| -> Vec<u8> {
        let head = iter::once(0x0800 + sizes.len() as u32).chain(sizes.iter().copied());
        head.flat_map(u32::to_be_bytes).chain(iter::repeat_n(3, bytes)).collect()
    };
    let packed = |bytes: &[u8]| -> Result<Vec<u8>> {
        let mut file = GzEncoder::new(Vec::new(), Compression::best());
        file.write_all(bytes)?;
        Ok(file.finish()?)
    };
    let (images, labels) = (idx(&[2, 28, 28], 2 * 28 * 28), idx(&[2], 2));
    of_kind("originals", "images.gz", 0, packed(&images)?)?;
    of_kind("originals", "images", 0, images)?;
    of_kind("originals", "labels.gz", 1, packed(&labels)?)?;
    of_kind("originals", "labels", 1, labels)?;
    of_kind("originals", "cifar10", 2, [3; 3073])?;
    of_kind("originals", "cifar100", 3, [3; 3074])?;
    of_kind("originals", "stl10", 4, [3; 1 + 3 * 96 * 96])
}

fn folders() -> Result {
    let folder = tempfile::tempdir()?;
    let pixels = (0..5 * 4).map(|at: u32| (at * at * 7 % 256) as u8).collect();
    let images = ImageSet::new(pixels, vec![0; 5], 1, 2, 2)?;
    let config = ZcaConfig { epsilon: 0.1, images: None, flip: false, ..ZcaConfig::author() };
    let (_, outcome) = Zca::fit_cached(&images, &config, &mut Rng::new(0), folder.path(), |_| ())?;
    let CacheOutcome::Written(path) = outcome else { return Err("not written".into()) };
    seed("whitening", "written", fs::read(path)?)?;

    let run = folder.path().join("run");
    let mut run = RunFolder::create(run)?;
    run.write_config(&json!({ "seed": 0 }))?;
    let moment = Moment::Learning { step: 1, images: 10, epoch: 0.5 };
    run.log(moment, &[("loss", 0.5), ("layers.0.mean_radius", 1.0)])?;
    run.log(Moment::Readout { readout: "ridge".to_string(), epoch: 2 }, &[("loss", 0.25)])?;
    run.picture("filters", 1, &Picture::new(2, 2, [0; 3]))?;
    run.finish(&Results { test_accuracy: 0.5, ..Results::default() })?;
    for entry in fs::read_dir(run.path())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let kinds: &[u8] = match &*name {
            "run.json" => &[0, 1, 10, 12],
            "metrics.jsonl" => &[2],
            "config.json" => &[4],
            "results.json" => &[6],
            name if name.starts_with("events") && !name.ends_with("readouts") => &[8],
            _ => &[],
        };
        for &kind in kinds {
            let name = if name.starts_with("events") { "events" } else { &name };
            of_kind("run_folder", &format!("{name}.{kind}"), kind, fs::read(&path)?)?;
        }
    }
    let mark = json!({
        "program": "candle-hebbian", "version": "0.1.0", "files": ["figure.png", "table.csv"],
        "experiment": "a", "dataset": null, "train_images": null, "test_images": null, "epochs": null,
        "seeds": 1, "first_seed": 0, "validation": null, "labelled": null
    });
    of_kind("run_folder", "experiment.json", 15, mark.to_string())?;

    let record = root().join("models/golkar/record");
    let mut records = fs::read_dir(record)?.collect::<std::io::Result<Vec<_>>>()?;
    records.sort_by_key(fs::DirEntry::path);
    let record = records.first().ok_or("a record")?.path();
    let results = json!({ "test_accuracy": 0.5, "arms": [{ "seed": 0, "error": 0.25 }] });
    let results = serde_json::to_vec(&results)?;
    seed("record", "golkar", [&fs::read(record)?[..], &[0xff], &results].concat())?;

    let commit = "c".repeat(40);
    let lines = ["someone/insects/small@v1", "https://me:a secret@hub:1/", "main", &commit];
    let files =
        ["data/train-00000-of-00002.parquet", "data/test.parquet", "default/a/0000.parquet"];
    seed("hub", "names", [&lines[..], &files].concat().join("\n"))?;
    seed(
        "hub",
        "known",
        ["imagenette", "http://127.0.0.1", "refs/pr/1", "x", "train.parquet"].join("\n"),
    )
}

fn main() -> Result {
    checkpoints()?;
    models()?;
    pictures()?;
    originals()?;
    folders()
}
