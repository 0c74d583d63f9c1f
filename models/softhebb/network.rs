//! The blocks of a preset, and the rules that they learn by.

use super::config::{BlockConfig, HeadConfig, HeadLayers, LayerConfig, Learning, Preset};
use crate::CompetitionKind;
use candle::{DType, Device, Error, Result, Tensor};
use candle_hebbian::ops::flatten;
use candle_hebbian::{
    Activity, Block, Conv2dConfig, Excitation, InitConfig, Learner, Norm, Rng, SoftHebb, Stack,
    Steps, seeded,
};
use candle_nn::{VarBuilder, VarMap};

/// The blocks of a SoftHebb network; the head is separate.
///
/// ```
/// use candle::{DType, Device};
/// use candle_hebbian::Rng;
/// use hebbian_models::softhebb::{Network, preset};
/// let preset = preset("softhebb-cnn-digits")?;
/// let rng = Rng::new(0);
/// let mut network = Network::new(&preset, (1, 8, 8), &rng, DType::F32, &Device::Cpu)?;
/// let images = rng.stream("doc").uniform(0.0, 1.0, (4, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// let activities = network.learn(&images, 0.0)?.1; // one step of every block
/// let features = network.forward(&images)?; // evaluation never learns
/// assert_eq!(activities.len(), preset.blocks.len());
/// assert_eq!(features.dims(), [4, network.features()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Network {
    stack: Stack<CompetitionKind>,
    /// The learners of the blocks; `None` for a block that does not learn by the rule.
    learners: Vec<Option<Learner<Steps>>>,
    /// The blocks whose features are read out.
    read: HeadLayers,
    /// Whether the mean of the features of an image and of its mirror image is read out.
    mirrored: bool,
}

impl Network {
    /// A network with fresh weights for images of shape `(C, H, W)`. Each block draws its weights from a stream of its
    /// own.
    ///
    /// Weights of Hebbian blocks are Gaussian with `σ = R/√F`, or uniform on `[0, √(3R²/F))` without batch norm, so
    /// that the expected squared norm is `R²`. Weights of other blocks are drawn from `U(±1/√F)`, as in PyTorch.
    ///
    /// # Errors
    /// An image too small for the network; the message names the block.
    pub fn new(
        preset: &Preset,
        (channels, height, width): (usize, usize, usize),
        rng: &Rng,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let vb = seeded(&VarMap::new(), rng, dtype, device);
        let blocks = preset.blocks.iter().map(BlockConfig::stacked).collect();
        let stack = Stack::new(blocks, &[channels, height, width], vb).map_err(|error| {
            Error::msg(format!(
                "preset '{}' does not fit images of {channels}x{height}x{width}: {error}",
                preset.name
            ))
        })?;
        let mut configs = preset.blocks.iter().enumerate();
        let learners = stack.learners(|layer| {
            let Some((at, BlockConfig { learning: Learning::Hebbian { rate, .. }, .. })) =
                configs.next()
            else {
                return Ok(None);
            };
            let steps = rate.steps().build([(layer.var()?, layer.dims())]).map_err(|error| {
                Error::msg(format!("preset '{}': block {at}: {error}", preset.name))
            })?;
            Ok(Some(Learner::new(SoftHebb, steps)))
        })?;
        let (read, mirrored) = (preset.head.layers(), preset.head.mirrored());
        Ok(Self { stack, learners, read, mirrored })
    }

    /// A network without blocks: its features are the pixels of images of shape `(C, H, W)`, or their mean with those of
    /// the mirror image if the `head` is mirrored.
    ///
    /// # Errors
    /// Never, because only a block can refuse a size.
    pub fn pixels(
        (channels, height, width): (usize, usize, usize),
        head: &HeadConfig,
    ) -> Result<Self> {
        let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
        let stack = Stack::new(Vec::new(), &[channels, height, width], vb)?;
        let (read, mirrored) = (HeadLayers::Last, head.mirrored());
        Ok(Self { stack, learners: Vec::new(), read, mirrored })
    }

    /// The blocks.
    pub fn stack(&self) -> &Stack<CompetitionKind> {
        &self.stack
    }

    /// The blocks, for restoring their tensors.
    pub fn stack_mut(&mut self) -> &mut Stack<CompetitionKind> {
        &mut self.stack
    }

    /// Indices of the blocks that learn by the Hebbian rule.
    pub fn hebbian(&self) -> Vec<usize> {
        (0..self.learners.len()).filter(|&i| self.learners[i].is_some()).collect()
    }

    /// The blocks whose features are read out: the last one, or all.
    pub fn read(&self) -> &[Block<CompetitionKind>] {
        let blocks = self.stack.blocks();
        match self.read {
            HeadLayers::Last => &blocks[blocks.len().saturating_sub(1)..],
            HeadLayers::All => blocks,
        }
    }

    /// The number of features of an image that are read out.
    pub fn features(&self) -> usize {
        match self.read() {
            [] => self.stack.input().iter().product(),
            blocks => blocks.iter().map(|block| block.output().iter().product::<usize>()).sum(),
        }
    }

    /// Returns the features `(B, F)` of images `x (B, C, H, W)` in evaluation mode, without learning. They are
    /// flattened channel-major; if all blocks are read out, their features follow one another. If the head is
    /// [mirrored](super::HeadConfig::Linear), they are the mean of the features of `x` and of its mirror image.
    /// Differentiable in `x` if it is part of a graph.
    ///
    /// # Errors
    /// If the images do not fit a block, or are of another type or on another device than the weights; the message
    /// names the block. Without blocks, if `x` holds integers or has no dimension. If the head is mirrored, also if `x`
    /// has not four dimensions.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let features = self.unmirrored(x)?;
        match self.mirrored {
            true => (features + self.unmirrored(&x.contiguous()?.flip(&[3])?)?)? * 0.5,
            false => Ok(features),
        }
    }

    fn unmirrored(&self, x: &Tensor) -> Result<Tensor> {
        match self.read {
            HeadLayers::Last => flatten(&self.stack.features(x, self.stack.blocks().len())?),
            HeadLayers::All => side_by_side(&self.stack.maps(x)?),
        }
    }

    /// Takes one step of every block on the same batch, when the share `progress` of training is done. Each block sees
    /// the output that the block below computes with its weights before the step. Returns the features of `x` that are
    /// read out, without those of its mirror image, and the activity of each block.
    ///
    /// # Errors
    /// A block that learns by back-propagation.
    pub fn learn(&mut self, x: &Tensor, progress: f64) -> Result<(Tensor, Vec<Activity>)> {
        for index in 0..self.learners.len() {
            self.learner(index)?.optimiser_mut().set_progress(progress);
        }
        let (features, activities) = self.stack.learn(x, &mut self.learners)?;
        let features = match self.read {
            HeadLayers::Last => flatten(&features)?,
            HeadLayers::All => {
                let outputs = activities.iter().map(|activity| activity.output.clone());
                side_by_side(&outputs.collect::<Vec<_>>())?
            }
        };
        Ok((features, activities))
    }

    /// Takes one step of block `index` only, with the blocks below it in evaluation mode. Returns the excitation `u`
    /// that competed in it and the resulting activity `post`; the rest of the block is not computed.
    ///
    /// # Errors
    /// A block that learns by back-propagation.
    pub fn learn_block(
        &mut self,
        index: usize,
        x: &Tensor,
        progress: f64,
    ) -> Result<(Tensor, Tensor)> {
        self.learner(index)?.optimiser_mut().set_progress(progress);
        let Self { stack, learners, .. } = self;
        match learners.get_mut(index) {
            Some(Some(learner)) => stack.learn_block(index, x, learner),
            _ => no_rule(index),
        }
    }

    fn learner(&mut self, index: usize) -> Result<&mut Learner<Steps>> {
        match self.learners.get_mut(index) {
            Some(Some(learner)) => Ok(learner),
            _ => no_rule(index),
        }
    }
}

/// Joins maps `(B, …)` of the same images to rows of one matrix.
fn side_by_side(maps: &[Tensor]) -> Result<Tensor> {
    let rows = maps.iter().map(flatten).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&rows, 1)
}

fn no_rule<T>(index: usize) -> Result<T> {
    candle::bail!("block {index} learns by back-propagation, not by a local rule")
}

impl BlockConfig {
    /// Returns the configuration that a stack makes the block from.
    fn stacked(&self) -> candle_hebbian::BlockConfig<CompetitionKind> {
        let layer = match self.layer {
            LayerConfig::Dense { units } => candle_hebbian::LayerConfig::Dense { units },
            LayerConfig::Conv2d { channels, kernel, padding, groups, padding_mode } => {
                let window = Conv2dConfig { padding, groups, padding_mode, ..Default::default() };
                candle_hebbian::LayerConfig::Conv2d { units: channels, kernel, window }
            }
        };
        let (competition, init, pre_triangle) = match self.learning {
            Learning::Hebbian { competition, radius, pre_triangle, .. } => {
                let init = match self.batch_norm {
                    true => InitConfig::RadiusNormal { radius },
                    false => InitConfig::RadiusUniform { radius },
                };
                (Some(competition), init, pre_triangle)
            }
            Learning::Backprop => (None, InitConfig::FanInUniform {}, false),
        };
        candle_hebbian::BlockConfig {
            norm: self.batch_norm.then_some(Norm::BatchNorm {}),
            layer: Some(layer),
            init,
            excitation: if pre_triangle { Excitation::Triangle {} } else { Excitation::Linear {} },
            competition,
            activation: self.activation,
            pool: self.pool,
            ..Default::default()
        }
    }
}
