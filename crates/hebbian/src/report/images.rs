//! The images that a report looks at.

use super::sheet::Shades;
use anyhow::Result;
use candle::{DType, Device, Tensor};
use hebbian_data::transforms::Transform;
use hebbian_data::{ImageSet, evenly};
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

/// Returns the multiplications that the layers up to `layer` take for an image of `set`.
pub(super) fn multiplications(
    model: &Model,
    set: &Images,
    device: &Device,
    layer: usize,
) -> Result<u64> {
    let image = set.seen(model, &[0], device)?;
    Ok(hebbian_train::multiplications(model.network(), layer, &image)?)
}
