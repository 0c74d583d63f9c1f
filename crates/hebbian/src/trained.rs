//! The commands that use a trained model: `eval`, `predict` and `features`.

use crate::data_args::{DataArgs, learned_note, loading};
use crate::paths::{is_of_run, same_file, same_path, writable};
use crate::selection::Selection;
use crate::{DeviceArgs, tell};
use anyhow::{Context, Result, bail};
use candle::{D, DType};
use candle_hebbian::device::to_host;
use hebbian_data::{Dataset, ImageSet, LoadOptions, load_pictures};
use hebbian_models::{Model, ZOO, is_swapped, splits};
use hebbian_train::{Cell, Progress, Table, collect_features, evaluate, part, save_checkpoint};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Images per batch.
const BATCH: usize = 100;

/// Classify a test set with a trained model.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct EvalArgs {
    /// The model's folder, or a name from `hebbian list`
    model: PathBuf,
    /// Also write a table of the images (CSV): number, file (and row, if that is a table), class, and the class that
    /// the model predicts
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Classify pictures that have no labels with a trained model.
///
/// A picture of another size than the model's images is resized and cropped as by --image-size, if these are square.
#[derive(Debug, clap::Args)]
pub(crate) struct PredictArgs {
    /// The model's folder, or a name from `hebbian list`
    model: PathBuf,
    /// Pictures (PNG, JPEG, WebP or BMP), and folders of pictures, which are searched at any depth
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
    /// Also write a table of the pictures (CSV): file, predicted class, and the model's score for each class; the
    /// largest score wins, and scores are not probabilities
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Leave out broken pictures
    #[arg(long)]
    skip_bad: bool,
    /// Show no progress, only the result
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Write the features that a trained model computes of images.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct FeaturesArgs {
    /// The model's folder, or a name from `hebbian list`
    model: PathBuf,
    /// The file to write: safetensors with `train.features`, `train.labels`, `test.features`,
    /// `test.labels`, and, in the metadata, `dataset`, `class_names` (JSON, in the order of the labels) and `layer`
    #[arg(long, value_name = "FILE", default_value = "features.safetensors")]
    to: PathBuf,
    /// Number of the layer, from 1, the one that sees the image [default: the read-out's features]
    #[arg(long)]
    layer: Option<NonZeroUsize>,
    /// Also write a table of the images (CSV): split, number (their row of the features), file (and row, if that is a
    /// table) and class
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Returns the name of the model of the zoo that is meant by a path: one that has this name, where nothing else has.
pub(crate) fn in_zoo(path: &Path) -> Option<&'static str> {
    ZOO.iter().copied().find(|name| path == Path::new(name) && !path.exists())
}

/// Loads the model in a folder or, if there is no such folder, the one of that name in the zoo.
fn model(at: &Path, device: &candle::Device, quiet: bool) -> Result<Model> {
    match in_zoo(at) {
        Some(name) => Ok(Model::from_zoo_on(name, device)?),
        None if !at.exists() => bail!(
            "there is no folder {}, and no model of this name comes with the program: those are {}",
            at.display(),
            ZOO.join(", ")
        ),
        None => {
            if !quiet && at.join("run.json").is_file() && !at.join("results.json").exists() {
                let run = at.display();
                tell(&format!(
                    "note: the run in {run} has not ended: these are the weights of its last checkpoint"
                ));
            }
            Ok(Model::load_on(at, device)?)
        }
    }
}

/// Checks that the file of a flag can be written, and that it is not one of the files in the folder of a model.
fn check_target(flag: &str, file: &Path, model: &Path) -> Result<()> {
    if is_of_run(file, model) {
        bail!("{flag} {} is a file of the model: choose another one", file.display());
    }
    writable(flag, file)
}

fn check_table(file: Option<&Path>, model: &Path) -> Result<()> {
    file.map_or(Ok(()), |file| check_target("--table", file, model))
}

/// Checks that the file of a flag is none of the pictures that are read.
fn check_pictures(flag: &str, file: Option<&Path>, sets: &[&ImageSet]) -> Result<()> {
    let Some(file) = file.filter(|file| file.exists()) else { return Ok(()) };
    let is_it = |set: &&ImageSet| {
        let mut files = (0..set.len()).filter_map(|image| set.file(image));
        files.any(|(picture, _)| same_path(&picture, file))
    };
    if sets.iter().any(is_it) {
        bail!("{flag} {} is one of the pictures: choose another file", file.display());
    }
    Ok(())
}

/// Loads the images that a model is to see, and says what those to test with are: `test` or `validation` images. They
/// are those of the flags, or else of the data set that it was trained on. Where flags are not given, they are read and
/// split as the run did, also into images to learn from and to validate; `--validation 0` is for the test images.
fn images_for(model: &Model, args: &DataArgs) -> Result<(Dataset, &'static str)> {
    let mut args = args.clone();
    let own_set = args.dataset.as_deref().is_none_or(|name| name == model.dataset());
    let asked = args.selection.test_split.is_some() || args.selection.test_share.is_some();
    args.selection = args.selection.or_of(Selection::of_run(model.config())?, own_set);
    let is_own = !asked && args.name(model.dataset())? == model.dataset();
    let of_run = is_own.then(|| model.config()["validation"].as_f64()).flatten();
    args.validation = args.validation.or(of_run).filter(|share| *share != 0.0);
    let seed = model.config()["seed"].as_u64().unwrap_or_default();
    let in_roles = own_set && (args.dataset.is_some() || args.data_dir.is_none());
    if in_roles && is_swapped(model.config())? {
        if let Some(share) = args.validation {
            bail!(
                "--validation {share}: {} learned the test images of {} and is tested with training images, of which it \
                 has held out none: leave it out",
                model.preset(),
                model.dataset(),
            );
        }
        args.selection = args.selection.swapped();
    }
    let note = learned_note(args.validation, &model.config()["validation"]);
    if let (true, Some(note)) = (is_own && !args.quiet, note) {
        tell(&note);
    }
    let mut data = args.dataset(model.dataset(), seed)?;
    if in_roles {
        data = splits(model.config(), data)?;
    }
    let (found, expected) = (data.test.stored_shape(), model.image());
    if !model.takes(found) {
        let size = |(channels, height, width)| format!("{channels}x{height}x{width}");
        let resized = (found.1, found.2) == (expected.1, expected.2);
        let advice = if resized { "convert them" } else { "resize them with --image-size" };
        bail!(
            "the images of {} are {} (channels, height, width), but this model takes {}: choose others with \
             --dataset or --data-dir, or {advice}",
            data.name,
            size(found),
            size(expected),
        );
    }
    Ok((data, part(args.validation)))
}

impl EvalArgs {
    pub(crate) fn run(self) -> Result<String> {
        let device = self.device.choose()?.device;
        let model = model(&self.model, &device, self.data.quiet)?;
        if self.data.selection.limit_train.is_some() || self.data.labelled.is_some() {
            bail!(
                "--limit-train and --labelled choose images to learn from: eval learns from none"
            );
        }
        check_table(self.table.as_deref(), &self.model)?;
        let (data, part) = images_for(&model, &self.data)?;
        let data = data.with_class_names(model.class_names())?;
        let (classes, test) = (model.class_names().len(), &data.test);
        if test.is_empty() {
            bail!("{} has no {part} images: give more images, or another --test-share", data.name);
        }
        check_pictures("--table", self.table.as_deref(), &[test])?;
        let mut progress = Progress::new(test.len() as u64, "test", self.data.quiet);
        let found = evaluate(model.inner(), test, classes, &device, &mut progress)?;
        progress.finish();
        let mut text = format!(
            "{part} accuracy {:.2} %\n{} {part} images\n\nof each class, recognised %\n",
            100.0 * found.accuracy,
            test.len()
        );
        // A class without images has no share.
        let recalls = model.class_names().iter().zip(found.confusion.recall());
        for (name, recall) in recalls.filter(|(_, recall)| recall.is_finite()) {
            writeln!(text, "  {name:20} {:6.2}", 100.0 * recall)?;
        }
        if let Some(file) = &self.table {
            let mut table = Table::new(["image", "file", "row", "class", "predicted"]);
            for (image, &predicted) in found.predicted.iter().enumerate() {
                let [file, row, class] = origin(test, image, &data.class_names);
                let predicted = data.class_names[predicted as usize].clone();
                table.row([image.into(), file, row, class, predicted.into()])?;
            }
            table.save_csv(file)?;
            writeln!(text, "\nwrote {}", file.display())?;
        }
        Ok(text)
    }
}

impl PredictArgs {
    pub(crate) fn run(self) -> Result<String> {
        let device = self.device.choose()?.device;
        let model = model(&self.model, &device, self.quiet)?;
        check_table(self.table.as_deref(), &self.model)?;
        let options = LoadOptions { skip_bad: self.skip_bad, ..LoadOptions::default() };
        let set = load_pictures(&self.pictures, model.image(), &options, &loading(self.quiet))?;
        check_pictures("--table", self.table.as_deref(), &[&set])?;
        let mut progress = Progress::new(set.len() as u64, "pictures", self.quiet);
        let mut text = String::new();
        let names = model.class_names();
        let scores = names.iter().map(|name| format!("score of {name}"));
        let columns = ["file", "predicted"].map(str::to_string).into_iter().chain(scores);
        let (mut shown, mut all) = (Table::new(["file", "predicted"]), Table::new(columns));
        for indices in set.in_order(BATCH)? {
            let (images, _) = set.batch(&indices, DType::F32, &device)?;
            // The largest score is that of the prediction.
            let (predicted, scores) = match self.table {
                Some(_) => {
                    let scores = to_host(&model.scores(&images)?)?;
                    (scores.argmax(D::Minus1)?, scores.to_vec2::<f64>()?)
                }
                None => (model.predict(&images)?, vec![Vec::new(); indices.len()]),
            };
            let predicted = predicted.to_vec1::<u32>()?;
            progress.advance(indices.len() as u64);
            for ((&image, predicted), scores) in indices.iter().zip(predicted).zip(scores) {
                let [file, ..] = origin(&set, image, names);
                let row = [file, names[predicted as usize].clone().into()];
                shown.row(row.clone())?;
                if self.table.is_some() {
                    all.row(row.into_iter().chain(scores.into_iter().map(Cell::from)))?;
                }
            }
        }
        progress.finish();
        write!(text, "{shown}")?;
        if let Some(file) = &self.table {
            all.save_csv(file)?;
            writeln!(text, "\nwrote {}", file.display())?;
        }
        Ok(text)
    }
}

/// The file of an image, the row of the image in it if it is a table, and the image's class: each is empty if it is not
/// known.
fn origin(set: &ImageSet, image: usize, class_names: &[String]) -> [Cell; 3] {
    let (file, row) = set.file(image).map_or((None, None), |(file, row)| (Some(file), row));
    let file = file.map_or(Cell::Empty, |file| file.display().to_string().into());
    let class = class_names.get(set.labels()[image] as usize);
    [file, row.map_or(Cell::Empty, Cell::from), class.cloned().map_or(Cell::Empty, Cell::from)]
}

impl FeaturesArgs {
    pub(crate) fn run(self) -> Result<String> {
        let device = self.device.choose()?.device;
        let model = model(&self.model, &device, self.data.quiet)?;
        let layers = model.layers();
        if let Some(layer) = self.layer.filter(|layer| layer.get() > layers) {
            bail!("--layer {layer} is not there: the model has {layers}, counted from 1");
        }
        check_target("--to", &self.to, &self.model)?;
        check_table(self.table.as_deref(), &self.model)?;
        if self.table.as_ref().is_some_and(|table| same_file(table, &self.to)) {
            bail!("--to and --table are both {}: choose another name for one", self.to.display());
        }
        let (data, part) = images_for(&model, &self.data)?;
        for (flag, file) in [("--to", Some(&*self.to)), ("--table", self.table.as_deref())] {
            check_pictures(flag, file, &[&data.train, &data.test])?;
        }
        let mut tensors = Vec::new();
        let mut table = Table::new(["split", "image", "file", "row", "class"]);
        for (part, set) in [("train", &data.train), ("test", &data.test)] {
            let mut progress = Progress::new(set.len() as u64, part, self.data.quiet);
            let batches = set.in_order(BATCH)?;
            let features = collect_features(batches, &candle::Device::Cpu, |indices| {
                let (images, _) = set.batch(indices, DType::F32, &device)?;
                progress.advance(indices.len() as u64);
                match self.layer {
                    Some(layer) => model.layer_features(layer.get() - 1, &images),
                    None => model.features(&images),
                }
            })?;
            progress.finish();
            let labels = candle::Tensor::new(set.labels(), &candle::Device::Cpu)?;
            for image in 0..set.len() {
                let [file, row, class] = origin(set, image, &data.class_names);
                table.row([part.into(), image.into(), file, row, class])?;
            }
            tensors.push((format!("{part}.features"), features));
            tensors.push((format!("{part}.labels"), labels));
        }
        let shape = tensors[0].1.dims().to_vec();
        let layer = self.layer.map_or("read-out".to_string(), |layer| layer.to_string());
        let class_names = serde_json::to_string(&data.class_names)?;
        let metadata = [("dataset", data.name), ("class_names", class_names), ("layer", layer)];
        let metadata = BTreeMap::from(metadata.map(|(name, value)| (name.to_string(), value)));
        save_checkpoint(&self.to, &tensors, &metadata)
            .with_context(|| format!("--to {}", self.to.display()))?;
        let mut text = format!(
            "wrote {}: {shape:?} features of training images; test.features are of the {part} images\n",
            self.to.display()
        );
        if let Some(file) = &self.table {
            table.save_csv(file)?;
            writeln!(text, "wrote {}", file.display())?;
        }
        Ok(text)
    }
}
