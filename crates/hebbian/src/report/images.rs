//! The images that a report looks at.

use super::sheet::Shades;
use anyhow::Result;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::ImageSet;
use hebbian_data::transforms::Transform;
use hebbian_models::Model;

/// Images as the data set has them, and how they are shown.
pub(super) struct Images<'a> {
    pub set: &'a ImageSet,
    /// The model whose transforms are applied before images are shown, if the network sees images of another
    /// shape: its positions are then not those of the stored image.
    other: Option<&'a Model>,
}

impl<'a> Images<'a> {
    /// Returns the images of `set`; `None` if there are none or the model does not accept them.
    pub(super) fn new(set: &'a ImageSet, model: &'a Model) -> Option<Self> {
        let shape = model.transforms().shape(set.shape()).ok()?;
        let other = (shape != set.shape()).then_some(model);
        (shape == model.seen() && !set.is_empty()).then_some(Self { set, other })
    }

    /// Returns images as the network sees them.
    pub(super) fn seen(&self, model: &Model, indices: &[usize], device: &Device) -> Result<Tensor> {
        let (images, _) = self.set.batch(indices, DType::F32, device)?;
        Ok(model.transforms().apply_to(&images)?)
    }

    /// Returns images as they are shown, `(N, C, H, W)`.
    pub(super) fn shown(&self, indices: &[usize]) -> Result<Tensor> {
        match self.other {
            Some(model) => self.seen(model, indices, &Device::Cpu),
            None => Ok(self.set.batch(indices, DType::F32, &Device::Cpu)?.0),
        }
    }

    pub(super) fn shades(&self) -> Shades {
        if self.other.is_some() { Shades::Signed } else { Shades::Image }
    }

    /// Returns `count` indices of images, evenly spread, because a set may be ordered by class.
    pub(super) fn some(&self, count: usize) -> Vec<usize> {
        evenly(self.set.len(), count)
    }

    /// Returns how many images may be looked at if each takes `cost` multiplications and all together may take
    /// `most`; at least `few`, if there are as many.
    pub(super) fn affordable(&self, cost: u64, most: u64, few: usize) -> usize {
        self.set.len().min(usize::try_from(most / cost.max(1)).unwrap_or(usize::MAX).max(few))
    }
}

/// Returns `count` of the indices below `all`, evenly spread: one from each of `count` stretches, where it is drawn, with
/// the same result each time. At equal distances, they would all be of one class where classes take turns.
pub(crate) fn evenly(all: usize, count: usize) -> Vec<usize> {
    let count = count.min(all);
    let mut rng = Rng::new(0).stream("evenly");
    let mut one = |start: usize, end: usize| start + rng.below(end - start);
    (0..count).map(|i| one(i * all / count, (i + 1) * all / count)).collect()
}

/// Returns the multiplications that the layers up to `layer` take for an image, as far as their units are known.
pub(super) fn multiplications(
    model: &Model,
    set: &Images,
    device: &Device,
    layer: usize,
) -> Result<u64> {
    let image = set.seen(model, &[0], device)?;
    let units = model.network().units()?;
    let mut all = 0;
    for (at, units) in units.iter().enumerate().take(layer + 1) {
        let positions: usize = model.network().responses(at, &image)?.dims()[2..].iter().product();
        all += (units.weight.elem_count() * positions) as u64;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::evenly;

    #[test]
    fn evenly_spread_indices_do_not_follow_classes_that_take_turns() {
        for (all, count) in [(0, 5), (7, 7), (10, 3), (20_000, 2_000)] {
            let chosen = evenly(all, count);
            assert_eq!(chosen.len(), count.min(all));
            for (i, &index) in chosen.iter().enumerate() {
                assert!((i * all / chosen.len()..(i + 1) * all / chosen.len()).contains(&index));
            }
        }
        // Ten classes take turns: each has 200 of 2,000 images, with a standard deviation of 13.
        let mut counts = [0; 10];
        evenly(20_000, 2_000).into_iter().for_each(|index| counts[index % 10] += 1);
        assert!(counts.iter().all(|count| (150..250).contains(count)), "{counts:?}");
    }
}
