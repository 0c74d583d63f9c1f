//! Changes to images that do not depend on a network.
//!
//! ```text
//! noise       x' = clip(x + σ·n)      n from N(0, 1) for each value, clip into [0, 1]
//! occlusion   x' = v in a square of s × s pixels, in all channels, at a place drawn from all where it is inside; x elsewhere
//! ```

use anyhow::{Result, bail};
use candle::Tensor;
use candle_hebbian::Rng;
use candle_hebbian::device::upload;

/// Returns images with Gaussian noise of standard deviation `sigma`.
pub(super) fn noisy(images: &Tensor, sigma: f64, rng: &mut Rng) -> Result<Tensor> {
    let noise = rng.normal(0.0, 1.0, images.shape(), images.dtype(), images.device())?;
    Ok((images + (noise * sigma)?)?.clamp(0.0, 1.0)?)
}

/// Returns images `(B, C, H, W)`, each with a square of side `side` that is filled with `value`.
///
/// # Errors
/// A square that is larger than the images.
pub(super) fn occluded(images: &Tensor, side: usize, value: f64, rng: &mut Rng) -> Result<Tensor> {
    let values = (images.ones_like()? * value)?;
    Ok(squares(images, side, rng)?.where_cond(&values, &images.contiguous()?)?)
}

/// Draws a square of side `side` inside each of images `(B, C, H, W)`. Returns 1 for its pixels in all channels and 0
/// for the others, in u8.
///
/// # Errors
/// A square that is larger than the images.
pub(super) fn squares(images: &Tensor, side: usize, rng: &mut Rng) -> Result<Tensor> {
    let (count, _, height, width) = images.dims4()?;
    if side > height.min(width) {
        bail!("a square of {side} pixels a side is larger than images of {height} x {width}");
    }
    let mut covered = vec![0u8; count * height * width];
    for image in covered.chunks_exact_mut(height * width) {
        let (top, left) = (rng.below(height - side + 1), rng.below(width - side + 1));
        for row in top..top + side {
            image[row * width + left..][..side].fill(1);
        }
    }
    let covered = upload(covered, (count, 1, height, width), images.device())?;
    Ok(covered.broadcast_as(images.shape())?.contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{DType, Device, IndexOp};

    const CPU: &Device = &Device::Cpu;

    #[test]
    fn a_square_covers_exactly_its_pixels() -> Result<()> {
        let images = (Tensor::ones((50, 2, 6, 9), DType::F32, CPU)? * 0.25)?;
        let mut rng = Rng::new(5);
        for side in [1, 4, 6] {
            let changed = occluded(&images, side, 0.5, &mut rng)?;
            let mut corners = std::collections::BTreeSet::new();
            for image in 0..50 {
                let maps = changed.i(image)?.to_vec3::<f32>()?;
                assert_eq!(maps[0], maps[1]);
                let places: Vec<(usize, usize)> = (0..6)
                    .flat_map(|row| (0..9).map(move |column| (row, column)))
                    .filter(|&(row, column)| maps[0][row][column] != 0.25)
                    .collect();
                assert_eq!(places.len(), side * side);
                let (top, left) = places[0];
                assert!(places.iter().all(|&(row, column)| maps[0][row][column] == 0.5
                    && (top..top + side).contains(&row)
                    && (left..left + side).contains(&column)));
                corners.insert((top, left));
            }
            // The squares are not all at the same place; a square as high as the image has four possible places.
            assert!(corners.len() > 3, "{side}: {corners:?}");
        }
        let error = occluded(&images, 7, 0.5, &mut rng).unwrap_err().to_string();
        assert!(error.contains("a square of 7 pixels a side is larger than"), "{error}");
        Ok(())
    }

    /// Far from the ends, noise has its mean and deviation; at an end, half of it is cut off.
    #[test]
    fn noise_has_its_deviation() -> Result<()> {
        let grey = (Tensor::ones((1, 1, 100, 100), DType::F64, CPU)? * 0.5)?;
        let noise = (noisy(&grey, 0.05, &mut Rng::new(1))? - 0.5)?;
        let mean = noise.mean_all()?.to_scalar::<f64>()?;
        let deviation = noise.sqr()?.mean_all()?.to_scalar::<f64>()?.sqrt();
        // Standard errors of 10,000 values: 0.0005 and 0.00035.
        assert!(mean.abs() < 0.002 && (deviation - 0.05).abs() < 0.0014, "{mean} {deviation}");
        let black = noisy(&grey.zeros_like()?, 0.05, &mut Rng::new(1))?;
        let dark = black.eq(0.0)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
        assert!((dark - 0.5).abs() < 0.02, "{dark}");
        Ok(())
    }
}
