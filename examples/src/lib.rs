//! What the example programs share: flags, the choice of device, loading with progress.
#![deny(missing_docs)]

// These link the library that the feature needs.
#[cfg(feature = "accelerate")]
extern crate accelerate_src;
#[cfg(feature = "mkl")]
extern crate intel_mkl_src;

/// A step allocates and frees the same large tensors again and again. The system's allocator
/// hands each back to the kernel and takes page faults for the next; this one keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod device;

pub use device::{Chosen, DeviceArgs, DeviceKind};

use anyhow::{Context, Result, bail};
use candle::Device;
use clap::{Args, Parser};
use hebbian_data::{Dataset, DatasetName, LoadOptions, load_with_progress, printable};
use hebbian_models::{ExperimentOptions, RunOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// Flags that every example takes, named as in candle's examples.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Network and recipe: a name from --list, or a .json file
    #[arg(long)]
    pub preset: Option<String>,
    /// List the presets and stop
    #[arg(long)]
    pub list: bool,
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
    /// Seed of initial weights, batches and dropout
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Use only the first N training images
    #[arg(long, value_name = "N")]
    pub limit_train: Option<usize>,
    /// Use only the first N test images
    #[arg(long, value_name = "N")]
    pub limit_test: Option<usize>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Folder for checkpoint, metrics and pictures [default: runs/PRESET]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Write the final checkpoint to this file too
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Start from this checkpoint: a .safetensors file, or a run folder
    #[arg(long, value_name = "PATH")]
    pub load: Option<PathBuf>,
    /// Only evaluate the checkpoint of --load; trains and writes nothing
    #[arg(long, requires = "load")]
    pub eval_only: bool,
    /// Go on with the interrupted run or experiment in the folder of --out
    #[arg(long, conflicts_with_all = ["load", "eval_only"])]
    pub resume: bool,
    /// No progress, only the result
    #[arg(long)]
    pub quiet: bool,
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

    /// The device, as [`device`](Self::device) chooses it, and the flags of a single run.
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
        };
        Ok((device, run))
    }

    /// The same for an experiment: each network trained for `epochs` with as many `seeds`.
    ///
    /// # Errors
    /// Those of [`device`](Self::device).
    pub fn experiment(
        &self,
        epochs: Option<usize>,
        seeds: usize,
    ) -> Result<(Device, ExperimentOptions)> {
        let (device, name) = self.device()?;
        let options = ExperimentOptions {
            epochs,
            seeds,
            seed: self.seed,
            device: name.to_string(),
            resume: self.resume,
            quiet: self.quiet,
        };
        Ok((device, options))
    }

    /// Whether an experiment learns the digits, as it does unless told otherwise.
    pub fn on_digits(&self) -> bool {
        self.dataset.as_deref().is_none_or(|name| name == "digits")
    }

    /// The folder of --out, else `runs/NAME`.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(name))
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

    /// [`dataset`](Self::dataset), said on stderr: `what` is done with how many images.
    ///
    /// # Errors
    /// The same.
    pub fn announced_dataset(&self, own: &str, what: &str) -> Result<Dataset> {
        let data = self.dataset(own)?;
        let (train, test) = (data.train.len(), data.test.len());
        self.tell(&format!("{what} on {}: {train} training images, {test} test images", data.name));
        Ok(data)
    }

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
fn loading(quiet: bool) -> hebbian_data::OnProgress {
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

/// Keeps freed memory instead of giving it back to the system after a second: a step of a large
/// network frees and takes again more than the allocator would keep, and every page that comes back
/// from the system is cleared first.
fn keep_freed_memory() {
    /// `mi_option_purge_delay`, which the crate has no name for; −1 is never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: called once, before there are other threads.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}

/// Tells candle its number of threads once: without this variable it asks the system for it at every
/// matrix product, which takes longer than a small product does.
fn settle_number_of_threads() {
    const THREADS: &str = "RAYON_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() {
        let threads = candle::utils::get_num_threads().to_string();
        // SAFETY: called once, before there are other threads.
        unsafe { std::env::set_var(THREADS, threads) }
    }
}

/// Starts the threads that everything here computes on: without them, the first product would panic.
fn start_threads() -> Result<()> {
    rayon::ThreadPoolBuilder::new().build_global().with_context(|| {
        let wanted = std::env::var("RAYON_NUM_THREADS").unwrap_or_default();
        format!(
            "cannot start {wanted} threads: set RAYON_NUM_THREADS to fewer, or raise the limit on \
             threads and memory (ulimit -u, ulimit -v)"
        )
    })
}

/// Runs an example. Its report goes to stdout, an error with its causes to stderr; the exit status
/// is 0 or 1, for wrong flags too.
pub fn main<A: Parser>(run: impl FnOnce(A) -> Result<String>) -> ExitCode {
    keep_freed_memory();
    settle_number_of_threads();
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(answer) => {
            // --help and --version arrive here too.
            let failed = answer.use_stderr();
            let _ = answer.print();
            return if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let printed = start_threads().and_then(|()| run(args)).and_then(|report| print(&report));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A line on stderr, if there is one. Whatever a file or a server put into it does nothing to the
/// terminal.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}

/// Writes a report to stdout, [`printable`] as what [`tell`] writes.
///
/// # Errors
/// One of the system, but not that a reader has seen enough, as `head` does.
pub fn print(report: &str) -> Result<()> {
    match write!(std::io::stdout(), "{}", printable(report)) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}
