//! Trained models of any method, loaded from their folders.

use crate::for_each_method;
use crate::zoo::{self, Shipped};
use candle::{DType, Device, Tensor};
use candle_hebbian::{Rng, with_most_bytes};
use hebbian_data::transforms::{Pipeline, Transform};
use hebbian_data::{Dataset, Hub, OnProgress, Push, RepoKind};
use hebbian_train::{
    Checkpoint, Error, Learner, Method, Model as _, Preset, Result, Results, RunFolder, Start,
    Units, check_finite, save_bytes, save_checkpoint, save_json,
};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const RESULTS: &str = "results.json";
/// The largest number of pixels of an image, over all its channels: 10,000x10,000 in colour, as for the largest picture
/// that can be read.
const MOST_PIXELS: usize = 300_000_000;

/// A trained model of any method, together with the transforms that it was trained with. It takes images as they are in
/// the data set, or of any other size that the transforms turn into the network's.
///
/// ```
/// use candle::{DType, Device, Tensor};
/// use hebbian_models::Model;
/// let model = Model::from_zoo("softhebb-digits")?; // or load(folder), from_pretrained(id, revision)
/// let images = Tensor::zeros((5, 1, 8, 8), DType::F32, &Device::Cpu)?; // one's own, from 0 to 1
/// let features = model.features(&images)?; // (5, F)
/// let classes = model.predict(&images)?; // (5)
/// # assert_eq!((features.dims2()?.0, classes.dims1()?), (5, 5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Model {
    inner: Whole,
    method: String,
    preset: String,
    dataset: String,
    class_names: Vec<String>,
    /// The contents of the folder's `config.json`.
    config: Value,
    /// The files of the folder that describe the model, by name: the card, the results, pictures.
    about: Vec<(String, Vec<u8>)>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { inner, method, preset, dataset, .. } = self;
        write!(f, "Model({method}, {preset}, {dataset}, {:?})", inner.image)
    }
}

impl Model {
    /// Loads the model in a folder that a run has written, on the CPU.
    ///
    /// # Errors
    /// A folder without `config.json` or weights, a method that is not known here, or weights that belong to another
    /// network or are damaged, NaN or infinite.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self> {
        Self::load_on(folder, &Device::Cpu)
    }

    /// Loads the model in a folder that a run has written, on a device.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_on(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let folder = folder.as_ref();
        let mut config = RunFolder::config(folder)?;
        if config.is_none() {
            // A program that was killed while it replaced a run may have left the run in a subfolder.
            RunFolder::recover(folder)?;
            config = RunFolder::config(folder)?;
        }
        let Some(config) = config else {
            return Err(Error::Argument(format!(
                "{} is not a model folder: it has no {CONFIG}",
                folder.display()
            )));
        };
        let checkpoint = || Checkpoint::load(folder, device);
        Self::of(config, checkpoint, about(folder)?, &folder.join(CONFIG), device)
    }

    /// Loads the model with that name in the [`zoo`](crate::ZOO), which is compiled into the program, on the CPU.
    ///
    /// # Errors
    /// A name that is not in the zoo.
    pub fn from_zoo(name: &str) -> Result<Self> {
        Self::from_zoo_on(name, &Device::Cpu)
    }

    /// Loads the model with that name in the zoo, on a device.
    ///
    /// # Errors
    /// As [`from_zoo`](Self::from_zoo).
    pub fn from_zoo_on(name: &str, device: &Device) -> Result<Self> {
        let Shipped { config, weights, about } = zoo::find(name)?;
        let at = PathBuf::from(name).join(CONFIG);
        let config = serde_json::from_str(config).map_err(|source| Error::Json {
            what: format!("the configuration of {name}"),
            source,
        })?;
        let about = about.iter().map(|(file, text)| (file.to_string(), text.as_bytes().to_vec()));
        let checkpoint = || Checkpoint::embedded(name, weights, device);
        Self::of(config, checkpoint, about.collect(), &at, device)
    }

    /// Builds a model from its configuration, which was read from the file `at`, and its weights.
    fn of(
        config: Value,
        checkpoint: impl FnOnce() -> Result<Checkpoint>,
        about: Vec<(String, Vec<u8>)>,
        at: &Path,
        device: &Device,
    ) -> Result<Self> {
        let wrong = |what: &str| {
            Error::Argument(format!("{}: {what}; it may come from another version", at.display()))
        };
        let text = |name: &str| match config[name].as_str() {
            Some(text) => Ok(text.to_string()),
            None => Err(wrong(&format!("{name:?} is missing"))),
        };
        let (method, dataset) = (text("method")?, text("dataset")?);
        let image: (usize, usize, usize) = serde_json::from_value(config["image"].clone())
            .map_err(|_| wrong("\"image\" is not channels, height and width"))?;
        let pixels = image.0.checked_mul(image.1).and_then(|part| part.checked_mul(image.2));
        if !pixels.is_some_and(|pixels| (1..=MOST_PIXELS).contains(&pixels)) {
            return Err(wrong(&format!("\"image\" has not 1 to {MOST_PIXELS} pixels")));
        }
        let class_names: Vec<String> = serde_json::from_value(config["class_names"].clone())
            .map_err(|_| wrong("\"class_names\" are missing"))?;
        let (options, classes) = (&config["options"], class_names.len());
        let Known { whole, .. } = known(&method).map_err(|problem| wrong(&problem))?;
        let (inner, preset) = whole(options, image, classes, device, Box::new(checkpoint))?;
        for (name, tensor) in inner.tensors() {
            check_finite(&name, 0, &tensor)?;
        }
        Ok(Self { inner, method, preset, dataset, class_names, config, about })
    }

    /// Loads the model in a repository of the Hugging Face hub, on the CPU: `config.json` and `model.safetensors`, as a
    /// run writes them. `id` is `owner/name`, `revision` a branch, tag or commit (`main`). Files that are already in
    /// the hub's cache need no network. The environment variables are those of `huggingface_hub`.
    ///
    /// # Errors
    /// Files that do not exist, were not downloaded completely, or are not a model.
    pub fn from_pretrained(id: &str, revision: &str) -> Result<Self> {
        let silent: OnProgress = Arc::new(|_| ());
        Self::load(fetch(&Hub::from_env(), id, revision, &silent)?)
    }

    /// Writes the model into a folder, which is created: `config.json`, `model.safetensors`, and those of `README.md`
    /// (the card), `results.json` and pictures (`*.png`) that were in the folder that it was loaded from.
    ///
    /// # Errors
    /// A folder that already holds one of these files, or cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let mut paths = self.files().map(|name| folder.join(name));
        if let Some(there) = paths.find(|path| path.exists()) {
            return Err(Error::Argument(format!(
                "{} is there already, and is left as it is: choose another folder",
                there.display()
            )));
        }
        std::fs::create_dir_all(folder).map_err(|source| Error::Io {
            action: "make the folder",
            path: folder.to_path_buf(),
            source,
        })?;
        let about = [
            ("method", self.method.as_str()),
            ("preset", &self.preset),
            ("dataset", &self.dataset),
            ("version", env!("CARGO_PKG_VERSION")),
        ];
        let about = about.map(|(key, value)| (key.to_string(), value.to_string()));
        save_checkpoint(folder.join(WEIGHTS), &self.inner.tensors(), &about.into())?;
        for (name, bytes) in &self.about {
            save_bytes(folder.join(name), bytes)?;
        }
        let mut config = self.config.clone();
        for name in ["load", "command", "environment"] {
            if let Some(value) = config.get_mut(name) {
                // These hold paths on the machine that trained the model, and describe that machine.
                *value = Value::Null;
            }
        }
        save_json(folder.join(CONFIG), &config)
    }

    /// Pushes the model to a repository of the Hugging Face hub, `owner/name`, which is created as a public one if it
    /// does not exist. Returns the address of the commit. The token is the one of `huggingface_hub`'s environment:
    /// `HF_TOKEN`, or the one that `hf auth login` has stored.
    ///
    /// # Errors
    /// As [`push_to`](Self::push_to).
    pub fn push(&self, id: &str) -> Result<String> {
        let silent: OnProgress = Arc::new(|_| ());
        self.push_to(&Hub::from_env(), id, "main", false, &silent)
    }

    /// Pushes what [`save`](Self::save) writes to a branch of a repository, in one commit; see [`Hub::push`].
    ///
    /// # Errors
    /// A hub that cannot be reached, or that refuses the push: without a token, or with one that may not write there.
    pub fn push_to(
        &self,
        hub: &Hub,
        id: &str,
        branch: &str,
        private: bool,
        on_progress: &OnProgress,
    ) -> Result<String> {
        let folder = tempfile::tempdir().map_err(|source| Error::Io {
            action: "make a folder in",
            path: std::env::temp_dir(),
            source,
        })?;
        self.save(folder.path())?;
        let files: Vec<String> = self.files().map(str::to_string).collect();
        let message = format!("{}: {}, trained on {}", self.method, self.preset, self.dataset);
        let (folder, message) = (folder.path(), &message);
        let push = Push { folder, files: &files, repo: id, branch, private, message };
        Ok(hub.push(&push, on_progress)?)
    }

    /// The names of the files in the model's folder.
    fn files(&self) -> impl Iterator<Item = &str> {
        [CONFIG, WEIGHTS].into_iter().chain(self.about.iter().map(|(name, _)| name.as_str()))
    }

    /// Returns the features `(B, F)` that classes are read out of, for images `(B, C, H, W)` with values from 0 to 1.
    ///
    /// # Errors
    /// Images of another size.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.inner.features(images)
    }

    /// Returns the features of layer number `layer`, counted from 0, in the layer's own shape.
    ///
    /// # Errors
    /// Images of another size; a layer that does not exist.
    pub fn layer_features(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        self.inner.layer_features(layer, images)
    }

    /// Returns the class of each image, `(B)`, u32: an index into [`class_names`](Self::class_names).
    ///
    /// # Errors
    /// Images of another size; a read-out that was not trained.
    pub fn predict(&self, images: &Tensor) -> Result<Tensor> {
        self.inner.predict(images)
    }

    /// Returns the read-out's scores for each class of each image, `(B, classes)`: the largest is that of the class
    /// that [`predict`](Self::predict) returns. Differentiable in the images if the method supports this and a gradient
    /// passes the [`transforms`](Self::transforms), as for [`Pipeline::apply_to`].
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn scores(&self, images: &Tensor) -> Result<Tensor> {
        self.inner.scores(images)
    }

    /// Returns the same network with random weights, drawn by `seed` and not trained, and without a read-out: a
    /// control. Everything that is not learning is done with the training images of `data`: whitening, scaling,
    /// batch-norm statistics. With the seed of the run, these are the weights that it started from. `None` if the
    /// method does not learn in steps: k-means and random patches.
    ///
    /// # Errors
    /// Images of another shape than the model was trained with.
    pub fn random(&self, data: &Dataset, seed: u64, device: &Device) -> Result<Option<Self>> {
        self.unlearned(data, seed, device, true)
    }

    /// Returns the same control, but in the state before the first step of a run with this seed: with the weights as
    /// drawn, and with whitening if the method needs it to learn, but without statistics of the layers' responses to
    /// the images.
    ///
    /// # Errors
    /// As [`random`](Self::random).
    pub fn at_start(&self, data: &Dataset, seed: u64, device: &Device) -> Result<Option<Self>> {
        self.unlearned(data, seed, device, false)
    }

    fn unlearned(
        &self,
        data: &Dataset,
        seed: u64,
        device: &Device,
        calibrated: bool,
    ) -> Result<Option<Self>> {
        let Whole { transforms, image, seen, .. } = &self.inner;
        if data.train.stored_shape() != *image {
            return Err(Error::Argument(format!(
                "images of shape {:?}: this model was trained with {image:?}",
                data.train.stored_shape(),
            )));
        }
        let data = data.clone().with_transforms(transforms.clone(), Pipeline::default())?;
        let start = Start { rng: Rng::new(seed), device: device.clone(), quiet: true };
        let Known { random, .. } = known(&self.method).map_err(Error::Argument)?;
        let Some(network) = random(&self.config["options"], &data, &start, calibrated)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            inner: Whole { transforms: transforms.clone(), image: *image, seen: *seen, network },
            method: self.method.clone(),
            preset: self.preset.clone(),
            dataset: self.dataset.clone(),
            class_names: self.class_names.clone(),
            config: self.config.clone(),
            about: Vec::new(),
        }))
    }

    /// The number of layers that have [features](Self::layer_features).
    pub fn layers(&self) -> usize {
        self.inner.layers()
    }

    /// The name of the method, such as `softhebb`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The name of the preset.
    pub fn preset(&self) -> &str {
        &self.preset
    }

    /// Returns the results of the run that trained the model, if they are in its folder.
    ///
    /// # Errors
    /// A `results.json` that does not have the format of a run's results.
    pub fn results(&self) -> Result<Option<Results>> {
        let found = self.about.iter().find(|(name, _)| name == RESULTS);
        let results = found.map(|(_, bytes)| {
            serde_json::from_slice(bytes)
                .map_err(|source| Error::Json { what: RESULTS.to_string(), source })
        });
        results.transpose()
    }

    /// The name of the data set that the model was trained on.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// The contents of the model's `config.json`.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Channels, height and width of the images that the model was trained with.
    pub fn image(&self) -> (usize, usize, usize) {
        self.inner.image
    }

    /// Whether the model takes images of this shape: channels, height and width. It takes those of
    /// [`image`](Self::image) and, where its transforms resize or crop, others.
    pub fn takes(&self, image: (usize, usize, usize)) -> bool {
        self.inner.takes(image)
    }

    /// The name of each class.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The transforms that images pass through before the network sees them.
    pub fn transforms(&self) -> &Pipeline {
        &self.inner.transforms
    }

    /// The network without the transforms; it takes images of the shape [`seen`](Self::seen).
    pub fn network(&self) -> &dyn hebbian_train::Model {
        &*self.inner.network
    }

    /// Channels, height and width of an image after the transforms.
    pub fn seen(&self) -> (usize, usize, usize) {
        self.inner.seen
    }

    /// The network with its transforms, as the engine evaluates it; it takes images as [`features`](Self::features)
    /// does.
    pub fn inner(&self) -> &dyn hebbian_train::Model {
        &self.inner
    }
}

/// A network with the transforms that images pass through before it sees them.
struct Whole {
    transforms: Pipeline,
    /// The shape of the images that the network was trained with, before the transforms.
    image: (usize, usize, usize),
    /// The shape of an image after the transforms.
    seen: (usize, usize, usize),
    network: Box<dyn hebbian_train::Model>,
}

impl Whole {
    /// Whether images of a shape have the size of the training images after the transforms.
    fn takes(&self, image: (usize, usize, usize)) -> bool {
        self.transforms.shape(image).ok() == Some(self.seen)
    }

    /// Applies the transforms to images that have the size of the training images after them. Networks compute in f32.
    fn transformed(&self, images: &Tensor) -> Result<Tensor> {
        if !images.dtype().is_float() {
            return Err(Error::Argument(format!(
                "images of {:?}: this model takes floating-point numbers, pixels from 0 to 1",
                images.dtype()
            )));
        }
        match images.dims() {
            &[_, channels, height, width] if self.takes((channels, height, width)) => {
                Ok(self.transforms.apply_to(&images.to_dtype(DType::F32)?)?)
            }
            found => {
                let (c, h, w) = self.image;
                Err(Error::Argument(format!(
                    "images of shape {found:?}: this model takes (batch, {c}, {h}, {w})"
                )))
            }
        }
    }
}

impl hebbian_train::Model for Whole {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        self.network.tensors().into_iter().chain(self.transforms.tensors()).collect()
    }

    /// Restores only the network: the transforms already have their tensors.
    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.network.restore(checkpoint)
    }

    fn layers(&self) -> usize {
        self.network.layers()
    }

    fn layer_features(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        self.network.layer_features(layer, &self.transformed(images)?)
    }

    fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.network.features(&self.transformed(images)?)
    }

    fn scores(&self, images: &Tensor) -> Result<Tensor> {
        self.network.scores(&self.transformed(images)?)
    }

    fn units(&self) -> Result<Vec<Units>> {
        self.network.units()
    }

    fn responses(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        self.network.responses(layer, &self.transformed(images)?)
    }
}

/// Fetches the model in a repository of the hub and returns its folder in the hub's cache, for [`Model::load`].
///
/// # Errors
/// Files that do not exist or were not downloaded completely.
pub fn fetch(hub: &Hub, id: &str, revision: &str, on_progress: &OnProgress) -> Result<PathBuf> {
    let fetch = |file| hub.fetch(RepoKind::Model, id, revision, file, on_progress);
    fetch(WEIGHTS)?;
    let config = fetch(CONFIG)?;
    Ok(config.parent().map(Path::to_path_buf).unwrap_or_default())
}

/// Reads the files of a model's folder that describe the model, not the run that trained it.
fn about(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let unread = |source| Error::Io { action: "read", path: folder.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let picture = name.ends_with(".png") && !name.starts_with('.');
        if (picture || ["README.md", RESULTS].contains(&name)) && path.is_file() {
            let bytes = std::fs::read(&path).map_err(unread)?;
            files.push((name.to_string(), bytes));
        }
    }
    files.sort();
    Ok(files)
}

/// Opens a checkpoint.
type Open<'a> = Box<dyn FnOnce() -> Result<Checkpoint> + 'a>;

/// Makes a model from a method's options, the shape of the images, the number of classes and a function that opens the
/// checkpoint; also returns the name of the preset.
type Make = fn(&Value, (usize, usize, usize), usize, &Device, Open<'_>) -> Result<(Whole, String)>;

/// Makes a network with random weights from a method's options, the images that it would learn from, the start of its
/// run, and whether it is calibrated; `None` if there is nothing to learn.
type Random = fn(&Value, &Dataset, &Start, bool) -> Result<Option<Box<dyn hebbian_train::Model>>>;

/// A method's name, and the functions that make its models.
#[derive(Clone, Copy)]
struct Known {
    name: &'static str,
    whole: Make,
    random: Random,
    splits: fn(&Value, Dataset) -> Result<Dataset>,
    is_swapped: fn(&Value) -> Result<bool>,
}

macro_rules! all_known {
    ($($module:ident::$method:ident)*) => {
        [$(Known {
            name: crate::$module::$method::NAME,
            whole: whole::<crate::$module::$method>,
            random: random::<crate::$module::$method>,
            splits: splits_of::<crate::$module::$method>,
            is_swapped: is_swapped_of::<crate::$module::$method>,
        }),*]
    };
}

/// Returns the method called `name`, or a description of what is wrong with the name.
fn known(name: &str) -> std::result::Result<Known, String> {
    let all = for_each_method!(all_known);
    match all.iter().find(|known| known.name == name) {
        Some(known) => Ok(*known),
        None => {
            let all = all.map(|known| known.name).join(", ");
            Err(format!("its method is {name:?}, expected one of {all}"))
        }
    }
}

/// Returns the data set with the splits that the run with this `config.json` used: the images that it learned from as
/// the training images, and those that it was tested with as the test images.
///
/// # Errors
/// The configuration of an unknown method, or of another version.
pub fn splits(config: &Value, data: Dataset) -> Result<Dataset> {
    let method = config["method"].as_str().unwrap_or_default();
    (known(method).map_err(Error::Argument)?.splits)(&config["options"], data)
}

/// Returns whether a run with this configuration learns from the test images of its data set, and is tested with
/// training images.
///
/// # Errors
/// As [`splits`].
pub fn is_swapped(config: &Value) -> Result<bool> {
    let method = config["method"].as_str().unwrap_or_default();
    (known(method).map_err(Error::Argument)?.is_swapped)(&config["options"])
}

fn is_swapped_of<M: Method>(of: &Value) -> Result<bool> {
    Ok(M::is_swapped(&options::<M>(of)?))
}

fn splits_of<M: Method>(of: &Value, data: Dataset) -> Result<Dataset> {
    Ok(M::splits(&options::<M>(of)?, data))
}

/// Reads the options of a model of the method `M`.
fn options<M: Method>(options: &Value) -> Result<M::Options> {
    serde_json::from_value(options.clone()).map_err(|error| {
        Error::Argument(format!(
            "the options of a model of {}: {error}; it may come from another version",
            M::NAME
        ))
    })
}

/// Makes a network of the method `M` with random weights.
fn random<M: Method>(
    options: &Value,
    data: &Dataset,
    start: &Start,
    calibrated: bool,
) -> Result<Option<Box<dyn hebbian_train::Model>>>
where
    <M::Learner as Learner>::Model: 'static,
{
    let mut learner = M::learner(&self::options::<M>(options)?, data, start)?;
    if learner.total().steps == 0 {
        return Ok(None);
    }
    learner.begin()?;
    if calibrated {
        learner.calibrate()?;
    }
    Ok(Some(Box::new(learner.into_model())))
}

/// Makes a model of the method `M`; also returns the name of its preset.
fn whole<M: Method>(
    options: &Value,
    image: (usize, usize, usize),
    classes: usize,
    device: &Device,
    open: Open<'_>,
) -> Result<(Whole, String)>
where
    <M::Learner as Learner>::Model: 'static,
{
    let options = self::options::<M>(options)?;
    let preset = M::preset(&options);
    let list = &preset.input().transforms;
    let seen = Pipeline::unfitted(list)?.shape(image)?;
    let mut checkpoint = open()?;
    // A network that is too large for the file is refused before it takes memory. Numbers of 4 bytes may take only one
    // in the file.
    let most = 8 * checkpoint.bytes() as u64 + (1 << 20);
    let network = with_most_bytes(most, || M::model(&options, seen, classes, device));
    let mut network = Box::new(network?);
    let take = |name: &str, shape: &[usize]| checkpoint.take(name, shape, DType::F32);
    let transforms = Pipeline::restore(list, image, take)?;
    network.restore(&mut checkpoint)?;
    Ok((Whole { transforms, image, seen, network }, preset.heading().name.to_string()))
}
