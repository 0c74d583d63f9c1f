//! The measurements of an epoch while it trains.

use super::{Deferred, Measured};
use crate::{Result, check_finite};
use candle::{D, DType, Device, Tensor};
use serde::{Deserialize, Serialize};

/// The loss and the number of wrong classes over the batches since the last measurement, with dropout active. The
/// figures of the last few batches are still on their device: see [`Deferred`].
#[derive(Debug, Clone, Default)]
pub(super) struct EpochSums {
    sums: Sums,
    /// The latest figures, with the step of each batch and its number of images.
    latest: Deferred<(u64, usize)>,
}

/// Sums over batches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    /// The sum over batches of the loss times the number of images.
    pub loss: f64,
    /// Images classified wrongly.
    pub wrong: usize,
    /// Images in all.
    pub images: usize,
    /// The same sums for what else was measured.
    pub more: Vec<f64>,
}

impl EpochSums {
    /// Continues from saved sums.
    pub fn of(sums: Sums) -> Self {
        Self { sums, latest: Deferred::default() }
    }

    /// Adds a batch: the number of its step, its `scores (B, C)` and labels `(B)`, its mean loss and whatever else is
    /// to be averaged. The figures are read from the device every fifty batches.
    ///
    /// # Errors
    /// If a loss is not finite; the error names the step that had it.
    pub fn push(
        &mut self,
        step: u64,
        (scores, labels): (&Tensor, &Tensor),
        loss: &Tensor,
        more: Vec<Tensor>,
    ) -> Result<()> {
        let wrong = scores.detach().argmax(D::Minus1)?.ne(labels)?.to_dtype(DType::F32)?;
        let figures = [loss.detach().to_dtype(DType::F32)?, wrong.sum_all()?].into_iter();
        let more = more.into_iter().map(|one| one.to_dtype(DType::F32));
        let figures = figures.map(Ok).chain(more).collect::<candle::Result<Vec<_>>>()?;
        self.latest.push(&Tensor::stack(&figures, 0)?, (step, labels.elem_count()))?;
        if self.latest.is_due() {
            *self = Self::of(self.settled()?);
        }
        Ok(())
    }

    /// The sums, including what the last batches measured.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn settled(&self) -> Result<Sums> {
        let mut sums = self.sums.clone();
        for (figures, (step, images)) in self.latest.read()? {
            let [loss, wrong, more @ ..] = &figures[..] else { continue };
            check_finite("the loss", step, &Tensor::new(*loss, &Device::Cpu)?)?;
            sums.loss += f64::from(*loss) * images as f64;
            sums.wrong += *wrong as usize;
            sums.images += images;
            sums.more.resize(more.len(), 0.0);
            for (sum, value) in sums.more.iter_mut().zip(more) {
                *sum += f64::from(*value) * images as f64;
            }
        }
        Ok(sums)
    }

    /// Returns the means since the last call, as `train_loss`, `train_error` and the names of what else was measured,
    /// and resets the sums. The result is empty if there were no batches.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn take<'a>(&mut self, more: impl Iterator<Item = &'a str>) -> Result<Measured> {
        let sums = self.settled()?;
        *self = Self::default();
        if sums.images == 0 {
            return Ok(Measured::default());
        }
        let images = sums.images as f64;
        let (loss, error) = (sums.loss / images, sums.wrong as f64 / images);
        let values = [("train_loss", loss), ("train_error", error)].into_iter();
        let values = values.chain(more.zip(sums.more.into_iter().map(|sum| sum / images)));
        Ok(Measured {
            values: values.map(|(name, value)| (name.to_string(), value)).collect(),
            message: format!("training error {:.1} %", 100.0 * error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes. The first batch has two images, a loss of 1 and one wrong class; the second has one image, a loss
    /// of 4 and no wrong class.
    #[test]
    fn means_are_over_images() -> Result<()> {
        let mut sums = EpochSums::default();
        let on = |values: &[f32]| Tensor::new(values, &Device::Cpu);
        let scores = on(&[1.0, 0.0, 1.0, 0.0])?.reshape((2, 2))?;
        let labels = Tensor::new(&[0u32, 1], &Device::Cpu)?;
        let number = |value: f32| Tensor::new(value, &Device::Cpu);
        sums.push(1, (&scores, &labels), &number(1.0)?, vec![number(0.5)?])?;
        let (one, label) = (scores.narrow(0, 0, 1)?, labels.narrow(0, 0, 1)?);
        sums.push(2, (&one, &label), &number(4.0)?, vec![number(2.0)?])?;
        let saved = EpochSums::of(sums.settled()?);
        for mut sums in [sums, saved] {
            let Measured { values, message } = sums.take(["size"].into_iter())?;
            let want = [("train_loss", 2.0), ("train_error", 1.0 / 3.0), ("size", 1.0)];
            assert_eq!(values, want.map(|(name, value)| (name.to_string(), value)));
            assert_eq!(message, "training error 33.3 %");
            assert!(sums.take([].into_iter())?.values.is_empty());
        }
        Ok(())
    }

    /// The step named is the first whose loss is not finite, not the one at which this is noticed.
    #[test]
    fn a_loss_that_is_not_finite_has_its_step() -> Result<()> {
        let mut sums = EpochSums::default();
        let scores = Tensor::zeros((1, 2), DType::F32, &Device::Cpu)?;
        let label = Tensor::new(&[0u32], &Device::Cpu)?;
        let found = (1..=50).find_map(|step| {
            let loss = if step < 7 { 1.0 } else { f32::NAN };
            let loss = Tensor::new(loss, &Device::Cpu).ok()?;
            sums.push(step, (&scores, &label), &loss, Vec::new()).err().map(|error| (step, error))
        });
        let (noticed, error) = found.expect("an error");
        assert_eq!(noticed, 50);
        assert!(error.to_string().contains("the loss is not finite at step 7"), "{error}");
        Ok(())
    }
}
