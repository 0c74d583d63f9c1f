//! Epochs of local learning.

use super::config::{Patches, Preset};
use super::input::Input;
use super::monitor::{LayerStats, Monitor};
use super::network::{Network, Phase};
use super::patches::PatchMap;
use candle::{DType, Device, Tensor};
use candle_hebbian::{Rng, RowMap};
use hebbian_data::{Batches, Divisor, ImageSet, Zca};
use hebbian_train::Result;
use hebbian_train::check_finite;

/// Images whose patches are whitened together, with method 2.
const PATCH_IMAGES: usize = 2000;
/// About this many batches of an epoch are looked at.
const OBSERVED: usize = 100;

/// A network in training. What it draws follows from the seed and the number of the epoch, so that
/// training can go on from a checkpoint as if it had not stopped.
#[derive(Debug)]
pub struct Trainer {
    network: Network,
    input: Input,
    rng: Rng,
    epoch: usize,
    monitor: Monitor,
}

impl Trainer {
    /// A fresh network and its input, learned from the training images `train`, already grey if the
    /// preset says so.
    ///
    /// # Errors
    /// A preset that does not fit the images, images that cannot be whitened.
    pub fn new(
        preset: &Preset,
        train: &ImageSet,
        rng: &Rng,
        device: &Device,
        quiet: bool,
    ) -> Result<Self> {
        let shape = Input::shape(&preset.input, train.shape());
        let mut network = Network::new(preset, shape, rng, DType::F32, device)?;
        let input = Input::fit(&preset.input, train, rng, device, quiet)?;
        if let Patches::Whiten { epsilon } = preset.layers[0].patches {
            let drawn = rng.stream("patches").permutation(train.len());
            let drawn = &drawn[..PATCH_IMAGES.min(train.len())];
            let rows = network.stack().blocks()[0].unfold(&input.batch(train, drawn, None)?)?;
            let patches = PatchMap { whitening: None }.map(&rows)?.squeeze(0)?;
            let zca = Zca::from_rows(&patches, Divisor::Images, epsilon)?;
            network.whiten_patches(zca.matrix().to_dtype(DType::F32)?.to_device(device)?);
        }
        let monitor = Monitor::new(preset);
        Ok(Self { network, input, rng: rng.clone(), epoch: 0, monitor })
    }

    /// A network as it was saved after `epoch` epochs; `take(name, shape)` hands out its tensors and
    /// those of its input.
    ///
    /// # Errors
    /// A preset that does not fit the images, what `take` says.
    pub fn restore(
        preset: &Preset,
        image: (usize, usize, usize),
        rng: &Rng,
        device: &Device,
        epoch: usize,
        mut take: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        let shape = Input::shape(&preset.input, image);
        let mut network = Network::new(preset, shape, rng, DType::F32, device)?;
        network.restore(&mut take)?;
        let input = Input::restore(&preset.input, image, device, &mut take)?;
        let monitor = Monitor::new(preset);
        Ok(Self { network, input, rng: rng.clone(), epoch, monitor })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network, with the input it takes.
    pub(super) fn parts(&mut self) -> (&mut Network, &Input, &Rng) {
        (&mut self.network, &self.input, &self.rng)
    }

    /// Epochs done.
    pub fn epoch(&self) -> usize {
        self.epoch
    }

    /// What was seen of the layers' activity in the last epoch.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Every tensor of a checkpoint: the network's, and `input.zca`.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.network.tensors();
        tensors.extend(self.input.tensors());
        tensors
    }

    /// One epoch over `train` in random order; `seen` is told how many images each batch had.
    /// Returns figures of every layer.
    ///
    /// # Errors
    /// Weights or thresholds that are not finite.
    pub fn train_epoch(
        &mut self,
        train: &ImageSet,
        mut seen: impl FnMut(usize),
    ) -> Result<Vec<LayerStats>> {
        let training = self.network.preset().training;
        let stream = |purpose: &str| self.rng.stream(&format!("{purpose}.{}", self.epoch));
        let (mut order, mut flips) = (stream("batches"), stream("flips"));
        let batches = train.len().div_ceil(training.batch_size);
        let (earlier, every) = (self.epoch * batches, (batches / OBSERVED).max(1));
        self.monitor.restart();
        for (at, indices) in
            Batches::shuffled(train.len(), training.batch_size, &mut order)?.enumerate()
        {
            let x = self.input.batch(train, &indices, Some(&mut flips))?;
            let burn_in = earlier + at < training.burn_in_batches;
            let phase = if burn_in { Phase::BurnIn } else { Phase::Learn };
            let activities = self.network.step(&x, phase)?;
            self.monitor.winners(&activities)?;
            if at % every == 0 {
                self.monitor.observe(&activities)?;
            }
            seen(indices.len());
        }
        self.epoch += 1;
        for (name, tensor) in self.network.tensors() {
            check_finite(&name, self.epoch as u64, &tensor)?;
        }
        self.monitor.report(&self.network)
    }
}
