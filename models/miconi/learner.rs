//! A network in training: epochs of local learning.

use super::config::{LayerConfig, Patches, Preset};
use super::decoder::Decoding;
use super::model::Model;
use super::monitor::{Monitor, Seen};
use super::network::Phase;
use super::options::Options;
use super::patches::PatchMap;
use super::pictures;
use candle::{DType, Device, IndexOp, Tensor};
use candle_hebbian::{Rng, RowMap};
use hebbian_data::{Batches, Dataset, Divisor, ImageSet, Zca};
use hebbian_train::{
    Checkpoint, Clock, Error, Figures, Measured, Method, Model as _, Picture, Recorder, Result,
    Start, State, check_finite, check_images, with_input,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// Number of images from which one patch each is cut to compute the whitening of method 2, as in the author's code.
const PATCH_IMAGES: usize = 9000;
/// The approximate number of batches per epoch that the monitor observes.
const OBSERVED: usize = 100;

/// Hebbian learning with gradients.
#[derive(Debug, Clone, Copy)]
pub struct Miconi;

impl Method for Miconi {
    const NAME: &'static str = "miconi";
    const MAY_GROW: &'static [&'static str] = &["/preset/training/epochs"];
    type Preset = Preset;
    type Options = Options;
    type Learner = Learner;

    fn preset(options: &Options) -> &Preset {
        &options.preset
    }

    fn preset_mut(options: &mut Options) -> &mut Preset {
        &mut options.preset
    }

    fn learner(options: &Options, data: &Dataset, start: &Start) -> Result<Learner> {
        Learner::new(options, data, start)
    }

    fn model(
        options: &Options,
        image: (usize, usize, usize),
        classes: usize,
        device: &Device,
    ) -> Result<Model> {
        Model::new(options, image, classes, &Rng::new(0), device)
    }
}

/// A network in training. All random draws follow from the seed and the number of the epoch.
#[derive(Debug)]
pub struct Learner {
    pub(super) model: Model,
    pub(super) options: Options,
    /// All training images, including those without labels.
    seen: ImageSet,
    /// The training images with labels.
    pub(super) train: ImageSet,
    pub(super) test: ImageSet,
    pub(super) rng: Rng,
    clock: Clock,
    total: Clock,
    /// Statistics of the current epoch or, between epochs, of the last one.
    monitor: Monitor,
    /// The remaining batches of the current epoch.
    epoch: Batches,
}

impl Learner {
    fn new(options: &Options, data: &Dataset, start: &Start) -> Result<Self> {
        let Dataset { train, test, class_names, .. } = data;
        let (classes, Start { rng, device, .. }) = (class_names.len(), start);
        check_images(data)?;
        let model = Model::new(options, train.shape(), classes, rng, device)?;
        options.check(&model, train.len(), test.len())?;
        let (training, seen) = (options.preset.training, data.seen()?);
        let total = Clock::after_epochs(training.epochs, seen.len(), training.batch_size)?;
        Ok(Self {
            monitor: Monitor::new(&options.preset),
            epoch: epoch(0, &seen, training.batch_size, rng)?,
            model,
            options: options.clone(),
            seen,
            train: train.clone(),
            test: test.clone(),
            rng: rng.clone(),
            clock: Clock::default(),
            total,
        })
    }

    /// Returns statistics of the layers' activity in the current epoch or, between epochs, in the last one.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// The number of batches learned from.
    pub(super) fn steps(&self) -> u64 {
        self.clock.steps
    }

    /// The number of batches in an epoch.
    fn batches(&self) -> usize {
        self.seen.len().div_ceil(self.options.preset.training.batch_size)
    }

    /// The number of completed epochs, and of batches done in the next one.
    fn place(&self) -> (u64, usize) {
        let batches = self.batches() as u64;
        (self.clock.steps / batches, (self.clock.steps % batches) as usize)
    }

    fn epoch(&self, number: u64) -> Result<Batches> {
        epoch(number, &self.seen, self.options.preset.training.batch_size, &self.rng)
    }
}

/// The batches of epoch `number`.
fn epoch(number: u64, seen: &ImageSet, batch_size: usize, rng: &Rng) -> Result<Batches> {
    Ok(seen.shuffled(batch_size, &mut rng.stream(&format!("batches.{number}")))?)
}

impl hebbian_train::Learner for Learner {
    type Model = Model;

    fn model(&self) -> &Model {
        &self.model
    }

    fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    fn uses_labels(&self) -> bool {
        false
    }

    fn clock(&self) -> Clock {
        self.clock
    }

    fn total(&self) -> Clock {
        self.total
    }

    fn into_model(self) -> Model {
        self.model
    }

    /// Computes the whitening of patches, if the preset asks for it, from patches cut at random out of some
    /// of the images, one per image.
    fn begin(&mut self) -> Result<()> {
        let Self { model: Model { network, device, .. }, seen, rng, .. } = self;
        let LayerConfig { patches, kernel, .. } = self.options.preset.layers[0];
        if let Patches::Whiten { epsilon } = patches {
            let mut rng = rng.stream("patches");
            let drawn = rng.permutation(seen.len());
            let drawn = &drawn[..PATCH_IMAGES.min(seen.len())];
            let (images, _) = seen.batch(drawn, DType::F32, &Device::Cpu)?;
            let (_, _, height, width) = images.dims4()?;
            let mut rows = Vec::with_capacity(drawn.len());
            for image in 0..drawn.len() {
                let [top, left] = [height, width].map(|side| rng.below(side - kernel + 1));
                let patch = images.i((image, .., top..top + kernel, left..left + kernel))?;
                rows.push(patch.flatten_all()?);
            }
            let rows = Tensor::stack(&rows, 0)?.unsqueeze(0)?;
            let patches = PatchMap { whitening: None }.map(&rows)?.squeeze(0)?;
            let zca = Zca::from_rows(&patches, Divisor::Images, epsilon)?;
            network.whiten_patches(zca.matrix().to_dtype(DType::F32)?.to_device(device)?);
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        let (number, at) = self.place();
        if at == 0 {
            self.epoch = self.epoch(number)?;
            self.monitor.restart();
        }
        let Some(indices) = self.epoch.next() else {
            return Err(Error::Argument("the epoch has no batch left".to_string()));
        };
        let (rng, moment, device) =
            (&self.rng, format!("augmentation.{number}"), &self.model.device);
        let (x, _) = self.seen.augmented_batch(&indices, rng, &moment, DType::F32, device)?;
        let burn_in = self.clock.steps < self.options.preset.training.burn_in_batches as u64;
        let phase = if burn_in { Phase::BurnIn } else { Phase::Learn };
        let activities = self.model.network.step(&x, phase)?;
        self.monitor.winners(&activities)?;
        if at.is_multiple_of((self.batches() / OBSERVED).max(1)) {
            self.monitor.observe(&activities)?;
        }
        self.clock.tick(indices.len());
        Ok(())
    }

    fn stage(&self) -> String {
        format!("epoch {}", self.clock.steps.div_ceil(self.batches() as u64).max(1))
    }

    fn is_due(&self) -> bool {
        self.clock.steps > 0 && self.place().1 == 0
    }

    /// Measures every layer in the last epoch. The monitor keeps its statistics until the next epoch, for
    /// [pictures](hebbian_train::Learner::pictures).
    fn measure(&mut self) -> Result<Measured> {
        let stats = self.monitor.report(&self.model.network)?;
        let message = stats.last().map(|last| {
            format!(
                "last layer's win rates {:.2} to {:.2} of target",
                last.least_win_rate, last.largest_win_rate
            )
        });
        let values = stats.iter().enumerate().flat_map(|(index, stats)| stats.named(index));
        Ok(Measured { values: values.collect(), message: message.unwrap_or_default() })
    }

    fn state(&self) -> Result<State> {
        let values = json!({ "seen": self.monitor.seen()? });
        Ok(State { tensors: Vec::new(), values })
    }

    fn go_on(&mut self, clock: Clock, state: &Value, _: &mut Checkpoint) -> Result<()> {
        #[derive(Deserialize)]
        struct Saved {
            seen: Vec<Seen>,
        }
        let wrong =
            |what: &str| Error::Argument(format!("the state to continue from: {what}: {state}"));
        let Saved { seen } =
            serde_json::from_value(state.clone()).map_err(|error| wrong(&error.to_string()))?;
        if seen.len() != self.options.preset.layers.len() {
            return Err(wrong("seen has another number of layers"));
        }
        self.clock = clock;
        let (number, at) = self.place();
        let mut epoch = self.epoch(number)?;
        epoch.pass(at);
        let images = self.seen.len() - epoch.images();
        if clock.images != number * self.seen.len() as u64 + images as u64 {
            return Err(wrong(&format!("{} images are not {} steps", clock.images, clock.steps)));
        }
        self.epoch = epoch;
        self.monitor.go_on(seen);
        Ok(())
    }

    /// Drops the read-out of the checkpoint, which would not fit the weights once they change.
    fn start_from(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.model.restore(checkpoint)?;
        self.model.head = None;
        Ok(())
    }

    /// Receptive fields and weights of every layer and, once the network has learned, the winners.
    fn pictures(&self) -> Result<Vec<(String, Picture)>> {
        pictures::all(&self.model.network, &self.monitor)
    }

    /// Fits the read-outs; that of the last layer's whole output becomes the model's.
    fn finish(&mut self, recorder: &mut Recorder<'_>) -> Result<Figures> {
        let quiet = recorder.is_quiet();
        let mut decoded = self.decode(quiet, |readout, stats| {
            recorder.go_on()?;
            match stats {
                Some(stats) => {
                    let values = [
                        ("train_loss", stats.loss),
                        ("train_accuracy", stats.accuracy),
                        ("learning_rate", stats.learning_rate),
                    ];
                    recorder.log(readout, stats.epoch, &values)
                }
                None => Ok(()),
            }
        })?;
        self.model.head = decoded[0].head.take();
        let readouts: Vec<_> = decoded.into_iter().map(|decoded| decoded.result).collect();
        let decoding = Decoding::of(&readouts)?;
        let extras = [
            ("decoder".to_string(), json!(self.options.decoder)),
            ("decoding".to_string(), json!(decoding)),
        ];
        let (test_accuracy, confusion) = (decoding.output, readouts[0].confusion.clone());
        Ok(Figures { test_accuracy, confusion, readouts, extras: extras.into() })
    }
}

impl Options {
    /// Checks what can be known before anything is computed from images.
    fn check(&self, model: &Model, train: usize, test: usize) -> Result<()> {
        for (at, block) in model.network.stack().blocks().iter().enumerate() {
            if let [_, height, width] = *block.output()
                && height != width
            {
                return Err(Error::Argument(format!(
                    "classes are read out of the quadrants of square maps, but layer {} makes maps of \
                     {height}x{width}: crop the images to squares",
                    at + 1
                )));
            }
        }
        let rows = if self.preset.quirks.resubstitution { train + test } else { train };
        let layers = self.preset.layers.iter().map(|layer| 4 * layer.units);
        layers.chain([model.width()]).try_for_each(|width| self.decoder.check(rows, width))
    }
}

/// Measures how well classes are read out of every layer of a saved network. Nothing is written.
///
/// # Errors
/// If the checkpoint belongs to another network, or holds NaN or infinities.
pub fn evaluate(
    options: &Options,
    checkpoint: &Path,
    data: &Dataset,
    start: &Start,
) -> Result<Decoding> {
    let seen = with_input::<Miconi>(options, data, start, Some(checkpoint))?;
    let mut learner = Learner::new(options, &seen, start)?;
    learner.model.restore(&mut Checkpoint::load(checkpoint, &start.device)?)?;
    for (name, tensor) in learner.model.tensors() {
        check_finite(&name, 0, &tensor)?;
    }
    let decoded = learner.decode(start.quiet, |_, _| Ok(()))?;
    Decoding::of(&decoded.into_iter().map(|decoded| decoded.result).collect::<Vec<_>>())
}
