//! The recipe: unsupervised stages, then the head, then the figures.

use super::config::{Augmentation, Mode, Preset};
use super::head::Head;
use super::network::Network;
use super::unsupervised::total_steps;
use super::validate::{check, rehearse};
use crate::checkpoint::write_checkpoint;
use crate::resume::{began_fresh, done_in, same_run};
use crate::run_options::RunOptions;
use candle::{DType, Device, Tensor};
use candle_hebbian::{Geometry, Rng};
use hebbian_data::transforms::CropAndFlip;
use hebbian_data::{Dataset, ImageSet};
use hebbian_train::{
    Checkpoint, Progress, Readout, Results, RunFolder, check_finite, collect_features, filter_grid,
};
use hebbian_train::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Images per batch where nothing learns.
const EVALUATION_BATCH: usize = 50;
/// The weights are written this often while training, and at the start of each stage, at its first
/// log line, and after the last.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// The version this workspace pins, for `config.json`.
const CANDLE_VERSION: &str = "0.11.1";

/// What a run needs beside its data.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// Network and recipe, overrides applied.
    pub preset: Preset,
    /// Also train the same head on raw pixels and on random features.
    pub baselines: bool,
    /// Seed, device, files.
    #[serde(flatten)]
    pub run: RunOptions,
}

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) options: &'a Options,
    pub(super) data: &'a Dataset,
    pub(super) device: &'a Device,
    pub(super) rng: Rng,
    pub(super) folder: RunFolder,
    pub(super) step: u64,
    /// Steps of all stages without labels.
    total: usize,
    pub(super) last_saved: Option<Instant>,
}

/// Trains and evaluates a preset on a data set; writes the run folder `out` and returns what went
/// into its `results.json`. To resume a run that is complete is to read it back; one of simultaneous
/// mode or of back-propagation that is not is started anew, with a line on stderr.
///
/// # Errors
/// A data set that does not fit the network, a checkpoint of another architecture, a folder that
/// cannot be written, or that holds another run than the one to resume, weights that become NaN or
/// infinite. The folder is made only once everything that can be checked before training is.
pub fn train(options: &Options, data: &Dataset, device: &Device, out: &Path) -> Result<Results> {
    let started = Instant::now();
    let preset = &options.preset;
    check(preset, data)?;
    let rng = Rng::new(options.run.seed);
    rehearse(preset, data, device, &rng)?;
    let mut network = Network::new(preset, data.train.shape(), &rng, DType::F32, device)?;
    let mut head = new_head(preset, &network, data, device, &rng)?;
    let backprop = network.hebbian().is_empty();
    let total = total_steps(preset, &network, data.train.len());
    let config = serde_json::json!({
        "method": "softhebb",
        "options": options,
        "dataset": data.name.to_string(),
        "train_images": data.train.len(),
        "test_images": data.test.len(),
        "version": env!("CARGO_PKG_VERSION"),
        "candle_version": CANDLE_VERSION,
    });
    let mut done = None;
    if options.run.resume {
        same_run(&config, out)?;
        if let Some(results) = RunFolder::results(out)? {
            if let Some(path) = &options.run.save {
                restore(&mut Checkpoint::load(out, device)?, &mut network, Some(&mut head))?;
                write(path, options, data, &network, Some(&head), total)?;
            }
            return Ok(results);
        }
        done = resume(options, backprop, &mut network, total, device, out)?;
    } else if let Some(path) = &options.run.load {
        restore(&mut Checkpoint::load(path, device)?, &mut network, None)?;
    }
    let step = done.unwrap_or(0);
    let folder = match done {
        Some(step) => RunFolder::resume(out, step)?,
        None => RunFolder::create(out)?,
    };
    let last_saved = done.map(|_| Instant::now());
    let mut run = Run { options, data, device, rng, folder, step, total, last_saved };
    run.folder.write_config(&config)?;

    let unsupervised_started = Instant::now();
    let shown = if backprop { 0 } else { run.unsupervised(&mut network, &mut head)? };
    let unsupervised_seconds = unsupervised_started.elapsed().as_secs_f64();
    run.save(&network, None)?;

    let head_started = Instant::now();
    let mut extras = BTreeMap::new();
    let test_accuracy = if backprop {
        head = run.backprop(&network, head)?;
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
    if let Some(path) = &options.run.save {
        write(path, options, data, &network, Some(&head), total)?;
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
        extras,
        ..options.run.results(&preset.name, data.name.as_str(), started)
    };
    run.folder.finish(&results)?;
    Ok(results)
}

/// The accuracy on the test set of a saved network with its head. Nothing is written.
///
/// # Errors
/// A checkpoint of another architecture, or without a head.
pub fn evaluate(options: &Options, data: &Dataset, device: &Device) -> Result<f64> {
    let path = options.run.checkpoint()?;
    check(&options.preset, data)?;
    let rng = Rng::new(options.run.seed);
    let mut network = Network::new(&options.preset, data.train.shape(), &rng, DType::F32, device)?;
    let mut head = new_head(&options.preset, &network, data, device, &rng)?;
    restore(&mut Checkpoint::load(path, device)?, &mut network, Some(&mut head))?;
    let test = features(&network, &data.test, device, "test features", options.run.quiet)?;
    head.accuracy(&test, data.test.labels())
}

/// Restores the network of the interrupted run in `out` and returns how many of the `total` steps
/// without labels it had done; none where it is to be started anew.
fn resume(
    options: &Options,
    backprop: bool,
    network: &mut Network,
    total: usize,
    device: &Device,
    out: &Path,
) -> Result<Option<u64>> {
    let whole = match options.preset.training.mode {
        _ if backprop => Some("back-propagation"),
        Mode::Simultaneous => Some("simultaneous mode"),
        _ => None,
    };
    let model = out.join("model.safetensors");
    if whole.is_none() && model.exists() {
        let mut checkpoint = Checkpoint::load(&model, device)?;
        let steps = done_in(&checkpoint, "steps", total, &model)? as u64;
        restore(&mut checkpoint, network, None)?;
        return Ok(Some(steps));
    }
    began_fresh(out)?;
    if let Some(whole) = whole
        && !options.run.quiet
    {
        let folder = out.display();
        let _ = writeln!(
            std::io::stderr(),
            "{whole} cannot be resumed: the run in {folder} starts anew"
        );
    }
    Ok(None)
}

/// Puts a checkpoint's tensors back.
fn restore(
    checkpoint: &mut Checkpoint,
    network: &mut Network,
    head: Option<&mut Head>,
) -> Result<()> {
    let mut take = |name: &str, shape: &[usize]| -> Result<Tensor> {
        checkpoint.take(name, shape, DType::F32)
    };
    network.stack_mut().restore(&mut take)?;
    match head {
        Some(head) => head.restore(take),
        None => Ok(()),
    }
}

pub(super) fn new_head(
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
    let features = collect(network, set.len(), device, |indices| {
        progress.advance(indices.len() as u64);
        Ok(set.batch(indices, DType::F32, device)?)
    })?;
    progress.finish();
    Ok(features)
}

/// The features of `count` images, which `batch` hands out in order.
pub(super) fn collect(
    network: &Network,
    count: usize,
    device: &Device,
    mut batch: impl FnMut(&[usize]) -> Result<(Tensor, Tensor)>,
) -> Result<Tensor> {
    collect_features(count, EVALUATION_BATCH, device, |range| {
        let indices: Vec<usize> = range.collect();
        let (images, _) = batch(&indices).map_err(candle::Error::wrap)?;
        Ok(network.forward(&images)?)
    })
}

impl Run<'_> {
    /// Training images and labels for what learns from labels, augmented as the preset says.
    pub(super) fn supervised_batch(
        &self,
        indices: &[usize],
        crops: &mut Rng,
    ) -> Result<(Tensor, Tensor)> {
        let train = &self.data.train;
        Ok(match self.options.preset.training.augmentation {
            Augmentation::None => train.batch(indices, DType::F32, self.device)?,
            Augmentation::CropFlip => {
                let transform = CropAndFlip::default();
                train.augmented_batch(indices, &transform, crops, DType::F32, self.device)?
            }
        })
    }

    pub(super) fn features(
        &self,
        network: &Network,
        set: &ImageSet,
        label: &str,
    ) -> Result<Tensor> {
        // Pixels take no time to compute.
        let quiet = self.options.run.quiet || network.stack().blocks().is_empty();
        features(network, set, self.device, label, quiet)
    }

    /// Stops at NaN or infinity; else keeps the weights if that is `due`, and from time to time.
    pub(super) fn check_and_save(
        &mut self,
        network: &Network,
        stage: &str,
        due: bool,
    ) -> Result<()> {
        for (name, tensor) in network.stack().tensors() {
            check_finite(&name, self.step, &tensor)
                .map_err(|problem| self.diverged(problem, stage))?;
        }
        if due || self.last_saved.is_none_or(|saved| saved.elapsed() > CHECKPOINT_EVERY) {
            self.save(network, None)?;
        }
        Ok(())
    }

    /// Says of an error about NaN or infinity where it arose and what is left.
    pub(super) fn diverged(&self, error: Error, stage: &str) -> Error {
        error.while_training(stage, self.last_saved.map(|_| self.folder.model()))
    }

    fn save(&mut self, network: &Network, head: Option<&Head>) -> Result<()> {
        let model = self.folder.model();
        // The read-outs' epochs count on.
        let steps = self.total.min(self.step as usize);
        write(&model, self.options, self.data, network, head, steps)?;
        self.last_saved = Some(Instant::now());
        if let Some(block) = network.stack().blocks().first()
            && let layer = block.layer()?
            && matches!(layer.geometry(), Geometry::Conv2d(_))
        {
            let filters = filter_grid(&layer.weight().detach())?;
            self.folder.picture("filters", self.step, &filters)?;
        }
        Ok(())
    }
}

/// Writes a checkpoint after as many steps without labels.
fn write(
    path: &Path,
    options: &Options,
    data: &Dataset,
    network: &Network,
    head: Option<&Head>,
    steps: usize,
) -> Result<()> {
    let mut tensors = network.stack().tensors();
    if let Some(head) = head {
        tensors.extend(head.tensors());
    }
    let of = ["softhebb", &options.preset.name, data.name.as_str()];
    write_checkpoint(path, &tensors, of, &[("steps", steps.to_string())])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_candle_version_is_the_locked_one() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
        let lock = std::fs::read_to_string(lock).unwrap();
        let locked = format!("name = \"candle-nn\"\nversion = \"{}\"\n", super::CANDLE_VERSION);
        assert!(lock.contains(&locked), "{locked}");
    }
}
