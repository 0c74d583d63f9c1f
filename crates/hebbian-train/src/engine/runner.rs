use std::collections::BTreeMap;
use std::io::{Write, stderr};
use std::path::Path;
use std::time::{Duration, Instant};

use candle::{DType, Device, Tensor};
use hebbian_data::ImageSet;
use hebbian_data::transforms::Transform;
use serde_json::Value;

use super::card::card;
use super::same_run::{RESUMED, Same, same_run};
use super::{About, Clock, Figures, Learner, Model, Recorder, RunOptions, State};
use crate::{
    Checkpoint, ConfusionMatrix, Error, History, MadeBy, Moment, Progress, Result, Results,
    RunFolder, check_finite, peak_memory_bytes, save_checkpoint,
};

/// The state is saved at least this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// The state is saved more often if that takes no more than this share of the time.
const CHECKPOINT_SHARE: f64 = 0.02;
/// Images per batch during evaluation.
const EVALUATION_BATCH: usize = 100;

/// The outcome of a run.
#[derive(Debug)]
pub struct Run<L> {
    /// What went into `results.json`.
    pub results: Results,
    /// What went into `metrics.jsonl`.
    pub history: History,
    /// The trained learner.
    pub learner: L,
}

/// Trains `learner` to its end, lets it finish, and writes the run folder `out`.
///
/// The learner takes one step at a time. When a measurement is due, it is made, the tensors are checked and the
/// values are logged. From time to time, the state that is needed to continue is saved, for the first time before
/// the first step; pictures are drawn from time to time, too, and at the end for the trained model. With
/// [`resume`](RunOptions::resume), a run continues from the saved state and ends as if it had not stopped. A
/// complete run is read back, or continues for longer if the method allows it.
///
/// # Errors
/// If the folder cannot be written, another run is in it, or it holds another run than the one to continue; if a
/// complete run is to continue but its state is missing; if a checkpoint belongs to another network; if weights become
/// NaN or infinite ([`Error::Diverged`]); [`Error::Stopped`] if the run was asked to stop.
pub fn run<L: Learner>(
    about: &About,
    learner: L,
    device: &Device,
    options: &RunOptions,
    out: &Path,
) -> Result<Run<L>> {
    let (training_seconds, saved, pictured) = (0.0, None, Instant::now());
    let mut job = Job { about, learner, device, options, out, training_seconds, saved, pictured };
    let mut config = about.config(options);
    let folder = match options.resume {
        true => match job.go_on()? {
            GoOn::Complete(results) => {
                if let Some(path) = &options.save {
                    job.save_model(path)?;
                }
                let history = RunFolder::history(out)?;
                return Ok(Run { results, history, learner: job.learner });
            }
            GoOn::From(folder, load) => {
                config["load"] = load;
                Some(folder)
            }
            GoOn::Anew => None,
        },
        false => None,
    };
    let resumed = folder.is_some();
    let begun = Instant::now();
    let mut folder = match folder {
        Some(folder) => folder,
        None => {
            let prepared = match &options.load {
                Some(path) if !options.resume => {
                    job.learner.start_from(&mut Checkpoint::load(path, device)?)?;
                    let wrong = |error| Error::Argument(format!("{}: {error}", path.display()));
                    check_tensors(job.learner.model(), 0).map_err(wrong)?;
                    RunFolder::prepare(out)?
                }
                _ => {
                    // An earlier run stays in the folder until this has succeeded, but no other run may begin there.
                    let prepared = RunFolder::prepare(out)?;
                    job.learner.begin()?;
                    prepared
                }
            };
            // What a learner does before its first step may be all of its learning.
            device.synchronize()?;
            job.training_seconds = begun.elapsed().as_secs_f64();
            RunFolder::create_in(prepared)?.since(begun)
        }
    };
    folder.write_config(&config)?;
    let _watch = options.stop.watch();
    job.learn(&mut folder, resumed)?;
    let clock = job.learner.clock();
    let mut recorder = Recorder { folder: &mut folder, options, device, clock };
    let figures = job.learner.finish(&mut recorder)?;
    job.check("the read-out")?;
    job.save_model(&folder.model())?;
    let results = job.results(figures, &folder);
    folder.write_card(&card(about, &results))?;
    folder.finish(&results)?;
    // The run is complete, whatever becomes of this file.
    if let Some(path) = &options.save {
        job.save_model(path)?;
    }
    Ok(Run { results, history: RunFolder::history(out)?, learner: job.learner })
}

struct Job<'a, L> {
    about: &'a About,
    learner: L,
    device: &'a Device,
    options: &'a RunOptions,
    out: &'a Path,
    training_seconds: f64,
    /// When the state was saved last, and how long that took.
    saved: Option<(Instant, Duration)>,
    /// When pictures were drawn last.
    pictured: Instant,
}

/// Reads the configuration of the run to continue in a folder.
pub(super) fn to_resume(out: &Path) -> Result<Value> {
    RunFolder::recover(out)?;
    RunFolder::config(out)?.ok_or_else(|| {
        Error::Argument(format!(
            "there is no run to resume in {}: it has no config.json; start one without --resume",
            out.display()
        ))
    })
}

/// How an existing run continues.
enum GoOn {
    /// The run has nothing left to do.
    Complete(Results),
    /// The run continues from its state; the value is the path of the weights that it once started from, or null.
    From(RunFolder, Value),
    /// The run was killed before its first step.
    Anew,
}

impl<L: Learner> Job<'_, L> {
    fn go_on(&mut self) -> Result<GoOn> {
        let found = to_resume(self.out)?;
        let wanted = self.about.config(self.options);
        let config = self.out.join("config.json");
        let same = same_run(&found, &wanted, self.about.may_grow, &config)?;
        let results = RunFolder::results(self.out)?;
        let is_complete = results.is_some();
        if let (Same::AsStarted, Some(results)) = (same, results) {
            let model = self.out.join(crate::checkpoint::MODEL);
            self.learner.model_mut().restore(&mut Checkpoint::load(model, self.device)?)?;
            // Those of an experiment are many.
            if !self.options.quiet && self.options.label.is_none() {
                let out = self.out.display();
                let _ =
                    writeln!(stderr(), "the run in {out} is complete: nothing is left to learn");
            }
            return Ok(GoOn::Complete(results));
        }
        let state = self.out.join(crate::checkpoint::STATE);
        if !state.exists() {
            if is_complete {
                return Err(Error::Argument(format!(
                    "{} is missing, from which the complete run there would go on for longer: resume it with the \
                     numbers it was started with to read it back, or start again without --resume to replace it",
                    state.display()
                )));
            }
            return match found.get("load").and_then(Value::as_str) {
                Some(load) => Err(Error::Argument(format!(
                    "{} has nothing to resume from: start again without --resume, with --load {load}",
                    self.out.display()
                ))),
                None => Ok(GoOn::Anew),
            };
        }
        if !self.options.quiet {
            let out = self.out.display().to_string();
            MadeBy::of_config(&wanted).tell_of_others(&out, &MadeBy::of_config(&found));
        }
        let mut checkpoint = Checkpoint::load(&state, self.device)?;
        let (steps, images) =
            (number(&checkpoint, "steps", &state)?, number(&checkpoint, "images", &state)?);
        let (clock, total) = (Clock { steps, images }, self.learner.total());
        if clock.steps > total.steps {
            return Err(Error::Argument(format!(
                "{} was saved at step {steps}, but the run has only {}: start again without --resume",
                state.display(),
                total.steps
            )));
        }
        self.training_seconds = number(&checkpoint, "training_seconds", &state)?;
        // Earlier versions did not save it.
        let total_seconds = number(&checkpoint, "total_seconds", &state).unwrap_or_default();
        let values: Value = number(&checkpoint, "state", &state)?;
        self.learner.model_mut().restore(&mut checkpoint)?;
        self.learner.go_on(clock, &values, &mut checkpoint)?;
        if same == Same::Longer {
            RunFolder::forget_readouts(self.out)?;
        }
        let load = found.get("load").cloned().unwrap_or_default();
        Ok(GoOn::From(RunFolder::resume(self.out, steps)?.after(total_seconds), load))
    }

    fn learn(&mut self, folder: &mut RunFolder, resumed: bool) -> Result<()> {
        let total = self.learner.total();
        let label = self.options.label.as_deref().unwrap_or(&self.about.preset);
        let mut progress = Progress::new(total.images, label, self.options.quiet)
            .starting_from(self.learner.clock().images);
        // The state that a run continues from was measured before it was saved.
        let mut measured = resumed;
        loop {
            if !measured && self.learner.is_due() {
                let message = self.measure(folder)?;
                progress.message(message);
            }
            measured = false;
            let clock = self.learner.clock();
            if clock.steps >= total.steps {
                break;
            }
            if let Some(signal) = self.options.stop.asked() {
                self.save(folder)?;
                let at = format!("at step {} of {}", clock.steps, total.steps);
                let path = self.out.to_path_buf();
                return Err(Error::Stopped { at, path, next: RESUMED, signal });
            }
            if self.saved.is_none_or(|(at, took)| {
                let since = at.elapsed();
                since > CHECKPOINT_EVERY || took < since.mul_f64(CHECKPOINT_SHARE)
            }) {
                self.save(folder)?;
            }
            let started = Instant::now();
            self.learner.step().map_err(|error| self.diverged(error))?;
            self.training_seconds += started.elapsed().as_secs_f64();
            progress.advance(self.learner.clock().images - clock.images);
        }
        progress.finish();
        self.save(folder)?;
        self.draw(folder)
    }

    /// Waits for what the steps so far have left to the device, and counts the wait as training.
    fn settle(&mut self) -> Result<()> {
        let started = Instant::now();
        self.device.synchronize()?;
        self.training_seconds += started.elapsed().as_secs_f64();
        Ok(())
    }

    /// Measures and logs; returns what the progress shows.
    fn measure(&mut self, folder: &mut RunFolder) -> Result<String> {
        self.settle()?;
        let stage = self.learner.stage();
        let measured = self.learner.measure().map_err(|error| self.diverged(error))?;
        self.check(&stage)?;
        let Clock { steps, images } = self.learner.clock();
        let epoch = self.epochs();
        let values: Vec<(&str, f64)> =
            measured.values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        folder.log(Moment::Learning { step: steps, images, epoch }, &values)?;
        Ok([stage, measured.message]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(", "))
    }

    fn epochs(&self) -> f64 {
        self.learner.clock().images as f64 / self.about.counts.seen().max(1) as f64
    }

    /// Fails if the model holds NaN or infinities.
    fn check(&self, stage: &str) -> Result<()> {
        let checked = check_tensors(self.learner.model(), self.learner.clock().steps);
        checked.map_err(|error| error.while_training(stage, self.kept(), self.learner.advice()))
    }

    fn diverged(&self, error: Error) -> Error {
        error.while_training(self.learner.stage(), self.kept(), self.learner.advice())
    }

    fn kept(&self) -> Option<std::path::PathBuf> {
        self.saved.map(|_| self.out.join(crate::checkpoint::STATE))
    }

    /// Saves the state that is needed to continue and, now and then, pictures.
    fn save(&mut self, folder: &mut RunFolder) -> Result<()> {
        self.settle()?;
        let started = Instant::now();
        self.check(&self.learner.stage())?;
        let Clock { steps, images } = self.learner.clock();
        let State { tensors: more, values } = self.learner.state()?;
        let mut tensors = self.tensors();
        tensors.extend(more);
        let mut metadata = self.metadata();
        for (key, value) in [
            ("steps", steps.to_string()),
            ("images", images.to_string()),
            ("training_seconds", self.training_seconds.to_string()),
            ("total_seconds", folder.seconds().to_string()),
            ("state", values.to_string()),
        ] {
            metadata.insert(key.to_string(), value);
        }
        folder.sync_log()?;
        save_checkpoint(folder.state(), &tensors, &metadata)?;
        self.saved = Some((Instant::now(), started.elapsed()));
        // Pictures may take longer to draw than an epoch takes to learn.
        if self.pictured.elapsed() > CHECKPOINT_EVERY {
            self.draw(folder)?;
        }
        Ok(())
    }

    fn draw(&mut self, folder: &mut RunFolder) -> Result<()> {
        for (name, picture) in self.learner.pictures()? {
            folder.picture(&name, self.learner.clock().steps, &picture)?;
        }
        self.pictured = Instant::now();
        Ok(())
    }

    /// Writes the model alone.
    fn save_model(&self, path: &Path) -> Result<()> {
        save_checkpoint(path, &self.tensors(), &self.metadata())
    }

    /// The tensors of the model, and what its transforms were fitted to.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let model = self.learner.model().tensors();
        model.into_iter().chain(self.about.transforms.tensors()).collect()
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let About { method, preset, dataset, .. } = self.about;
        let known = [("method", *method), ("preset", preset), ("dataset", dataset)];
        let known = known.into_iter().chain([("version", env!("CARGO_PKG_VERSION"))]);
        known.map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    fn results(&self, figures: Figures, folder: &RunFolder) -> Results {
        let Figures { test_accuracy, confusion, readouts, extras } = figures;
        let (clock, with_labels) = (self.learner.clock(), self.learner.uses_labels());
        let unsupervised_seconds = if with_labels { 0.0 } else { self.training_seconds };
        let speed = clock.images as f64 / unsupervised_seconds;
        Results {
            method: self.about.method.to_string(),
            preset: self.about.preset.clone(),
            dataset: self.about.dataset.clone(),
            seed: self.options.seed,
            device: self.options.device.clone(),
            validation: self.options.validation,
            labelled: self.options.labelled,
            unlabelled_images: self.about.counts.unlabelled,
            input: self.about.input.clone(),
            test_accuracy,
            confusion,
            train_images: self.about.counts.train,
            trained_with_labels: with_labels,
            training_steps: clock.steps,
            training_images: clock.images,
            training_epochs: self.epochs(),
            training_seconds: self.training_seconds,
            unsupervised_seconds,
            unsupervised_images_per_second: if speed.is_finite() { speed } else { 0.0 },
            head_seconds: readouts.first().map_or(0.0, |readout| readout.seconds),
            readouts,
            total_seconds: folder.seconds(),
            peak_memory_bytes: peak_memory_bytes(),
            extras,
        }
    }
}

/// Refuses a model that holds NaN or infinities.
fn check_tensors(model: &dyn Model, step: u64) -> Result<()> {
    model.tensors().iter().try_for_each(|(name, tensor)| check_finite(name, step, tensor))
}

/// Parses a value in a checkpoint's metadata.
fn number<T: serde::de::DeserializeOwned>(
    checkpoint: &Checkpoint,
    name: &str,
    path: &Path,
) -> Result<T> {
    let found = checkpoint.metadata.get(name).map_or("missing", String::as_str);
    serde_json::from_str(found).map_err(|_| {
        Error::Argument(format!(
            "{}: the metadata's {name} is {}; start again without --resume",
            path.display(),
            found.escape_debug()
        ))
    })
}

/// How well a model classifies images.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The share that is classified correctly.
    pub accuracy: f64,
    /// Which classes are mistaken for which.
    pub confusion: ConfusionMatrix,
    /// The class of each image, in the order of the set.
    pub predicted: Vec<u32>,
}

/// Classifies the images of a set.
///
/// # Errors
/// If the model holds NaN or infinities or has no trained read-out, the images have another size, or a label is no
/// class.
pub fn evaluate(
    model: &dyn Model,
    set: &ImageSet,
    classes: usize,
    device: &Device,
    progress: &mut Progress,
) -> Result<Evaluation> {
    check_tensors(model, 0)?;
    let mut predicted = Vec::with_capacity(set.len());
    for indices in set.in_order(EVALUATION_BATCH)? {
        let (images, _) = set.batch(&indices, DType::F32, device)?;
        predicted.extend(model.predict(&images)?.to_vec1::<u32>()?);
        progress.advance(indices.len() as u64);
    }
    let confusion = ConfusionMatrix::new(set.labels(), &predicted, classes)?;
    Ok(Evaluation { accuracy: confusion.accuracy(), confusion, predicted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::toy::{Preset, Toy, images};
    use crate::{OfPreset, train};

    fn trained(preset: Preset, resume: bool, out: &Path) -> Result<Results> {
        let how = RunOptions { resume, quiet: true, ..RunOptions::default() };
        Ok(train::<Toy>(&OfPreset { preset }, &images(), &Device::Cpu, &how, out)?.results)
    }

    /// Without its state a complete run cannot go on for longer, but it can be read back; nothing is lost.
    #[test]
    fn a_complete_run_without_its_state_is_not_begun_anew() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        assert_eq!(trained(Preset::of_epochs(1), false, out)?.training_epochs, 1.0);
        let longer = trained(Preset::of_epochs(2), true, out)?;
        assert_eq!(longer.training_epochs, 2.0);
        std::fs::remove_file(out.join(crate::checkpoint::STATE)).unwrap();
        let error = trained(Preset::of_epochs(3), true, out).unwrap_err().to_string();
        assert!(error.contains("state.safetensors is missing"), "{error}");
        assert!(error.contains("without --resume"), "{error}");
        assert_eq!(trained(Preset::of_epochs(2), true, out)?, longer);
        Ok(())
    }

    /// Centroids are learned before the first step: no other run may begin in the folder meanwhile. The earlier run
    /// there is replaced only when they are learned.
    #[test]
    fn the_folder_is_locked_while_a_learner_begins() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("runs/toy");
        let preset = Preset { other_run_in: Some(out.clone()), ..Preset::of_epochs(1) };
        let refused = || trained(preset.clone(), false, &out).unwrap_err();
        let error = refused();
        assert!(matches!(&error, Error::InUse { path } if *path == out), "{error}");
        // Where folders cannot be opened, the lock's file stays.
        assert_eq!(folder.path().join("runs").exists(), cfg!(not(unix)));
        let earlier = trained(Preset::of_epochs(2), false, &out)?;
        assert!(matches!(refused(), Error::InUse { .. }));
        assert_eq!(RunFolder::results(&out)?, Some(earlier));
        Ok(())
    }

    /// Weights are checked when they are measured and saved, at the end of the epoch: here of its only step.
    #[test]
    fn weights_that_diverge_are_of_the_epoch_that_was_trained() -> Result<()> {
        for epoch in [1, 2, 3] {
            let folder = tempfile::tempdir().unwrap();
            let preset = Preset { weight_fails_in: epoch, ..Preset::of_epochs(3) };
            let error = trained(preset, false, folder.path()).unwrap_err().to_string();
            let says =
                format!("weight is not finite at step {epoch}: 1 NaN and 0 infinite of 1 values");
            assert!(error.starts_with(&says), "{error}");
            assert!(error.contains(&format!(", while training epoch {epoch}. ")), "{error}");
        }
        Ok(())
    }
}
