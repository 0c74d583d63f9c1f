//! A run: learning with its folder, or the evaluation of a checkpoint.

use super::config::Preset;
use super::diagnostics::diagnose;
use super::task::Task;
use super::trainer::{Learner, Point, Trainer};
use crate::checkpoint::write_checkpoint;
use crate::resume::{began_fresh, done_in, same_run};
use crate::run_options::{RunOptions, shown};
use candle::{DType, Device};
use candle_hebbian::Rng;
use hebbian_data::Dataset;
use hebbian_train::Result;
use hebbian_train::{Checkpoint, Progress, Results, RunFolder};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// The method's name in files.
const METHOD: &str = "golkar2020";
/// The weights are written this often while learning, and at the end.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Measurements for each doubling of the number of samples.
const PER_DOUBLING: f64 = 2.0;

/// What a run needs beside its data.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// Circuit and recipe, overrides applied.
    pub preset: Preset,
    /// Train by back-propagation instead.
    pub backprop: bool,
    /// Seed, device, files.
    #[serde(flatten)]
    pub run: RunOptions,
}

/// What a run measured.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What went into `results.json`.
    pub results: Results,
    /// Measurements, at 1, 2, 3, … samples, ever further apart.
    pub points: Vec<Point>,
}

/// Trains a preset on a data set; writes the run folder `out`. To resume a run that is complete is
/// to read it back.
///
/// # Errors
/// Weights that diverge (the message says which rate to lower), a folder that cannot be written, or
/// that holds another run than the one to resume.
pub fn train(options: &Options, data: &Dataset, device: &Device, out: &Path) -> Result<Outcome> {
    let task = Task::of(&options.preset, data, device)?;
    let label = options.preset.name.clone();
    train_on(options, &task, data.name.as_str(), &label, device, out)
}

/// [`train`] on samples that are there already; `label` is for the progress.
pub(super) fn train_on(
    options: &Options,
    task: &Task,
    dataset: &str,
    label: &str,
    device: &Device,
    out: &Path,
) -> Result<Outcome> {
    let started = Instant::now();
    let preset = &options.preset;
    let rng = Rng::new(options.run.seed);
    let mut trainer = Trainer::new(preset, task, options.backprop, &rng, device)?;
    let total = shown(task.train.count(), preset.training.epochs)?;
    let config = serde_json::json!({
        "method": METHOD,
        "options": options,
        "dataset": dataset,
        "train_images": task.train.count(),
        "test_images": task.test.count(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    let go_on = |trainer: &mut Trainer| {
        restore(trainer, out, device, |checkpoint| done_in(checkpoint, "samples", total, out))
    };
    // The samples that the log has a line for, of a run to go on with.
    let mut measured = None;
    let mut folder = if options.run.resume {
        same_run(&config, out)?;
        if let Some(results) = RunFolder::results(out)? {
            if let Some(path) = &options.run.save {
                go_on(&mut trainer)?;
                write(path, &trainer, preset, dataset)?;
            }
            return Ok(Outcome { results, points: logged(out)? });
        }
        if out.join("model.safetensors").exists() {
            go_on(&mut trainer)?;
            let folder = RunFolder::resume(out, trainer.seen() as u64)?;
            measured = Some(logged(out)?.iter().map(|point| point.seen).collect::<Vec<_>>());
            folder
        } else {
            began_fresh(out)?;
            RunFolder::create(out)?
        }
    } else {
        if let Some(path) = &options.run.load {
            restore(&mut trainer, path, device, |_| Ok(0))?;
        }
        RunFolder::create(out)?
    };
    folder.write_config(&config)?;
    let mut progress = Progress::of(total as u64, "samples", label, options.run.quiet);
    progress.advance(trainer.seen() as u64);
    let first = trainer.seen();
    let mut saved = measured.is_some().then(Instant::now);
    let mut learning = 0.0;
    let batch = match options.backprop {
        true => preset.backprop.batch_size,
        false => preset.training.batch_size,
    };
    let moments = moments(batch, task.train.count(), preset.training.epochs);
    // What is logged already is not measured again; the weights outlive a power cut, the log may not.
    let wanted = |upto: &usize| match &measured {
        Some(measured) => *upto >= first && !measured.contains(upto),
        None => true,
    };
    for upto in moments.into_iter().filter(wanted) {
        let clock = Instant::now();
        trainer.learn(task, upto, |count| progress.advance(count as u64))?;
        learning += clock.elapsed().as_secs_f64();
        let point = trainer.measure(task)?;
        folder.log(
            point.seen as u64,
            &[
                ("loss", point.loss),
                ("train_accuracy", point.train_accuracy),
                ("test_accuracy", point.test_accuracy),
            ],
        )?;
        progress.message(format!("loss {:.4}", point.loss));
        if saved.is_none_or(|saved| saved.elapsed() > CHECKPOINT_EVERY) {
            write(&folder.model(), &trainer, preset, dataset)?;
            saved = Some(Instant::now());
        }
    }
    progress.finish();
    for path in [Some(folder.model()), options.run.save.clone()].into_iter().flatten() {
        write(&path, &trainer, preset, dataset)?;
    }
    // Of the weights as they were saved, whatever the log has kept.
    let last = trainer.measure(task)?;
    let mut extras = BTreeMap::new();
    let mut extra = |name: &str, value: serde_json::Value| extras.insert(name.to_string(), value);
    extra("loss", last.loss.into());
    extra("train_accuracy", last.train_accuracy.into());
    extra("samples", last.seen.into());
    extra("learner", if options.backprop { "backprop" } else { "bmvr" }.into());
    if let Learner::Local { circuit, .. } = trainer.learner() {
        let found = diagnose(circuit, &task.train)?;
        extra("alignment", found.alignment.into());
        extra("interneuron_gap", found.interneuron_gap.into());
        extra("spectrum", serde_json::json!(found.spectrum));
    }
    extra("linear_optimum", task.linear_optimum()?.into());
    let results = Results {
        test_accuracy: last.test_accuracy,
        train_images: task.train.count(),
        unsupervised_seconds: learning,
        unsupervised_images_per_second: (last.seen - first) as f64 / learning.max(1e-9),
        extras,
        ..options.run.results(&preset.name, dataset, started)
    };
    folder.finish(&results)?;
    Ok(Outcome { results, points: logged(out)? })
}

/// The share of test samples that a saved circuit classifies rightly. Nothing is written.
///
/// # Errors
/// A checkpoint of another architecture.
pub fn evaluate(options: &Options, data: &Dataset, device: &Device) -> Result<f64> {
    let path = options.run.checkpoint()?;
    let task = Task::of(&options.preset, data, device)?;
    let rng = Rng::new(options.run.seed);
    let mut trainer = Trainer::new(&options.preset, &task, options.backprop, &rng, device)?;
    restore(&mut trainer, path, device, |_| Ok(0))?;
    Ok(trainer.measure(&task)?.test_accuracy)
}

/// Reads `path`, a checkpoint or the folder that holds one; `seen` tells how many samples count as seen.
fn restore(
    trainer: &mut Trainer,
    path: &Path,
    device: &Device,
    seen: impl FnOnce(&Checkpoint) -> Result<usize>,
) -> Result<()> {
    let mut checkpoint = Checkpoint::load(path, device)?;
    let seen = seen(&checkpoint)?;
    trainer.restore(seen, |name, shape| checkpoint.take(name, shape, DType::F32))
}

fn write(path: &Path, trainer: &Trainer, preset: &Preset, dataset: &str) -> Result<()> {
    let of = [METHOD, &preset.name, dataset];
    let seen = [("samples", trainer.seen().to_string())];
    write_checkpoint(path, &trainer.learner().tensors(), of, &seen)
}

/// What a run folder's log says.
fn logged(out: &Path) -> Result<Vec<Point>> {
    let points = RunFolder::logged(out)?.into_iter().filter_map(|(seen, values)| {
        let value = |name: &str| values.get(name).copied();
        Some(Point {
            seen: seen as usize,
            loss: value("loss")?,
            train_accuracy: value("train_accuracy")?,
            test_accuracy: value("test_accuracy")?,
        })
    });
    Ok(points.collect())
}

/// Numbers of samples at which something is measured: after the first few batches, then ever further
/// apart, and after each of the `epochs` of `count` samples, or about a hundred of them.
fn moments(batch: usize, count: usize, epochs: usize) -> Vec<usize> {
    let batches = (0..).map(|at| 2f64.powf(f64::from(at) / PER_DOUBLING).round() as usize);
    let first = batches.map(|batches| batches * batch).take_while(|&upto| upto < count);
    let measured = (0..=epochs).step_by((epochs / 100).max(1)).chain([epochs]);
    let mut moments: Vec<usize> = first.chain(measured.map(|epoch| epoch * count)).collect();
    moments.sort_unstable();
    moments.dedup();
    moments.retain(|&upto| upto <= count * epochs);
    moments
}

#[cfg(test)]
mod tests {
    #[test]
    fn moments_are_whole_batches() {
        assert_eq!(super::moments(1, 10, 2), [0, 1, 2, 3, 4, 6, 8, 10, 20]);
        assert_eq!(super::moments(10, 25, 1), [0, 10, 20, 25]);
        assert_eq!(super::moments(100, 50, 3), [0, 50, 100, 150]);
        assert_eq!(super::moments(10, 50, 0), [0]);
        assert_eq!(super::moments(1, 1, 250)[..4], [0, 2, 4, 6]);
        assert_eq!(super::moments(1, 1, 251).last(), Some(&251));
    }
}
