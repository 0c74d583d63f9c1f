//! A network in training by plain gradient descent.

use super::config::{Preset, Tied};
use super::diagnostics::{LayerDiagnostics, diagnose};
use super::network::Network;
use super::splits::Splits;
use candle::{DType, Device, Tensor};
use candle_hebbian::{Rng, Steps, WeightDecay, WithFeedback};
use candle_nn::Optimizer;
use hebbian_data::{Dataset, ImageSet, split_at};
use hebbian_train::{
    Checkpoint, Clock, Counts, Epochs, Evaluation, Figures, Measured, Method, OfPreset, Picture,
    Progress, Recorder, Result, Start, State, UnitsBefore, evaluate, shown,
};
use serde_json::Value;

/// Number of examples on which feedback and back-propagation are compared: the first of the validation
/// set, or of the test set if there is no validation set.
const DIAGNOSED: usize = 100;

/// Deep learning with asymmetric feedback.
#[derive(Debug, Clone, Copy)]
pub struct Amit;

/// The options of a run, besides its data.
pub type Options = OfPreset<Preset>;

impl Method for Amit {
    const NAME: &'static str = "amit";
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
        let splits = Splits::of(data, options.preset.training.validation_images)?;
        Learner::new(&options.preset, splits, &start.rng, &start.device)
    }

    fn counts(options: &Options, data: &Dataset) -> Counts {
        let validation = options.preset.training.validation_images.min(data.train.len() / 10);
        Counts {
            train: data.train.len() - validation,
            unlabelled: 0,
            validation,
            test: data.test.len(),
        }
    }

    fn model(
        options: &Options,
        image: (usize, usize, usize),
        classes: usize,
        device: &Device,
    ) -> Result<Network> {
        Network::new(&options.preset, image, classes, &Rng::new(0), DType::F32, device)
    }
}

/// A network in training. All random draws follow from the seed and the number of the epoch.
#[derive(Debug)]
pub struct Learner {
    network: Network,
    splits: Splits,
    rng: Rng,
    device: Device,
    total: Clock,
    epochs: Epochs,
    /// The optimiser of the current epoch; `None` between epochs.
    optimizer: Option<WithFeedback<Steps>>,
    /// The images and labels on which feedback and back-propagation are compared.
    diagnosed: (Tensor, Tensor),
    before: UnitsBefore,
}

impl Learner {
    /// Creates a network with fresh weights for the images and classes of `splits`.
    ///
    /// # Errors
    /// If the preset does not fit them.
    pub fn new(preset: &Preset, splits: Splits, rng: &Rng, device: &Device) -> Result<Self> {
        let (image, classes) = (splits.train.shape(), splits.classes);
        let network = Network::new(preset, image, classes, rng, DType::F32, device)?;
        let (count, training) = (splits.train.len(), &preset.training);
        let tied = training.tied.map_or(0, |tied| tied.epochs);
        let epochs = tied.checked_add(training.epochs);
        let images = shown(count, epochs.unwrap_or(usize::MAX))? as u64;
        let steps = |epochs: usize, batch: usize| epochs as u64 * count.div_ceil(batch) as u64;
        let steps = steps(tied, training.tied.map_or(1, |tied| tied.batch_size))
            + steps(training.epochs, training.batch_size);
        let set = if splits.validation.is_empty() { &splits.test } else { &splits.validation };
        let (shown, _) = split_at(set.labels(), set.len().min(DIAGNOSED));
        let diagnosed = set.batch(&shown, DType::F32, device)?;
        Ok(Self {
            before: UnitsBefore::fresh(&network)?,
            network,
            splits,
            rng: rng.clone(),
            device: device.clone(),
            total: Clock { steps, images },
            epochs: Epochs::new(rng),
            optimizer: None,
            diagnosed,
        })
    }

    /// Returns the number of completed epochs.
    pub fn epoch(&self) -> usize {
        self.epochs.done()
    }

    /// Returns the images for training, validation and testing.
    pub fn splits(&self) -> &Splits {
        &self.splits
    }

    fn tied(&self) -> Option<Tied> {
        self.network.preset().training.tied
    }

    /// The tied part of training, or `None` once it is over.
    fn still_tied(&self) -> Option<Tied> {
        self.tied().filter(|tied| self.epoch() < tied.epochs)
    }

    fn batch_size(&self) -> usize {
        let own = self.network.preset().training.batch_size;
        self.still_tied().map_or(own, |tied| tied.batch_size)
    }

    fn begin_epoch(&mut self) -> Result<WithFeedback<Steps>> {
        let tied = self.still_tied();
        if tied.is_none() && !self.network.is_untied() {
            self.network.untie(self.tied().is_some_and(|tied| tied.redraw))?;
        }
        let rate = self.network.preset().training.learning_rate;
        let rate = tied.map_or(rate, |tied| tied.learning_rate);
        let decay = self.network.preset().training.weight_decay;
        self.epochs.begin(&self.splits.train, self.batch_size())?;
        Ok(self.network.optimizer(|vars| match decay {
            0.0 => Steps::builder(rate).build(vars), // plain descent
            decay => Steps::builder(rate).then(WeightDecay { rate: decay }).build(vars),
        })?)
    }

    /// Measures how well the network classifies `set`, without dropout.
    ///
    /// # Errors
    /// If the images have another size.
    pub fn evaluate(&self, set: &ImageSet) -> Result<Evaluation> {
        let mut silent = Progress::new(0, "", true);
        evaluate(&self.network, set, self.splits.classes, &self.device, &mut silent)
    }
}

impl hebbian_train::Learner for Learner {
    type Model = Network;

    fn model(&self) -> &Network {
        &self.network
    }

    fn model_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    fn uses_labels(&self) -> bool {
        true
    }

    fn clock(&self) -> Clock {
        self.epochs.clock()
    }

    fn total(&self) -> Clock {
        self.total
    }

    fn into_model(self) -> Network {
        self.network
    }

    fn step(&mut self) -> Result<()> {
        let mut optimizer = match self.optimizer.take() {
            Some(optimizer) => optimizer,
            None => self.begin_epoch()?,
        };
        let ((x, labels), masks) = self.epochs.next(&self.splits.train, &self.device)?;
        let fields = self.network.forward_train(&x, masks)?;
        let loss = self.network.loss(&fields, &labels)?;
        optimizer.backward_step(&loss)?;
        let noise = format!("mirror.{}", self.epochs.clock().steps);
        self.network.mirror(x.dim(0)?, || self.rng.stream(&noise))?;
        self.epochs.push((&fields, &labels), &loss, Vec::new())?;
        self.optimizer = (!self.epochs.is_between()).then_some(optimizer);
        Ok(())
    }

    fn stage(&self) -> String {
        self.epochs.stage()
    }

    fn is_due(&self) -> bool {
        self.epochs.is_between()
    }

    fn measure(&mut self) -> Result<Measured> {
        let mut measured = self.epochs.measure(std::iter::empty())?;
        let mut put = |name: &str, value: f64| measured.values.push((name.to_string(), value));
        if !self.splits.validation.is_empty() {
            put("validation_error", self.evaluate(&self.splits.validation)?.confusion.error());
        }
        let (x, labels) = &self.diagnosed;
        for layer in diagnose(&self.network, x, labels)? {
            for ((name, _), value) in LayerDiagnostics::MEASURES.into_iter().zip(layer.values()) {
                value.into_iter().for_each(|value| put(&format!("{name}/{}", layer.layer), value));
            }
        }
        Ok(measured)
    }

    fn state(&self) -> Result<State> {
        let State { mut tensors, values } = self.epochs.state()?;
        tensors.extend(self.before.tensors());
        Ok(State { tensors, values })
    }

    fn go_on(&mut self, clock: Clock, state: &Value, take: &mut Checkpoint) -> Result<()> {
        self.before.restore(take)?;
        self.optimizer = None;
        self.epochs.go_on(clock, state)
    }

    /// If the weights of the checkpoint are untied, they are not tied again: the tied part of training then
    /// counts as done.
    fn start_from(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        hebbian_train::Model::restore(&mut self.network, checkpoint)?;
        self.before = UnitsBefore::loaded(&self.network)?;
        if let Some(tied) = self.tied().filter(|_| self.network.is_untied()) {
            let (count, epochs) = (self.splits.train.len() as u64, tied.epochs as u64);
            let steps = epochs * count.div_ceil(tied.batch_size as u64);
            let clock = Clock { steps, images: epochs * count };
            self.epochs = Epochs::after(&self.rng, tied.epochs, clock);
        }
        Ok(())
    }

    fn pictures(&self) -> Result<Vec<(String, Picture)>> {
        self.before.pictures(&self.network, &self.splits.train, &self.device)
    }

    fn finish(&mut self, recorder: &mut Recorder<'_>) -> Result<Figures> {
        let mut progress = recorder.progress(self.splits.test.len(), "test");
        let (network, test) = (&self.network, &self.splits.test);
        let found = evaluate(network, test, self.splits.classes, &self.device, &mut progress)?;
        progress.finish();
        let protocol = network.preset().training.protocol.to_string();
        Ok(Figures {
            test_accuracy: 1.0 - found.confusion.error(),
            confusion: Some(found.confusion),
            readouts: Vec::new(),
            extras: [("protocol".to_string(), protocol.into())].into(),
        })
    }
}
