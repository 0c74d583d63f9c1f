//! The flags that choose the images.

use crate::paths::plain;
use crate::selection::Selection;
use crate::tell;
use anyhow::{Context, Result, bail};
use clap::Args;
use hebbian_data::{Dataset, DatasetName, LoadOptions, Photographs, load_with_progress};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

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
