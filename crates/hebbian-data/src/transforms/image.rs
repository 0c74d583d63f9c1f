use candle::{DType, Device, Tensor};

use super::Shape;
use crate::{Error, Result};

/// An image on the host: C×H×W values, channel by channel and row by row. The values are from 0 to 1 in an image of a
/// set; transforms may change their range.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    values: Vec<f32>,
    shape: Shape,
}

impl Image {
    /// An image of these values.
    ///
    /// # Errors
    /// If there are not C·H·W values, or none.
    pub fn new(values: Vec<f32>, shape: Shape) -> Result<Self> {
        let (channels, height, width) = shape;
        let expected = [height, width].into_iter().fold(channels, usize::saturating_mul);
        if values.len() != expected || values.is_empty() {
            let (what, found) = ("values of an image", values.len());
            return Err(Error::Size { what, found, expected: expected.max(1) });
        }
        Ok(Self { values, shape })
    }

    /// Channels, height and width.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The values of the image.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values of the image, mutably.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Returns an image of another height and width; `make` writes each of its channels, given the old one.
    pub fn with_planes(
        &self,
        (height, width): (usize, usize),
        mut make: impl FnMut(&[f32], &mut [f32]),
    ) -> Self {
        let (channels, old_height, old_width) = self.shape;
        let mut values = vec![0.0; channels * height * width];
        let planes = self.values.chunks_exact(old_height * old_width);
        for (from, to) in planes.zip(values.chunks_exact_mut((height * width).max(1))) {
            make(from, to);
        }
        Self { values, shape: (channels, height, width) }
    }

    /// Splits a tensor `(B, C, H, W)` into images.
    ///
    /// # Errors
    /// If the tensor has other dimensions.
    pub fn all_of(images: &Tensor) -> Result<Vec<Self>> {
        let (_, channels, height, width) = images.dims4()?;
        let values = images.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?;
        let size = (channels * height * width).max(1);
        let values = values.to_vec1::<f32>()?;
        let shape = (channels, height, width);
        values.chunks_exact(size).map(|values| Self::new(values.to_vec(), shape)).collect()
    }

    /// Combines images of one shape into a tensor `(B, C, H, W)` of `f32` on the host.
    ///
    /// # Errors
    /// If there are no images, or if they have several shapes.
    pub fn tensor(images: &[Self]) -> Result<Tensor> {
        let Some(shape) = images.first().map(Self::shape) else {
            return Err(Error::Size { what: "images of a batch", found: 0, expected: 1 });
        };
        if let Some(other) = images.iter().find(|image| image.shape != shape) {
            let size = |(channels, height, width): Shape| channels * height * width;
            let (what, found) = ("values of an image of a batch", size(other.shape));
            return Err(Error::Size { what, found, expected: size(shape) });
        }
        let (channels, height, width) = shape;
        let mut values = Vec::with_capacity(images.len() * channels * height * width);
        images.iter().for_each(|image| values.extend_from_slice(&image.values));
        Ok(Tensor::from_vec(values, (images.len(), channels, height, width), &Device::Cpu)?)
    }

    /// Applies `compute` to the images as one tensor.
    pub(super) fn through(
        images: &[Self],
        compute: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Vec<Self>> {
        match images.is_empty() {
            true => Ok(Vec::new()),
            false => Self::all_of(&compute(&Self::tensor(images)?)?),
        }
    }
}
