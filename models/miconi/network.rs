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
/// let maps = network.stack().maps(&images)?; // what each layer hands on; nothing learns
/// assert_eq!(maps.len(), preset.layers.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Network {
    preset: Preset,
    stack: Stack<Box<dyn Competition>>,
    connections: Vec<Connections>,
    /// Of the layers that are not frozen.
    learners: Vec<Option<Learner<Steps>>>,
    /// Whitens the first layer's patches, where that is asked for.
    patch_whitening: Option<Tensor>,
}

/// What holds for the weights of a layer.
#[derive(Debug)]
struct Connections {
    /// 1 for the connections that exist; none when all do.
    mask: Option<Tensor>,
    /// Imposes the mask and, if filters are to have it, norm 1.
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
    /// A network with fresh weights, of norm 1, for inputs of shape `(C, H, W)`: whitened images, which
    /// may be larger than the pixels they were made of.
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
            // Scaled on the host as it is drawn there: the same bits on every device.
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

    /// Takes the connections of every layer, and makes what learns by them.
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

    /// The preset.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// The layers, first to last: a block each.
    pub fn stack(&self) -> &Stack<Box<dyn Competition>> {
        &self.stack
    }

    /// Which connections of layer `index` exist; none when all do.
    pub fn mask(&self, index: usize) -> Option<&Tensor> {
        self.connections.get(index)?.mask.as_ref()
    }

    /// The matrix that whitens the first layer's patches, where that is asked for.
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

    /// One batch `x (B, C, H, W)` through all layers, each of which sees what the one below made of
    /// it with the weights and thresholds before its step. Returns what each layer did.
    ///
    /// For each layer: standardise every sample, respond, take the thresholds off, compete; step,
    /// mask, scale to norm 1; hand on; adapt the thresholds.
    pub fn step(&mut self, x: &Tensor, phase: Phase) -> candle::Result<Vec<Activity>> {
        let activities = match phase {
            Phase::Learn => self.stack.learn(x, &mut self.learners)?.1,
            Phase::BurnIn => self.stack.adapt(x)?.1,
        };
        for (connections, learner) in self.connections.iter_mut().zip(&self.learners) {
            // What learned has been brought in order by its step.
            if phase == Phase::BurnIn || learner.is_none() {
                connections.steps.constrain()?;
            }
        }
        Ok(activities)
    }

    /// What each layer does, handing on what read-outs get, while thresholds adapt and weights do not:
    /// see [`Quirks::adapt_in_evaluation`](super::Quirks::adapt_in_evaluation).
    pub fn collect(&self, x: &Tensor) -> candle::Result<Vec<Activity>> {
        let mut activities: Vec<Activity> = Vec::new();
        for block in self.stack.blocks() {
            let x = activities.last().map_or(x, |below| &below.output);
            let (_, activity) = block.respond(x, false)?;
            block.adapt(&activity.post)?;
            activities.push(activity);
        }
        Ok(activities)
    }

    /// Every tensor of a checkpoint in a fixed order: the stack's `layers.i.weight` and
    /// `layers.i.threshold`, then `layers.i.mask` (where connections are missing) and
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

    /// Puts tensors back; `take(name, shape)` hands out each by its name.
    ///
    /// # Errors
    /// What `take` says.
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
    /// A layer as a stack makes it.
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
