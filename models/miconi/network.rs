//! A stack of layers that all learn at once.

use super::config::{Plasticity, Preset, Triangle};
use super::layer::{Activity, HebbianLayer};
use super::signed_winners::SignedWinners;
use crate::error::{Error, Result};
use candle::{DType, Device, Tensor};
use candle_hebbian::{Competition, KWta, Rng};

/// The layers of a preset, for images of one size as the first layer sees them.
///
/// ```
/// use candle::{DType, Device};
/// use candle_hebbian::Rng;
/// use hebbian_models::miconi::{Network, Phase, preset};
/// let preset = preset("miconi-digits")?;
/// let rng = Rng::new(0);
/// let mut network = Network::new(&preset, (1, 8, 8), &rng, DType::F32, &Device::Cpu)?;
/// let images = rng.stream("doc").uniform(0.0, 1.0, (4, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// network.step(&images, Phase::Learn)?; // one step of every layer
/// let maps = network.forward(&images)?; // what each layer hands on; nothing learns
/// assert_eq!(maps.len(), preset.layers.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Network {
    preset: Preset,
    layers: Vec<HebbianLayer>,
}

/// What changes while a batch goes through the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Thresholds adapt; weights are masked and scaled, but do not learn.
    BurnIn,
    /// Thresholds adapt and weights learn.
    Learn,
    /// Thresholds adapt, and layers hand on what read-outs get: see
    /// [`Quirks::adapt_in_evaluation`](super::Quirks::adapt_in_evaluation).
    Collect,
}

impl Network {
    /// A network with fresh weights for inputs of shape `(C, H, W)`: whitened images, which may be
    /// larger than the pixels they were made of.
    ///
    /// # Errors
    /// An image smaller than the receptive field of a unit, or too small for a kernel or a pool.
    pub fn new(
        preset: &Preset,
        image: (usize, usize, usize),
        rng: &Rng,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        preset.check()?;
        let unfit = |layer: usize, problem: String| Error::Unfit {
            preset: preset.name.clone(),
            image,
            layer: layer + 1,
            problem,
        };
        let normalise = preset.training.normalise;
        let mut input = image;
        let mut layers: Vec<HebbianLayer> = Vec::new();
        for (at, (config, field)) in preset.layers.iter().zip(preset.receptive_fields()).enumerate()
        {
            if field.size > image.1.min(image.2) {
                let size = field.size;
                let problem = format!(
                    "its units have a receptive field of {size}x{size} pixels: give larger images, or \
                     a network of smaller kernels and pools"
                );
                return Err(unfit(at, problem));
            }
            let name = format!("layers.{at}");
            let layer = HebbianLayer::new(config, normalise, input, rng, &name, dtype, device)
                .map_err(|error| unfit(at, error.to_string()))?;
            input = layer.output();
            layers.push(layer);
        }
        Ok(Self { preset: preset.clone(), layers })
    }

    /// The preset.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[HebbianLayer] {
        &self.layers
    }

    /// The layers, to change them.
    pub(super) fn layers_mut(&mut self) -> &mut [HebbianLayer] {
        &mut self.layers
    }

    /// What makes a layer's `k` winners.
    fn competition(&self, k: usize) -> Box<dyn Competition> {
        match self.preset.training.plasticity {
            Plasticity::Binary => Box::new(KWta::binary(k)),
            Plasticity::Graded if self.preset.quirks.negative_winners => {
                Box::new(SignedWinners { k })
            }
            Plasticity::Graded => Box::new(KWta::graded(k)),
        }
    }

    /// One batch `x (B, C, H, W)` through all layers, each of which sees what the one below made of
    /// it with the weights and thresholds before its step.
    ///
    /// For each layer: standardise every sample, respond, take the thresholds off, compete; step,
    /// mask, scale to norm 1; hand on; adapt the thresholds.
    pub fn step(&mut self, x: &Tensor, phase: Phase) -> Result<Vec<Activity>> {
        let competitions: Vec<_> =
            self.layers.iter().map(|layer| self.competition(layer.config().k)).collect();
        let training = self.preset.training;
        let dense = match training.triangle {
            Triangle::Always => true,
            Triangle::Never => false,
            Triangle::Features => phase == Phase::Collect,
        };
        let mut activities: Vec<Activity> = Vec::new();
        for (layer, competition) in self.layers.iter_mut().zip(competitions) {
            let x = activities.last().map_or(x, |below| &below.output);
            let activity = layer.respond(x, &competition, dense)?;
            match phase {
                Phase::Learn => layer.learn(&activity, training.rule.rule())?,
                Phase::BurnIn => layer.constrain()?,
                Phase::Collect => {}
            }
            layer.adapt(&activity)?;
            activities.push(activity);
        }
        Ok(activities)
    }

    /// What every layer hands on, `(B, K, H, W)`, pooled. Nothing changes.
    pub fn forward(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let dense = self.preset.training.triangle != Triangle::Never;
        let mut maps: Vec<Tensor> = Vec::new();
        for layer in &self.layers {
            let x = maps.last().unwrap_or(x);
            let competition = self.competition(layer.config().k);
            maps.push(layer.respond(x, &competition, dense)?.output);
        }
        Ok(maps)
    }

    /// Every tensor of a checkpoint in a fixed order: `layers.i.weight`, `layers.i.mask` (where
    /// connections are missing), `layers.i.threshold`, `layers.i.patch_whitening` (with method 2).
    pub fn tensors(&self) -> candle::Result<Vec<(String, Tensor)>> {
        let mut tensors = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            tensors.extend(layer.tensors(&format!("layers.{at}"))?);
        }
        Ok(tensors)
    }

    /// Puts tensors back; `take(name, shape)` hands out each by its name.
    ///
    /// # Errors
    /// What `take` says.
    pub fn restore<E: From<candle::Error>>(
        &mut self,
        mut take: impl FnMut(&str, &[usize]) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<(), E> {
        for (at, layer) in self.layers.iter_mut().enumerate() {
            layer.restore(&format!("layers.{at}"), &mut take)?;
        }
        Ok(())
    }
}
