//! A stack in evaluation, and learning by local rules.

use super::block::Contest;
use super::{Activity, Block, Learner, Stack};
use crate::competition::Competition;
use crate::layer::Layer;
use candle::{Error, Result, Tensor};
use candle_nn::Optimizer;

impl<C: Competition> Stack<C> {
    /// What the first `blocks` blocks make of `x (B, …)` in evaluation: the input of the next, or the
    /// features of the last. The same as [`forward`](candle::Module::forward).
    ///
    /// There is no graph, unless `x` is part of one: then the features are differentiable in `x`, through the
    /// weights themselves, whatever feedback the blocks have, and with the mean of a triangle, down to the last
    /// [`Norm::Standardise`](super::Norm::Standardise) or [`Activation::Winners`](super::Activation::Winners),
    /// which no gradient passes.
    ///
    /// # Errors
    /// More blocks than there are; an input that does not fit, with the block.
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
    /// An input that does not fit, with the block.
    pub fn maps(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let mut maps: Vec<Tensor> = Vec::new();
        for (at, block) in self.blocks().iter().enumerate() {
            let x = maps.last().unwrap_or(x);
            let map = named(at, x, block.evaluate(x))?;
            maps.push(map);
        }
        Ok(maps)
    }

    /// What each layer learns by: `learner` is asked for every layer, first to last, and says `None`
    /// of those that do not learn.
    ///
    /// # Errors
    /// What `learner` says.
    pub fn learners<O>(
        &self,
        learner: impl FnMut(&Layer) -> Result<Option<Learner<O>>>,
    ) -> Result<Vec<Option<Learner<O>>>> {
        self.layers().filter_map(|block| block.layer().ok()).map(learner).collect()
    }

    /// One step of every layer on the batch `x (B, …)`, each of which sees what the one below made of
    /// it with the weights, thresholds and statistics before its step. A layer whose learner is `None`
    /// keeps its weights. Returns the output and what each layer did.
    ///
    /// # Errors
    /// Another number of learners than of layers; an input that does not fit, or a rule that cannot
    /// learn from it, with the block. What lies below that block has taken its step.
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

    /// One step of the layer of block `index` only, the blocks below it in evaluation. Returns what
    /// competed and what the competition made of it, `u` and `post` of an [`Activity`]; what the block
    /// would hand on is not computed.
    ///
    /// # Errors
    /// A block that does not exist or has no layer; an input that does not fit, or a rule that cannot
    /// learn from it.
    pub fn learn_block<O: Optimizer>(
        &self,
        index: usize,
        x: &Tensor,
        learner: &mut Learner<O>,
    ) -> Result<(Tensor, Tensor)> {
        let x = self.features(x, index)?;
        match self.blocks().get(index) {
            Some(block) => named(index, &x, learn_alone(block, &x, learner)),
            None => candle::bail!("block {index}: the stack has {}", self.blocks().len()),
        }
    }

    /// As [`learn`](Self::learn) without steps: running statistics and thresholds move, weights do
    /// not.
    ///
    /// # Errors
    /// An input that does not fit, with the block.
    pub fn adapt(&self, x: &Tensor) -> Result<(Tensor, Vec<Activity>)> {
        self.through(x, adapt)
    }

    /// Moves the running statistics of every block towards those of `x`, which goes on in evaluation;
    /// changes nothing else.
    ///
    /// # Errors
    /// An input that does not fit, with the block.
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

    /// Every block in turn, those with a layer by `each`.
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
    let Contest { seen, post, .. } = block.contest(x, Some(learner.rule()), true)?;
    learner.step(&seen, &post)?;
    block.adapt(&post)?;
    Ok((seen.u().clone(), post))
}

fn adapt<C: Competition>(block: &Block<C>, x: &Tensor) -> Result<Activity> {
    let (_, activity) = block.respond(x, true)?;
    block.adapt(&activity.post)?;
    Ok(activity)
}

/// What went wrong with block `at`, by its name.
pub(super) fn named<T>(at: usize, x: &Tensor, result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::msg(format!("block {at}, given {:?}: {error}", x.dims())))
}
