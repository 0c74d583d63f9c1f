//! The flags that every method takes, and what follows from them.

use crate::asked::Asked;
use crate::choices::first_difference;
use crate::device::DeviceArgs;
use crate::selection::Selection;
use crate::{stop, tell};
use anyhow::{Context, Result, bail};
use candle::Device;
use clap::Args;
use hebbian_data::transforms::{InputConfig, TransformList};
use hebbian_data::{Dataset, DatasetName, LoadOptions, Photographs, load_with_progress};
use hebbian_models::ZOO;
use hebbian_train::{Job, Method, RunFolder, RunOptions, StudyFolder, StudyOptions, records};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Flags that every method takes, named as in candle's examples.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
pub struct CommonArgs {
    /// Network and recipe: a name from --list, a .json file, or a run: its folder or its config.json
    #[arg(long)]
    pub preset: Option<String>,
    /// List the presets and stop
    #[arg(long)]
    pub list: bool,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) transforms: TransformArgs,
    /// Seed of initial weights, batches, dropout and drawn test images [default: 0, or that of the run in --load]
    #[arg(long, help_heading = "Run")]
    seed: Option<u64>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Folder for model, metrics and pictures [default: runs/METHOD/PRESET/DATASET-seed-SEED]
    #[arg(long, value_name = "FOLDER", help_heading = "Run")]
    pub out: Option<PathBuf>,
    /// Write the final checkpoint to this file too
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub save: Option<PathBuf>,
    /// Start from this checkpoint: a .safetensors file, a state_dict of PyTorch (.pth), or a run folder
    #[arg(long, value_name = "PATH", help_heading = "Run")]
    pub load: Option<PathBuf>,
    /// Only evaluate the checkpoint of --load; trains and writes nothing
    #[arg(long, requires = "load", conflicts_with_all = ["save", "out"], help_heading = "Run")]
    pub eval_only: bool,
    /// Networks of an experiment or a search that learn at the same time; results do not depend on it [default: 1]
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub parallel: Option<NonZeroUsize>,
    /// Continue the interrupted run or experiment in the folder of --out
    #[arg(long, conflicts_with = "eval_only", help_heading = "Run")]
    pub resume: bool,
}

impl std::ops::Deref for CommonArgs {
    type Target = DataArgs;

    fn deref(&self) -> &DataArgs {
        &self.data
    }
}

impl CommonArgs {
    /// Returns the seed.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    /// Takes over what was not given from the run in `--load`, if that is one: the seed, and how its images are read
    /// and split. So the images that were drawn for testing, which its weights have not learned, are drawn again.
    ///
    /// # Errors
    /// Those of [`loaded`](Self::loaded), or if a run is to be resumed.
    pub(crate) fn take_over(&mut self) -> Result<()> {
        if let (true, Some(load)) = (self.resume, &self.load) {
            bail!(
                "--resume continues the run in its folder, which has already started from {}: leave out --load",
                load.display()
            );
        }
        let Some(run) = self.loaded()? else { return Ok(()) };
        let seed = run["seed"].as_u64();
        self.seed = self.seed.or(seed);
        let own_set = self.dataset.as_deref().is_none_or(|name| run["dataset"] == name);
        let drawn = self.validation.is_some()
            || run["dataset"].as_str().is_some_and(|name| {
                name.parse::<DatasetName>().is_err() && Photographs::find(name).is_none()
            });
        if let (true, Some(seed)) = (own_set && drawn && self.seed != seed, seed) {
            self.tell(&format!(
                "note: the run of --load has the seed {seed}: with another one, images that it learned may be among \
                 those that are drawn to be tested"
            ));
        }
        if let (true, Some(note)) = (own_set, learned_note(self.validation, &run["validation"])) {
            self.tell(&note);
        }
        let selection = self.data.selection.clone();
        self.data.selection = selection.or_of(Selection::of_run(&run)?, own_set);
        Ok(())
    }

    /// Returns the configuration of the run in `--load`, if that is the folder of a run or a file in it.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub(crate) fn loaded(&self) -> Result<Option<Value>> {
        let config = self.loaded_folder().map(RunFolder::config).transpose()?.flatten();
        // Models of other programs have a file of this name too.
        Ok(config.filter(|config| config["method"].is_string()))
    }

    /// The file of that configuration.
    pub(crate) fn loaded_file(&self) -> Option<PathBuf> {
        self.loaded_folder().map(|folder| folder.join("config.json"))
    }

    /// The folder of `--load`, or that of the file.
    fn loaded_folder(&self) -> Option<&Path> {
        match &self.load {
            Some(file) if file.is_file() => file.parent(),
            folder => folder.as_deref(),
        }
    }

    /// Returns the device asked for, or the best available one, with its name, and writes the choice to stderr.
    ///
    /// # Errors
    /// A device that this build or machine does not have.
    pub fn device(&self) -> Result<(Device, &'static str)> {
        let chosen = self.device.choose()?;
        self.tell(&chosen.to_string());
        Ok((chosen.device, chosen.name))
    }

    /// Returns the device, as [`device`](Self::device) chooses it, and the options of a single run of a method.
    ///
    /// # Errors
    /// Those of [`device`](Self::device) and [`save`](Self::save).
    pub fn run(&self, method: &str) -> Result<(Device, RunOptions)> {
        let save = self.save()?;
        let (device, name) = self.device()?;
        let run = RunOptions {
            seed: self.seed(),
            device: name.to_string(),
            version: crate::VERSION.to_string(),
            load: self.load.clone(),
            resume: self.resume,
            save,
            command: repeat(method, arguments(), &[]),
            quiet: self.quiet,
            label: None,
            validation: self.validation,
            labelled: self.labelled,
            images: json!(self.selection),
            stop: stop().clone(),
        };
        Ok((device, run))
    }

    /// Returns the options of an experiment of a method on `data`, if it needs any, and on `device`, and its folder. If
    /// the experiment is as in the record, the expected result is written to stderr.
    ///
    /// # Errors
    /// Flags that are for a single network; an embedded text that is wrong.
    pub(crate) fn study<M: Method>(
        &self,
        asked: &Asked,
        data: Option<&Dataset>,
        device: &str,
    ) -> Result<(StudyOptions, PathBuf)> {
        let &Asked { name, epochs, seeds, as_stated, .. } = asked;
        if self.transforms.are_given() {
            bail!("--transform and --augment are for a single network, not for an experiment");
        }
        let dataset = data.map_or("own-data", |data| data.name.as_str());
        if as_stated && self.is_whole() {
            let records = records::<M::Preset>()?;
            let mut jobs = records.iter().flat_map(|record| &record.jobs);
            let epochs = epochs.map(|epochs| epochs.to_string());
            let job = jobs.find(|job| {
                job.experiment.as_deref() == Some(name)
                    && job.dataset.as_deref() == data.map(|data| data.name.as_str())
                    && job.flag("--epochs") == epochs.as_deref()
                    && job.flags.iter().all(|flag| !flag.starts_with("--") || flag == "--epochs")
                    && (job.seeds.first(), job.seeds.len()) == (Some(&self.seed()), seeds)
            });
            self.tell_expected(job.and_then(Job::expected));
        }
        let out = self.folder(M::NAME, &format!("study-{name}"), dataset);
        Ok((self.study_options((epochs, seeds), device), out))
    }

    /// Returns the options of an experiment whose networks are trained for `epochs` with `seeds` seeds on `device`.
    pub(crate) fn study_options(
        &self,
        (epochs, seeds): (Option<usize>, usize),
        device: &str,
    ) -> StudyOptions {
        StudyOptions {
            epochs,
            seeds,
            seed: self.seed(),
            device: device.to_string(),
            version: crate::VERSION.to_string(),
            resume: self.resume,
            replace: self.out.is_some(),
            quiet: self.quiet,
            validation: self.validation,
            labelled: self.labelled,
            images: json!(self.selection),
            parallel: self.parallel.map_or(1, NonZeroUsize::get),
            stop: stop().clone(),
        }
    }

    /// Holds out this share of the training images, if no other was asked for.
    pub(crate) fn hold_out(&mut self, share: f64) {
        self.data.validation.get_or_insert(share);
    }

    /// Writes to stderr what result to expect, if the record says so.
    pub(crate) fn tell_expected(&self, expected: Option<String>) {
        if let Some(expected) = expected {
            self.tell(&format!("expected: {expected}"));
        }
    }

    /// Whether all images are used, starting from fresh weights: model cards describe only such runs.
    pub(crate) fn is_whole(&self) -> bool {
        self.selection == Selection::default()
            && !self.transforms.are_given()
            && self.validation.is_none()
            && self.labelled.is_none()
            && self.load.is_none()
    }

    /// Whether an experiment learns the digits, which is the default.
    pub fn on_digits(&self) -> bool {
        self.dataset.as_deref().is_none_or(|name| name == "digits")
    }

    /// Whether flags ask for a single network.
    pub fn is_single(&self) -> bool {
        [&self.preset, &self.dataset].into_iter().any(Option::is_some)
            || [&self.load, &self.save, &self.data_dir].into_iter().any(Option::is_some)
            || self.transforms.are_given()
    }

    /// Returns the folder of --out; by default, a separate one for each method, preset (or study), data set and seed.
    pub fn folder(&self, method: &str, name: &str, dataset: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let last = format!("{}-seed-{}", plain(dataset), self.seed());
            Path::new("runs").join(method).join(name).join(last)
        })
    }

    /// Checks the folder `out` of a run before anything is learned: it must take files, the run must not replace the
    /// one that it starts from, of which nothing would be left if this one were killed before its first checkpoint, and
    /// `--save` must not name one of the files of either.
    ///
    /// # Errors
    /// A folder, a checkpoint of `--load` or a file of `--save` for which that does not hold.
    pub(crate) fn check_out(&self, out: &Path) -> Result<()> {
        writable_folder("--out", out)?;
        let loads_it = |load: &Path| match load.is_dir() {
            true => same_path(load, out),
            false => is_of_run(load, out),
        };
        if self.load.as_deref().is_some_and(loads_it) {
            bail!(
                "this run would replace the one that it starts from, in {}: choose another folder with --out",
                out.display()
            );
        }
        if let (Some(save), Some(load)) = (&self.save, self.loaded_folder())
            && is_of_run(save, load)
            && self.loaded()?.is_some()
        {
            bail!(
                "--save {} is a file of the run that this one starts from: choose another name",
                save.display()
            );
        }
        if let Some(save) = self.save.as_deref().filter(|save| is_of_run(save, out)) {
            bail!(
                "--save {} is one of the files that the run writes itself: choose another name",
                save.display()
            );
        }
        Ok(())
    }

    /// Refuses to replace a complete run with other settings or on other images than `data`, unless its folder was
    /// named: it may have taken hours, and folders have the same name for all settings of a preset, and for all folders
    /// of images of one name.
    ///
    /// # Errors
    /// If there is such a run, or the images cannot be read.
    pub(crate) fn check_other(
        &self,
        out: &Path,
        options: &Value,
        data: &Dataset,
        run: &RunOptions,
    ) -> Result<()> {
        if self.out.is_some() || self.resume || !matches!(RunFolder::results(out), Ok(Some(_))) {
            return Ok(());
        }
        let Some(found) = RunFolder::config(out)? else { return Ok(()) };
        let wanted = json!({
            "options": options,
            "load": run.load,
            "validation": run.validation,
            "labelled": run.labelled,
            "images": run.images,
        });
        let problem = match first_difference(&found, &wanted) {
            Some((place, [found, wanted])) => {
                format!("with other settings ({place}: {found} there, {wanted} here)")
            }
            None if found["fingerprint"] != json!(data.fingerprint()?) => {
                "on other images, or with other labels".to_string()
            }
            None => return Ok(()),
        };
        bail!(
            "{} has a complete run {problem}: give this run another folder with --out, or --out {} to replace that one",
            out.display(),
            out.display()
        )
    }

    /// Returns the file of --save.
    ///
    /// # Errors
    /// A file that could not be written at the end.
    pub fn save(&self) -> Result<Option<PathBuf>> {
        let Some(file) = &self.save else { return Ok(None) };
        writable("--save", file)?;
        Ok(Some(file.clone()))
    }

    /// Writes a line to stderr, unless --quiet.
    pub fn tell(&self, line: &str) {
        if !self.quiet {
            tell(line);
        }
    }

    /// Writes to stderr that `what` is done on a data set, with how many images.
    pub fn announce(&self, data: &Dataset, what: &str) {
        let (train, test) = (data.train.len(), data.test.len());
        let unlabelled: usize = data.unlabelled.iter().map(hebbian_data::ImageSet::len).sum();
        let unlabelled = match unlabelled {
            0 => String::new(),
            count => format!("{count} without labels, "),
        };
        let part = if self.validation.is_some() { "validation" } else { "test" };
        self.tell(&format!(
            "{what} on {}: {train} training images, {unlabelled}{test} {part} images",
            data.name
        ));
        if let [first, rest @ ..] = data.train.labels()
            && rest.iter().all(|label| label == first)
        {
            self.tell("all training images are of one class: any network classifies them, whatever it has learned");
        }
    }
}

/// Flags that say what a network sees of images.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What the network sees")]
pub struct TransformArgs {
    /// Transforms of every image, applied in the order given: of resize=32, centre-crop=28, grey, standardise-image,
    /// standardise (fitted to the training images), zca, difference-of-gaussians; or none [default: the preset's]
    #[arg(long, value_name = "LIST")]
    pub transform: Option<TransformList>,
    /// Random changes to training images before the transforms: random-crop=32:padding=4:reflect,
    /// random-resized-crop=32, flip, colour-jitter; or none [default: the preset's]
    #[arg(long, value_name = "LIST")]
    pub augment: Option<TransformList>,
}

impl TransformArgs {
    /// Whether any of the flags is given.
    fn are_given(&self) -> bool {
        self.transform.is_some() || self.augment.is_some()
    }

    /// Replaces the lists of `input` by those that are given.
    pub(crate) fn put_into(&self, input: &mut InputConfig) {
        for (given, there) in
            [(&self.transform, &mut input.transforms), (&self.augment, &mut input.augmentation)]
        {
            if let Some(given) = given {
                *there = given.clone();
            }
        }
    }
}

/// Flags that choose the images.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Images")]
pub struct DataArgs {
    /// Data set: digits (embedded), mnist, fashion-mnist, cifar10, cifar100, stl10, imagenette or imagenet; any
    /// labelled images on the Hugging Face hub, as OWNER/NAME or OWNER/NAME/CONFIG, optionally with @REVISION; with
    /// --data-dir any other name [default: the preset's, or the name of the folder of --data-dir]
    #[arg(long)]
    pub dataset: Option<String>,
    /// Read images from this folder instead of the Hugging Face hub: CLASS/*.png (or .jpg, .webp, .bmp),
    /// train/CLASS and test/CLASS, parquet files, or the original files of the set named by --dataset
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Never use the network: only what is cached or in --data-dir
    #[arg(long)]
    pub offline: bool,
    /// Megabytes of memory for a split: if it decodes to more, it stays in its files and batches are read from there
    #[arg(long, value_name = "MB", default_value_t = 512)]
    pub memory: u64,
    /// Measure on this share of each class's training images, drawn by the seed and excluded from training, instead
    /// of the test images: use it to choose settings [eval and features: that of the run; 0 for the test images]
    #[arg(long, value_name = "SHARE")]
    pub validation: Option<f64>,
    /// Keep the labels of N training images, drawn by the seed with at least one of each class; the others are used
    /// only by what learns without labels
    #[arg(long, value_name = "N")]
    pub labelled: Option<usize>,
    /// Show no progress, only the result
    #[arg(long)]
    pub quiet: bool,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

impl DataArgs {
    /// Loads the data set, cut to the limits; `own` is the preset's, the default. A test share is drawn with `seed`.
    ///
    /// # Errors
    /// An unknown name, files that are missing or wrong, a limit of 0.
    pub fn dataset(&self, own: &str, seed: u64) -> Result<Dataset> {
        let name = self.name(own)?;
        if let (Some(folder), "digits") = (&self.data_dir, name.as_str()) {
            bail!(
                "--data-dir {}: the digits are part of the program; say with --dataset what the folder holds",
                folder.display()
            );
        }
        let named = name.parse::<DatasetName>().is_ok();
        self.selection.check(&name, named)?;
        if let Some(share) = self.validation.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            bail!("--validation is {share}, expected a number between 0 and 1");
        }
        let options = self.selection.options(LoadOptions {
            data_dir: self.data_dir.clone(),
            offline: self.offline,
            seed,
            memory: self.memory.saturating_mul(1 << 20),
            ..LoadOptions::default()
        });
        let loaded = load_with_progress(&name, &options, loading(self.quiet));
        let data = loaded.with_context(|| match self.dataset {
            None if self.data_dir.is_none() && name == "digits" => "the images of digits".to_string(),
            None if self.data_dir.is_none() && !named && Photographs::find(own).is_none() => format!(
                "the images of {own} are not to be had by name: give their folder with --dataset {own} --data-dir \
                 FOLDER, or a set of the hub with --dataset OWNER/NAME"
            ),
            None if self.data_dir.is_none() => {
                format!(
                    "this preset was made for {own:?}: choose another with --dataset, or give its images with \
                     --data-dir FOLDER"
                )
            }
            None if named => format!(
                "the folder of --data-dir has the name of the set {name}: if its images are your own, give them \
                 another name with --dataset"
            ),
            _ => format!("the images of {name}"),
        })?;
        self.selection.cut(data, self.validation, self.labelled, seed)
    }

    /// Returns the name of the images: that of --dataset, else that of the folder, in characters that the name of a
    /// folder may have, else `own`.
    ///
    /// # Errors
    /// A folder that is not there.
    pub(crate) fn name(&self, own: &str) -> Result<String> {
        let folder = match (&self.dataset, &self.data_dir) {
            (Some(name), _) => return Ok(name.clone()),
            (None, None) => return Ok(own.to_string()),
            (None, Some(folder)) => folder,
        };
        let whole =
            folder.canonicalize().with_context(|| format!("--data-dir {}", folder.display()))?;
        let name = whole.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        match plain(&name) {
            name if name.is_empty() => Ok("images".to_string()),
            name => Ok(name),
        }
    }
}

/// Returns the name of the model of the zoo that is meant by a path: one that has this name, where nothing else has.
pub(crate) fn in_zoo(path: &Path) -> Option<&'static str> {
    ZOO.iter().copied().find(|name| path == Path::new(name) && !path.exists())
}

/// Returns the arguments of this program.
pub(crate) fn arguments() -> impl Iterator<Item = String> {
    std::env::args_os().map(|argument| argument.to_string_lossy().into_owned())
}

/// Returns an argument as a shell takes it for one word.
pub(crate) fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.to_string(),
        false => format!("'{}'", argument.replace('\'', "'\\''")),
    }
}

/// Returns the command that trains with these arguments of a program, without `--resume`, and without the flags in
/// `without` and their values. If the arguments start with a command of `hebbian` and the method's name, only those
/// after the name are used.
pub(crate) fn repeat(
    method: &str,
    arguments: impl Iterator<Item = String>,
    without: &[&str],
) -> String {
    let all: Vec<String> = arguments.skip(1).collect();
    let own = match all.iter().take(2).collect::<Vec<_>>()[..] {
        [verb, name] if verb == "train" && name == method => &all[2..],
        [study, search] if study == "study" && search == "search" => &all[3..],
        _ => &all[..],
    };
    let mut words = ["hebbian", "train", method].map(String::from).to_vec();
    let mut own = own.iter().filter(|argument| *argument != "--resume").peekable();
    while let Some(argument) = own.next() {
        let flag = argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag);
        // A short flag may be joined with its value, as in `-k5`.
        let is_short = argument.get(..2).is_some_and(|two| two != "--" && without.contains(&two));
        match without.contains(&flag) {
            true if flag == argument => drop(own.next_if(|value| !value.starts_with('-'))),
            false if !is_short => words.push(quoted(argument)),
            _ => {}
        }
    }
    words.join(" ")
}

/// Checks that the file of a flag, which is written at the end, can be written.
///
/// # Errors
/// A folder, a file that is write-protected, or a folder that is not there or takes no files.
pub(crate) fn writable(flag: &str, file: &Path) -> Result<()> {
    if file.is_dir() {
        bail!("{flag} {} is a folder, expected the name of a file", file.display());
    }
    let found = file.metadata().ok();
    if found.as_ref().is_some_and(|found| found.permissions().readonly()) {
        bail!("{flag} {} is write-protected: choose another file", file.display());
    }
    // What is written into a pipe or a device needs no folder.
    if found.is_some_and(|found| !found.is_file()) {
        return Ok(());
    }
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!("{flag} {}: there is no folder {}", file.display(), folder.display());
    }
    takes_files(flag, file, folder)
}

/// Checks that the `folder` of the file or folder `path` takes files.
fn takes_files(flag: &str, path: &Path, folder: &Path) -> Result<()> {
    tempfile::tempfile_in(folder).with_context(|| {
        format!("{flag} {}: no file can be made in {}", path.display(), folder.display())
    })?;
    Ok(())
}

/// Checks that files can be written into the folder of a flag, which is made when the first one is.
///
/// # Errors
/// A file, or a folder that takes no files.
pub(crate) fn writable_folder(flag: &str, folder: &Path) -> Result<()> {
    let there = folder.ancestors().find(|part| part.exists()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        bail!("{flag} {}: {} is a file, expected a folder", folder.display(), there.display());
    }
    takes_files(flag, folder, there)
}

/// Whether two paths are of one folder, or of one file.
pub(crate) fn same_path(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| {
        let path = if path == Path::new("") { Path::new(".") } else { path };
        path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
    };
    whole(one) == whole(other)
}

/// Whether two paths are of one file, which may not exist yet.
pub(crate) fn same_file(one: &Path, other: &Path) -> bool {
    let is_there = |folder: &Path| other.parent().is_some_and(|parent| same_path(parent, folder));
    same_path(one, other)
        || one.file_name() == other.file_name() && one.parent().is_some_and(is_there)
}

/// Whether `file` is one of the files that a run writes into its `folder`, which may not exist yet.
pub(crate) fn is_of_run(file: &Path, folder: &Path) -> bool {
    is_in(folder, file, RunFolder::writes)
}

/// Whether `file` is one of the files that the experiment in `folder`, if there is one, writes there.
pub(crate) fn is_of_study(file: &Path, folder: &Path) -> bool {
    folder.join("experiment.json").is_file() && is_in(folder, file, StudyFolder::writes)
}

/// Whether `file` is in `folder`, and has one of the names that are `own`.
fn is_in(folder: &Path, file: &Path, own: fn(&str) -> bool) -> bool {
    let name = file.file_name().and_then(|name| name.to_str());
    name.is_some_and(own) && file.parent().is_some_and(|parent| same_path(parent, folder))
}

/// Returns a note if a model has learned some of the images that `share` holds out, because its run held out a smaller
/// share, `of_run`, with the same seed.
pub(crate) fn learned_note(share: Option<f64>, of_run: &Value) -> Option<String> {
    let (share, of_run) = (share?, of_run.as_f64().unwrap_or_default());
    (share > of_run).then(|| {
        format!(
            "note: the model has learned some of the images that --validation {share} holds out: its run held out a \
             share of {of_run}"
        )
    })
}

/// Returns a name in characters that the name of a folder may have, without a dot at the start.
fn plain(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let plain = name.trim_start_matches('.').chars().map(|c| if is_plain(c) { c } else { '-' });
    plain.collect()
}

/// Returns a callback that shows the progress of downloads, decoding and pushes.
pub(crate) fn loading(quiet: bool) -> hebbian_data::OnProgress {
    use hebbian_data::Progress::{Decode, Download, Skipped, Upload};
    use hebbian_train::Progress;
    struct Shown {
        label: String,
        total: u64,
        bar: Progress,
        done: u64,
    }
    let current: Mutex<Option<Shown>> = Mutex::new(None);
    Arc::new(move |progress| {
        let (verb, what, done, total) = match progress {
            Download { file, done, total } => ("download", file, done, total),
            Decode { file, done, total } => ("decode", file, done, total),
            Upload { repo, done, total } => ("push", repo, done, total),
            Skipped { file, row, found } => {
                let row = row.map(|row| format!(", row {row}")).unwrap_or_default();
                return tell(&format!("left out {file}{row}: {found}"));
            }
        };
        let Ok(mut current) = current.lock() else { return };
        let label = format!("{verb} {what}");
        match current.as_mut() {
            Some(shown) if shown.label == label && shown.total == total => {
                shown.bar.advance(done.saturating_sub(shown.done));
                shown.done = done;
            }
            // The total of a download may be known only after it has begun.
            _ => {
                let bar = match progress {
                    Decode { .. } => Progress::new(total, &label, quiet),
                    _ => Progress::bytes(total, &label, quiet),
                };
                let bar = bar.starting_from(done);
                *current = Some(Shown { label, total, bar, done });
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{plain, repeat};

    #[test]
    fn names_that_folders_may_have() {
        assert_eq!(plain("été-1.2_b"), "été-1.2_b");
        assert_eq!(plain("../a b\u{1b}[1m"), "-a-b--1m");
    }

    #[test]
    fn a_command_that_repeats() {
        let of = |words: &[&str]| {
            repeat("amit", words.iter().map(ToString::to_string), &["--set", "--halving", "-k"])
        };
        let seed = "hebbian train amit --seed 3";
        assert_eq!(of(&["target/release/hebbian", "train", "amit", "--seed", "3"]), seed);
        assert_eq!(of(&["/bin/amit", "--resume", "--seed", "3"]), seed);
        // A search, of which only the flags that choose images and the seed are left.
        let words =
            ["hebbian", "study", "search", "amit", "--set", "a=1..2", "--halving", "--seed", "3"];
        assert_eq!(of(&words), seed);
        let words =
            ["hebbian", "study", "search", "amit", "--halving=2", "--seed", "3", "--set=a=1,2"];
        assert_eq!(of(&words), seed);
        for k in [&["-k", "3"][..], &["-k3"], &["-k=3"]] {
            assert_eq!(of(&[&["amit"], k, &["--seed", "3"]].concat()), seed, "{k:?}");
        }
        let quoted = "hebbian train amit --out 'my runs/it'\\''s' ''";
        assert_eq!(of(&["amit", "--out", "my runs/it's", ""]), quoted);
    }
}
