//! A network in training.

use super::config::Preset;
use super::descents::Descents;
use super::network::Network;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::device::to_host;
use hebbian_data::Dataset;
use hebbian_train::{
    Checkpoint, Clock, Counts, Epochs, Error, Figures, Measured, Method, OfPreset, Picture,
    Recorder, Result, Start, State, UnitsBefore, check_images, evaluate,
};
use serde_json::Value;

/// The number of batches from which the statistics of a network without learning are computed.
const CALIBRATION_BATCHES: usize = 200;

/// Hebbian learning with global direction (Hua et al. 2026).
#[derive(Debug, Clone, Copy)]
pub struct Ghl;

/// What a run needs besides its data.
pub type Options = OfPreset<Preset>;

impl Method for Ghl {
    const NAME: &'static str = "ghl";
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
        Learner::new(&options.preset, data, &start.rng, &start.device)
    }

    /// Images without labels are not used.
    fn counts(_: &Options, data: &Dataset) -> Counts {
        let (train, test) = (data.train.len(), data.test.len());
        Counts { train, test, ..Counts::default() }
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

/// A network in training. What it draws depends only on the seed and the number of the epoch.
#[derive(Debug)]
pub struct Learner {
    network: Network,
    descents: Descents,
    data: Dataset,
    rng: Rng,
    device: Device,
    total: Clock,
    /// The epochs, with the mean of `|C|` of each convolution.
    epochs: Epochs,
    before: UnitsBefore,
}

impl Learner {
    /// A fresh network for the images and classes of `data`.
    ///
    /// # Errors
    /// A preset that does not fit the data.
    pub fn new(preset: &Preset, data: &Dataset, rng: &Rng, device: &Device) -> Result<Self> {
        check_images(data)?;
        let (image, classes, count) =
            (data.train.shape(), data.class_names.len(), data.train.len());
        let network = Network::new(preset, image, classes, rng, DType::F32, device)?;
        let training = &preset.training;
        let has_one_image = training.batch_size == 1 || count % training.batch_size == 1;
        if let Some(norm) = network.norm_of_one_value().filter(|_| has_one_image) {
            return Err(Error::Argument(format!(
                "the last of the batches of {} is of 1 of the {count} training images, of which the batch norm of \
                 {norm} cannot take a variance: choose another --batch-size",
                training.batch_size
            )));
        }
        let total = Clock::after_epochs(training.epochs, count, training.batch_size)?;
        Ok(Self {
            descents: Descents::new(&network)?,
            before: UnitsBefore::fresh(&network)?,
            network,
            data: data.clone(),
            rng: rng.clone(),
            device: device.clone(),
            total,
            epochs: Epochs::new(rng),
        })
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

    fn into_model(self) -> Network {
        self.network
    }

    /// Computes the batch-norm statistics from some of the training images.
    fn calibrate(&mut self) -> Result<()> {
        let (size, train) = (self.network.preset().training.batch_size, &self.data.train);
        let batches = train.shuffled(size, &mut self.rng.stream("calibration"))?;
        for indices in batches.take(CALIBRATION_BATCHES) {
            self.network.calibrate(&train.batch(&indices, DType::F32, &self.device)?.0)?;
        }
        Ok(())
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

    fn step(&mut self) -> Result<()> {
        let train = &self.data.train;
        self.epochs.begin(train, self.network.preset().training.batch_size)?;
        let done = self.epochs.clock().steps as f64 / self.total.steps as f64;
        let ((images, labels), masks) = self.epochs.next(train, &self.device)?;
        let logits = self.network.forward_train(&images, masks)?;
        let loss = self.network.loss(&logits, &labels)?;
        let grads = loss.backward()?;
        self.descents.set_progress(done);
        self.descents.step(&grads)?;
        let mut sizes = Vec::new();
        for layer in self.network.convolutions() {
            sizes.push(match grads.get(layer.weight()) {
                Some(change) => change.abs()?.mean_all()?,
                None => loss.zeros_like()?,
            });
        }
        self.epochs.push((&logits, &labels), &loss, sizes)
    }

    fn stage(&self) -> String {
        self.epochs.stage()
    }

    fn is_due(&self) -> bool {
        self.epochs.is_between()
    }

    /// Returns the loss and error on the training images as the network learned from them and, for each convolution,
    /// the mean of `|C|`, which the rate is multiplied by (`step_size`), and the mean norm of its units (`norm`).
    fn measure(&mut self) -> Result<Measured> {
        let layers = 1..=self.network.convolutions().count();
        let sizes: Vec<String> = layers.map(|layer| format!("step_size/layer {layer}")).collect();
        let mut measured = self.epochs.measure(sizes.iter().map(String::as_str))?;
        let norms = self.network.convolutions().map(|layer| layer.radii()?.mean_all());
        let norms = Tensor::stack(&norms.collect::<candle::Result<Vec<_>>>()?, 0)?;
        let norms = to_host(&norms)?.to_vec1::<f64>()?;
        for (at, norm) in norms.into_iter().enumerate() {
            measured.values.push((format!("norm/layer {}", at + 1), norm));
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
        self.epochs.go_on(clock, state)
    }

    fn start_from(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        hebbian_train::Model::restore(&mut self.network, checkpoint)?;
        self.before = UnitsBefore::loaded(&self.network)?;
        Ok(())
    }

    fn pictures(&self) -> Result<Vec<(String, Picture)>> {
        self.before.pictures(&self.network, &self.data.train, &self.device)
    }

    /// Evaluates the test images after the last epoch, even if an earlier epoch was better.
    fn finish(&mut self, recorder: &mut Recorder<'_>) -> Result<Figures> {
        let (classes, test) = (self.data.class_names.len(), &self.data.test);
        let mut progress = recorder.progress(test.len(), "test");
        let found = evaluate(&self.network, test, classes, &self.device, &mut progress)?;
        progress.finish();
        let learning = self.network.preset().training.learning;
        let learning = serde_json::to_value(learning)
            .map_err(|source| Error::Json { what: "what is learned by".to_string(), source })?;
        Ok(Figures {
            test_accuracy: 1.0 - found.confusion.error(),
            confusion: Some(found.confusion),
            readouts: Vec::new(),
            extras: [("learning".to_string(), learning)].into(),
        })
    }
}
