//! The features of images, and what is computed for them from the training images.

use super::config::{Frame, Preset};
use super::dictionary::{Dictionary, adapt, average, in_batches};
use super::head::FactorisedHead;
use candle::{D, DType, Device, Module, Tensor};
use candle_hebbian::{Conv2dConfig, Geometry, Layer, Rng};
use hebbian_data::{Covariance, ImageSet, Inverse};
use hebbian_train::{
    Checkpoint, Error, Measured, OwnReadout, Picture, Preset as _, Progress, Result, Units,
    Unsupervised, filter_picture,
};

/// The number of images whose patches are in memory together.
const BATCH: usize = 100;
/// The number of scores that are computed together, so that they stay in the cache.
const TOGETHER: usize = 1 << 20;
/// The names of the mean and standard deviation of each channel `(C, 1, 1)`, of the eigenvalues of `Σ`, of
/// `k (N, C, h, w)` and of `b (N)`.
const NAMES: [&str; 5] =
    ["input.mean", "input.deviation", "input.eigenvalues", "patches.weight", "patches.bias"];

/// The scaling of images, and the dictionary.
#[derive(Debug)]
pub struct Network {
    preset: Preset,
    /// The tensors, in the order of `NAMES`.
    parts: [Tensor; 5],
    /// The numbers of positions of a patch in an image, and of averages over them.
    positions: usize,
    averages: usize,
    head: Option<FactorisedHead>,
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
        if preset.scaling.iter().flatten().any(|row| row.len() != channels) {
            return Err(Error::Argument(format!(
                "the preset {} scales {} channels, but the images have {channels}: choose another preset, or one with \
                 \"scaling\" null",
                preset.name,
                preset.scaling.iter().flatten().map(Vec::len).max().unwrap_or_default()
            )));
        }
        let positions = |size| Conv2dConfig::default().output_size(size, kernel);
        let (height, width) = (positions(height)?, positions(width)?);
        // Weights that do not fit in memory are an error, and do not end the program.
        Geometry::Conv2d(Conv2dConfig::default())
            .weight_dims(&[units, channels, kernel, kernel])?;
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, device);
        let map = averages(preset, &zeros(&[1, height, width, 1])?)?;
        let (_, rows, columns, _) = map.dims4()?;
        if preset.head.is_some() && rows != columns {
            return Err(Error::Argument(format!(
                "the head of {} reads a square map of averages, but they are {rows} x {columns}: cut the images to squares \
                 (--image-size)",
                preset.name
            )));
        }
        let head = preset.head.as_ref().map(|head| FactorisedHead::new(head, rows, 2 * units));
        let parts = [
            zeros(&[channels, 1, 1])?,
            zeros(&[channels, 1, 1])?,
            zeros(&[channels * kernel * kernel])?,
            zeros(&[units, channels, kernel, kernel])?,
            zeros(&[units])?,
        ];
        Ok(Self {
            preset: preset.clone(),
            parts,
            positions: height * width,
            averages: rows * columns,
            head: head.transpose()?,
        })
    }
}

/// The averages of a map that a preset reads.
fn averages(preset: &Preset, map: &Tensor) -> candle::Result<Tensor> {
    let averages = average(map, preset.windows)?;
    match preset.grid {
        Some(side) => adapt(&averages, side),
        None => Ok(averages),
    }
}

impl Network {
    /// Returns the averages of the code over windows, `(B, h, w, 2N)`.
    fn windows(&self, images: &Tensor) -> candle::Result<Tensor> {
        let Self { preset, parts: [mean, deviation, _, keys, bias], .. } = self;
        let dictionary = Dictionary { keys: keys.clone(), bias: bias.clone() };
        in_batches(images, (TOGETHER / (preset.units * self.positions)).max(1), |images| {
            let z = images.broadcast_sub(mean)?.broadcast_div(deviation)?;
            // The halves are averaged before they are joined, because the code of an image is large.
            let [same, opposite] = dictionary.code(&z, preset.winners(), preset.temperature)?;
            let halves = [averages(preset, &same)?, averages(preset, &opposite)?];
            Tensor::cat(&halves, D::Minus1)
        })
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
        2 * self.preset.units * self.averages
    }

    /// Returns the averages of the code, from top to bottom and from left to right; the features of a window are
    /// adjacent.
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.windows(images)?.flatten_from(1)?)
    }

    /// Each patch has two units: one for itself, and one for its negative.
    fn layer_features(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.windows(images)?.permute((0, 3, 1, 2))?)
    }

    /// Computes the whitening from the patches of all images, and draws those of the dictionary.
    fn begin(&mut self, train: &ImageSet, rng: &Rng, quiet: bool) -> Result<()> {
        let Self { preset, parts, .. } = self;
        let layer = Layer::new(parts[3].clone(), Geometry::Conv2d(Conv2dConfig::default()))?;
        let mut covariance = Covariance::new(layer.dims().fan_in);
        let mut progress = Progress::new(train.len() as u64, "whitening", quiet);
        for indices in train.in_order(BATCH)? {
            let (images, _) = train.batch(&indices, DType::F64, &Device::Cpu)?;
            covariance.add(&layer.unfold(&images)?.squeeze(0)?)?;
            progress.advance(indices.len() as u64);
        }
        progress.finish();
        let Inverse { matrix, eigenvalues } = covariance.inverse(preset.epsilon)?;
        let (mean, mut deviation) = train.channel_moments()?;
        // A constant channel becomes 0, whatever it is divided by.
        deviation.iter_mut().for_each(|deviation| *deviation = deviation.max(1e-6));
        let [mean, deviation] = match (preset.frame, preset.scaling.clone()) {
            (Frame::Pixel, _) => [mean, vec![1.0; deviation.len()]],
            (Frame::Code, scaling) => scaling.unwrap_or([mean, deviation]),
        };
        let column = |row| Tensor::new::<Vec<f64>>(row, &Device::Cpu)?.reshape(((), 1, 1));
        let (mean, deviation) = (column(mean)?, column(deviation)?);
        let stream = &mut rng.stream("patches");
        let patches = train.draw_patches(preset.units, preset.kernel, stream)?;
        let patches = match preset.frame {
            Frame::Code => patches,
            Frame::Pixel => patches.broadcast_sub(&mean)?,
        };
        let Dictionary { keys, bias } = Dictionary::new(&patches, &matrix)?;
        let eigenvalues = Tensor::new(eigenvalues, &Device::Cpu)?;
        for (part, value) in parts.iter_mut().zip([mean, deviation, eigenvalues, keys, bias]) {
            *part = value.to_dtype(DType::F32)?.to_device(part.device())?;
        }
        Ok(())
    }

    fn own_readout(&self) -> Option<OwnReadout<'_>> {
        Some(match &self.head {
            Some(head) => OwnReadout::Head(head),
            None => OwnReadout::Ridge(&self.preset.alphas),
        })
    }

    fn units(&self) -> Result<Option<Units>> {
        let (name, weight) = ("dictionary".to_string(), self.parts[3].clone());
        let (competes, pools) = (true, Vec::new());
        Ok(Some(Units { name, weight, competes, stride: 1, padding: 0, pools }))
    }

    /// `z·k_i − b_i`: the nearer the patch, the larger.
    fn responses(&self, images: &Tensor) -> Result<Tensor> {
        let [mean, deviation, _, keys, bias] = &self.parts;
        let layer = Layer::new(keys.clone(), Geometry::Conv2d(Conv2dConfig::default()))?;
        let z = images.broadcast_sub(mean)?.broadcast_div(deviation)?;
        Ok(layer.forward(&z)?.broadcast_sub(&bias.reshape(((), 1, 1))?)?)
    }

    fn learn(&mut self, _: &Tensor, _: f64) -> Result<()> {
        Ok(())
    }

    /// The range of the eigenvalues.
    fn measure(&self) -> Result<Measured> {
        let eigenvalues = self.parts[2].to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        let range = [("smallest_eigenvalue", 0), ("largest_eigenvalue", eigenvalues.len() - 1)];
        let values = range.map(|(name, at)| (name.to_string(), f64::from(eigenvalues[at])));
        Ok(Measured { values: values.to_vec(), message: String::new() })
    }

    fn pictures(&self, _: (usize, usize, usize)) -> Result<Vec<(String, Picture)>> {
        Ok(vec![("patches".to_string(), filter_picture(&self.parts[3], "keys of the dictionary")?)])
    }
}
