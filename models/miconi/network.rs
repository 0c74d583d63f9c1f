//! A stack of layers that all learn at once.

use super::config::{LayerConfig, Patches, Plasticity, Preset, Triangle};
use super::connections::steps;
use super::patches::{PatchMap, TINY};
use super::signed_winners::SignedWinners;
use candle::{DType, Device, Tensor};
use candle_hebbian::ops::Pool;
use candle_hebbian::{
    Activation, Activity, BlockConfig, Competition, Conv2dConfig, Excitation, InitConfig, KWta,
    Layer, Learner, Norm, Rng, Stack, Steps, seeded,
};
use candle_nn::VarMap;
use hebbian_train::{Error, Result};
use std::sync::Arc;

/// The layers of a preset, built for one size of the images that the first layer sees.
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
/// let maps = network.stack().maps(&images)?; // what each layer hands on; nothing learns
/// assert_eq!(maps.len(), preset.layers.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Network {
    preset: Preset,
    stack: Stack<Box<dyn Competition>>,
    connections: Vec<Connections>,
    /// The learner of each layer; `None` if the layer is frozen.
    learners: Vec<Option<Learner<Steps>>>,
    /// The matrix that whitens the first layer's patches, if the preset asks for it.
    patch_whitening: Option<Tensor>,
}

/// The constraints on the weights of a layer.
#[derive(Debug)]
struct Connections {
    /// 1 for the connections that exist; `None` if all do.
    mask: Option<Tensor>,
    /// Imposes the mask and, if filters are normalised, norm 1.
    steps: Steps,
}

/// What changes while a batch goes through the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Thresholds adapt; weights are masked and scaled, but do not learn.
    BurnIn,
    /// Thresholds adapt and weights learn.
    Learn,
}

impl Network {
    /// Creates a network with fresh weights of norm 1 for inputs of shape `(C, H, W)`: transformed (for
    /// example whitened) images, which may be larger than the original ones.
    ///
    /// # Errors
    /// If the image is smaller than the receptive field of a unit, or too small for a kernel or a pool.
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
        let vb = seeded(&VarMap::new(), rng, dtype, device);
        let mut stack = Stack::new(Vec::new(), &[image.0, image.1, image.2], vb.clone())?;
        let mut masks = Vec::new();
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
            stack.push(preset.block(config), &vb).map_err(|error| unfit(at, error.to_string()))?;
            let layer = stack.blocks()[at].layer()?;
            let mask = match config.pruning {
                0.0 => None,
                p => {
                    let rng = &mut rng.stream(&format!("layers.{at}.mask"));
                    Some(rng.bernoulli(1.0 - p, layer.weight().shape(), dtype, &Device::Cpu)?)
                }
            };
            // Scaled on the host, where the weights are drawn, so that the bits are the same on every device.
            let weight = layer.weight().detach().to_device(&Device::Cpu)?;
            let drawn = Layer::from_tensor(&weight, layer.geometry())?;
            steps(&drawn, 0.0, mask.as_ref(), true)?.constrain()?;
            layer.var()?.set(&drawn.weight().detach().to_device(device)?)?;
            masks.push(mask.map(|mask| mask.to_device(device)).transpose()?);
            if config.patches != (Patches::Whole {}) {
                stack.blocks_mut()[at].set_rows(Arc::new(PatchMap { whitening: None }));
            }
        }
        let (connections, learners) = (Vec::new(), Vec::new());
        let preset = preset.clone();
        let mut network = Self { preset, stack, connections, learners, patch_whitening: None };
        network.connect(masks)?;
        Ok(network)
    }

    /// Sets the connections of every layer, and builds the learners that keep to them.
    fn connect(&mut self, masks: Vec<Option<Tensor>>) -> candle::Result<()> {
        let training = self.preset.training;
        let mut layers = self.preset.layers.iter().zip(&masks);
        let steps_of = |layer: &Layer, rate, mask: &Option<Tensor>| {
            steps(layer, rate, mask.as_ref(), training.normalise)
        };
        self.learners = self.stack.learners(|layer| match layers.next() {
            Some((config, mask)) if !config.frozen => {
                let steps = steps_of(layer, config.learning_rate, mask)?;
                Ok(Some(Learner::new(training.rule, steps)))
            }
            _ => Ok(None),
        })?;
        let blocks = self.stack.blocks().iter().zip(masks);
        let connections = blocks.map(|(block, mask)| {
            Ok(Connections { steps: steps_of(block.layer()?, 0.0, &mask)?, mask })
        });
        self.connections = connections.collect::<candle::Result<_>>()?;
        Ok(())
    }

    /// Returns the preset.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// Returns the layers, first to last, one block each.
    pub fn stack(&self) -> &Stack<Box<dyn Competition>> {
        &self.stack
    }

    /// Returns the mask of the connections of layer `index`; `None` if all exist.
    pub fn mask(&self, index: usize) -> Option<&Tensor> {
        self.connections.get(index)?.mask.as_ref()
    }

    /// Returns the matrix that whitens the first layer's patches, if the preset asks for it.
    pub fn patch_whitening(&self) -> Option<&Tensor> {
        self.patch_whitening.as_ref()
    }

    /// Whitens the first layer's patches by `matrix` from now on.
    pub(super) fn whiten_patches(&mut self, matrix: Tensor) {
        if let Some(first) = self.stack.blocks_mut().first_mut() {
            first.set_rows(Arc::new(PatchMap { whitening: Some(matrix.clone()) }));
        }
        self.patch_whitening = Some(matrix);
    }

    /// Passes one batch `x (B, C, H, W)` through all layers. Each layer sees the output that the layer
    /// below computed with its weights and thresholds before its step. Returns the activity of each layer.
    ///
    /// For each layer: standardise every sample, respond, subtract the thresholds, compete; step, mask,
    /// scale to norm 1; pass on the output; adapt the thresholds.
    ///
    /// # Errors
    /// If the images have another number of channels or another type than the network, are on another device, or are
    /// too small for a kernel or a pool. The message names the layer by its index, and the layers below it have taken
    /// their step.
    pub fn step(&mut self, x: &Tensor, phase: Phase) -> candle::Result<Vec<Activity>> {
        let activities = match phase {
            Phase::Learn => self.stack.learn(x, &mut self.learners)?.1,
            Phase::BurnIn => self.stack.adapt(x)?.1,
        };
        for (connections, learner) in self.connections.iter_mut().zip(&self.learners) {
            // The step of a layer that learned has already imposed its constraints.
            if phase == Phase::BurnIn || learner.is_none() {
                connections.steps.constrain()?;
            }
        }
        Ok(activities)
    }

    /// Passes `x (B, C, H, W)` through all layers, each of which passes on what read-outs get, and returns the
    /// activity of each. Thresholds adapt, weights do not: see
    /// [`Quirks::adapt_in_evaluation`](super::Quirks::adapt_in_evaluation).
    ///
    /// # Errors
    /// If the images do not fit a layer, as for [`step`](Self::step). The thresholds of those below it have adapted.
    pub fn collect(&self, x: &Tensor) -> candle::Result<Vec<Activity>> {
        let mut activities: Vec<Activity> = Vec::new();
        for block in self.stack.blocks() {
            let x = activities.last().map_or(x, |below| &below.output);
            let activity = block.activity(x, false)?;
            block.adapt(&activity.post)?;
            activities.push(activity);
        }
        Ok(activities)
    }

    /// Returns every tensor of a checkpoint in a fixed order: the stack's `layers.i.weight` and
    /// `layers.i.threshold`, then `layers.i.mask` (if connections are missing) and
    /// `layers.0.patch_whitening` (with method 2).
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.stack.tensors();
        for (at, connections) in self.connections.iter().enumerate() {
            tensors
                .extend(connections.mask.clone().map(|mask| (format!("layers.{at}.mask"), mask)));
        }
        let whitening = self.patch_whitening.clone();
        tensors.extend(whitening.map(|matrix| ("layers.0.patch_whitening".to_string(), matrix)));
        tensors
    }

    /// Restores the tensors of a checkpoint; `take(name, shape)` returns each by its name.
    ///
    /// # Errors
    /// If `take` fails.
    pub fn restore<E: From<candle::Error>>(
        &mut self,
        mut take: impl FnMut(&str, &[usize]) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<(), E> {
        self.stack.restore(&mut take)?;
        let mut masks = Vec::new();
        for (at, connections) in self.connections.iter().enumerate() {
            let mask = connections.mask.as_ref();
            masks.push(
                mask.map(|mask| take(&format!("layers.{at}.mask"), mask.dims())).transpose()?,
            );
        }
        self.connect(masks)?;
        if let (Some(LayerConfig { patches: Patches::Whiten { .. }, .. }), Some(first)) =
            (self.preset.layers.first(), self.stack.blocks().first())
        {
            let fan_in = first.layer()?.dims().fan_in;
            let matrix = take("layers.0.patch_whitening", &[fan_in, fan_in])?;
            self.whiten_patches(matrix);
        }
        Ok(())
    }
}

impl Preset {
    /// The block of a stack for a layer.
    fn block(&self, layer: &LayerConfig) -> BlockConfig<Box<dyn Competition>> {
        let LayerConfig { units, kernel, stride, pool, k, .. } = *layer;
        let competition: Box<dyn Competition> = match self.training.plasticity {
            Plasticity::Binary => Box::new(KWta::binary(k)),
            Plasticity::Graded if self.quirks.negative_winners => Box::new(SignedWinners { k }),
            Plasticity::Graded => Box::new(KWta::graded(k)),
        };
        let (winners, dense) = (Activation::Winners {}, Activation::Triangle { power: 1.0 });
        let (activation, learning_activation) = match self.training.triangle {
            Triangle::Always => (dense, None),
            Triangle::Never => (winners, None),
            Triangle::Features => (dense, Some(winners)),
        };
        let window = Conv2dConfig { stride, ..Default::default() };
        let target = layer.target_rate();
        BlockConfig {
            norm: Some(Norm::Standardise { epsilon: TINY }),
            layer: Some(candle_hebbian::LayerConfig::Conv2d { units, kernel, window }),
            init: InitConfig::StandardNormal {},
            excitation: Excitation::Threshold { rate: layer.threshold_rate, target },
            competition: Some(competition),
            activation,
            learning_activation,
            pool: (pool > 1).then_some(Pool::Avg { kernel: pool, stride: pool, padding: 0 }),
            ..Default::default()
        }
    }
}
