//! A run: training with its folder, or the evaluation of a checkpoint.

use super::config::Preset;
use super::diagnostics::diagnose;
use super::trainer::{Epoch, Splits, Trainer};
use crate::checkpoint::write_checkpoint;
use crate::resume::{began_fresh, count_in, done_in, same_run};
use crate::run_options::{RunOptions, shown};
use candle::{DType, Device};
use candle_hebbian::{Geometry, Rng};
use hebbian_data::Dataset;
use hebbian_train::Result;
use hebbian_train::{Checkpoint, Progress, Results, RunFolder, filter_grid};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// The method's name in files.
const METHOD: &str = "amit2019";
/// Examples on which feedback and back-propagation are compared, the first of the validation set.
const DIAGNOSED: usize = 100;
/// The weights are written this often while training, and at the end.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// What a run needs beside its data.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// Network and recipe, overrides applied.
    pub preset: Preset,
    /// Seed, device, files.
    #[serde(flatten)]
    pub run: RunOptions,
}

/// What a run measured.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What went into `results.json`.
    pub results: Results,
    /// By epoch from 1 (0 is before training): the values of `metrics.jsonl`, among them
    /// `train_loss`, `train_error` (dropout included), `validation_error`, and for each layer
    /// `correlation/LAYER`, `angle/LAYER`, `norm_ratio/LAYER`.
    pub history: BTreeMap<u64, BTreeMap<String, f64>>,
}

/// Trains a preset on a data set; writes the run folder `out`. To resume a run that is complete is
/// to read it back.
///
/// # Errors
/// A data set that does not fit the network, a checkpoint of another architecture, a folder that
/// cannot be written, or that holds another run than the one to resume, weights that become NaN or
/// infinite. The folder is made only once everything that can be checked before training is.
pub fn train(options: &Options, data: &Dataset, device: &Device, out: &Path) -> Result<Outcome> {
    let splits = Splits::of(data, options.preset.training.validation_images)?;
    let label = format!("{} {}", options.preset.name, options.preset.training.protocol);
    train_on(options, &splits, data.name.as_str(), &label, device, out)
}

/// [`train`] on images of any origin; `label` is for the progress.
pub(super) fn train_on(
    options: &Options,
    splits: &Splits,
    dataset: &str,
    label: &str,
    device: &Device,
    out: &Path,
) -> Result<Outcome> {
    let started = Instant::now();
    let mut trainer = Trainer::new(&options.preset, splits, &Rng::new(options.run.seed), device)?;
    let config = serde_json::json!({
        "method": METHOD,
        "options": options,
        "dataset": dataset,
        "train_images": splits.train.len(),
        "validation_images": splits.validation.len(),
        "test_images": splits.test.len(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    let epochs = trainer.epochs();
    let total = shown(splits.train.len(), epochs)? as u64;
    let mut folder = if options.run.resume {
        same_run(&config, out)?;
        let saved = out.join("model.safetensors").exists();
        if saved {
            restore(&mut trainer, out, device, |checkpoint| {
                done_in(checkpoint, "epoch", epochs, out)
            })?;
        }
        if let Some(results) = RunFolder::results(out)? {
            if let Some(path) = &options.run.save {
                write(path, &trainer, dataset)?;
            }
            return Ok(Outcome { results, history: RunFolder::logged(out)? });
        }
        if saved {
            RunFolder::resume(out, trainer.epoch() as u64)?
        } else {
            began_fresh(out)?;
            RunFolder::create(out)?
        }
    } else {
        if let Some(path) = &options.run.load {
            restore_any(&mut trainer, path, device)?;
            trainer.restart();
        }
        RunFolder::create(out)?
    };
    folder.write_config(&config)?;

    let shown = splits.validation.len().clamp(1, DIAGNOSED).min(splits.test.len());
    let shown: Vec<usize> = (0..shown).collect();
    let diagnosed = if splits.validation.is_empty() { &splits.test } else { &splits.validation };
    let (x, labels) = diagnosed.batch(&shown, DType::F32, device)?;
    let log = |folder: &mut RunFolder, trainer: &Trainer, epoch: Option<Epoch>| -> Result<()> {
        let mut values = BTreeMap::new();
        if let Some(epoch) = epoch {
            values.insert("train_loss".to_string(), epoch.loss);
            values.insert("train_error".to_string(), epoch.error);
        }
        if !splits.validation.is_empty() {
            values.insert("validation_error".to_string(), trainer.error(&splits.validation)?);
        }
        for layer in diagnose(trainer.network(), &x, &labels)? {
            for (name, value) in [
                ("correlation", layer.weight_feedback_correlation),
                ("angle", layer.error_angle),
                ("norm_ratio", layer.error_norm_ratio),
            ] {
                values.extend(value.map(|value| (format!("{name}/{}", layer.layer), value)));
            }
        }
        let values: Vec<(&str, f64)> = values.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        folder.log(trainer.epoch() as u64, &values)
    };
    let resumed = options.run.resume && trainer.epoch() > 0;
    // The weights of a run to go on with outlive a power cut, the last line of its log may not.
    let lost =
        || -> Result<bool> { Ok(!RunFolder::logged(out)?.contains_key(&(trainer.epoch() as u64))) };
    if trainer.epoch() == 0 || resumed && lost()? {
        log(&mut folder, &trainer, None)?;
    }

    let images = splits.train.len() as u64;
    let mut progress = Progress::new(total, label, options.run.quiet);
    progress.advance(images * trainer.epoch() as u64);
    let mut saved = resumed.then(Instant::now);
    while trainer.epoch() < epochs {
        let number = trainer.epoch() + 1;
        let epoch = trainer
            .train_epoch(&splits.train, |images| progress.advance(images as u64))
            .map_err(|error| {
                error.while_training(format!("epoch {number}"), saved.map(|_| folder.model()))
            })?;
        log(&mut folder, &trainer, Some(epoch))?;
        progress.message(format!("epoch {number}, training error {:.1} %", 100.0 * epoch.error));
        let due = saved.is_none_or(|saved| saved.elapsed() > CHECKPOINT_EVERY);
        if due || trainer.epoch() == epochs {
            write(&folder.model(), &trainer, dataset)?;
            saved = Some(Instant::now());
        }
    }
    progress.finish();
    if let Some(first) = trainer.network().weight_layers().next()
        && let Geometry::Conv2d(_) = first.layer().geometry()
    {
        let filters = filter_grid(&first.layer().weight().detach())?;
        folder.picture("filters", trainer.epoch() as u64, &filters)?;
    }
    if saved.is_none() {
        write(&folder.model(), &trainer, dataset)?;
    }
    if let Some(path) = &options.run.save {
        write(path, &trainer, dataset)?;
    }
    let history = RunFolder::logged(out)?;
    let mut extras = BTreeMap::new();
    let last = history.last_key_value().map(|(_, values)| values.clone()).unwrap_or_default();
    extras.insert("epochs".to_string(), trainer.epoch().into());
    extras.insert("training_seconds".to_string(), folder.seconds().into());
    extras.insert("protocol".to_string(), options.preset.training.protocol.to_string().into());
    for (name, value) in last {
        extras.insert(name, value.into());
    }
    let results = Results {
        test_accuracy: 1.0 - trainer.error(&splits.test)?,
        train_images: splits.train.len(),
        extras,
        ..options.run.results(&options.preset.name, dataset, started)
    };
    folder.finish(&results)?;
    Ok(Outcome { results, history })
}

/// The accuracy on the test set of a saved network. Nothing is written.
///
/// # Errors
/// A checkpoint of another architecture.
pub fn evaluate(options: &Options, data: &Dataset, device: &Device) -> Result<f64> {
    let path = options.run.checkpoint()?;
    let splits = Splits::of(data, 0)?;
    let mut trainer = Trainer::new(&options.preset, &splits, &Rng::new(options.run.seed), device)?;
    restore_any(&mut trainer, path, device)?;
    Ok(1.0 - trainer.error(&splits.test)?)
}

/// Reads `path`, a checkpoint or the folder that holds one; `epoch` tells how many epochs count as done.
fn restore(
    trainer: &mut Trainer,
    path: &Path,
    device: &Device,
    epoch: impl FnOnce(&Checkpoint) -> Result<usize>,
) -> Result<()> {
    let mut checkpoint = Checkpoint::load(path, device)?;
    let epoch = epoch(&checkpoint)?;
    trainer.restore(epoch, |name, shape| checkpoint.take(name, shape, DType::F32))
}

/// The same of weights that need not be of this run, whose epoch tells whether they are untied.
fn restore_any(trainer: &mut Trainer, path: &Path, device: &Device) -> Result<()> {
    restore(trainer, path, device, |found| Ok(count_in(found, "epoch", path)?.unwrap_or(0)))
}

fn write(path: &Path, trainer: &Trainer, dataset: &str) -> Result<()> {
    let preset = trainer.network().preset();
    let more = [
        ("protocol", preset.training.protocol.to_string()),
        ("epoch", trainer.epoch().to_string()),
    ];
    write_checkpoint(
        path,
        &trainer.network().stack().tensors(),
        [METHOD, &preset.name, dataset],
        &more,
    )
}
