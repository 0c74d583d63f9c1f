//! ResNet-20 for small images (He et al. 2016), with asymmetric feedback in each layer.

use candle::{ModuleT, Tensor};
use candle_hebbian::ops::{Pool, repu};
use candle_hebbian::{Conv2dConfig, FeedbackConfig, FeedbackLayer, feedback, init};
use candle_nn::{BatchNorm, BatchNormConfig, Init, Module, VarBuilder, batch_norm};

fn glorot(shape: &[usize]) -> Init {
    init::glorot_uniform(shape)
}

/// A convolution without bias, and the batch normalisation of its channels.
struct Conv {
    layer: FeedbackLayer,
    norm: BatchNorm,
}

impl Conv {
    fn new(
        [ins, outs, stride]: [usize; 3],
        config: FeedbackConfig,
        vb: VarBuilder,
    ) -> candle::Result<Self> {
        let window = (Conv2dConfig { stride, padding: 1, ..Conv2dConfig::default() }, config);
        let layer = feedback::conv2d(ins, outs, 3, window, glorot, vb.pp("conv"))?;
        Ok(Self { layer, norm: batch_norm(outs, BatchNormConfig::default(), vb.pp("norm"))? })
    }
}

impl ModuleT for Conv {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle::Result<Tensor> {
        self.norm.forward_t(&self.layer.forward(x)?, train)
    }
}

/// Two convolutions, and the sum with what they read. The sum has no parameters: if the block has more channels than
/// its input, and half as many rows and columns, it adds every second pixel, between channels of zeros.
struct Block([Conv; 2]);

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle::Result<Tensor> {
        let Self([first, second]) = self;
        let inner = second.forward_t(&repu(&first.forward_t(x, train)?, 1.0)?, train)?;
        let zeros = (inner.dim(1)? - x.dim(1)?) / 2;
        let shortcut = match zeros {
            0 => x.clone(),
            _ => {
                let pixels = Pool::Avg { kernel: 1, stride: 2, padding: 0 }.forward(x)?;
                pixels.pad_with_zeros(1, zeros, zeros)?
            }
        };
        repu(&(inner + shortcut)?, 1.0) // candle's relu makes 0 of NaN
    }
}

/// A convolution, three blocks each of 16, 32 and 64 channels, the mean over positions, and a class layer.
pub struct ResNet20 {
    stem: Conv,
    blocks: Vec<Block>,
    classes: FeedbackLayer,
    bias: Tensor,
}

impl ResNet20 {
    /// The network for images of `channels` channels of `classes` classes.
    pub fn new(
        (channels, classes): (usize, usize),
        config: FeedbackConfig,
        vb: VarBuilder,
    ) -> candle::Result<Self> {
        let stem = Conv::new([channels, 16, 1], config, vb.pp("stem"))?;
        let (mut blocks, mut ins) = (Vec::new(), 16);
        for (outs, stride) in [(16, 1), (32, 2), (64, 2)] {
            for stride in [stride, 1, 1] {
                let vb = vb.pp(format!("blocks.{}", blocks.len()));
                let first = Conv::new([ins, outs, stride], config, vb.pp("first"))?;
                let second = Conv::new([outs, outs, 1], config, vb.pp("second"))?;
                blocks.push(Block([first, second]));
                ins = outs;
            }
        }
        let vb = vb.pp("classes");
        let bias = vb.get_with_hints(classes, "bias", Init::Const(0.0))?;
        let classes = feedback::dense(ins, classes, config, glorot, vb)?;
        Ok(Self { stem, blocks, classes, bias })
    }

    /// All layers with weights, from the image on.
    pub fn layers(&self) -> impl Iterator<Item = &FeedbackLayer> {
        let convs = self.blocks.iter().flat_map(|Block(convs)| convs);
        let convs = std::iter::once(&self.stem).chain(convs);
        convs.map(|conv| &conv.layer).chain(std::iter::once(&self.classes))
    }
}

impl ModuleT for ResNet20 {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle::Result<Tensor> {
        let mut x = repu(&self.stem.forward_t(x, train)?, 1.0)?;
        for block in &self.blocks {
            x = block.forward_t(&x, train)?;
        }
        self.classes.forward(&x.mean((2, 3))?)?.broadcast_add(&self.bias)
    }
}
