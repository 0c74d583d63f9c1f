//! The flags that every method takes, and what follows from them.

use crate::device::DeviceArgs;
use crate::{stop, tell};
use anyhow::{Context, Result, bail};
use candle::Device;
use clap::Args;
use hebbian_data::{Dataset, DatasetName, LoadOptions, load_with_progress};
use hebbian_train::{RunOptions, StudyOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Flags that every method takes, named as in candle's examples.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Network and recipe: a name from --list, a .json file, or the config.json of a run
    #[arg(long)]
    pub preset: Option<String>,
    /// List the presets and stop
    #[arg(long)]
    pub list: bool,
    #[command(flatten)]
    data: DataArgs,
    /// Seed of initial weights, batches and dropout
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
    /// Folder for model, metrics and pictures [default: runs/METHOD/PRESET/DATASET-seed-SEED]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Write the final checkpoint to this file too
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Start from this checkpoint: a .safetensors file, a state_dict of PyTorch (.pth), or a run folder
    #[arg(long, value_name = "PATH")]
    pub load: Option<PathBuf>,
    /// Only evaluate the checkpoint of --load; trains and writes nothing
    #[arg(long, requires = "load", conflicts_with_all = ["save", "out"])]
    pub eval_only: bool,
    /// Go on with the interrupted run or experiment in the folder of --out
    #[arg(long, conflicts_with_all = ["load", "eval_only"])]
    pub resume: bool,
}

impl std::ops::Deref for CommonArgs {
    type Target = DataArgs;

    fn deref(&self) -> &DataArgs {
        &self.data
    }
}

impl CommonArgs {
    /// The device and its name, which is said on stderr: the one asked for, or the best there is.
    ///
    /// # Errors
    /// A device that this build or machine does not have.
    pub fn device(&self) -> Result<(Device, &'static str)> {
        let chosen = self.device.choose()?;
        self.tell(&chosen.to_string());
        Ok((chosen.device, chosen.name))
    }

    /// The device, as [`device`](Self::device) chooses it, and how a single run goes.
    ///
    /// # Errors
    /// Those of [`device`](Self::device) and [`save`](Self::save).
    pub fn run(&self) -> Result<(Device, RunOptions)> {
        let save = self.save()?;
        let (device, name) = self.device()?;
        let run = RunOptions {
            seed: self.seed,
            device: name.to_string(),
            load: self.load.clone(),
            resume: self.resume,
            save,
            quiet: self.quiet,
            label: None,
            stop: stop().clone(),
        };
        Ok((device, run))
    }

    /// The same for a study: each arm trained for `epochs` with as many `seeds`.
    ///
    /// # Errors
    /// Those of [`device`](Self::device).
    pub fn study(&self, epochs: Option<usize>, seeds: usize) -> Result<(Device, StudyOptions)> {
        let (device, name) = self.device()?;
        let options = StudyOptions {
            epochs,
            seeds,
            seed: self.seed,
            device: name.to_string(),
            resume: self.resume,
            quiet: self.quiet,
            stop: stop().clone(),
        };
        Ok((device, options))
    }

    /// Whether an experiment learns the digits, as it does unless told otherwise.
    pub fn on_digits(&self) -> bool {
        self.dataset.as_deref().is_none_or(|name| name == "digits")
    }

    /// Whether flags ask for a single network.
    pub fn is_single(&self) -> bool {
        [&self.preset, &self.dataset].into_iter().any(Option::is_some)
            || [&self.load, &self.save].into_iter().any(Option::is_some)
    }

    /// The folder of --out, else one that no other method, preset (or study), data set or seed has.
    pub fn folder(&self, method: &str, name: &str, dataset: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let last = format!("{dataset}-seed-{}", self.seed);
            Path::new("runs").join(method).join(name).join(last)
        })
    }

    /// The file of --save.
    ///
    /// # Errors
    /// One that could not be written in the end.
    pub fn save(&self) -> Result<Option<PathBuf>> {
        let Some(file) = &self.save else { return Ok(None) };
        if file.is_dir() {
            bail!("--save {} is a folder, expected the name of a file", file.display());
        }
        if file.metadata().is_ok_and(|metadata| metadata.permissions().readonly()) {
            bail!("--save {} is write-protected: choose another file", file.display());
        }
        match file.parent() {
            Some(folder) if folder != Path::new("") && !folder.is_dir() => {
                bail!("--save {}: there is no folder {}", file.display(), folder.display())
            }
            _ => Ok(Some(file.clone())),
        }
    }

    /// A line on stderr, unless --quiet.
    pub fn tell(&self, line: &str) {
        if !self.quiet {
            tell(line);
        }
    }

    /// [`dataset`](DataArgs::dataset), said on stderr: `what` is done with how many images.
    ///
    /// # Errors
    /// The same.
    pub fn announced_dataset(&self, own: &str, what: &str) -> Result<Dataset> {
        let data = self.dataset(own)?;
        let (train, test) = (data.train.len(), data.test.len());
        self.tell(&format!("{what} on {}: {train} training images, {test} test images", data.name));
        Ok(data)
    }
}

/// Flags that choose images.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Data set: digits (embedded), mnist, fashion-mnist, cifar10 or cifar100; the preset's own
    /// unless given
    #[arg(long)]
    pub dataset: Option<String>,
    /// Read the data set from this folder (its original files) instead of the Hugging Face hub
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Never use the network: only what is cached or in --data-dir
    #[arg(long)]
    pub offline: bool,
    /// Use only the first N training images
    #[arg(long, value_name = "N")]
    pub limit_train: Option<usize>,
    /// Use only the first N test images
    #[arg(long, value_name = "N")]
    pub limit_test: Option<usize>,
    /// No progress, only the result
    #[arg(long)]
    pub quiet: bool,
}

impl DataArgs {
    /// The data set, cut to the limits; `own` is the preset's.
    ///
    /// # Errors
    /// An unknown name, files that are missing or wrong, a limit of 0.
    pub fn dataset(&self, own: &str) -> Result<Dataset> {
        let name: DatasetName = match &self.dataset {
            Some(name) => name.parse()?,
            None => own.parse().with_context(|| {
                format!("this preset was made for {own:?}: choose one with --dataset")
            })?,
        };
        if let (Some(folder), DatasetName::Digits) = (&self.data_dir, name) {
            bail!(
                "--data-dir {}: the digits are part of the program; say with --dataset what the folder holds",
                folder.display()
            );
        }
        let options = LoadOptions { data_dir: self.data_dir.clone(), offline: self.offline };
        let mut data = load_with_progress(name, &options, loading(self.quiet))?;
        for (flag, limit, set) in [
            ("--limit-train", self.limit_train, &mut data.train),
            ("--limit-test", self.limit_test, &mut data.test),
        ] {
            match limit {
                Some(0) => bail!("{flag} is 0, expected 1 or more"),
                Some(limit) if limit < set.len() => *set = set.take(limit),
                _ => {}
            }
        }
        Ok(data)
    }
}

/// Shows downloads and decoding.
pub(crate) fn loading(quiet: bool) -> hebbian_data::OnProgress {
    let current: Mutex<Option<(String, hebbian_train::Progress, u64)>> = Mutex::new(None);
    Arc::new(move |progress| {
        let (verb, file, done, total) = match progress {
            hebbian_data::Progress::Download { file, done, total } => {
                ("download", file, done, total)
            }
            hebbian_data::Progress::Decode { file, done, total } => ("decode", file, done, total),
        };
        let Ok(mut current) = current.lock() else { return };
        let label = format!("{verb} {file}");
        let known = current.as_ref().is_some_and(|(shown, _, _)| *shown == label);
        if !known {
            let bar = hebbian_train::Progress::new(total, &label, quiet);
            *current = Some((label, bar, 0));
        }
        if let Some((_, bar, shown)) = current.as_mut() {
            bar.advance(done.saturating_sub(*shown));
            *shown = done;
        }
    })
}
