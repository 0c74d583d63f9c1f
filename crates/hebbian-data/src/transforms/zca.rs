use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::ops::standardise;

use super::standardise::EPSILON;
use super::{Image, Shape, Transform, wrong};
use crate::{Result, Zca};

/// Standardises each image by itself, as the images were to which the matrix was fitted, and whitens
/// it by the matrix.
#[derive(Debug, Clone)]
pub(super) struct Whitening(Zca);

impl Whitening {
    /// Whitens by this matrix, in `f32`.
    pub(super) fn new(zca: &Zca) -> Result<Self> {
        Ok(Self(zca.to(DType::F32, &Device::Cpu)?))
    }

    /// Restores the matrix for images of this shape, which `take` returns by name.
    pub(super) fn restore<E: From<crate::Error>>(
        (channels, height, width): Shape,
        mut take: impl FnMut(&str, &[usize]) -> Result<Tensor, E>,
    ) -> Result<Self, E> {
        let size = channels * height * width;
        Ok(Self::new(&Zca::of_matrix(&take("zca", &[size, size])?)?)?)
    }

    fn whiten(&self, images: &Tensor) -> Result<Tensor> {
        self.0.apply(&standardise(images, EPSILON)?)
    }
}

impl Transform for Whitening {
    fn shape(&self, image: Shape) -> Result<Shape> {
        let (channels, height, width) = image;
        let expected = self.0.matrix().dim(0)?;
        match channels * height * width {
            found if found == expected => Ok(image),
            found => {
                let problem = format!(
                    "found images of {channels}x{height}x{width}, {found} values, expected {expected}: those that the \
                     whitening was fitted to"
                );
                Err(wrong("zca", problem))
            }
        }
    }

    fn apply(&self, image: Image, rng: &mut Rng) -> Result<Image> {
        let mut images = self.apply_all(vec![image.clone()], std::slice::from_mut(rng))?;
        Ok(images.pop().unwrap_or(image))
    }

    /// Whitens all images in one product.
    fn apply_all(&self, images: Vec<Image>, _: &mut [Rng]) -> Result<Vec<Image>> {
        Image::through(&images, |images| self.whiten(images))
    }

    fn differentiable(&self, images: &Tensor) -> Result<Option<Tensor>> {
        self.whiten(images).map(Some)
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        vec![("zca".to_string(), self.0.matrix().clone())]
    }
}
