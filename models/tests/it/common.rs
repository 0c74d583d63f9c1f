//! Shared by several tests.

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::transforms::{Image, Pipeline, Shape, Transform};
use hebbian_data::{Dataset, Hub, LoadOptions, load_from_hub};
use hebbian_train::{Figure, Picture, Stop, Study, StudyOptions, Table};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The result of a test.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Asserts that the entries of `found`, in order, are those of `want` to within `tolerance`.
pub fn near(name: &str, found: &Tensor, want: &[f64], tolerance: f64) -> Result {
    let found = found.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    assert_eq!(found.len(), want.len(), "{name}: {found:?}");
    for (at, (found, want)) in found.iter().zip(want).enumerate() {
        assert!((found - want).abs() <= tolerance, "{name}[{at}]: {found}, expected {want}");
    }
    Ok(())
}

/// Runs an experiment with more epochs than can be counted, in a folder with another one, which must stay; returns the
/// error.
pub fn refused(experiment: impl FnOnce(&Study) -> hebbian_train::Result<String>) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let options = StudyOptions {
        epochs: Some(1 << 40),
        replace: true,
        quiet: true,
        ..StudyOptions::default()
    };
    let study = Study::new(&options, &Device::Cpu, folder.path());
    study.run("earlier", None, &[], || {
        let (table, picture) = (Table::new(["network"]), Picture::new(1, 1, [0; 3]));
        let (more_tables, numbers, text) = (Vec::new(), Value::Null, String::new());
        Ok(Figure { table, more_tables, numbers, text, picture })
    })?;
    let results = folder.path().join("results.json");
    let before = std::fs::read_to_string(&results)?;
    let error = experiment(&study).err().ok_or("it went well")?.to_string();
    assert_eq!(std::fs::read_to_string(&results)?, before, "{error}");
    Ok(error)
}

/// Leaves images as they are, and asks a run to stop when it reads one after a text has come into a file.
#[derive(Debug)]
struct StopsAfter {
    text: &'static str,
    file: PathBuf,
    stop: Stop,
}

impl Transform for StopsAfter {
    fn shape(&self, image: Shape) -> hebbian_data::Result<Shape> {
        Ok(image)
    }

    fn apply(&self, image: Image, _: &mut Rng) -> hebbian_data::Result<Image> {
        let text = self.text.as_bytes();
        let has_come = |bytes: Vec<u8>| bytes.windows(text.len()).any(|part| part == text);
        if self.stop.asked().is_none() && std::fs::read(&self.file).is_ok_and(has_come) {
            self.stop.ask(15);
        }
        Ok(image)
    }
}

/// Returns the same images, with which a run is asked to stop when it reads one after `text` has come into `file`.
pub fn stopping_after(
    text: &'static str,
    file: &Path,
    stop: &Stop,
    data: Dataset,
) -> Result<Dataset> {
    let stops = StopsAfter { text, file: file.to_path_buf(), stop: stop.clone() };
    Ok(data.with_transforms(Pipeline::default().then(stops), Pipeline::default())?)
}

/// The data set of this name in a Hugging Face folder beside the workspace; `None`, with a message, if there is no such
/// folder. It is read once for all tests.
pub fn shared(name: &str) -> Result<Option<Dataset>> {
    static READ: Mutex<BTreeMap<String, Dataset>> = Mutex::new(BTreeMap::new());
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/hf/hub");
    if !cache.is_dir() {
        println!("skipped: there is no {}", cache.display());
        return Ok(None);
    }
    let mut read = READ.lock().map_err(|_| "another test failed to read its data set")?;
    if let Some(data) = read.get(name) {
        return Ok(Some(data.clone()));
    }
    let hub = Hub::new("http://127.0.0.1:1", &cache).offline();
    let data = load_from_hub(name, &hub, &LoadOptions::default(), Arc::new(|_| ()))?;
    read.insert(name.to_string(), data.clone());
    Ok(Some(data))
}
