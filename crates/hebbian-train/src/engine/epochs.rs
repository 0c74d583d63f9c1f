//! The epochs of a learner that learns from labels.

use super::epoch_sums::{EpochSums, Sums};
use super::{Clock, Measured, State};
use crate::{Error, Result};
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::{Batches, ImageSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Epochs that each shuffle the images again and draw masks. What an epoch draws follows from a generator's seed and
/// the number of the epoch: the streams are `batches.N`, `dropout.N` and `augmentation.N`.
///
/// A step [begins](Self::begin) an epoch if none is under way, takes the [next](Self::next) images, and at its end
/// reports their scores and loss ([`push`](Self::push)).
#[derive(Debug)]
pub struct Epochs {
    rng: Rng,
    clock: Clock,
    /// Epochs done.
    done: usize,
    /// The epoch under way: its batches, and the generator of its masks.
    under_way: Option<(Batches, Rng)>,
    /// The place at which a restored epoch is to continue.
    place: Option<Place>,
    /// The sums since the last measurement.
    sums: EpochSums,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// Batches left.
    left: usize,
    /// The position of the generator of the masks.
    masks: String,
}

/// The state that is needed to continue.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    /// Epochs done.
    epoch: usize,
    /// The sums since the last measurement.
    sums: Sums,
    /// The place in the epoch under way.
    place: Option<Place>,
}

impl Epochs {
    /// Starts before the first step.
    pub fn new(rng: &Rng) -> Self {
        Self::after(rng, 0, Clock::default())
    }

    /// Starts at `clock`, where `done` epochs count as done.
    pub fn after(rng: &Rng, done: usize, clock: Clock) -> Self {
        let (under_way, place, sums) = (None, None, EpochSums::default());
        Self { rng: rng.clone(), clock, done, under_way, place, sums }
    }

    /// Steps and images so far.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Epochs done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The epoch of the last step, for messages: `epoch 1`.
    pub fn stage(&self) -> String {
        format!("epoch {}", self.done + usize::from(!self.is_between()))
    }

    /// Whether no epoch is under way.
    pub fn is_between(&self) -> bool {
        self.under_way.is_none() && self.place.is_none()
    }

    /// Begins an epoch over a set in batches of this size, or continues a restored epoch where it was; does nothing
    /// while an epoch is under way.
    ///
    /// # Errors
    /// If the batch size is 0, or an epoch over this set does not have the [saved](Self::state) place.
    pub fn begin(&mut self, set: &ImageSet, batch_size: usize) -> Result<()> {
        if self.under_way.is_some() {
            return Ok(());
        }
        let stream = |purpose: &str| self.rng.stream(&format!("{purpose}.{}", self.done));
        let mut batches = set.shuffled(batch_size, &mut stream("batches"))?;
        let mut masks = stream("dropout");
        if let Some(Place { left, masks: position }) = self.place.take() {
            let Some(taken) = batches.len().checked_sub(left) else {
                return Err(wrong("more batches are left than an epoch has", &left));
            };
            batches.pass(taken);
            let at = position.parse().map_err(|_| wrong("no position of the masks", &position))?;
            masks = masks.at(at);
        }
        self.under_way = Some((batches, masks));
        Ok(())
    }

    /// Returns the next images of the epoch that was [begun](Self::begin) over this set, augmented, with their labels,
    /// and the generator of the masks.
    ///
    /// # Errors
    /// If no images are left, or they cannot be read.
    pub fn next(
        &mut self,
        set: &ImageSet,
        device: &Device,
    ) -> Result<((Tensor, Tensor), &mut Rng)> {
        let left =
            self.under_way.as_mut().and_then(|(batches, masks)| Some((batches.next()?, masks)));
        let Some((indices, masks)) = left else {
            return Err(Error::Argument("there are no images to learn from".to_string()));
        };
        let moment = format!("augmentation.{}", self.done);
        let batch = set.augmented_batch(&indices, &self.rng, &moment, DType::F32, device)?;
        Ok((batch, masks))
    }

    /// Ends a step, and with the last images the epoch. Takes the `scores (B, C)` of the images with their labels
    /// `(B)`, their mean loss and whatever else is to be averaged.
    ///
    /// # Errors
    /// If a loss is not finite; the error names the step that had it.
    pub fn push(
        &mut self,
        (scores, labels): (&Tensor, &Tensor),
        loss: &Tensor,
        more: Vec<Tensor>,
    ) -> Result<()> {
        self.clock.tick(labels.elem_count());
        if self.under_way.as_ref().is_some_and(|(batches, _)| batches.len() == 0) {
            (self.under_way, self.done) = (None, self.done + 1);
        }
        self.sums.push(self.clock.steps, (scores, labels), loss, more)
    }

    /// Returns the means since the last call, as `train_loss`, `train_error` and the names of what else was measured,
    /// and resets the sums. The result is empty if there were no steps.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn measure<'a>(&mut self, more: impl Iterator<Item = &'a str>) -> Result<Measured> {
        self.sums.take(more)
    }

    /// The state that [`go_on`](Self::go_on) needs, without tensors.
    ///
    /// # Errors
    /// If a loss is not finite.
    pub fn state(&self) -> Result<State> {
        let under_way = self.under_way.as_ref().map(|(batches, masks)| Place {
            left: batches.len(),
            masks: masks.position().to_string(),
        });
        let place = under_way.or_else(|| self.place.clone());
        let saved = Saved { epoch: self.done, sums: self.sums.settled()?, place };
        let values = serde_json::to_value(saved)
            .map_err(|source| Error::Json { what: "the state".to_string(), source })?;
        Ok(State { tensors: Vec::new(), values })
    }

    /// Continues from the values of a state. An epoch that was under way [begins](Self::begin) with the next step, at
    /// the place where it was.
    ///
    /// # Errors
    /// If the values belong to another learner.
    pub fn go_on(&mut self, clock: Clock, values: &Value) -> Result<()> {
        let Saved { epoch, sums, place } =
            Saved::deserialize(values).map_err(|error| wrong(&error.to_string(), values))?;
        let sums = EpochSums::of(sums);
        *self = Self { place, sums, ..Self::after(&self.rng, epoch, clock) };
        Ok(())
    }
}

fn wrong(what: &str, found: &dyn std::fmt::Display) -> Error {
    Error::Argument(format!("the state to continue from: {what}: {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::draw::Draw;
    use hebbian_data::transforms::Pipeline;

    const CPU: &Device = &Device::Cpu;

    /// Takes one step; returns the labels of its images, and a number drawn from the generator of the masks.
    fn step(epochs: &mut Epochs, set: &ImageSet) -> Result<(Vec<u32>, usize)> {
        epochs.begin(set, 3)?;
        let ((images, labels), masks) = epochs.next(set, CPU)?;
        let (drawn, found) = (masks.below(1000), labels.to_vec1()?);
        let scores = Tensor::zeros((images.dim(0)?, 10), DType::F32, CPU)?;
        epochs.push((&scores, &labels), &Tensor::new(1f32, CPU)?, Vec::new())?;
        Ok((found, drawn))
    }

    /// Two epochs of four batches, stopped after each step: the next step is the same as without a stop.
    #[test]
    fn an_epoch_goes_on_where_it_was() -> Result<()> {
        let set = hebbian_data::digits().train.take(10);
        let mut whole = Epochs::new(&Rng::new(1));
        let mut stopped = Epochs::new(&Rng::new(1));
        for at in 0..8 {
            assert_eq!((whole.is_between(), whole.done()), (at % 4 == 0, at / 4));
            let state = stopped.state()?.values;
            // Before the next step, it describes itself in the same way.
            let (stage, clock) = (stopped.stage(), stopped.clock());
            stopped = Epochs::new(&Rng::new(1));
            stopped.go_on(clock, &state)?;
            assert_eq!((stopped.stage(), stopped.is_between()), (stage, at % 4 == 0));
            assert_eq!(stopped.state()?.values, state);
            assert_eq!(step(&mut whole, &set)?, step(&mut stopped, &set)?, "step {at}");
        }
        assert_eq!((whole.clock(), whole.done()), (Clock { steps: 8, images: 20 }, 2));
        assert_eq!(stopped.clock(), whole.clock());
        assert_eq!(whole.measure([].into_iter())?.values, stopped.measure([].into_iter())?.values);
        Ok(())
    }

    #[test]
    fn places_that_an_epoch_does_not_have_are_refused() -> Result<()> {
        let set = hebbian_data::digits().train;
        let mut long = Epochs::new(&Rng::new(1));
        step(&mut long, &set.clone().take(10))?;
        // Three batches are left, but an epoch has two.
        let mut short = Epochs::new(&Rng::new(1));
        short.go_on(long.clock(), &long.state()?.values)?;
        let error = step(&mut short, &set.take(5)).unwrap_err().to_string();
        assert!(error.contains("more batches are left than an epoch has: 3"), "{error}");
        let error = short.go_on(Clock::default(), &Value::Null).unwrap_err().to_string();
        assert!(error.contains("the state to continue from"), "{error}");
        Ok(())
    }

    /// Epoch N takes its order from the stream `batches.N`, its masks from `dropout.N`, and the augmentation of image I
    /// from `augmentation.N.I`. The label of an image is its index.
    #[test]
    fn each_epoch_has_streams_of_its_own() -> Result<()> {
        const IMAGES: usize = 10;
        let set = ImageSet::new(vec![0; IMAGES], (0..IMAGES as u32).collect(), 1, 1, 1)?;
        let set = set.with_transforms(Pipeline::default(), Pipeline::default().then(Draw))?;
        let rng = Rng::new(1);
        let mut epochs = Epochs::new(&rng);
        let mut all: Vec<Vec<usize>> = Vec::new();
        for epoch in 0..3 {
            let (mut order, mut seen, mut masks) = (Vec::new(), Vec::new(), Vec::new());
            while epochs.done() == epoch {
                epochs.begin(&set, 3)?;
                let ((images, labels), generator) = epochs.next(&set, CPU)?;
                if order.is_empty() {
                    masks = generator.clone().permutation(IMAGES);
                }
                order.extend(labels.to_vec1::<u32>()?.into_iter().map(|label| label as usize));
                seen.extend(images.flatten_all()?.to_vec1::<f32>()?);
                let scores = Tensor::zeros((labels.elem_count(), IMAGES), DType::F32, CPU)?;
                epochs.push((&scores, &labels), &Tensor::new(1f32, CPU)?, Vec::new())?;
            }
            let stream = |purpose: &str| rng.stream(&format!("{purpose}.{epoch}"));
            assert_eq!(order, stream("batches").permutation(IMAGES), "{epoch}");
            assert_eq!(masks, stream("dropout").permutation(IMAGES), "{epoch}");
            for (image, seen) in order.iter().zip(seen) {
                let drawn = rng.stream(&format!("augmentation.{epoch}.{image}")).below(1000);
                assert_eq!(seen, drawn as f32, "{epoch}, {image}");
            }
            for drawn in [order, masks] {
                assert!(!all.contains(&drawn), "{drawn:?} came before");
                all.push(drawn);
            }
        }
        Ok(())
    }
}
