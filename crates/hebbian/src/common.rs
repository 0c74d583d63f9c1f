//! The flags that every method takes, and what follows from them.

use crate::asked::Asked;
use crate::choices::first_difference;
use crate::data_args::{DataArgs, learned_note};
use crate::device::DeviceArgs;
use crate::paths::{is_of_run, plain, same_path, writable, writable_folder};
use crate::repeat::{arguments, repeat};
use crate::selection::Selection;
use crate::transform_args::TransformArgs;
use crate::{stop, tell};
use anyhow::{Result, bail};
use candle::Device;
use clap::Args;
use hebbian_data::{Dataset, DatasetName, Photographs};
use hebbian_train::{Job, Method, RunFolder, RunOptions, StudyOptions, part, records};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

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
        let part = part(self.validation);
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
