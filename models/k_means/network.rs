//! The features of images, and what is computed for them from the training images.

use super::config::{Preset, Start};
use super::encoding::{contrast, distances, lloyd, triangle};
use crate::patches::{average, in_batches};
use candle::{DType, Device, Tensor};
use candle_hebbian::{Conv2dConfig, Geometry, Layer, Rng};
use hebbian_data::{Covariance, ImageSet};
use hebbian_train::{
    Checkpoint, Measured, OwnReadout, Picture, Preset as _, Progress, Result, Units, Unsupervised,
    filter_picture,
};

/// The number of distances that are computed together, so that they stay in the cache.
const TOGETHER: usize = 1 << 20;
/// The names of the mean patch `m (F)` and the whitening `W (F, F)`, both after contrast normalisation, and of the
/// centroids `c (N, C, h, w)`.
const NAMES: [&str; 3] = ["input.mean", "input.whitening", "centroids.weight"];

/// The whitening of patches, and the centroids.
#[derive(Debug)]
pub struct Network {
    preset: Preset,
    /// The tensors, in the order of `NAMES`.
    parts: [Tensor; 3],
    /// The numbers of positions of a patch in an image, from top to bottom and from left to right, and of averages over
    /// them.
    positions: (usize, usize),
    averages: usize,
}

impl Network {
    /// A network for images `(C, H, W)`, before it has seen any.
    ///
    /// # Errors
    /// A preset that is invalid, or does not fit the images.
    pub fn new(
        preset: &Preset,
        (channels, height, width): (usize, usize, usize),
        device: &Device,
    ) -> Result<Self> {
        preset.validate()?;
        let Preset { kernel, units, .. } = *preset;
        let positions = |size| Conv2dConfig::default().output_size(size, kernel);
        let (height, width) = (positions(height)?, positions(width)?);
        // Weights that do not fit in memory are an error, and do not end the program.
        Geometry::Conv2d(Conv2dConfig::default())
            .weight_dims(&[units, channels, kernel, kernel])?;
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, device);
        let fan_in = channels * kernel * kernel;
        let averages = average(&zeros(&[1, height, width, 1])?, None)?.elem_count();
        let parts = [
            zeros(&[fan_in])?,
            zeros(&[fan_in, fan_in])?,
            zeros(&[units, channels, kernel, kernel])?,
        ];
        Ok(Self { preset: preset.clone(), parts, positions: (height, width), averages })
    }

    /// Returns `x = W(p′ − m) (n, F)`, where `p′` are the patches at all positions of the images, normalised in
    /// contrast.
    fn rows(&self, images: &Tensor) -> candle::Result<Tensor> {
        let [mean, whitening, centroids] = &self.parts;
        let layer = Layer::new(centroids.clone(), Geometry::Conv2d(Conv2dConfig::default()))?;
        let rows = (layer.unfold(images)?.squeeze(0)? * 255.0)?;
        contrast(&rows, self.preset.contrast)?.broadcast_sub(mean)?.matmul(whitening)
    }

    /// Returns `z (B, OH, OW, N)`, the distances of the images' patches from the centroids.
    fn distances(&self, images: &Tensor) -> candle::Result<Tensor> {
        let (height, width) = self.positions;
        distances(&self.rows(images)?, &self.parts[2].flatten_from(1)?)?.reshape((
            images.dim(0)?,
            height,
            width,
            (),
        ))
    }
}

impl Network {
    /// Returns the averages of the triangle over quadrants, `(B, h, w, N)`.
    fn quadrants(&self, images: &Tensor) -> candle::Result<Tensor> {
        let (height, width) = self.positions;
        let together = (TOGETHER / (self.preset.units * height * width)).max(1);
        in_batches(images, together, |images| average(&triangle(&self.distances(images)?)?, None))
    }
}

impl Unsupervised for Network {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let parts = NAMES.iter().zip(&self.parts);
        parts.map(|(name, part)| (name.to_string(), part.clone())).collect()
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        for (name, part) in NAMES.iter().zip(&mut self.parts) {
            *part = checkpoint.take(name, part.shape(), DType::F32)?;
        }
        Ok(())
    }

    fn width(&self) -> usize {
        self.preset.units * self.averages
    }

    /// Returns the averages of the triangle over quadrants, from top to bottom and from left to right; the features of
    /// a quadrant are adjacent.
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.quadrants(images)?.flatten_from(1)?)
    }

    fn layer_features(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.quadrants(images)?.permute((0, 3, 1, 2))?)
    }

    /// Whitens patches, and finds the means of their clusters.
    fn begin(&mut self, train: &ImageSet, rng: &Rng, quiet: bool) -> Result<()> {
        let Self { preset, parts, .. } = self;
        let Preset { kernel, units, start, iterations, .. } = *preset;
        let drawn = train.draw_patches(preset.patches, kernel, &mut rng.stream("patches"))?;
        let rows = contrast(&(drawn.flatten_from(1)? * 255.0)?, preset.contrast)?;
        drop(drawn);
        let (count, fan_in) = rows.dims2()?;
        let mut covariance = Covariance::new(fan_in);
        covariance.add(&rows)?;
        // ε is added to the sample covariance, which is n/(n − 1) times that of the rows.
        let sample = (count as f64 - 1.0) / count as f64;
        let whitening = (covariance.inverse_root(preset.epsilon * sample)? * sample.sqrt())?;
        let mean = rows.mean(0)?;
        let device = parts[2].device();
        let rows = rows.broadcast_sub(&mean)?.matmul(&whitening)?;
        let rows = rows.to_dtype(DType::F32)?.to_device(device)?;
        let mut centroids = match start {
            Start::Gaussian => {
                rng.stream("centroids").normal(0.0, 0.1, (units, fan_in), DType::F32, device)?
            }
            Start::Patches => rows.narrow(0, 0, units)?.force_contiguous()?,
        };
        let mut progress = Progress::of((iterations * count) as u64, "patches", "k-means", quiet);
        for _ in 0..iterations {
            (centroids, _) = lloyd(&rows, &centroids, (TOGETHER / units).max(1))?;
            progress.advance(count as u64);
        }
        progress.finish();
        let shape = parts[2].shape().clone();
        for (part, value) in parts.iter_mut().zip([mean, whitening, centroids.reshape(shape)?]) {
            *part = value.to_dtype(DType::F32)?.to_device(part.device())?;
        }
        Ok(())
    }

    fn own_readout(&self) -> Option<OwnReadout<'_>> {
        Some(OwnReadout::Ridge(&self.preset.alphas))
    }

    fn units(&self) -> Result<Option<Units>> {
        let (name, weight) = ("centroids".to_string(), self.parts[2].clone());
        let (competes, pools) = (true, Vec::new());
        Ok(Some(Units { name, weight, competes, stride: 1, padding: 0, pools }))
    }

    /// `−z`: the nearer the centroid, the larger.
    fn responses(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.distances(images)?.permute((0, 3, 1, 2))?.neg()?)
    }

    fn learn(&mut self, _: &Tensor, _: f64) -> Result<()> {
        Ok(())
    }

    /// Returns the number of centroids that won no patch; these are 0.
    fn measure(&self) -> Result<Measured> {
        let norms = self.parts[2].flatten_from(1)?.sqr()?.sum(1)?.to_vec1::<f32>()?;
        let empty = norms.iter().filter(|&&norm| norm == 0.0).count();
        Ok(Measured {
            values: vec![("empty_centroids".to_string(), empty as f64)],
            message: format!("{empty} of {} centroids empty", norms.len()),
        })
    }

    fn pictures(&self, _: (usize, usize, usize)) -> Result<Vec<(String, Picture)>> {
        Ok(vec![("centroids".to_string(), filter_picture(&self.parts[2], "whitened centroids")?)])
    }
}
