//! Standardisation of each sample by itself.

use super::backend::has_kernels;
use super::custom_vjp::custom_vjp;
use super::layout::elementwise;
use super::value::Value;
use super::widen::widened;
use crate::cpu::{self, Real, RowKernel, slice, sum, with_real};
use crate::memory::filled_rows;
use candle::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

/// Computes `z = (x − x̄) / (ε + s)` for each sample of `x (B, …)`, with the mean `x̄` and the unbiased standard
/// deviation `s` of all its `n` values; `ε = epsilon`. The gradient is exact, with `g = ∂L/∂z` and its mean `ḡ`:
///
/// ```text
/// ∂L/∂x = (g − ḡ − (x − x̄)·Σ g·(x − x̄) / ((n − 1)·s·(ε + s))) / (ε + s)
/// ```
///
/// Source: the input of every layer in Miconi 2021, with `ε = 10⁻¹⁰`. A sample of equal values becomes 0 for any `ε`,
/// and its gradient is 0, where the equation has `(g − ḡ) / ε` as its limit. A sample with a NaN or an infinity becomes
/// NaN.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::ops::standardise;
/// let x = Tensor::new(&[[1f64, 2.0, 3.0, 4.0]], &Device::Cpu)?;
/// let z = standardise(&x, 1e-10)?.to_vec2::<f64>()?; // the mean is 2.5, the variance 5/3
/// assert!((z[0][0] + 1.161895).abs() < 1e-6 && (z[0][2] - 0.387298).abs() < 1e-6);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// Differences from the mean must be between about 10⁻¹⁹ and 10¹⁹ in f32, and 10⁻¹⁵⁴ and 10¹⁵⁴ in f64, where they can
/// be squared: with larger ones all results are 0, and smaller ones count as equal values.
///
/// # Errors
/// Fewer than two values in a sample; an `ε` that is negative or not finite.
pub fn standardise(x: &Tensor, epsilon: f64) -> Result<Tensor> {
    let width = x.dims().iter().skip(1).product();
    if width < 2 || x.rank() == 0 || !(epsilon >= 0.0 && epsilon.is_finite()) {
        candle::bail!(
            "standardise: expected samples of 2 values or more and epsilon ≥ 0, found a shape of \
             {:?} and epsilon {epsilon}",
            x.dims()
        )
    }
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let forward = |[x]: &[Tensor; 1]| {
        let z = match has_kernels(x.device()) {
            true => Value::op1(x, &Standardise { width, epsilon })?,
            false => composed(x, epsilon)?.into(),
        };
        Ok((z, x.clone()))
    };
    // The order of a sample's values does not matter.
    let rows = |x: &Tensor| {
        custom_vjp("standardise", [x], forward, move |pass| {
            Ok([Some(gradient(pass.residuals, pass.grad, epsilon)?)])
        })
    };
    widened(x, |x| elementwise(x, rows))
}

/// The same from candle's own ops, for the devices that have no kernel here.
fn composed(x: &Tensor, epsilon: f64) -> Result<Tensor> {
    let (centred, deviation) = moments(x)?;
    let scaled = centred.broadcast_div(&(&deviation + epsilon)?)?;
    let equal = deviation.eq(0.0)?.broadcast_as(centred.shape())?.contiguous()?;
    equal.where_cond(&centred.zeros_like()?, &scaled)?.reshape(x.shape())
}

/// The gradient at `x` from the gradient at the result.
fn gradient(x: &Tensor, grad: &Tensor, epsilon: f64) -> Result<Tensor> {
    let ((centred, deviation), grad) = (moments(x)?, grad.flatten_from(1)?);
    let scale = (&deviation + epsilon)?;
    let degrees = (centred.dim(D::Minus1)? - 1) as f64;
    let along = (&centred * &grad)?.sum_keepdim(D::Minus1)?;
    let along = (along / ((&deviation * &scale)? * degrees)?)?;
    let across = grad.broadcast_sub(&grad.mean_keepdim(D::Minus1)?)?;
    let exact = (across - centred.broadcast_mul(&along)?)?.broadcast_div(&scale)?;
    // Rounding need not leave the deviation of equal values at 0; that of different ones is 0 if their squares are.
    let rows = x.flatten_from(1)?;
    let range = rows.broadcast_sub(&rows.narrow(1, 0, 1)?)?.abs()?.sum_keepdim(D::Minus1)?;
    let equal = range.minimum(&deviation)?.eq(0.0)?;
    let equal = equal.broadcast_as(exact.shape())?.contiguous()?;
    equal.where_cond(&exact.zeros_like()?, &exact)?.reshape(x.shape())
}

/// The differences `(B, n)` of the values of each sample from their mean, and their unbiased standard deviation
/// `(B, 1)`.
fn moments(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let rows = x.flatten_from(1)?;
    let centre = |rows: &Tensor| rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?);
    // Twice, to remove what rounding leaves.
    let centred = centre(&centre(&rows)?)?;
    let deviation = centred.var_keepdim(D::Minus1)?.sqrt()?;
    Ok((centred, deviation))
}

struct Standardise {
    width: usize,
    epsilon: f64,
}

impl CustomOp1 for Standardise {
    fn name(&self) -> &'static str {
        "standardise"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_real!(x, "standardise", T => {
            let x = slice::<T>(x, layout)?;
            let kernel = Rows { x, width: self.width, epsilon: self.epsilon as T };
            let sizes = (x.len(), self.width);
            let out = filled_rows("standardised samples", sizes, self.width, &kernel)?;
            Ok((cpu::owned(out), layout.shape().clone()))
        })
    }
}

struct Rows<'a, T> {
    x: &'a [T],
    width: usize,
    epsilon: T,
}

impl<T: Real> RowKernel<T> for Rows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        let count = T::of(self.width as f64);
        for (i, out) in block.chunks_exact_mut(self.width).enumerate() {
            let x = &self.x[(first + i) * self.width..][..self.width];
            // The mean is corrected for rounding: equal values must not turn into a pattern.
            let mean = sum(x, |x| x) / count;
            let mean = mean + sum(x, |x| x - mean) / count;
            let squares = sum(x, |x| (x - mean) * (x - mean));
            let deviation = (squares / (count - T::one())).sqrt();
            // Also for ε = 0, and if values differ so little that their squares are 0.
            let equal = deviation == T::zero();
            let scale = if equal { T::zero() } else { (self.epsilon + deviation).recip() };
            for (out, &x) in out.iter_mut().zip(x) {
                *out = (x - mean) * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::largest::largest;
    use candle::{DType, Device, Var};

    /// Because of rounding, the mean of equal values need not be exactly that value.
    #[test]
    fn equal_values_become_zero() -> Result<()> {
        for width in [2, 9, 75, 3072] {
            for value in [0.1f32, 1.0 / 3.0, 123.457, -7e-5] {
                let x = Tensor::full(value, (1, width), &Device::Cpu)?;
                for z in [standardise(&x, 1e-10)?, composed(&x, 1e-10)?] {
                    let largest = largest(&z)?;
                    assert!(largest < 1e-3, "{width} times {value}: {largest}");
                }
            }
        }
        Ok(())
    }

    /// Of a sample `(0, t)`, `z = (∓½)·t / (ε + t/√2)`. At `t = 2` and `ε = √2` the denominator is `2√2`, so
    /// `∂z₀/∂t = −½·ε/(2√2)² = −√2/16`, and the derivatives in the two values are `±√2/16`. Equal values get none.
    #[test]
    fn gradient_by_hand() -> Result<()> {
        let x = Var::new(&[[0f64, 2.0], [3.0, 3.0], [0.1, 0.1]], &Device::Cpu)?;
        let first = standardise(&x, 2f64.sqrt())?.narrow(1, 0, 1)?;
        let grads = first.sum_all()?.backward()?;
        let gradient = grads.get(&x).expect("a gradient").to_vec2::<f64>()?;
        let want = 2f64.sqrt() / 16.0;
        assert!((gradient[0][0] - want).abs() < 1e-15 && (gradient[0][1] + want).abs() < 1e-15);
        assert_eq!(gradient[1..], [[0.0; 2], [0.0; 2]]);
        Ok(())
    }

    /// The mean of `(0, 2)` is 1 and the deviation √2. Differences whose squares are 0 in f32 count as equal values,
    /// which become 0 for any `ε`: for `ε = 0`, too, where the deviation would divide by 0.
    #[test]
    fn differences_that_have_no_square_become_zero() -> Result<()> {
        let x = Tensor::new(&[[0f32, 2.0], [0.0, 1e-30], [3e-30, 1e-30]], &Device::Cpu)?;
        for epsilon in [0.0, 1e-10] {
            for z in [standardise(&x, epsilon)?, composed(&x, epsilon)?] {
                let z = z.to_vec2::<f32>()?;
                for (found, sign) in z[0].iter().zip([-1f32, 1.0]) {
                    assert!((found - sign / 2f32.sqrt()).abs() < 1e-6, "{z:?}, {epsilon}");
                }
                assert_eq!(z[1..], [[0.0; 2]; 2], "{epsilon}");
            }
        }
        Ok(())
    }

    /// Differences whose squares are 0 in f32 count as equal values, which get no gradient.
    #[test]
    fn no_gradient_for_differences_that_have_no_square() -> Result<()> {
        let x = Var::new(&[[0f32, 1e-30], [1e-30, 0.0]], &Device::Cpu)?;
        let grads = standardise(&x, 1e-10)?.narrow(1, 0, 1)?.sum_all()?.backward()?;
        let gradient = grads.get(&x).expect("a gradient").to_vec2::<f32>()?;
        assert_eq!(gradient, [[0.0; 2], [0.0; 2]]);
        Ok(())
    }

    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let x = Rng::new(3).normal(2.0, 3.0, (4, 3, 5, 6), DType::F64, &Device::Cpu)?;
        for x in [x.clone(), x.permute((0, 3, 1, 2))?, x.transpose(1, 2)?] {
            let difference = (standardise(&x, 0.1)? - composed(&x, 0.1)?)?;
            assert!(largest(&difference)? < 1e-12);
        }
        Ok(())
    }
}
