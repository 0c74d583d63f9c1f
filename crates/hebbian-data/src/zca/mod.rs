//! ZCA whitening of whole images.

mod config;
mod drawn;
mod stored;

pub use self::config::{Divisor, ZcaConfig};

use std::path::Path;

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::device::to_host;
use candle_hebbian::ops::standardise;

use self::drawn::Drawn;
use self::stored::{Entry, Stored};
use crate::cache::CacheOutcome;
use crate::covariance::Covariance;
use crate::transforms::STANDARDISE_EPSILON;
use crate::{Error, ImageSet, Result};

/// How far [`Zca::fit`] has progressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZcaProgress {
    /// Images are being added to the covariance.
    Covariance {
        /// Images so far.
        done: u64,
        /// Images in all.
        total: u64,
    },
    /// The covariance is complete, and its eigenvectors are being computed.
    Eigenvectors,
}

/// ZCA whitening: the symmetric matrix `Z = (C + ε I)^(−1/2) = E diag(λ^(−1/2)) Eᵀ`, with `C = XᵀX / n`
/// over n rows X of F values, and E and λ the eigenvectors and eigenvalues of `C + ε I`.
///
/// Of all whitening transforms it changes the rows least (A. J. Bell and T. J. Sejnowski, 1997).
/// It is computed in `f64`.
///
/// ```
/// use candle::{DType, Device};
/// use candle_hebbian::{Rng, ops::standardise};
/// use hebbian_data::{Zca, ZcaConfig, digits};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let images = digits().train;
/// let mut rng = Rng::new(0).stream("zca");
/// let zca = Zca::fit(&images, &ZcaConfig::default(), &mut rng, |_| ())?;
/// assert_eq!(zca.matrix().dims(), [64, 64]);
///
/// let zca = zca.to(DType::F32, &Device::Cpu)?;
/// let (batch, _) = images.batch(&[0, 1, 2], DType::F32, &Device::Cpu)?;
/// let whitened = zca.apply(&standardise(&batch, 1e-10)?)?;
/// assert_eq!(whitened.dims(), [3, 1, 8, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Zca {
    matrix: Tensor,
}

impl Zca {
    /// Computes the whitening of the rows of `x` `(n, F)` as they are: no mean is subtracted. The rows may be of any
    /// floating-point type and on any device.
    ///
    /// # Errors
    /// If `x` has no rows or no columns, or values that are not finite or whose squares are not finite; if `epsilon` is
    /// negative or not finite; if there is no memory for matrices of F × F values; or if `C + ε I` is singular up to
    /// rounding.
    pub fn from_rows(x: &Tensor, divisor: Divisor, epsilon: f64) -> Result<Self> {
        check_epsilon(epsilon)?;
        let (rows, columns) = x.dims2()?;
        for (what, found) in [("rows to whiten", rows), ("columns to whiten", columns)] {
            if found == 0 {
                return Err(Error::Size { what, found, expected: 1 });
            }
        }
        check_memory(columns)?;
        let mut gram = Covariance::new(columns);
        gram.add(&to_host(x)?)?;
        whitening(gram, divisor, epsilon)
    }

    /// Computes the whitening of `images`, each of which is standardised first: the mean of its C·H·W values is
    /// subtracted, and it is divided by 1e-10 plus their unbiased standard deviation. No mean over the images is
    /// subtracted.
    ///
    /// If `config` asks for it, `rng` draws the images and then their flips.
    ///
    /// # Errors
    /// If there are no images, or fewer than are to be drawn; if an image has only one value; if ε is negative or not
    /// finite; if there is no memory for matrices of F × F values; or if `C + ε I` is singular up to rounding. Without
    /// ε it always is, because a standardised image has no component along equal pixels.
    pub fn fit(
        images: &ImageSet,
        config: &ZcaConfig,
        rng: &mut Rng,
        on_progress: impl FnMut(ZcaProgress),
    ) -> Result<Self> {
        check_epsilon(config.epsilon)?;
        let drawn = Drawn::new(images, config, rng)?;
        Self::of_drawn(&drawn, config, on_progress)
    }

    /// Reads the whitening from the folder `cache` if it was computed before; otherwise computes it like
    /// [`fit`](Self::fit) and writes it there, as `zca-<key>.safetensors`. [`default_cache`](crate::default_cache) is a
    /// suitable folder.
    ///
    /// The key is the SHA-256 of the pixels after drawing and flipping, their shape and the settings, so that other
    /// images or settings have another file. The draws of `rng` are the same in both cases. The file contains its own
    /// SHA-256: a file that differs in any bit from what was written under its key is not used, but replaced. It is not
    /// an error if the folder cannot be written: see [`CacheOutcome`].
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn fit_cached(
        images: &ImageSet,
        config: &ZcaConfig,
        rng: &mut Rng,
        cache: &Path,
        on_progress: impl FnMut(ZcaProgress),
    ) -> Result<(Self, CacheOutcome)> {
        check_epsilon(config.epsilon)?;
        let drawn = Drawn::new(images, config, rng)?;
        let entry = Entry::new(cache, &drawn, config)?;
        let stored = entry.read()?;
        if let Stored::Matrix(matrix) = stored {
            return Ok((Self { matrix }, CacheOutcome::Read(entry.path)));
        }
        let zca = Self::of_drawn(&drawn, config, on_progress)?;
        let outcome = match entry.write(&zca.matrix) {
            Ok(()) if matches!(stored, Stored::Damaged) => CacheOutcome::Replaced(entry.path),
            Ok(()) => CacheOutcome::Written(entry.path),
            Err(error) => CacheOutcome::NotWritten(error),
        };
        Ok((zca, outcome))
    }

    fn of_drawn(
        drawn: &Drawn,
        config: &ZcaConfig,
        mut on_progress: impl FnMut(ZcaProgress),
    ) -> Result<Self> {
        let (images, (channels, height, width)) = drawn.sizes();
        check_memory(channels * height * width)?;
        let mut gram = Covariance::new(channels * height * width);
        drawn.each(|part| {
            let indices: Vec<usize> = (0..part.len()).collect();
            let (batch, _) = part.batch(&indices, DType::F64, &Device::Cpu)?;
            gram.add(&standardise(&batch, STANDARDISE_EPSILON)?.flatten_from(1)?)?;
            let (done, total) = (gram.rows as u64, images as u64);
            on_progress(ZcaProgress::Covariance { done, total });
            Ok(())
        })?;
        on_progress(ZcaProgress::Eigenvectors);
        whitening(gram, config.divisor, config.epsilon)
    }

    /// Creates a whitening from a saved matrix `(F, F)`.
    ///
    /// # Errors
    /// If the matrix is not square, or has no columns.
    pub fn of_matrix(matrix: &Tensor) -> Result<Self> {
        let (expected, found) = matrix.dims2()?;
        if expected != found || found == 0 {
            let (what, expected) = ("columns of a whitening matrix", expected.max(1));
            return Err(Error::Size { what, found, expected });
        }
        Ok(Self { matrix: matrix.detach() })
    }

    /// The matrix Z `(F, F)`, of `f64` on the host unless [`to`](Self::to) has changed that.
    pub fn matrix(&self) -> &Tensor {
        &self.matrix
    }

    /// Converts the matrix to `dtype` and moves it to `device`. Do this once, before many calls of
    /// [`apply`](Self::apply).
    ///
    /// # Errors
    /// When the matrix cannot be converted.
    pub fn to(&self, dtype: DType, device: &Device) -> Result<Self> {
        Ok(Self { matrix: self.matrix.to_dtype(dtype)?.to_device(device)? })
    }

    /// Whitens images `(B, C, H, W)`: multiplies each, as a row of F = C·H·W values, by Z. The images should be
    /// standardised like those that Z was fitted to.
    ///
    /// The images must be on the matrix's device. The product is computed in the matrix's type and returned in the
    /// images' type. Z has a gain of up to ε^(−1/2), which also applies to rounding errors: whiten in `f32` or `f64`,
    /// and convert to a narrower type after that.
    ///
    /// # Errors
    /// If an image does not have F values, or is on another device.
    pub fn apply(&self, images: &Tensor) -> Result<Tensor> {
        let rows = images.flatten_from(1)?;
        let (found, expected) = (rows.dim(1)?, self.matrix.dim(0)?);
        if found != expected {
            return Err(Error::Size { what: "values of an image to whiten", found, expected });
        }
        let whitened = rows.to_dtype(self.matrix.dtype())?.matmul(&self.matrix)?;
        Ok(whitened.to_dtype(images.dtype())?.reshape(images.shape())?)
    }
}

pub(crate) fn check_epsilon(epsilon: f64) -> Result<()> {
    if epsilon.is_finite() && epsilon >= 0. { Ok(()) } else { Err(Error::Epsilon(epsilon)) }
}

/// Checks that the memory for the whitening of rows of `features` values can be allocated, since a failed allocation
/// would end the program: the products, the eigenvectors and a copy of them, and the matrix.
fn check_memory(features: usize) -> Result<()> {
    let bytes = features.saturating_mul(features).saturating_mul(4 * size_of::<f64>());
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Error::Transform {
        transform: "zca".to_string(),
        problem: format!(
            "found images of {features} values, whose whitening needs {} MiB of memory, more than the system gives: \
             make them smaller",
            bytes >> 20
        ),
    })
}

/// `(XᵀX / divisor + ε I)^(−1/2)` for the rows X of `gram`, whose mean is not subtracted.
fn whitening(gram: Covariance, divisor: Divisor, epsilon: f64) -> Result<Zca> {
    let divisor = match divisor {
        Divisor::Images => gram.rows,
        Divisor::Dimension => gram.products.nrows(),
    };
    Ok(Zca { matrix: gram.eigen(divisor as f64, epsilon)?.inverse_root()? })
}
