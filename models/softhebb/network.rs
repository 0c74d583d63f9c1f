//! A stack of blocks.

use super::block::{Block, Step};
use super::config::{Learning, Preset};
use candle::{DType, Device, Result, Tensor};
use candle_hebbian::Rng;

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
/// let steps = network.learn(&images, 0.0)?.1; // one step of every block
/// let features = network.forward(&images)?; // evaluation never learns
/// assert_eq!(steps.len(), preset.blocks.len());
/// assert_eq!(features.dims(), [4, network.features()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Network {
    blocks: Vec<Block>,
}

impl Network {
    /// A network with fresh weights for images of shape `(C, H, W)`.
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
        let mut input = vec![channels, height, width];
        let mut blocks = Vec::new();
        for (i, config) in preset.blocks.iter().enumerate() {
            let mut rng = rng.stream(&format!("layers.{i}.weight"));
            let block = Block::new(config, &input, &mut rng, dtype, device).map_err(|error| {
                candle::Error::msg(format!(
                    "preset '{}' does not fit images of {channels}x{height}x{width}: block {i}, \
                     whose input is {input:?}: {error}",
                    preset.name
                ))
            })?;
            input = block.output().to_vec();
            blocks.push(block);
        }
        Ok(Self { blocks })
    }

    /// No blocks at all: the features are the pixels.
    pub fn pixels() -> Self {
        Self { blocks: Vec::new() }
    }

    /// The blocks, first to last.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Indices of the blocks that learn by the Hebbian rule.
    pub fn hebbian(&self) -> Vec<usize> {
        let hebbian = |block: &Block| matches!(block.config().learning, Learning::Hebbian { .. });
        (0..self.blocks.len()).filter(|&i| hebbian(&self.blocks[i])).collect()
    }

    /// The number of features of an image.
    pub fn features(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.output().iter().product())
    }

    /// Features `(B, F)` of images `x (B, C, H, W)`: evaluation, learns nothing, flattened
    /// channel-major.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        flatten(&self.forward_to(x, self.blocks.len())?)
    }

    /// The input of block `end`, from the blocks before it in evaluation.
    pub fn forward_to(&self, x: &Tensor, end: usize) -> Result<Tensor> {
        self.blocks[..end].iter().try_fold(x.detach(), |x, block| block.forward(&x))
    }

    /// One step of every block on the same batch, each seeing what the one below made of it with
    /// the weights before its step. Returns the features and what each block did.
    pub fn learn(&mut self, x: &Tensor, progress: f64) -> Result<(Tensor, Vec<Step>)> {
        let mut x = x.detach();
        let mut steps = Vec::new();
        for block in &mut self.blocks {
            let (out, step) = block.learn(&x, progress)?;
            x = out;
            steps.push(step);
        }
        Ok((flatten(&x)?, steps))
    }

    /// One step of block `index` only, the ones before it in evaluation.
    pub fn learn_block(&mut self, index: usize, x: &Tensor, progress: f64) -> Result<Step> {
        let input = self.forward_to(x, index)?;
        Ok(self.blocks[index].learn(&input, progress)?.1)
    }

    /// Moves the batch-norm statistics of every block towards those of `x`; learns nothing else.
    pub fn calibrate(&mut self, x: &Tensor) -> Result<()> {
        let mut x = x.detach();
        for block in &mut self.blocks {
            block.calibrate(&x)?;
            x = block.forward(&x)?;
        }
        Ok(())
    }

    /// Features with a graph to every weight, for back-propagation.
    pub fn forward_backprop(&mut self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for block in &mut self.blocks {
            x = block.forward_backprop(&x)?;
        }
        flatten(&x)
    }

    /// Every tensor of a checkpoint in a fixed order: `layers.i.weight`, `layers.i.running_mean`,
    /// `layers.i.running_var`.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            let weight = block.layer().weight().detach();
            tensors.push((format!("layers.{i}.weight"), weight));
            if let Some(norm) = block.batch_norm() {
                tensors.push((format!("layers.{i}.running_mean"), norm.running_mean().detach()));
                tensors.push((format!("layers.{i}.running_var"), norm.running_var().detach()));
            }
        }
        tensors
    }

    /// Puts tensors back; `take(name, shape)` hands out each by its name.
    pub fn restore<E: From<candle::Error>>(
        &mut self,
        mut take: impl FnMut(&str, &[usize]) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<(), E> {
        for (i, block) in self.blocks.iter_mut().enumerate() {
            let weight = block.layer().var()?;
            weight.set(&take(&format!("layers.{i}.weight"), weight.dims())?)?;
            if let Some(norm) = block.batch_norm_mut() {
                let shape = norm.running_mean().dims().to_vec();
                let mean = take(&format!("layers.{i}.running_mean"), &shape)?;
                let var = take(&format!("layers.{i}.running_var"), &shape)?;
                norm.set_running(&mean, &var)?;
            }
        }
        Ok(())
    }
}

fn flatten(x: &Tensor) -> Result<Tensor> {
    x.flatten_from(1)
}
