//! Convolutions of many images at a time, as [products of windows](as_product) or with [fewer
//! multiplications](winograd), where one of the two suits.

use super::correlation::Correlation;
use super::{as_product, winograd};
use crate::cpu::Real;
use candle::Result;

/// Computes the responses to `batch` images, as [`Respond`](super::correlation::Respond) does for one. `value` returns
/// the weight of a unit, channel and tap; `padded` is the length of a padded image and a function that writes it over
/// zeros. `None` if neither way suits.
///
/// # Errors
/// If there is not enough memory.
pub(super) fn respond<T: Real>(
    correlation: &Correlation,
    batch: usize,
    value: impl Fn(usize, usize, usize, usize) -> T + Sync,
    (image, pad): (usize, impl Fn(usize, &mut [T]) + Sync),
) -> Result<Option<Vec<T>>> {
    match as_product::respond(correlation, batch, &value, (image, &pad))? {
        None => winograd::respond(correlation, batch, value, (image, pad)),
        found => Ok(found),
    }
}

/// Computes the gradient of the weights, `(K, C, kh, kw)`, from the gradient of the responses, `(B, OH, OW, K)`;
/// otherwise like [`respond`].
///
/// # Errors
/// If there is not enough memory.
pub(super) fn correlate<T: Real>(
    correlation: &Correlation,
    batch: usize,
    grad: &[T],
    (image, pad): (usize, impl Fn(usize, &mut [T]) + Sync),
) -> Result<Option<Vec<T>>> {
    match as_product::correlate(correlation, batch, grad, (image, &pad))? {
        None => winograd::correlate(correlation, batch, grad, (image, pad)),
        found => Ok(found),
    }
}
