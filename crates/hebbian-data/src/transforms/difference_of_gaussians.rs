use candle::{Device, Tensor};
use candle_hebbian::Rng;
use serde::{Deserialize, Serialize};

use super::{Image, Shape, Transform};
use crate::Result;

/// Pixels a side of the filter, and the index of its middle.
const FILTER: usize = 12;
const MIDDLE: usize = FILTER / 2;

/// A centre-surround filter on each channel: the image blurred by a Gaussian of standard deviation 0.5 minus the image
/// blurred by one of 1, `(C, H, W)` to `(C, H + 1, W + 1)`.
///
/// Each Gaussian is the product of a column and a row, `exp(−d²/2σ²)` at distances d of up to 4σ, scaled to a sum of 1.
/// The difference sums to 0 and is placed in a filter of 12×12 with its middle at index 6, so that an image padded by 6
/// zeros a side gains a row and a column at the end.
///
/// Source: the input of the network for grey images in the code of Miconi (2021).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DifferenceOfGaussians {}

impl Transform for DifferenceOfGaussians {
    fn shape(&self, (channels, height, width): Shape) -> Result<Shape> {
        Ok((channels, height.saturating_add(1), width.saturating_add(1)))
    }

    fn apply(&self, image: Image, rng: &mut Rng) -> Result<Image> {
        let mut images = self.apply_all(vec![image.clone()], std::slice::from_mut(rng))?;
        Ok(images.pop().unwrap_or(image))
    }

    /// Filters all planes in one convolution.
    fn apply_all(&self, images: Vec<Image>, _: &mut [Rng]) -> Result<Vec<Image>> {
        Image::through(&images, filtered)
    }
}

fn filtered(images: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = images.dims4()?;
    let (centre, surround) = (gaussian(0.5), gaussian(1.));
    let filter: Vec<f64> = (0..FILTER * FILTER)
        .map(|i| (i / FILTER, i % FILTER))
        .map(|(y, x)| centre[y] * centre[x] - surround[y] * surround[x])
        .collect();
    let filter =
        Tensor::from_vec(filter, (1, 1, FILTER, FILTER), &Device::Cpu)?.to_dtype(images.dtype())?;
    let planes = images.reshape((batch * channels, 1, height, width))?;
    let filtered = planes.conv2d(&filter, MIDDLE, 1, 1, 1)?;
    Ok(filtered.reshape((batch, channels, height + 1, width + 1))?)
}

/// A Gaussian with this standard deviation around [`MIDDLE`], cut off beyond 4 deviations and scaled to a sum of 1.
fn gaussian(deviation: f64) -> [f64; FILTER] {
    let values: [f64; FILTER] = std::array::from_fn(|i| {
        let distance = i.abs_diff(MIDDLE) as f64 / deviation;
        if distance > 4. { 0. } else { (-0.5 * distance * distance).exp() }
    });
    let sum: f64 = values.iter().sum();
    values.map(|value| value / sum)
}
