//! The commands of `hebbian`.

use crate::DeviceArgs;
use crate::analyse::AnalyseArgs;
use crate::bench::BenchArgs;
use crate::common::{DataArgs, in_zoo, loading, writable};
use crate::data::ShowArgs;
use crate::door::{Door, DoorArgs, list_of};
use crate::folded::folded;
use crate::report::{ReportArgs, legend};
use crate::reproduce::ReproduceArgs;
use crate::search::SearchArgs;
use crate::selection::Selection;
use crate::verify::{VerifyArgs, verify};
use anyhow::{Context, Result, bail};
use candle::DType;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use hebbian_data::{Dataset, Hub};
use hebbian_models::{Model, ZOO, splits};
use hebbian_train::{Progress, collect_features, evaluate, save_checkpoint};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// A command to begin with, for `--help`.
const BEGIN: &str = "To begin: hebbian train softhebb";

/// Networks of Hebbian and biologically plausible learning: train, evaluate, compare
#[derive(Debug, Parser)]
#[command(
    name = "hebbian",
    version = crate::VERSION,
    arg_required_else_help = true,
    after_help = BEGIN
)]
pub struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List presets and experiments
    List {
        /// Only of this method
        #[arg(value_enum)]
        method: Option<Name>,
    },
    /// Train a network
    #[command(after_help = BEGIN)]
    Train {
        #[command(subcommand)]
        method: MethodArgs,
    },
    /// Run an experiment of a paper (several networks, several seeds, a table and a picture), or search for a preset's
    /// numbers
    Study {
        #[command(subcommand)]
        study: StudyArgs,
    },
    Report(ReportArgs),
    Analyse(AnalyseArgs),
    Reproduce(ReproduceArgs),
    /// Describe a data set, and draw what a network sees of it
    Data(ShowArgs),
    /// Classify a test set with a trained model
    Eval(EvalArgs),
    /// Write the features that a trained model computes of images
    Features(FeaturesArgs),
    /// Download a model from the Hugging Face hub, and print its folder
    Pull {
        /// OWNER/NAME, or OWNER/NAME@REVISION
        id: String,
        /// Never use the network
        #[arg(long)]
        offline: bool,
        /// Show no progress
        #[arg(long)]
        quiet: bool,
    },
    /// Upload a model to the Hugging Face hub (weights, configuration, card, results, pictures), and print its
    /// address; the token is HF_TOKEN, or that of `hf auth login`
    Push {
        /// The model's folder
        model: PathBuf,
        /// OWNER/NAME, or OWNER/NAME@BRANCH
        id: String,
        /// Make the repository private
        #[arg(long)]
        private: bool,
        /// Show no progress
        #[arg(long)]
        quiet: bool,
    },
    /// Check the reference vectors on this device
    Verify(VerifyArgs),
    Bench(BenchArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum StudyArgs {
    #[command(flatten)]
    Experiment(MethodArgs),
    /// Search for the numbers of a preset, at random or by successive halving, on images held out of the training set
    Search {
        #[command(subcommand)]
        method: SearchArgsOf,
    },
}

/// Defines what each method has: its name, its arguments for training and studies, and those for a search.
macro_rules! of_each_method {
    ($($module:ident::$method:ident)*) => {
        #[derive(Debug, Clone, Copy, ValueEnum)]
        enum Name {
            $($method,)*
        }

        impl Name {
            fn list(self) -> Result<String> {
                match self {
                    $(Self::$method => list_of::<hebbian_models::$module::$method>(),)*
                }
            }
        }

        #[derive(Debug, Subcommand)]
        enum MethodArgs {
            $(
                #[command(
                    about = <hebbian_models::$module::$method as Door>::ABOUT,
                    after_long_help = legend(<hebbian_models::$module::$method as Door>::NUMBERS)
                )]
                $method(DoorArgs<<hebbian_models::$module::$method as Door>::Flags>),
            )*
        }

        impl MethodArgs {
            fn run(self, study: bool) -> Result<String> {
                match self {
                    $(Self::$method(args) => args.run_as::<hebbian_models::$module::$method>(study),)*
                }
            }
        }

        #[derive(Debug, Subcommand)]
        enum SearchArgsOf {
            $(
                #[command(
                    about = <hebbian_models::$module::$method as Door>::ABOUT,
                    after_long_help = legend(<hebbian_models::$module::$method as Door>::NUMBERS)
                )]
                $method(SearchArgs<<hebbian_models::$module::$method as Door>::Flags>),
            )*
        }

        impl SearchArgsOf {
            fn run(self) -> Result<String> {
                match self {
                    $(Self::$method(args) => args.run::<hebbian_models::$module::$method>(),)*
                }
            }
        }
    };
}

hebbian_models::for_each_method!(of_each_method);

/// Classify a test set with a trained model.
#[derive(Debug, clap::Args)]
struct EvalArgs {
    /// The model's folder, or a name from `hebbian list`
    model: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Write the features that a trained model computes of images.
#[derive(Debug, clap::Args)]
struct FeaturesArgs {
    /// The model's folder, or a name from `hebbian list`
    model: PathBuf,
    /// The file to write: safetensors with `train.features`, `train.labels`, `test.features`,
    /// `test.labels`, and, in the metadata, `dataset`, `class_names` (JSON, in the order of the labels) and `layer`
    #[arg(long, value_name = "FILE", default_value = "features.safetensors")]
    to: PathBuf,
    /// Number of the layer, from 1, the one that sees the image [default: the read-out's features]
    #[arg(long)]
    layer: Option<NonZeroUsize>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs `hebbian`, and returns its report.
///
/// # Errors
/// Flags that do not fit together, and whatever fails on the way.
pub fn program(Program { command }: Program) -> Result<String> {
    match command {
        Command::List { method } => list(method),
        Command::Train { method } => method.run(false),
        Command::Study { study: StudyArgs::Experiment(method) } => method.run(true),
        Command::Study { study: StudyArgs::Search { method } } => method.run(),
        Command::Report(args) => args.run(),
        Command::Analyse(args) => args.run(),
        Command::Reproduce(args) => args.run(),
        Command::Data(args) => args.run(),
        Command::Eval(args) => args.run(),
        Command::Features(args) => args.run(),
        Command::Pull { id, offline, quiet } => {
            let (id, revision) = id.split_once('@').unwrap_or((&id, "main"));
            let hub = Hub::from_env();
            let hub = if offline { hub.offline() } else { hub };
            let folder = hebbian_models::fetch(&hub, id, revision, &loading(quiet))?;
            let model = Model::load(&folder)?;
            let (method, preset, dataset) = (model.method(), model.preset(), model.dataset());
            Ok(format!("{method}, {preset}, trained on {dataset}\n{}\n", folder.display()))
        }
        Command::Push { model, id, private, quiet } => {
            let (id, branch) = id.split_once('@').unwrap_or((&id, "main"));
            let hub = Hub::from_env();
            let address =
                Model::load(&model)?.push_to(&hub, id, branch, private, &loading(quiet))?;
            Ok(format!("{address}\n"))
        }
        Command::Verify(args) => verify(args),
        Command::Bench(args) => args.run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Program::command(), "hebbian", &mut script);
            Ok(String::from_utf8(script)?)
        }
    }
}

fn list(method: Option<Name>) -> Result<String> {
    if let Some(method) = method {
        return method.list();
    }
    let mut all = String::new();
    for name in Name::value_variants() {
        let title = name.to_possible_value().map_or(String::new(), |v| v.get_name().to_string());
        writeln!(all, "{title}\n\n{}", name.list()?)?;
    }
    let trained = format!("trained models, for eval and features: {}\n", ZOO.join(", "));
    Ok(all + &folded(trained))
}

/// Loads the model in a folder or, if there is no such folder, the one of that name in the zoo.
fn model(at: &Path, device: &candle::Device) -> Result<Model> {
    match in_zoo(at) {
        Some(name) => Ok(Model::from_zoo_on(name, device)?),
        None if !at.exists() => bail!(
            "there is no folder {}, and no model of this name comes with the program: those are {}",
            at.display(),
            ZOO.join(", ")
        ),
        None => Ok(Model::load_on(at, device)?),
    }
}

/// Loads the images that a model is to see, and says what those to test with are: `test` or `validation` images. They are
/// those of the flags, or else of the data set that it was trained on. Where flags are not given, they are read and split
/// as the run did, also into images to learn from and to validate; `--validation 0` is for the test images.
fn images_for(model: &Model, args: &DataArgs) -> Result<(Dataset, &'static str)> {
    let mut args = args.clone();
    let own_set = args.dataset.as_deref().is_none_or(|name| name == model.dataset());
    let asked = args.selection.test_split.is_some() || args.selection.test_share.is_some();
    args.selection = args.selection.or_of(Selection::of_run(model.config())?, own_set);
    let is_own = !asked && args.name(model.dataset())? == model.dataset();
    let of_run = is_own.then(|| model.config()["validation"].as_f64()).flatten();
    args.validation = args.validation.or(of_run).filter(|share| *share != 0.0);
    let seed = model.config()["seed"].as_u64().unwrap_or_default();
    let mut data = args.dataset(model.dataset(), seed)?;
    if own_set && (args.dataset.is_some() || args.data_dir.is_none()) {
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
    Ok((data, if args.validation.is_some() { "validation" } else { "test" }))
}

impl EvalArgs {
    fn run(self) -> Result<String> {
        let device = self.device.choose()?.device;
        let model = model(&self.model, &device)?;
        if self.data.selection.limit_train.is_some() || self.data.labelled.is_some() {
            bail!(
                "--limit-train and --labelled choose images to learn from: eval learns from none"
            );
        }
        let (data, part) = images_for(&model, &self.data)?;
        let data = data.with_class_names(model.class_names())?;
        let (classes, test) = (model.class_names().len(), &data.test);
        if test.is_empty() {
            bail!("{} has no {part} images: give more images, or another --test-share", data.name);
        }
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
        Ok(text)
    }
}

impl FeaturesArgs {
    fn run(self) -> Result<String> {
        /// Images per batch.
        const BATCH: usize = 100;
        let device = self.device.choose()?.device;
        let model = model(&self.model, &device)?;
        let layers = model.layers();
        if let Some(layer) = self.layer.filter(|layer| layer.get() > layers) {
            bail!("--layer {layer} is not there: the model has {layers}, counted from 1");
        }
        let weights = ["model.safetensors", "state.safetensors"].map(|file| self.model.join(file));
        if self.to.canonicalize().is_ok_and(|to| {
            weights.iter().any(|file| file.canonicalize().is_ok_and(|file| file == to))
        }) {
            bail!("--to {} is the model itself: choose another file", self.to.display());
        }
        let (data, part) = images_for(&model, &self.data)?;
        writable("--to", &self.to)?;
        let mut tensors = Vec::new();
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
        Ok(format!(
            "wrote {}: {shape:?} features of training images; test.features are of the {part} images\n",
            self.to.display()
        ))
    }
}
