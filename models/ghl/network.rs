//! Convolutions that learn by the rule, and the layers after them.

use super::config::{Learning, Preset};
use super::head::Head;
use super::sign_only::SignOnly;
use crate::units::units_of;
use candle::{DType, Device, Tensor, Var};
use candle_hebbian::ops::flatten;
use candle_hebbian::{Block, GlobalDirection, Layer, Norm, Rng, Rule, SoftWta, Stack, seeded};
use candle_nn::VarMap;
use hebbian_train::{Checkpoint, Error, Model, Preset as _, Result, Units, check_layer};
use std::sync::Arc;

/// The network of a preset, for images of one size and a number of classes.
///
/// ```
/// use candle::{DType, Device};
/// use candle_hebbian::Rng;
/// use hebbian_models::ghl::{Descents, Network, Preset};
/// use hebbian_train::{Model, find_preset};
/// let preset: Preset = find_preset("ghl-digits")?;
/// let rng = Rng::new(0);
/// let network = Network::new(&preset, (1, 8, 8), 10, &rng, DType::F32, &Device::Cpu)?;
/// let images = rng.stream("doc").uniform(0.0, 1.0, (4, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// let labels = candle::Tensor::new(&[3u32, 1, 4, 1], &Device::Cpu)?;
/// let logits = network.forward_train(&images, &mut rng.stream("masks"))?;
/// let grads = network.loss(&logits, &labels)?.backward()?;
/// Descents::new(&network)?.step(&grads)?; // one step
/// assert_eq!(network.predict(&images)?.dims(), [4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Network {
    preset: Preset,
    stack: Stack<SoftWta>,
    head: Head,
    dtype: DType,
}

impl Network {
    /// A network with fresh weights. Each layer draws from a stream of its own: convolutions from `N(0, 2/F)`, all
    /// others, including biases, from `U(±1/√F)`.
    ///
    /// # Errors
    /// A preset that is invalid or does not fit the images; the message names the block.
    pub fn new(
        preset: &Preset,
        (channels, height, width): (usize, usize, usize),
        classes: usize,
        rng: &Rng,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        preset.validate()?;
        let vb = seeded(&VarMap::new(), rng, dtype, device);
        let mut blocks: Vec<_> = preset.blocks.iter().map(|block| block.stacked()).collect();
        if preset.output_norm {
            let norm = Some(Norm::BatchNorm {});
            blocks.push(candle_hebbian::BlockConfig { norm, ..Default::default() });
        }
        let unfit = |error: candle::Error| {
            Error::Argument(format!(
                "preset '{}' does not fit images of {channels}x{height}x{width}: {error}",
                preset.name
            ))
        };
        let mut stack =
            Stack::new(blocks, &[channels, height, width], vb.clone()).map_err(unfit)?;
        let rule: Option<Arc<dyn Rule>> = match preset.training.learning {
            Learning::GlobalDirection {} => Some(Arc::new(GlobalDirection)),
            Learning::SignOnly { size } => Some(Arc::new(SignOnly { size })),
            Learning::Backprop { .. } | Learning::Frozen {} => None,
        };
        if let Some(rule) = rule {
            let blocks = &mut stack.blocks_mut()[..preset.blocks.len()];
            blocks.iter_mut().try_for_each(|block| block.set_rule(rule.clone()))?;
        }
        let features = stack.output().iter().product();
        let head =
            Head::new(features, preset.hidden, preset.dropout, classes, &vb).map_err(unfit)?;
        Ok(Self { preset: preset.clone(), stack, head, dtype })
    }

    /// The preset.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// The stack of the convolutions, with their norms, activations and pools.
    pub fn stack(&self) -> &Stack<SoftWta> {
        &self.stack
    }

    /// The layers after the convolutions.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// The variables that do not belong to convolutions.
    pub fn head_vars(&self) -> Vec<Var> {
        self.head.vars()
    }

    /// The convolutions.
    pub fn convolutions(&self) -> impl Iterator<Item = &Layer> {
        self.stack.blocks().iter().filter_map(|block| block.layer().ok())
    }

    /// Scales pixels from 0 to 1 to −1 to 1.
    fn scaled(images: &Tensor) -> candle::Result<Tensor> {
        images.affine(2.0, -1.0)
    }

    /// Returns the logits `(B, classes)` of images `(B, C, H, W)` in training: batch norms use the statistics of the
    /// batch and update their running statistics, and dropout is drawn from `masks`. In the backward pass, the gradient
    /// of a convolution's weights is the one that it learns by; all other weights get the true gradient.
    ///
    /// # Errors
    /// Images of another size.
    pub fn forward_train(&self, images: &Tensor, masks: &mut Rng) -> candle::Result<Tensor> {
        let features = self.stack.forward_train(&Self::scaled(&images.detach())?, masks)?;
        let features = match self.preset.training.learning {
            Learning::Frozen {} => features.detach(),
            _ => features,
        };
        let hidden = self.head.hidden(&features.flatten_from(1)?, true)?;
        self.head.logits(&hidden, Some(masks))
    }

    /// The name of the first batch norm that sees a single value of each channel of an image, if there is one: it
    /// cannot take the variance of one image.
    pub(super) fn norm_of_one_value(&self) -> Option<String> {
        let blocks = self.stack.blocks();
        let inputs = blocks.iter().map(|block| block.output());
        let inputs = std::iter::once(self.stack.input()).chain(inputs);
        let is_it = |(block, input): (&Block<SoftWta>, &[usize])| {
            block.batch_norm().is_some() && input[1..].iter().product::<usize>() == 1
        };
        match blocks.iter().zip(inputs).position(is_it) {
            Some(at) if at == self.preset.blocks.len() => Some("the output".to_string()),
            Some(at) => Some(format!("block {at}")),
            None => self.preset.hidden.map(|_| "the hidden layer".to_string()),
        }
    }

    /// Updates the running statistics of all batch norms with images `(B, C, H, W)`, as in training; nothing else
    /// changes.
    ///
    /// # Errors
    /// Images of another size, or a single one if a batch norm sees one value of each of its channels.
    pub fn calibrate(&self, images: &Tensor) -> candle::Result<()> {
        let images = Self::scaled(images)?;
        self.stack.calibrate(&images)?;
        let features = self.stack.features(&images, self.stack.blocks().len())?;
        self.head.hidden(&features.flatten_from(1)?, true).map(drop)
    }

    /// Returns the cross-entropy of `logits (B, classes)` for `labels (B)`, averaged over the batch.
    ///
    /// # Errors
    /// If the batch is empty, there is not one label for each row of logits, the labels are in another type than u8,
    /// u32 and i64, or, on the CPU, a label is not below the number of classes.
    pub fn loss(&self, logits: &Tensor, labels: &Tensor) -> candle::Result<Tensor> {
        candle_nn::loss::cross_entropy(logits, labels)
    }
}

impl Model for Network {
    /// Returns `layers.i.weight`, `layers.i.running_mean` and so on for the blocks, `hidden.…` if there is such a
    /// layer, `head.weight` and `head.bias`.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let head = self.head.tensors().into_iter();
        let head = head.map(|(name, tensor)| (name.to_string(), tensor.detach()));
        self.stack.tensors().into_iter().chain(head).collect()
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.stack.restore(|name, shape| checkpoint.take(name, shape, self.dtype))?;
        for (name, tensor) in self.head.tensors() {
            let taken = checkpoint.take(name, tensor.shape(), tensor.dtype())?;
            Var::from_tensor(tensor)?.set(&taken)?; // the same variable
        }
        Ok(())
    }

    /// The number of convolutions.
    fn layers(&self) -> usize {
        self.preset.blocks.len()
    }

    fn layer_features(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        check_layer(layer, self.layers())?;
        Ok(self.stack.features(&Self::scaled(images)?, layer + 1)?)
    }

    /// Returns the input of the class layer.
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let blocks = self.stack.blocks().len();
        let features = flatten(&self.stack.features(&Self::scaled(images)?, blocks)?)?;
        Ok(self.head.hidden(&features, false)?)
    }

    fn scores(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.head.logits(&self.features(images)?, None)?)
    }

    fn units(&self) -> Result<Vec<Units>> {
        let all = units_of(&self.stack, self.preset.blocks.len())?;
        Ok(all.into_iter().map(|(_, units)| units).collect())
    }

    fn responses(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        check_layer(layer, self.layers())?;
        Ok(self.stack.excitation(layer, &Self::scaled(images)?)?)
    }
}
