use super::Competition;
use super::rows::{self, Rows};
use crate::cpu::{Real, maximum};
use crate::ops::numbers;
use candle::{D, DType, Result, Tensor};

/// The winner takes all: 1 for the unit of largest `u` (the first of equals), 0 for the others.
///
/// ```text
/// y_k = 1[k = argmax_l u_l]
/// ```
///
/// Source: the comparison of Journé et al. 2023, arXiv 2209.11883.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Competition, HardWta};
/// let u = Tensor::new(&[[1f64, 1.5, 1.5], [-3.0, -2.0, -4.0]], &Device::Cpu)?;
/// let y = HardWta.compete(&u)?.to_vec2::<f64>()?;
/// assert_eq!(y, [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardWta;

impl Competition for HardWta {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        rows::compete(self, u)
    }
}

impl Rows for HardWta {
    fn check(&self, _units: usize) -> Result<()> {
        Ok(())
    }

    #[inline(always)]
    fn row<T: Real>(&self, u: &[T], y: &mut [T], _scratch: &mut Vec<T>) {
        y.fill(T::zero());
        y[winner(u)] = T::one();
    }

    fn composed(&self, u: &Tensor) -> Result<Tensor> {
        // Not by `argmax`: which of equal values it finds depends on the device.
        let units = u.dim(D::Minus1)?;
        let order = numbers(units, u.device())?.to_dtype(DType::F32)?.broadcast_as(u.shape())?;
        let largest = u.broadcast_ge(&u.max_keepdim(D::Minus1)?)?;
        let first = largest.where_cond(&order, &order.affine(0.0, units as f64)?)?;
        order.broadcast_eq(&first.min_keepdim(D::Minus1)?)?.to_dtype(u.dtype())
    }
}

/// The index of the largest unit of a row, the first of equals.
#[inline(always)]
pub(super) fn winner<T: Real>(u: &[T]) -> usize {
    let best = maximum(u, |x| x);
    u.iter().position(|&x| x == best).unwrap_or(0)
}
