//! A run, read from its folder.

use super::classes::{Mistakes, Readable, by_layer, classify};
use super::curves::{Chart, MOMENTS, charts};
use super::images::Images;
use super::layers::{Layer, layers};
use crate::choices::choices;
use crate::selection::Selection;
use anyhow::{Context, Result, bail};
use candle::Device;
use hebbian_data::{Dataset, DatasetName, LoadOptions, Photographs, load_with_progress};
use hebbian_models::{Model, splits};
use hebbian_train::{ConfusionMatrix, History, Results, RunFolder, Spread};
use serde::Serialize;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The contents of the folder of a run.
pub(crate) struct Folder {
    pub path: PathBuf,
    /// If the run belongs to a study, the study's name for the network, which is the name of its folder there.
    pub arm: Option<String>,
    pub config: Value,
    pub history: History,
    pub results: Option<Results>,
}

impl Folder {
    /// Returns the folder of a run or, if it has no run of its own, those of all runs below it. The runs in one folder
    /// are sorted by name, and the folders by when their first run started: a study starts its networks in the order of
    /// its figure.
    pub(crate) fn paths(path: &Path) -> Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        if !is_run(path) && path.is_dir() {
            runs_below(path, DEEPEST, &mut folders)?;
            let mut first = BTreeMap::new();
            for run in &folders {
                if let (Some(arm), Some(config)) = (run.parent(), RunFolder::config(run)?) {
                    let started = started(&config).unwrap_or_default();
                    let first: &mut f64 = first.entry(arm.to_path_buf()).or_insert(started);
                    *first = first.min(started);
                }
            }
            folders.sort_by(|one, other| {
                let first = |run: &Path| run.parent().and_then(|arm| first.get(arm)).copied();
                first(one).partial_cmp(&first(other)).unwrap_or(Ordering::Equal)
            });
        }
        if folders.is_empty() {
            folders.push(path.to_path_buf());
        }
        Ok(folders)
    }

    /// Reads the runs in the folders that [`paths`](Self::paths) returns.
    pub(super) fn all(path: &Path) -> Result<Vec<Self>> {
        let read = |folder: PathBuf| {
            // STUDY/ARM/seed-N
            let arm = folder.parent().and_then(|arm| arm.strip_prefix(path).ok());
            let arm = arm.map(|arm| arm.display().to_string()).filter(|arm| !arm.is_empty());
            Ok(Self { arm, ..Self::read(&folder)? })
        };
        Self::paths(path)?.into_iter().map(read).collect()
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let Some(config) = RunFolder::config(path)? else {
            bail!(
                "{} is not a run folder: it has no config.json; give folders that `hebbian train` or `hebbian study` \
                 has written",
                path.display()
            )
        };
        // A model from elsewhere has no log.
        let history = match path.join("metrics.jsonl").exists() {
            true => RunFolder::history(path)?,
            false => History::default(),
        };
        let results = RunFolder::results(path)?;
        Ok(Self { path: path.to_path_buf(), arm: None, config, history, results })
    }

    /// Returns a model of the zoo as if it had a folder: without a log.
    pub(crate) fn of_model(name: &str, model: &Model) -> Self {
        let (config, history) = (model.config().clone(), History::default());
        Self { path: PathBuf::from(name), arm: None, config, history, results: None }
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.config[name].as_str().unwrap_or_default()
    }

    fn count(&self, name: &str) -> Option<usize> {
        usize::try_from(self.config[name].as_u64()?).ok()
    }

    pub(super) fn preset(&self) -> &str {
        self.config.pointer("/options/preset/name").and_then(Value::as_str).unwrap_or("a run")
    }

    /// Loads the images that the run was trained and tested with, with the splits as they were loaded (see
    /// [`splits`]); nothing is downloaded.
    ///
    /// # Errors
    /// Images that are not available, or that are not those of the run.
    pub(crate) fn images(&self, data_dir: Option<&Path>) -> Result<Dataset> {
        let name = self.text("dataset");
        let seed = self.config["seed"].as_u64().unwrap_or_default();
        let shape: (usize, usize, usize) = serde_json::from_value(self.config["image"].clone())
            .context("\"image\" in its config.json is not channels, height and width")?;
        let has_name = name.contains('/')
            || name.parse::<DatasetName>().is_ok()
            || Photographs::find(name).is_some();
        if data_dir.is_none() && !has_name {
            bail!("the images of {name} are in a folder of their own: name it with --data-dir");
        }
        let selection = Selection::of_run(&self.config)?;
        let options = selection.options(LoadOptions {
            data_dir: data_dir.filter(|_| name != "digits").map(Path::to_path_buf),
            offline: true,
            seed,
            ..LoadOptions::default()
        });
        let data = load_with_progress(name, &options, Arc::new(|_| ()))?;
        if data.train.stored_shape() != shape {
            bail!("images of {:?}, where the run had {shape:?}", data.train.stored_shape())
        }
        let had = self.config["class_names"].as_array();
        if let Some(had) = had.filter(|had| !had.iter().eq(&data.class_names)) {
            bail!(
                "the classes {}, where the run had {}: their labels mean something else",
                json!(data.class_names),
                json!(had)
            )
        }
        let validation = self.config["validation"].as_f64();
        let data = selection.cut(data, validation, self.count("labelled"), seed)?;
        let used = splits(&self.config, data.clone())?;
        let count = |name| self.count(name).unwrap_or_default();
        let had = (count("train_images") + count("validation_images"), count("test_images"));
        let found = (used.train.len(), used.test.len());
        if had != found {
            bail!(
                "{} training and {} test images, where the run had {} and {}: it chose them in another way",
                found.0,
                found.1,
                had.0,
                had.1
            )
        }
        // Runs of earlier versions have none.
        if let Some(had) = self.config["fingerprint"].as_str()
            && had != data.fingerprint()?
        {
            bail!("as many images as the run had, but others, or with other labels")
        }
        Ok(data)
    }

    /// Returns the model before its first step; `None` if it has nothing to learn, or started with loaded weights.
    ///
    /// # Errors
    /// Images of another shape.
    fn start(&self, model: &Model, data: &Dataset, device: &Device) -> Result<Option<Model>> {
        match (self.config["seed"].as_u64(), &self.config["load"]) {
            (Some(seed), Value::Null) => Ok(model.at_start(data, seed, device)?),
            _ => Ok(None),
        }
    }
}

/// How many levels below a folder runs are looked for: a study has a folder for each arm, and an arm one for each seed.
const DEEPEST: usize = 3;

/// When a run started or was resumed, in seconds since 1970; runs of earlier versions tell none.
fn started(config: &Value) -> Option<f64> {
    config.pointer("/environment/started").and_then(Value::as_f64)
}

fn is_run(folder: &Path) -> bool {
    folder.join("config.json").exists()
}

fn runs_below(folder: &Path, levels: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let mut below: Vec<PathBuf> = entries
        .filter_map(|entry| {
            entry.ok().filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()))
        })
        .map(|entry| entry.path())
        .collect();
    below.sort();
    for folder in below {
        if is_run(&folder) {
            found.push(folder);
        } else if levels > 1 {
            runs_below(&folder, levels - 1, found)?;
        }
    }
    Ok(())
}

/// A run in the report.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    folder: String,
    preset: String,
    description: String,
    method: String,
    dataset: String,
    seed: Option<u64>,
    complete: bool,
    /// The images that the accuracy is of: `test` or `validation`.
    part: &'static str,
    accuracy: Option<f64>,
    /// The numbers that are shown first, each with its label.
    facts: Vec<[String; 2]>,
    options: Vec<(String, String)>,
    readouts: Vec<Readout>,
    by_layer: Vec<Readable>,
    layers: Vec<Layer>,
    class_names: Vec<String>,
    confusion: Option<ConfusionMatrix>,
    mistakes: Option<Mistakes>,
    /// What else the method reports.
    more: Vec<(String, String)>,
    environment: Vec<(&'static str, String)>,
    /// Seconds since 1970.
    started: Option<f64>,
    command: Option<String>,
    /// What is left out, and why.
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Readout {
    name: String,
    features: usize,
    accuracy: f64,
    /// The deviation, where several random networks were read.
    sd: Option<f64>,
    seconds: f64,
}

/// What is computed by running the model on images, which takes time.
#[derive(Default, Clone)]
pub(super) struct Details {
    layers: Vec<Layer>,
    by_layer: Vec<Readable>,
    classified: Option<(ConfusionMatrix, Mistakes)>,
    notes: Vec<String>,
}

impl Details {
    /// Computes the details of the model in the folder, which may still be learning, for a page with the details of
    /// this many `runs`. What cannot be computed is left out, with a note.
    pub(super) fn of(
        folder: &Folder,
        data: Result<&Dataset, String>,
        device: &Device,
        runs: usize,
    ) -> Self {
        let mut details = Self::default();
        let model = match Model::load_on(&folder.path, device) {
            Ok(model) => model,
            Err(error) => {
                details.notes.push(format!("There are no weights to draw: {error}"));
                return details;
            }
        };
        let mut noted = |what: &str, error: String| {
            details.notes.push(format!("{what} left out: {error}"));
        };
        if let Err(problem) = &data {
            noted("What needs images is", problem.clone());
        }
        let used = data.ok().map(|data| splits(&folder.config, data.clone())).transpose();
        let data = match &used {
            Ok(used) => used.as_ref(),
            Err(error) => {
                noted("What needs images is", error.to_string());
                None
            }
        };
        let images = data.and_then(|data| Images::new(&data.test, &model));
        let start = match data.map(|data| folder.start(&model, data, device)) {
            Some(Ok(start)) => start,
            Some(Err(error)) => {
                noted("Units before learning are", format!("{error:#}"));
                None
            }
            None => None,
        };
        match layers(&model, start.as_ref(), images.as_ref(), device, runs) {
            Ok(layers) => details.layers = layers,
            Err(error) => noted("Layers are", format!("{error:#}")),
        }
        if let (Some(data), Some(images)) = (data, &images) {
            match classify(&model, images, device) {
                Ok(classified) => details.classified = classified,
                Err(error) => noted("Mistakes are", format!("{error:#}")),
            }
            match by_layer(&model, data, device) {
                Ok(readable) => details.by_layer = readable,
                Err(error) => noted("What can be read out of each layer is", format!("{error:#}")),
            }
        }
        details
    }
}

impl Run {
    pub(super) fn new(folder: &Folder, details: Details) -> Self {
        let Details { layers, by_layer, classified, notes } = details;
        let (config, results) = (&folder.config, folder.results.as_ref());
        let (computed, mistakes) = classified.unzip();
        let known = results.and_then(|results| results.confusion.clone());
        let preset = folder.preset().to_string();
        let method = folder.text("method").to_string();
        let dataset = folder.text("dataset").to_string();
        let seed = config["seed"].as_u64();
        let text = |place: &str| config.pointer(place).and_then(Value::as_str).unwrap_or_default();
        // The runs of a study have none of their own.
        let command = Some(text("/command").to_string()).filter(|command| !command.is_empty());
        Self {
            folder: folder.path.display().to_string(),
            description: text("/options/preset/description").to_string(),
            complete: results.is_some(),
            part: hebbian_train::part(config["validation"].as_f64()),
            accuracy: results.map(|results| results.test_accuracy),
            facts: facts(folder),
            options: choices(config),
            readouts: results.map_or_else(Vec::new, Readout::all),
            by_layer,
            layers,
            class_names: serde_json::from_value(config["class_names"].clone()).unwrap_or_default(),
            confusion: known.or(computed),
            mistakes,
            more: more(folder),
            environment: environment(folder),
            started: started(config),
            command,
            notes,
            preset,
            method,
            dataset,
            seed,
        }
    }
}

/// Returns what a run logged at only one moment, which makes no curve, and what else its method reports.
fn more(folder: &Folder) -> Vec<(String, String)> {
    let charts = charts(&[vec![&folder.history]], MOMENTS);
    let once = charts.iter().filter(|chart| !chart.is_drawn()).flat_map(Chart::first);
    let once = once.map(|(name, value)| (name, value.to_string()));
    let extras = folder.results.iter().flat_map(|results| &results.extras);
    let extras = extras.flat_map(|(name, value)| reported(&name.replace('_', " "), value));
    once.chain(extras).collect()
}

/// Flattens what a method reports under a name: a value, a list of numbers, or an object of such entries. Lists of
/// anything else are for programs, and are left out.
fn reported(name: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Null => Vec::new(),
        Value::Object(below) => below
            .iter()
            .flat_map(|(part, value)| {
                reported(&format!("{name}: {}", part.replace('_', " ")), value)
            })
            .collect(),
        Value::Array(all) => {
            let numbers: Option<Vec<f64>> = all.iter().map(Value::as_f64).collect();
            let numbers = numbers.filter(|numbers| !numbers.is_empty());
            let text = numbers.map(|numbers| numbers.into_iter().map(decimal).collect::<Vec<_>>());
            text.map(|text| (name.to_string(), text.join(", "))).into_iter().collect()
        }
        plain => vec![(name.to_string(), plain_text(plain))],
    }
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Readout {
    fn all(results: &Results) -> Vec<Self> {
        let named = results.readout_accuracies().into_iter();
        let of = |(name, accuracies): (&str, Vec<f64>)| {
            let Spread { mean, sd } = Spread::of(&accuracies)?;
            let each = || results.readouts.iter().filter(|readout| readout.name == name);
            Some(Self {
                name: name.to_string(),
                features: each().next()?.features,
                accuracy: mean,
                sd,
                seconds: each().map(|readout| readout.seconds).sum(),
            })
        };
        named.filter_map(of).collect()
    }
}

/// Returns the numbers that are shown first.
fn facts(folder: &Folder) -> Vec<[String; 2]> {
    let mut facts = Vec::new();
    let mut fact = |number: String, what: &str| facts.push([number, what.to_string()]);
    if let Some(results) = &folder.results {
        fact(thousands(results.train_images as u64), "training images");
        if results.unlabelled_images > 0 {
            fact(thousands(results.unlabelled_images as u64), "more without labels");
        }
        if results.training_steps > 0 {
            fact(decimal(results.training_epochs), "epochs of learning");
            fact(thousands(results.training_steps), "steps");
            fact(duration(results.training_seconds), "learning");
        }
        fact(duration(results.total_seconds), "in all");
    } else {
        fact(thousands(folder.count("train_images").unwrap_or_default() as u64), "training images");
        if let Some(last) = folder.history.0.last() {
            fact(duration(last.seconds), "so far");
        }
    }
    facts
}

/// Returns what a run was computed on.
fn environment(folder: &Folder) -> Vec<(&'static str, String)> {
    let (config, mut all) = (&folder.config, Vec::new());
    let mut put = |name, value: Option<String>| all.extend(value.map(|value| (name, value)));
    let text = |place: &str| config.pointer(place).map(plain_text).filter(|text| text != "null");
    put("hebbian", text("/version").map(|version| format!("version {version}")));
    put("device", text("/device"));
    put("processor", text("/environment/processor"));
    put("threads", text("/environment/threads"));
    put("products in f32", text("/environment/matmul_precision"));
    put("system", text("/environment/system"));
    put("weights from", text("/load"));
    if let Some(results) = &folder.results {
        put("learning", Some(duration(results.training_seconds)));
        if results.unsupervised_images_per_second > 0.0 {
            let speed = thousands(results.unsupervised_images_per_second as u64);
            put("speed", Some(format!("{speed} images a second")));
        }
        put("in all", Some(duration(results.total_seconds)));
        let megabytes = |bytes: u64| format!("{} MB", thousands(bytes >> 20));
        put("memory at most", results.peak_memory_bytes.map(megabytes));
    }
    all
}

/// With four decimals at most, or four digits if it is small: `10`, `0.25`, `2e-5`
fn decimal(number: f64) -> String {
    if number != 0.0 && number.abs() < 1e-3 {
        let rounded = format!("{number:.3e}").parse().unwrap_or(number);
        return format!("{rounded:e}");
    }
    format!("{number:.4}").trim_end_matches('0').trim_end_matches('.').to_string()
}

/// `12,345`
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `3.2 s`, `12 min`, `3 h 20 min`
fn duration(seconds: f64) -> String {
    match seconds {
        few if few < 100.0 => format!("{few:.1} s"),
        some if some < 6000.0 => format!("{:.0} min", some / 60.0),
        many => {
            let minutes = (many / 60.0).round();
            format!("{:.0} h {:.0} min", (minutes / 60.0).floor(), minutes % 60.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_method_reports_is_flat() {
        let value = serde_json::json!({
            "labels": 50, "shares": [0.8125, 1.0], "none": null, "of_each": [{ "a": 1 }], "by_name": { "b": "c" },
        });
        let want = [("few: by name: b", "c"), ("few: labels", "50"), ("few: shares", "0.8125, 1")];
        let want = want.map(|(name, text)| (name.to_string(), text.to_string()));
        assert_eq!(reported("few", &value), want);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([7, 1234, 1_234_567].map(thousands), ["7", "1,234", "1,234,567"]);
        assert_eq!([0.0, 0.25, 10.0, 100.0].map(decimal), ["0", "0.25", "10", "100"]);
        assert_eq!([0.00002, -0.000_651_04].map(decimal), ["2e-5", "-6.51e-4"]);
        assert_eq!([2.04, 720.0, 12_060.0].map(duration), ["2.0 s", "12 min", "3 h 21 min"]);
    }
}
