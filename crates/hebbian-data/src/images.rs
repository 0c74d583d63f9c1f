use std::sync::Arc;

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;

use crate::transforms::CropAndFlip;
use crate::{Error, Result, pictures, split};

/// The most images that a file may hold.
pub(crate) const MOST_IMAGES: usize = 1_000_000;

/// A data set: two splits and what the labels mean.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Its name: that of a named set (see [`DatasetName`](crate::DatasetName)), or whatever it was loaded as.
    pub name: String,
    /// The images to learn from.
    pub train: ImageSet,
    /// The images to test with.
    pub test: ImageSet,
    /// The name of each label, `class_names[label]`.
    pub class_names: Vec<String>,
}

impl Dataset {
    /// The same with other images to test with: `share` of the training images of each class, drawn by `seed`,
    /// which are then no longer learned from. For choosing settings without a look at the test images.
    ///
    /// # Errors
    /// When there are no training images.
    pub fn with_validation(self, share: f64, seed: u64) -> Result<Self> {
        let (train, test) = split::split(&self.train, share, seed)?;
        Ok(Self { train, test, ..self })
    }
}

/// One split, held as `u8` on the host: N images of C×H×W, each channel by channel and row by row. A clone
/// shares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    images: Arc<Vec<u8>>,
    labels: Arc<Vec<u32>>,
    channels: usize,
    height: usize,
    width: usize,
}

impl ImageSet {
    /// A split of `labels.len()` images; `images` holds their pixels one image after another.
    ///
    /// # Errors
    /// When the number of pixels is not N·C·H·W, or an image would have no pixel.
    pub fn new(
        images: Vec<u8>,
        labels: Vec<u32>,
        channels: usize,
        height: usize,
        width: usize,
    ) -> Result<Self> {
        if channels == 0 || height == 0 || width == 0 {
            return Err(Error::Size { what: "pixels per image", found: 0, expected: 1 });
        }
        let expected =
            [channels, height, width].into_iter().fold(labels.len(), usize::saturating_mul);
        if images.len() != expected {
            return Err(Error::Size {
                what: "bytes of pixels (images x channels x height x width)",
                found: images.len(),
                expected,
            });
        }
        Ok(Self::of_parts(images, labels, (channels, height, width)))
    }

    /// A split of parts that this crate made to fit.
    pub(crate) fn of_parts(
        images: Vec<u8>,
        labels: Vec<u32>,
        (channels, height, width): (usize, usize, usize),
    ) -> Self {
        debug_assert_eq!(images.len(), labels.len() * channels * height * width);
        Self { images: Arc::new(images), labels: Arc::new(labels), channels, height, width }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Channels, height and width of every image.
    pub fn shape(&self) -> (usize, usize, usize) {
        (self.channels, self.height, self.width)
    }

    /// The C·H·W pixels of image `i`. Like slice indexing, panics if there is no such image.
    pub fn image(&self, i: usize) -> &[u8] {
        let size = self.image_size();
        &self.images[i * size..(i + 1) * size]
    }

    /// The label of every image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The images of these indices, in this order.
    ///
    /// # Errors
    /// When an index is not below [`len`](Self::len).
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        self.check(indices)?;
        let images = indices.iter().flat_map(|&i| self.image(i)).copied().collect();
        let labels = indices.iter().map(|&i| self.labels[i]).collect();
        Ok(Self::of_parts(images, labels, self.shape()))
    }

    /// The first `n` images, or all when there are fewer.
    pub fn take(&self, n: usize) -> Self {
        let n = n.min(self.len());
        let images = self.images[..n * self.image_size()].to_vec();
        Self::of_parts(images, self.labels[..n].to_vec(), self.shape())
    }

    /// The images in grey, of one channel: `L = 0.299 R + 0.587 G + 0.114 B` in fixed point,
    /// `(19595 R + 38470 G + 7471 B + 2¹⁵) >> 16`, as the Python library Pillow has it. Grey images stay
    /// as they are.
    ///
    /// # Errors
    /// When the images have neither 3 channels nor 1.
    pub fn to_grey(&self) -> Result<Self> {
        if self.channels == 1 {
            return Ok(self.clone());
        }
        if self.channels != 3 {
            let (what, found) = ("channels of an image to make grey", self.channels);
            return Err(Error::Size { what, found, expected: 3 });
        }
        let area = self.height * self.width;
        let mut images = Vec::with_capacity(self.len() * area);
        for image in self.images.chunks_exact(3 * area) {
            images.extend((0..area).map(|i| {
                let [r, g, b] = [0, 1, 2].map(|c| u32::from(image[c * area + i]));
                ((19595 * r + 38470 * g + 7471 * b + (1 << 15)) >> 16) as u8
            }));
        }
        let labels = self.labels.to_vec();
        Ok(Self::of_parts(images, labels, (1, self.height, self.width)))
    }

    /// The images with the shorter side resized to `side` pixels (a triangle filter, widened where it gets
    /// smaller, as Pillow's `BILINEAR`), cut to a square around the middle.
    ///
    /// # Errors
    /// When `side` is 0, or images have neither 3 channels nor 1.
    pub fn resized(&self, side: usize) -> Result<Self> {
        pictures::resized(self, side)
    }

    /// A batch: images `(B, C, H, W)` of `dtype`, each pixel `u8 / 255`, and labels `(B,)` of `u32`.
    ///
    /// The division is done on the host, in `f64` for `f64` and else in `f32`, so that the values are
    /// the same on every device.
    ///
    /// # Errors
    /// When an index is not below [`len`](Self::len), or the tensor cannot be made.
    pub fn batch(
        &self,
        indices: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        self.check(indices)?;
        let pixels = indices.iter().flat_map(|&i| self.image(i)).copied();
        self.tensors(pixels, indices, dtype, device)
    }

    /// A [`batch`](Self::batch) of which each image is cropped and flipped at random.
    ///
    /// # Errors
    /// As [`batch`](Self::batch), and when the images are too small for the crop's padding.
    pub fn augmented_batch(
        &self,
        indices: &[usize],
        transform: &CropAndFlip,
        rng: &mut Rng,
        dtype: DType,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        self.check(indices)?;
        let mut pixels = Vec::with_capacity(indices.len() * self.image_size());
        for &i in indices {
            transform.apply(self.image(i), self.shape(), rng, &mut pixels)?;
        }
        self.tensors(pixels.into_iter(), indices, dtype, device)
    }

    fn tensors(
        &self,
        pixels: impl Iterator<Item = u8>,
        indices: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        let shape = (indices.len(), self.channels, self.height, self.width);
        let images = match dtype {
            DType::F64 => {
                let values: Vec<f64> = pixels.map(|p| f64::from(p) / 255.).collect();
                Tensor::from_vec(values, shape, device)?
            }
            _ => {
                let values: Vec<f32> = pixels.map(|p| f32::from(p) / 255.).collect();
                Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?
            }
        };
        let labels: Vec<u32> = indices.iter().map(|&i| self.labels[i]).collect();
        Ok((images, Tensor::from_vec(labels, indices.len(), device)?))
    }

    pub(crate) fn image_size(&self) -> usize {
        self.channels * self.height * self.width
    }

    fn check(&self, indices: &[usize]) -> Result<()> {
        match indices.iter().find(|&&i| i >= self.len()) {
            Some(&index) => Err(Error::Index { index, len: self.len() }),
            None => Ok(()),
        }
    }
}
