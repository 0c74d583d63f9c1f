//! A run: training with its folder, or the evaluation of a checkpoint.

use super::config::Preset;
use super::decode::{Decoder, Decoding};
use super::input::Input;
use super::network::Network;
use super::pictures;
use super::trainer::Trainer;
use crate::checkpoint::write_checkpoint;
use crate::resume::{began_fresh, done_in, same_run};
use crate::run_options::{RunOptions, shown};
use candle::{DType, Device};
use candle_hebbian::Rng;
use hebbian_data::Dataset;
use hebbian_train::{Checkpoint, Progress, Results, RunFolder};
use hebbian_train::{Error, Result};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// The method's name in files.
const METHOD: &str = "miconi2021";
/// The weights are written this often while training, and at the end.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// What a run needs beside its data.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// Network and recipe, overrides applied.
    pub preset: Preset,
    /// What classes are read out with.
    pub decoder: Decoder,
    /// Standardise the last layer's output before its quadrants are taken, as that of the others.
    pub standardise_last: bool,
    /// Seed, device, files.
    #[serde(flatten)]
    pub run: RunOptions,
}

/// What a run measured.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What went into `results.json`.
    pub results: Results,
    /// How well classes are read out of every layer.
    pub decoding: Decoding,
    /// By epoch from 1: the values of `metrics.jsonl`, for each layer those of
    /// [`LayerStats`](super::LayerStats).
    pub history: BTreeMap<u64, BTreeMap<String, f64>>,
}

/// Trains a preset on a data set and decodes every layer; writes the run folder `out`. To resume a
/// run that is complete is to read it back.
///
/// # Errors
/// A data set that does not fit the network, a checkpoint of another architecture, a folder that
/// cannot be written, or that holds another run than the one to resume, weights that become NaN or
/// infinite. The folder is made only once everything that can be checked before training is.
pub fn train(options: &Options, data: &Dataset, device: &Device, out: &Path) -> Result<Outcome> {
    train_as(options, data, &options.preset.name, device, out)
}

/// [`train`]; `label` is for the progress.
pub(super) fn train_as(
    options: &Options,
    data: &Dataset,
    label: &str,
    device: &Device,
    out: &Path,
) -> Result<Outcome> {
    let started = Instant::now();
    let Options { preset, run, .. } = options;
    let (rng, quiet) = (Rng::new(run.seed), run.quiet);
    let data = prepared(preset, data)?;
    // Refused before the images are whitened, which takes a while.
    let shape = Input::shape(&preset.input, data.train.shape());
    Network::new(preset, shape, &rng, DType::F32, device)?;
    let config = serde_json::json!({
        "method": METHOD,
        "options": options,
        "dataset": data.name.to_string(),
        "train_images": data.train.len(),
        "test_images": data.test.len(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    let (images, epochs) = (data.train.len(), preset.training.epochs);
    let total = shown(images, epochs)? as u64;
    let go_on = || {
        let done = |checkpoint: &Checkpoint| done_in(checkpoint, "epoch", epochs, out);
        restore(preset, out, &data, &rng, device, done)
    };
    let (mut folder, mut trainer) = if options.run.resume {
        same_run(&config, out)?;
        if let Some(results) = RunFolder::results(out)? {
            if let Some(path) = &options.run.save {
                write(path, &go_on()?, &data)?;
            }
            let decoding = read_decoding(&results, out)?;
            return Ok(Outcome { results, decoding, history: RunFolder::logged(out)? });
        }
        if out.join("model.safetensors").exists() {
            let trainer = go_on()?;
            (RunFolder::resume(out, trainer.epoch() as u64)?, trainer)
        } else {
            began_fresh(out)?;
            let trainer = Trainer::new(preset, &data.train, &rng, device, quiet)?;
            (RunFolder::create(out)?, trainer)
        }
    } else if let Some(path) = &options.run.load {
        let trainer = restore(preset, path, &data, &rng, device, |_| Ok(0))?;
        (RunFolder::create(out)?, trainer)
    } else {
        // Images that cannot be whitened leave no folder.
        let trainer = Trainer::new(preset, &data.train, &rng, device, quiet)?;
        (RunFolder::create(out)?, trainer)
    };
    folder.write_config(&config)?;

    let training = Instant::now();
    let mut progress = Progress::new(total, label, quiet);
    progress.advance((images * trainer.epoch()) as u64);
    let first = trainer.epoch();
    let mut saved = (options.run.resume && first > 0).then(Instant::now);
    while trainer.epoch() < epochs {
        let number = trainer.epoch() + 1;
        let stats = trainer
            .train_epoch(&data.train, |images| progress.advance(images as u64))
            .map_err(|error| {
                error.while_training(format!("epoch {number}"), saved.map(|_| folder.model()))
            })?;
        let values: Vec<(String, f64)> =
            stats.iter().enumerate().flat_map(|(index, stats)| stats.named(index)).collect();
        let values: Vec<(&str, f64)> =
            values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        folder.log(number as u64, &values)?;
        if let Some(last) = stats.last() {
            progress.message(format!(
                "epoch {number}, last layer's win rates {:.2} to {:.2} of target",
                last.least_win_rate, last.largest_win_rate
            ));
        }
        if saved.is_none_or(|saved| saved.elapsed() > CHECKPOINT_EVERY) {
            save(&mut folder, &trainer, &data)?;
            saved = Some(Instant::now());
        }
    }
    progress.finish();
    let unsupervised_seconds = training.elapsed().as_secs_f64();
    // Before the read-outs: with a quirk, thresholds go on adapting there.
    save(&mut folder, &trainer, &data)?;
    if let Some(path) = &options.run.save {
        write(path, &trainer, &data)?;
    }
    pictures::weights(&trainer, &mut folder)?;

    let head_started = Instant::now();
    let decoding = trainer.decode(&data, options.decoder, options.standardise_last, quiet)?;
    let head_seconds = head_started.elapsed().as_secs_f64();
    let shown = (images * (epochs - first)) as f64;
    let mut extras = BTreeMap::new();
    extras.insert("epochs".to_string(), trainer.epoch().into());
    extras.insert("decoder".to_string(), serde_json::json!(options.decoder));
    extras.insert(DECODING.to_string(), serde_json::json!(decoding));
    let results = Results {
        test_accuracy: decoding.output,
        train_images: images,
        unsupervised_seconds,
        unsupervised_images_per_second: shown / unsupervised_seconds,
        head_seconds,
        extras,
        ..options.run.results(&preset.name, data.name.as_str(), started)
    };
    folder.finish(&results)?;
    Ok(Outcome { results, decoding, history: RunFolder::logged(out)? })
}

/// How well classes are read out of every layer of a saved network. Nothing is written.
///
/// # Errors
/// A checkpoint of another architecture.
pub fn evaluate(options: &Options, data: &Dataset, device: &Device) -> Result<Decoding> {
    let path = options.run.checkpoint()?;
    let (preset, rng) = (&options.preset, Rng::new(options.run.seed));
    let data = prepared(preset, data)?;
    let mut trainer = restore(preset, path, &data, &rng, device, |_| Ok(0))?;
    trainer.decode(&data, options.decoder, options.standardise_last, options.run.quiet)
}

/// Where the [`Decoding`] stands in `results.json`.
const DECODING: &str = "decoding";

fn read_decoding(results: &Results, out: &Path) -> Result<Decoding> {
    let decoding = results.extras.get(DECODING).cloned().unwrap_or_default();
    serde_json::from_value(decoding).map_err(|error| {
        Error::Argument(format!(
            "{} holds no decoding of this program ({error}): start anew without --resume",
            out.join("results.json").display()
        ))
    })
}

/// The data as the preset wants them: grey, if it says so.
fn prepared<'a>(preset: &Preset, data: &'a Dataset) -> Result<Cow<'a, Dataset>> {
    if !preset.input.grey {
        return Ok(Cow::Borrowed(data));
    }
    let (train, test) = (data.train.to_grey()?, data.test.to_grey()?);
    Ok(Cow::Owned(Dataset { train, test, class_names: data.class_names.clone(), ..*data }))
}

/// Reads `path`, a checkpoint or the folder that holds one; `epoch` tells how many epochs count as done.
fn restore(
    preset: &Preset,
    path: &Path,
    data: &Dataset,
    rng: &Rng,
    device: &Device,
    epoch: impl FnOnce(&Checkpoint) -> Result<usize>,
) -> Result<Trainer> {
    let mut checkpoint = Checkpoint::load(path, device)?;
    let epoch = epoch(&checkpoint)?;
    Trainer::restore(preset, data.train.shape(), rng, device, epoch, |name, shape| {
        checkpoint.take(name, shape, DType::F32)
    })
}

/// Writes what a run that goes on from here needs, and before it what that run cannot draw any more.
fn save(folder: &mut RunFolder, trainer: &Trainer, data: &Dataset) -> Result<()> {
    pictures::winners(trainer, folder)?;
    write(&folder.model(), trainer, data)
}

fn write(path: &Path, trainer: &Trainer, data: &Dataset) -> Result<()> {
    let of = [METHOD, &trainer.network().preset().name, data.name.as_str()];
    write_checkpoint(path, &trainer.tensors(), of, &[("epoch", trainer.epoch().to_string())])
}
