//! A stack in evaluation, and learning by local rules.

use super::block::{Contest, check_connections};
use super::{Activity, Block, Learner, Stack};
use crate::competition::Competition;
use crate::layer::Layer;
use candle::{Error, Result, Tensor};
use candle_nn::Optimizer;

impl<C: Competition> Stack<C> {
    /// The output of the first `blocks` blocks for `x (B, …)` in evaluation: the input of the next block, or the
    /// features of the last. The values are those of [`forward`](candle::Module::forward).
    ///
    /// There is no graph unless `x` is part of one. Then the features are differentiable in `x`, through the weights
    /// themselves, whatever feedback the blocks have, and including the mean of a triangle. No gradient passes
    /// [`Activation::Winners`](super::Activation::Winners), so it reaches back only to the last of these.
    ///
    /// # Errors
    /// If the stack has fewer blocks than `blocks`, or if an input does not fit; the message then names the block.
    pub fn features(&self, x: &Tensor, blocks: usize) -> Result<Tensor> {
        let Some(below) = self.blocks().get(..blocks) else {
            candle::bail!("features of {blocks} blocks: the stack has {}", self.blocks().len())
        };
        below
            .iter()
            .enumerate()
            .try_fold(x.clone(), |x, (at, block)| named(at, &x, block.evaluate(&x)))
    }

    /// The [`features`](Self::features) of the first block, of the first two and so on, in one pass.
    ///
    /// # Errors
    /// If an input does not fit; the message names the block.
    pub fn maps(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let mut maps: Vec<Tensor> = Vec::new();
        for (at, block) in self.blocks().iter().enumerate() {
            let x = maps.last().unwrap_or(x);
            let map = named(at, x, block.evaluate(x))?;
            maps.push(map);
        }
        Ok(maps)
    }

    /// Makes the learner of each layer: `learner` is called for every layer, first to last, and returns `None` for
    /// layers that do not learn.
    ///
    /// # Errors
    /// If `learner` fails.
    pub fn learners<O>(
        &self,
        learner: impl FnMut(&Layer) -> Result<Option<Learner<O>>>,
    ) -> Result<Vec<Option<Learner<O>>>> {
        self.layers().filter_map(|block| block.layer().ok()).map(learner).collect()
    }

    /// Takes one step of every layer on the batch `x (B, …)`. Each layer sees the output of the one below, computed
    /// with the weights, thresholds and statistics before that layer's step. A layer whose learner is `None` keeps its
    /// weights. Returns the output and the activity of each layer.
    ///
    /// # Errors
    /// If there are not as many learners as layers; if an input does not fit, or a rule cannot learn from it. The
    /// message then names the block, and the blocks below it have taken their step.
    pub fn learn<O: Optimizer>(
        &self,
        x: &Tensor,
        learners: &mut [Option<Learner<O>>],
    ) -> Result<(Tensor, Vec<Activity>)> {
        let layers = self.layers().count();
        if learners.len() != layers {
            candle::bail!("{} learners for {layers} layers: expected one each", learners.len())
        }
        let mut learners = learners.iter_mut();
        self.through(x, |block, x| match learners.next().and_then(Option::as_mut) {
            Some(learner) => learn(block, x, learner),
            None => adapt(block, x),
        })
    }

    /// Takes one step of the layer of block `index` only, with the blocks below it in evaluation. Returns the
    /// excitation, which competed, and the result of the competition: `u` and `post` of an [`Activity`]. The output of
    /// the block is not computed.
    ///
    /// # Errors
    /// If the block does not exist or has no layer, an input does not fit, or the rule cannot learn from it.
    pub fn learn_block<O: Optimizer>(
        &self,
        index: usize,
        x: &Tensor,
        learner: &mut Learner<O>,
    ) -> Result<(Tensor, Tensor)> {
        let x = self.features(x, index)?;
        match self.blocks().get(index) {
            Some(block) => named(index, &x, learn_alone(block, &x, learner)),
            None => candle::bail!(
                "there is no block {index}: the stack has {} blocks, counted from 0",
                self.blocks().len()
            ),
        }
    }

    /// Like [`learn`](Self::learn) but without steps: running statistics and thresholds move, weights do not.
    ///
    /// # Errors
    /// If an input does not fit; the message names the block.
    pub fn adapt(&self, x: &Tensor) -> Result<(Tensor, Vec<Activity>)> {
        self.through(x, adapt)
    }

    /// Moves the running statistics of every block towards those of its input for `x`, which goes through the blocks in
    /// evaluation; changes nothing else.
    ///
    /// # Errors
    /// If an input does not fit; the message names the block.
    pub fn calibrate(&self, x: &Tensor) -> Result<()> {
        let mut x = x.detach();
        for (at, block) in self.blocks().iter().enumerate() {
            named(at, &x, block.normed(&x, true))?;
            x = named(at, &x, block.evaluate(&x))?;
        }
        Ok(())
    }

    /// The blocks that have a layer.
    fn layers(&self) -> impl Iterator<Item = &Block<C>> {
        self.blocks().iter().filter(|block| block.layer.is_some())
    }

    /// Runs every block in turn; `each` runs those with a layer.
    fn through(
        &self,
        x: &Tensor,
        mut each: impl FnMut(&Block<C>, &Tensor) -> Result<Activity>,
    ) -> Result<(Tensor, Vec<Activity>)> {
        let (mut x, mut activities) = (x.detach(), Vec::new());
        for (at, block) in self.blocks().iter().enumerate() {
            if block.layer.is_none() {
                x = named(at, &x, block.without_layer(&x, true))?;
                continue;
            }
            let activity = named(at, &x, each(block, &x))?;
            x = activity.output.clone();
            activities.push(activity);
        }
        Ok((x, activities))
    }
}

fn learn<C: Competition, O: Optimizer>(
    block: &Block<C>,
    x: &Tensor,
    learner: &mut Learner<O>,
) -> Result<Activity> {
    check_connections(block.feedback_layer()?)?;
    let (response, activity) = block.respond_by(x, Some(learner.rule()), true)?;
    learner.step(&response, &activity.post)?;
    block.adapt(&activity.post)?;
    Ok(activity)
}

fn learn_alone<C: Competition, O: Optimizer>(
    block: &Block<C>,
    x: &Tensor,
    learner: &mut Learner<O>,
) -> Result<(Tensor, Tensor)> {
    check_connections(block.feedback_layer()?)?;
    let Contest { seen, post, .. } = block.contest(x, Some(learner.rule()), true)?;
    learner.step(&seen, &post)?;
    block.adapt(&post)?;
    Ok((seen.u().clone(), post))
}

fn adapt<C: Competition>(block: &Block<C>, x: &Tensor) -> Result<Activity> {
    let activity = block.activity(x, true)?;
    block.adapt(&activity.post)?;
    Ok(activity)
}

/// Adds to an error the index of its block and the shape of the block's input.
pub(super) fn named<T>(at: usize, x: &Tensor, result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::msg(format!("block {at}, given {:?}: {error}", x.dims())))
}
