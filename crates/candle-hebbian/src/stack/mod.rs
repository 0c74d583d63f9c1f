//! Stacks: networks of blocks that learn by local rules, by back-propagation, or not at all.

mod block;
mod config;
mod learner;
mod local;
mod pass;
mod rows;

pub use block::{Activity, Block};
pub use config::{Activation, BlockConfig, Excitation, InitConfig, LayerConfig, Norm};
pub use learner::Learner;
pub use rows::RowMap;

use crate::competition::Competition;
use crate::device::{read, send};
use crate::feedback::FeedbackLayer;
use candle::{Error, Result, Tensor};
use candle_nn::VarBuilder;
use std::collections::HashMap;

/// Blocks on top of each other. Each block takes those of the following steps that its
/// [`BlockConfig`] specifies:
///
/// ```text
/// norm → layer → excitation → activation → + input → pool → dropout
///                     ↓
///                competition → rule
/// ```
///
/// | | forward pass | graph | what changes |
/// |---|---|---|---|
/// | [`features`](Self::features) | evaluation | to the input, if that is part of one | nothing |
/// | [`forward`](candle::Module::forward) | evaluation | to weights and input | nothing |
/// | [`learn`](Self::learn) | the batch's statistics | none | weights by local rules, running statistics, thresholds |
/// | [`learn_block`](Self::learn_block) | the batch's statistics | none | the same, of one block |
/// | [`adapt`](Self::adapt) | the batch's statistics | none | running statistics, thresholds |
/// | [`calibrate`](Self::calibrate) | evaluation | none | running statistics |
/// | [`forward_train`](Self::forward_train) | the batch's statistics, dropout | to weights and input | running statistics |
///
/// All that a stack keeps is in variables of the `VarBuilder` that it was made with, so a `VarMap` saves and
/// loads it, and any optimiser can train it by back-propagation. Three things are not: masks of
/// [thinned](crate::FeedbackLayer::thinned) layers, [direct feedback](Block::set_direct), and the weights of layers
/// that are put in by [`push_layer`](Self::push_layer) or [`set_layer`](Block::set_layer), which are the variables that
/// these layers were made with. [`tensors`](Self::tensors) and [`restore`](Self::restore) have all of it. The variables
/// of the `VarBuilder` are `layers.i.weight`, `layers.i.feedback`, `layers.i.running_mean`, `layers.i.running_var` and
/// `layers.i.threshold`, where `i` counts the blocks that have any. Inputs are images `(B, C, H, W)` or vectors
/// `(B, F)`.
///
/// Two layers that learn at the same time by Oja's rule, each from the output that the layer below
/// computed with its weights before the step:
///
/// ```
/// use candle::{DType, Device, Module};
/// use candle_hebbian::{BlockConfig, KWta, Learner, Oja, Rng, Stack, Steps, seeded};
/// use candle_nn::VarMap;
/// let (varmap, rng) = (VarMap::new(), Rng::new(0));
/// let mut blocks: Vec<BlockConfig<KWta>> = serde_json::from_str(
///     r#"[
///         { "layer": { "kind": "conv2d", "units": 8, "kernel": 3 },
///           "activation": { "kind": "relu" },
///           "pool": { "kind": "max", "kernel": 2, "stride": 2, "padding": 0 } },
///         { "layer": { "kind": "dense", "units": 4 } }
///     ]"#,
/// )?;
/// blocks.iter_mut().for_each(|block| block.competition = Some(KWta::binary(1)));
/// let vb = seeded(&varmap, &rng, DType::F64, &Device::Cpu);
/// let stack = Stack::new(blocks, &[1, 8, 8], vb)?;
/// assert_eq!(stack.output(), [4]);
///
/// let mut learners = stack.learners(|layer| {
///     Ok(Some(Learner::new(Oja, Steps::builder(0.01).build([layer.var()?])?)))
/// })?;
/// let images = rng.stream("images").uniform(0.0, 1.0, (5, 1, 8, 8), DType::F64, &Device::Cpu)?;
/// let (output, activities) = stack.learn(&images, &mut learners)?;
/// assert_eq!(output.dims(), [5, 4]);
/// assert_eq!(activities[0].post.dims(), [1, 5 * 6 * 6, 8]); // a winner at each position
/// let (features, same) = (stack.features(&images, 2)?, stack.forward(&images)?);
/// assert!((features - same)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Stack<C> {
    blocks: Vec<Block<C>>,
    input: Vec<usize>,
}

impl<C: Competition> Stack<C> {
    /// A stack of `blocks` for inputs of shape `input` (without the batch), `(C, H, W)` or `(F)`,
    /// with variables from `vb`.
    ///
    /// # Errors
    /// If a block does not fit its input (the message names the block), or `vb` has variables of
    /// another shape. The blocks before leave their variables in `vb`: try again with a new one.
    pub fn new(blocks: Vec<BlockConfig<C>>, input: &[usize], vb: VarBuilder) -> Result<Self> {
        let mut stack = Self { blocks: Vec::new(), input: input.to_vec() };
        for (at, config) in blocks.into_iter().enumerate() {
            let input = stack.output().to_vec();
            stack.push(config, &vb).map_err(|error| {
                Error::msg(format!("block {at}, whose input is {input:?}: {error}"))
            })?;
        }
        Ok(stack)
    }

    /// Adds a block on top, with variables from `vb`, which must be the one that the stack was made
    /// with.
    ///
    /// # Errors
    /// If the block does not fit the output so far, or `vb` has variables of another shape.
    pub fn push(&mut self, block: BlockConfig<C>, vb: &VarBuilder) -> Result<()> {
        let block = Block::new(block, self.output(), self.next(vb))?;
        self.blocks.push(block);
        Ok(())
    }

    /// Adds a block with a layer that was made elsewhere; its other variables are from `vb`.
    ///
    /// # Errors
    /// If the config specifies a layer itself, or if the layer or the block does not fit the output
    /// so far.
    pub fn push_layer(
        &mut self,
        block: BlockConfig<C>,
        layer: FeedbackLayer,
        vb: &VarBuilder,
    ) -> Result<()> {
        if let Some(layer) = block.layer {
            candle::bail!("a block with a layer of its own, {layer:?}, is given another")
        }
        let block = Block::of(block, Some(layer), self.output(), self.next(vb))?;
        self.blocks.push(block);
        Ok(())
    }

    /// The builder for the next block's variables.
    fn next<'a>(&self, vb: &VarBuilder<'a>) -> VarBuilder<'a> {
        let named = self.blocks.iter().filter(|block| block.holds_tensors()).count();
        vb.pp("layers").pp(named)
    }

    /// The blocks, first to last.
    pub fn blocks(&self) -> &[Block<C>] {
        &self.blocks
    }

    /// The blocks, to change them.
    pub fn blocks_mut(&mut self) -> &mut [Block<C>] {
        &mut self.blocks
    }

    /// The shape of one input, without the batch.
    pub fn input(&self) -> &[usize] {
        &self.input
    }

    /// The shape of one output, without the batch.
    pub fn output(&self) -> &[usize] {
        self.blocks.last().map_or(&self.input, |block| block.output())
    }

    /// Returns every tensor of a checkpoint in a fixed order, block by block: `layers.i.weight`,
    /// `layers.i.feedback` (the layer's own feedback weights, or direct ones),
    /// `layers.i.weight_mask`, `layers.i.feedback_mask`, `layers.i.running_mean`,
    /// `layers.i.running_var`, `layers.i.threshold`. They share memory with the variables.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let blocks = self.blocks.iter().filter(|block| block.holds_tensors());
        let tensors = blocks.enumerate().flat_map(|(i, block)| {
            let (layer, norm) = (block.layer.as_ref(), block.batch_norm());
            let (weight_mask, feedback_mask) = layer.map_or((None, None), |layer| layer.masks());
            let feedback = layer.and_then(|layer| layer.feedback());
            let tensors = [
                ("weight", layer.map(|layer| layer.weight())),
                ("feedback", feedback.or(block.direct.as_ref())),
                ("weight_mask", weight_mask),
                ("feedback_mask", feedback_mask),
                ("running_mean", norm.map(|norm| norm.running_mean())),
                ("running_var", norm.map(|norm| norm.running_var())),
                ("threshold", block.threshold().map(|threshold| threshold.var().as_tensor())),
            ];
            tensors.map(|(name, tensor)| Some((format!("layers.{i}.{name}"), tensor?.detach())))
        });
        tensors.flatten().collect()
    }

    /// Restores the tensors of a checkpoint; `take(name, shape)` returns each by its name, of any type and on any
    /// device.
    ///
    /// # Errors
    /// If `take` fails, a tensor has another shape, a mask has entries other than 0 and 1, or weights are not
    /// variables. Nothing is changed then.
    pub fn restore<E: From<Error>>(
        &mut self,
        mut take: impl FnMut(&str, &[usize]) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<(), E> {
        let mut all = HashMap::new();
        for (name, like) in self.tensors() {
            let found = take(&name, like.dims())?;
            if found.shape() != like.shape() {
                let (found, expected) = (found.dims(), like.dims());
                let message = format!("{name} has the shape {found:?}, expected {expected:?}");
                return Err(Error::msg(message).into());
            }
            // In the type and on the device of what it restores. Converted on the CPU: Metal has no f64.
            let found = read(&found)?.to_dtype(like.dtype())?;
            all.insert(name, send(&found, like.device())?);
        }
        // What cannot be restored is refused before anything is changed.
        let blocks = self.blocks.iter().filter(|block| block.holds_tensors());
        for (i, block) in blocks.enumerate() {
            let Some(layer) = &block.layer else { continue };
            layer.var()?;
            layer.feedback_var()?;
            for mask in ["weight_mask", "feedback_mask"] {
                if let Some(mask) = all.get(&format!("layers.{i}.{mask}")) {
                    layer.kept(mask)?;
                }
            }
        }
        let blocks = self.blocks.iter_mut().filter(|block| block.holds_tensors());
        for (i, block) in blocks.enumerate() {
            let mut taken = |name: &str| all.remove(&format!("layers.{i}.{name}"));
            let (weight_mask, feedback_mask) = (taken("weight_mask"), taken("feedback_mask"));
            if let Some(layer) = &mut block.layer {
                if let Some(weight) = taken("weight") {
                    layer.var()?.set(&weight)?;
                }
                if let Some(var) = layer.feedback_var()?
                    && let Some(feedback) = taken("feedback")
                {
                    var.set(&feedback)?;
                }
                layer.set_masks(weight_mask, feedback_mask)?;
            }
            if let Some(direct) = taken("feedback") {
                block.set_direct(direct)?;
            }
            if let (Some(norm), Some(mean), Some(var)) =
                (block.batch_norm(), taken("running_mean"), taken("running_var"))
            {
                norm.set_running(&mean, &var)?;
            }
            if let (Some(threshold), Some(value)) = (block.threshold(), taken("threshold")) {
                threshold.var().set(&value)?;
            }
        }
        Ok(())
    }
}
