//! The recipe: unsupervised stages, then the head, then the figures.

use super::backprop::Backprop;
use super::config::{Augmentation, HeadConfig, Mode, Preset};
use super::error::{Error, Result};
use super::head::Head;
use super::label_assignment::LabelAssignment;
use super::monitor::Monitor;
use super::network::Network;
use candle::{DType, Device, Tensor};
use candle_hebbian::{Geometry, Rng};
use hebbian_data::transforms::CropAndFlip;
use hebbian_data::{Batches, Dataset, ImageSet};
use hebbian_train::{
    Checkpoint, NearestClassMean, Progress, Readout, Results, Ridge, RunFolder, check_finite,
    collect_features, filter_grid, peak_memory_bytes, save_checkpoint,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Images per batch where nothing learns.
const EVALUATION_BATCH: usize = 50;
/// A winner is counted in one of this many steps.
const OBSERVE_EVERY: usize = 10;
/// Ridge regression reads at most this many features, pooled over positions where there are more.
const RIDGE_FEATURES: usize = 2048;
/// The weights are written this often while training, and after each stage.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// The version this workspace pins, for `config.json`.
const CANDLE_VERSION: &str = "0.11.1";

/// What a run needs beside its data.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// Network and recipe, overrides applied.
    pub preset: Preset,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// The device, as `cpu`, `cuda` or `metal`.
    pub device: String,
    /// Start from these weights.
    pub load: Option<PathBuf>,
    /// Write the final weights here too.
    pub save: Option<PathBuf>,
    /// Also train the same head on raw pixels and on random features.
    pub baselines: bool,
    /// No progress.
    pub quiet: bool,
}

struct Run<'a> {
    options: &'a Options,
    data: &'a Dataset,
    device: &'a Device,
    rng: Rng,
    folder: RunFolder,
    step: u64,
    last_saved: Option<Instant>,
}

/// Trains and evaluates a preset on a data set; writes the run folder `out` and returns what went
/// into its `results.json`.
///
/// # Errors
/// A data set that does not fit the network, a checkpoint of another architecture, a folder that
/// cannot be written, weights that become NaN or infinite. The folder is made only once everything
/// that can be checked before training is.
pub fn train(options: &Options, data: &Dataset, device: &Device, out: &Path) -> Result<Results> {
    let started = Instant::now();
    let preset = &options.preset;
    check(preset, data)?;
    let rng = Rng::new(options.seed);
    rehearse(preset, data, device, &rng)?;
    let mut network = Network::new(preset, data.train.shape(), &rng, DType::F32, device)?;
    if let Some(path) = &options.load {
        restore(path, device, &mut network, None)?;
    }
    let mut run = Run {
        options,
        data,
        device,
        rng,
        folder: RunFolder::create(out)?,
        step: 0,
        last_saved: None,
    };
    run.folder.write_config(&serde_json::json!({
        "method": "softhebb",
        "options": options,
        "dataset": data.name.to_string(),
        "train_images": data.train.len(),
        "test_images": data.test.len(),
        "version": env!("CARGO_PKG_VERSION"),
        "candle_version": CANDLE_VERSION,
    }))?;

    let unsupervised_started = Instant::now();
    let backprop = network.hebbian().is_empty();
    let (mut head, shown) =
        if backprop { (run.new_head(&network)?, 0) } else { run.unsupervised(&mut network)? };
    let unsupervised_seconds = unsupervised_started.elapsed().as_secs_f64();
    run.save(&network, None)?;

    let head_started = Instant::now();
    let mut extras = BTreeMap::new();
    let test_accuracy = if backprop {
        head = run.backprop(&mut network)?;
        let test = run.features(&network, &data.test, "test features")?;
        head.accuracy(&test, data.test.labels())?
    } else {
        let train = run.features(&network, &data.train, "train features")?;
        let test = run.features(&network, &data.test, "test features")?;
        let accuracy = run.train_head(&mut head, &network, &train, &test, "head")?;
        run.other_readouts(&network, &train, &test, &mut extras)?;
        accuracy
    };
    let head_seconds = head_started.elapsed().as_secs_f64();
    if options.baselines {
        run.baselines(&mut extras)?;
    }
    run.save(&network, Some(&head))?;
    if let Some(path) = &options.save {
        run.write(path, &network, Some(&head))?;
    }
    let results = Results {
        test_accuracy,
        train_images: data.train.len(),
        unsupervised_seconds,
        unsupervised_images_per_second: if shown == 0 {
            0.0
        } else {
            shown as f64 / unsupervised_seconds
        },
        head_seconds,
        total_seconds: started.elapsed().as_secs_f64(),
        peak_memory_bytes: peak_memory_bytes(),
        seed: options.seed,
        device: options.device.clone(),
        preset: preset.name.clone(),
        dataset: data.name.to_string(),
        extras,
    };
    run.folder.finish(&results)?;
    Ok(results)
}

/// The accuracy on the test set of a saved network with its head. Nothing is written.
///
/// # Errors
/// A checkpoint of another architecture, or without a head.
pub fn evaluate(options: &Options, data: &Dataset, device: &Device) -> Result<f64> {
    let Some(path) = &options.load else {
        return Err(Error::Options("--eval-only needs --load CHECKPOINT".to_string()));
    };
    check(&options.preset, data)?;
    let rng = Rng::new(options.seed);
    let mut network = Network::new(&options.preset, data.train.shape(), &rng, DType::F32, device)?;
    let mut head = new_head(&options.preset, &network, data, device, &rng)?;
    restore(path, device, &mut network, Some(&mut head))?;
    let test = features(&network, &data.test, device, "test features", options.quiet)?;
    head.accuracy(&test, data.test.labels())
}

fn check(preset: &Preset, data: &Dataset) -> Result<()> {
    let training = &preset.training;
    for (name, value) in
        [("batch size", training.batch_size), ("head's batch size", training.head_batch_size)]
    {
        if value == 0 {
            return Err(Error::Options(format!("the {name} is 0, expected 1 or more")));
        }
    }
    for (name, set) in [("training", &data.train), ("test", &data.test)] {
        if set.is_empty() {
            return Err(Error::Options(format!("there are no {name} images: raise the limit")));
        }
    }
    let hebbian =
        |block: &&super::BlockConfig| matches!(block.learning, super::Learning::Hebbian { .. });
    let count = preset.blocks.iter().filter(hebbian).count();
    if preset.blocks.is_empty() || (count != 0 && count != preset.blocks.len()) {
        return Err(Error::Options(format!(
            "preset '{}' has {count} Hebbian blocks of {}: expected all or none, and at least one \
             block",
            preset.name,
            preset.blocks.len()
        )));
    }
    let units = |block: &super::BlockConfig| match block.layer {
        super::LayerConfig::Dense { units } => units,
        super::LayerConfig::Conv2d { channels, .. } => channels,
    };
    if let Some(empty) = preset.blocks.iter().position(|block| units(block) == 0) {
        return Err(Error::Options(format!(
            "block {empty} of preset '{}' has 0 units, expected 1 or more",
            preset.name
        )));
    }
    if count == 0 && !matches!(preset.head, HeadConfig::Linear { .. }) {
        return Err(Error::Options(format!(
            "preset '{}' learns by back-propagation, which needs a linear head",
            preset.name
        )));
    }
    Ok(())
}

/// Learns from the smallest batch there will be, with weights that are then thrown away: what
/// cannot work shall fail before anything is written.
fn rehearse(preset: &Preset, data: &Dataset, device: &Device, rng: &Rng) -> Result<()> {
    let training = &preset.training;
    let mut network = Network::new(preset, data.train.shape(), rng, DType::F32, device)?;
    new_head(preset, &network, data, device, rng)?;
    let backprop = network.hebbian().is_empty();
    let batch_size = if backprop { training.head_batch_size } else { training.batch_size };
    let count = match data.train.len() % batch_size {
        0 => batch_size,
        left => left,
    };
    let indices: Vec<usize> = (0..count).collect();
    let (images, _) = data.train.batch(&indices, DType::F32, device)?;
    match training.mode {
        _ if backprop => network.forward_backprop(&images).map(drop),
        Mode::RandomCalibrated | Mode::RandomIdentity => network.forward(&images).map(drop),
        _ => network.learn(&images, 0.0).map(drop),
    }
    .map_err(|error| {
        Error::Options(format!(
            "preset '{}' cannot learn from a batch of {count} images: {error}",
            preset.name
        ))
    })
}

/// Reads `path`, a checkpoint or the folder that holds one.
fn restore(
    path: &Path,
    device: &Device,
    network: &mut Network,
    head: Option<&mut Head>,
) -> Result<()> {
    let path = if path.is_dir() { path.join("model.safetensors") } else { path.to_path_buf() };
    let mut checkpoint = Checkpoint::load(&path, device)?;
    let mut take = |name: &str, shape: &[usize]| -> Result<Tensor> {
        Ok(checkpoint.take(name, shape, DType::F32)?)
    };
    network.restore(&mut take)?;
    match head {
        Some(head) => head.restore(take),
        None => Ok(()),
    }
}

fn new_head(
    preset: &Preset,
    network: &Network,
    data: &Dataset,
    device: &Device,
    rng: &Rng,
) -> Result<Head> {
    Head::new(
        &preset.head,
        &preset.training,
        network.features(),
        data.class_names.len(),
        device,
        &mut rng.stream("head.weight"),
    )
}

fn features(
    network: &Network,
    set: &ImageSet,
    device: &Device,
    label: &str,
    quiet: bool,
) -> Result<Tensor> {
    let mut progress = Progress::new(set.len() as u64, label, quiet);
    let features = collect_features(set.len(), EVALUATION_BATCH, device, |range| {
        let count = range.len() as u64;
        let indices: Vec<usize> = range.collect();
        let (images, _) = set
            .batch(&indices, DType::F32, device)
            .map_err(|error| hebbian_train::Error::Candle(candle::Error::wrap(error)))?;
        let features = network.forward(&images)?;
        progress.advance(count);
        Ok(features)
    })?;
    progress.finish();
    Ok(features)
}

impl Run<'_> {
    fn new_head(&self, network: &Network) -> Result<Head> {
        new_head(&self.options.preset, network, self.data, self.device, &self.rng)
    }

    fn features(&self, network: &Network, set: &ImageSet, label: &str) -> Result<Tensor> {
        features(network, set, self.device, label, self.options.quiet)
    }

    /// The stages without labels. Returns the head, which simultaneous mode has begun to train,
    /// and how many images were shown.
    fn unsupervised(&mut self, network: &mut Network) -> Result<(Head, usize)> {
        let mut head = self.new_head(network)?;
        let all = network.hebbian();
        let shown = match self.options.preset.training.mode {
            Mode::Successive => {
                let mut shown = 0;
                for index in all {
                    shown += self.stage(network, &[index], None)?;
                }
                shown
            }
            Mode::Consecutive => self.stage(network, &all, None)?,
            Mode::Simultaneous => self.stage(network, &all, Some(&mut head))?,
            Mode::RandomCalibrated => {
                self.calibrate(network)?;
                0
            }
            Mode::RandomIdentity => 0,
        };
        Ok((head, shown))
    }

    /// Estimates batch-norm statistics on at most 2,000 images.
    fn calibrate(&self, network: &mut Network) -> Result<()> {
        let mut rng = self.rng.stream("calibration");
        let batches = Batches::shuffled(self.data.train.len(), 10, &mut rng)?;
        for indices in batches.take(200).filter(|indices| indices.len() > 1) {
            let (images, _) = self.data.train.batch(&indices, DType::F32, self.device)?;
            network.calibrate(&images)?;
        }
        Ok(())
    }

    /// All unsupervised epochs of the blocks `learning`: one of them, with what is below frozen,
    /// or all.
    fn stage(
        &mut self,
        network: &mut Network,
        learning: &[usize],
        mut head: Option<&mut Head>,
    ) -> Result<usize> {
        let training = self.options.preset.training;
        let name = match learning {
            [index] if network.blocks().len() > 1 => format!("layer {}", index + 1),
            [_] => "layer 1".to_string(),
            _ => "all layers".to_string(),
        };
        let count = self.data.train.len();
        let steps_per_epoch = count.div_ceil(training.batch_size);
        let steps = training.epochs * steps_per_epoch;
        let log_every = (steps / 50).clamp(10, 100);
        let mut rng = self.rng.stream(&format!("batches.{name}"));
        let mut dropout = self.rng.stream("head.simultaneous");
        let mut monitors = vec![Monitor::default(); network.blocks().len()];
        let mut progress =
            Progress::new((training.epochs * count) as u64, &name, self.options.quiet);
        self.check_and_save(network, &name)?;
        let mut done = 0;
        for _ in 0..training.epochs {
            for indices in Batches::shuffled(count, training.batch_size, &mut rng)? {
                let (images, labels) = self.data.train.batch(&indices, DType::F32, self.device)?;
                let share = done as f64 / steps as f64;
                let taken = if learning.len() == 1 {
                    vec![network.learn_block(learning[0], &images, share)?]
                } else {
                    let (features, taken) = network.learn(&images, share)?;
                    if let Some(head) = head.as_deref_mut() {
                        let labels = labels.to_vec1::<u32>()?;
                        head.train_batch(&features, &labels, share, &mut dropout)?;
                    }
                    taken
                };
                if done % OBSERVE_EVERY == 0 {
                    for (&index, step) in learning.iter().zip(&taken) {
                        monitors[index].observe(step)?;
                    }
                }
                progress.advance(indices.len() as u64);
                done += 1;
                self.step += 1;
                if done % log_every == 0 || done == steps {
                    progress.message(self.log(network, learning, &mut monitors)?);
                    self.check_and_save(network, &name)?;
                }
            }
        }
        progress.finish();
        Ok(training.epochs * count)
    }

    /// Writes a log line and returns the short form for the progress display.
    fn log(
        &mut self,
        network: &Network,
        learning: &[usize],
        monitors: &mut [Monitor],
    ) -> Result<String> {
        let mut values = Vec::new();
        let mut message = Vec::new();
        for &index in learning {
            let stats = monitors[index].report(&network.blocks()[index])?;
            message.push(format!(
                "radius {:.2}, entropy {:.2}, dead {}",
                stats.mean_radius, stats.winner_entropy, stats.dead_units
            ));
            values.extend(stats.named(index));
        }
        let values: Vec<(&str, f64)> =
            values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        self.folder.log(self.step, &values)?;
        Ok(message.join(" | "))
    }

    /// Stops at NaN or infinity; else keeps the weights from time to time.
    fn check_and_save(&mut self, network: &Network, stage: &str) -> Result<()> {
        for (name, tensor) in network.tensors() {
            check_finite(&name, self.step, &tensor)
                .map_err(|problem| self.diverged(problem.into(), stage))?;
        }
        if self.last_saved.is_none_or(|saved| saved.elapsed() > CHECKPOINT_EVERY) {
            self.save(network, None)?;
        }
        Ok(())
    }

    /// Says of an error about NaN or infinity where it arose and what is left.
    fn diverged(&self, error: Error, stage: &str) -> Error {
        let Error::Train(problem @ hebbian_train::Error::NotFinite { .. }) = error else {
            return error;
        };
        let kept = match self.last_saved {
            Some(_) => format!("the last good weights are {}", self.folder.model().display()),
            None => "there were no good weights to keep".to_string(),
        };
        Error::Diverged { problem: Box::new(problem), stage: stage.to_string(), kept }
    }

    fn save(&mut self, network: &Network, head: Option<&Head>) -> Result<()> {
        let model = self.folder.model();
        self.write(&model, network, head)?;
        self.last_saved = Some(Instant::now());
        if let Some(block) = network.blocks().first()
            && matches!(block.layer().geometry(), Geometry::Conv2d(_))
        {
            let filters = filter_grid(&block.layer().weight().as_detached_tensor())?;
            self.folder.picture("filters", self.step, &filters)?;
        }
        Ok(())
    }

    fn write(&self, path: &Path, network: &Network, head: Option<&Head>) -> Result<()> {
        let mut tensors = network.tensors();
        if let Some(head) = head {
            tensors.extend(head.tensors());
        }
        let metadata = [
            ("method", "softhebb".to_string()),
            ("preset", self.options.preset.name.clone()),
            ("dataset", self.data.name.to_string()),
            ("version", env!("CARGO_PKG_VERSION").to_string()),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_string(), value));
        Ok(save_checkpoint(path, &tensors, &BTreeMap::from(metadata))?)
    }

    /// Trains the head on features computed once (or anew for each epoch when images are
    /// augmented); returns its accuracy on the test set.
    fn train_head(
        &mut self,
        head: &mut Head,
        network: &Network,
        train: &Tensor,
        test: &Tensor,
        name: &str,
    ) -> Result<f64> {
        let training = self.options.preset.training;
        let labels = self.data.train.labels();
        let mut rng = self.rng.stream("head.batches");
        let mut crops = self.rng.stream("head.augmentation");
        let total = (training.head_epochs * labels.len()) as u64;
        let mut progress = Progress::new(total, name, self.options.quiet);
        for epoch in 1..=training.head_epochs {
            let fresh = match training.augmentation {
                Augmentation::None => None,
                Augmentation::CropFlip => Some(self.augmented(network, &mut crops)?),
            };
            let seen = head
                .train_epoch(fresh.as_ref().unwrap_or(train), labels, &mut rng)
                .and_then(|seen| {
                    for (name, tensor) in head.tensors() {
                        check_finite(&name, self.step, &tensor)?;
                    }
                    Ok(seen)
                })
                .map_err(|error| self.diverged(error, &format!("the read-out '{name}'")))?;
            progress.advance(labels.len() as u64);
            let mut values = vec![("head.epoch", epoch as f64), ("head.train_accuracy", seen)];
            let at_end = epoch == training.head_epochs;
            if epoch == 1 || epoch % 10 == 0 || at_end {
                let accuracy = head.accuracy(test, self.data.test.labels())?;
                values.push(("head.test_accuracy", accuracy));
                progress.message(format!("test {:.2} %", 100.0 * accuracy));
            }
            self.step += 1;
            self.folder.log(self.step, &values)?;
        }
        progress.finish();
        head.accuracy(test, self.data.test.labels())
    }

    fn augmented(&self, network: &Network, rng: &mut Rng) -> Result<Tensor> {
        let set = &self.data.train;
        Ok(collect_features(set.len(), EVALUATION_BATCH, self.device, |range| {
            let indices: Vec<usize> = range.collect();
            let (images, _) = set
                .augmented_batch(&indices, &CropAndFlip::default(), rng, DType::F32, self.device)
                .map_err(|error| hebbian_train::Error::Candle(candle::Error::wrap(error)))?;
            Ok(network.forward(&images)?)
        })?)
    }

    /// End-to-end training, as long as the head would have been trained.
    fn backprop(&mut self, network: &mut Network) -> Result<Head> {
        let preset = &self.options.preset;
        let training = preset.training;
        let head = self.new_head(network)?;
        let (Head::Linear(linear), HeadConfig::Linear { dropout }) = (&head, preset.head) else {
            return Ok(head);
        };
        let mut backprop = Backprop::new(network, (**linear).clone(), preset, dropout)?;
        let mut rng = self.rng.stream("batches.backprop");
        let mut masks = self.rng.stream("dropout.backprop");
        let mut crops = self.rng.stream("augmentation.backprop");
        let count = self.data.train.len();
        let total = (training.head_epochs * count) as u64;
        let mut progress = Progress::new(total, "back-propagation", self.options.quiet);
        for epoch in 0..training.head_epochs {
            backprop.start_epoch(epoch);
            let mut loss = 0.0;
            for indices in Batches::shuffled(count, training.head_batch_size, &mut rng)? {
                let train = &self.data.train;
                let (images, labels) = match training.augmentation {
                    Augmentation::None => train.batch(&indices, DType::F32, self.device)?,
                    Augmentation::CropFlip => train.augmented_batch(
                        &indices,
                        &CropAndFlip::default(),
                        &mut crops,
                        DType::F32,
                        self.device,
                    )?,
                };
                loss += backprop.step(network, &images, &labels, &mut masks)?
                    * indices.len() as f64
                    / count as f64;
                progress.advance(indices.len() as u64);
                self.step += 1;
            }
            progress.message(format!("loss {loss:.4}"));
            let values = [("backprop.epoch", (epoch + 1) as f64), ("backprop.loss", loss)];
            self.folder.log(self.step, &values)?;
            self.check_and_save(network, "by back-propagation")?;
        }
        progress.finish();
        backprop.head()
    }

    /// Read-outs that take seconds, and for dense networks the one that needs no head.
    fn other_readouts(
        &self,
        network: &Network,
        train: &Tensor,
        test: &Tensor,
        extras: &mut BTreeMap<String, serde_json::Value>,
    ) -> Result<()> {
        let classes = self.data.class_names.len();
        let (train_labels, test_labels) = (self.data.train.labels(), self.data.test.labels());
        let nearest = NearestClassMean::fit(train, train_labels, classes)?;
        let accuracy = nearest.accuracy(test, test_labels)?;
        extras.insert("nearest_class_mean_test_accuracy".into(), accuracy.into());
        if let Some(block) = network.blocks().last() {
            let pooled = (pool_to(train, block.output())?, pool_to(test, block.output())?);
            if let (Some(train), Some(test)) = pooled {
                let ridge = Ridge::fit(&train, train_labels, classes, 1.0)?;
                let accuracy = ridge.accuracy(&test, test_labels)?;
                extras.insert("ridge_test_accuracy".into(), accuracy.into());
                extras.insert("ridge_features".into(), train.dim(1)?.into());
            }
            if block.layer().geometry() == Geometry::Dense {
                let assignment = LabelAssignment::fit(train, train_labels, classes)?;
                let predicted = assignment.predict(test)?;
                let right = predicted.iter().zip(test_labels).filter(|(a, b)| a == b).count();
                let accuracy = right as f64 / test_labels.len() as f64;
                extras.insert("label_assignment_test_accuracy".into(), accuracy.into());
            }
        }
        Ok(())
    }

    /// The same head on raw pixels and on the features of random weights.
    fn baselines(&mut self, extras: &mut BTreeMap<String, serde_json::Value>) -> Result<()> {
        let preset = &self.options.preset;
        let shape = self.data.train.shape();
        let pixels = Network::pixels();
        let mut random = Network::new(preset, shape, &self.rng, DType::F32, self.device)?;
        self.calibrate(&mut random)?;
        for (network, label) in [(pixels, "raw pixels"), (random, "random features")] {
            let train = self.features(&network, &self.data.train, label)?;
            let test = self.features(&network, &self.data.test, label)?;
            let mut head = Head::new(
                &preset.head,
                &preset.training,
                train.dim(1)?,
                self.data.class_names.len(),
                self.device,
                &mut self.rng.stream("head.weight"),
            )?;
            let accuracy = self.train_head(&mut head, &network, &train, &test, label)?;
            extras.insert(format!("{}_test_accuracy", label.replace(' ', "_")), accuracy.into());
        }
        Ok(())
    }
}

/// Features of shape `(C, H, W)` averaged over positions until they are few enough for ridge
/// regression; `None` where that cannot be.
fn pool_to(features: &Tensor, shape: &[usize]) -> Result<Option<Tensor>> {
    let (rows, width) = features.dims2()?;
    if width <= RIDGE_FEATURES {
        return Ok(Some(features.clone()));
    }
    let &[channels, height, columns] = shape else { return Ok(None) };
    if channels > RIDGE_FEATURES {
        return Ok(None);
    }
    let mean = features.reshape((rows, channels, height * columns))?.mean(2)?;
    Ok(Some(mean))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_candle_version_is_the_pinned_one() {
        let manifest = include_str!("../../Cargo.toml");
        let pin = format!("candle-nn = \"={}\"", super::CANDLE_VERSION);
        assert!(manifest.contains(&pin), "{pin}");
    }
}
