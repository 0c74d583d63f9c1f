//! The saturated ramp.

use super::backend::has_kernels;
use super::custom_vjp::custom_vjp;
use super::layout::elementwise;
use super::widen::widened;
use crate::cpu::{self, Real, RowKernel, for_row_blocks, slice, with_real};
use crate::memory::filled_rows;
use candle::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

/// The saturated ramp `σ(h) = clip(s·h, −1, 1)`: a hard tanh of slope `s`. The gradient is `s`
/// where `|s·h| < 1`, else 0. NaN stays NaN, and so does its gradient.
///
/// Source: Amit 2019 with `s = ½`. With unit slope, the network is the same if its weights are
/// halved and the learning rates of hidden layers quartered.
///
/// ```
/// use candle::{Device, Tensor};
/// let h = Tensor::new(&[0.8f64, 2.5, -3.0], &Device::Cpu)?;
/// assert_eq!(candle_hebbian::ops::ramp(&h, 0.5)?.to_vec1::<f64>()?, [0.4, 1.0, -1.0]);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// A slope that is not above 0 or not finite, in f32.
pub fn ramp(h: &Tensor, slope: f64) -> Result<Tensor> {
    let ramp = Ramp::new(slope)?;
    if h.elem_count() == 0 {
        return Ok(h.clone());
    }
    widened(h, |h| {
        if has_kernels(h.device()) {
            return elementwise(h, |h| h.apply_op1(ramp));
        }
        custom_vjp(
            "ramp",
            [h],
            |[h]| Ok((ramp.composed(h)?.into(), ())),
            move |pass| Ok([Some(ramp.composed_gradient(pass.output, pass.grad)?)]),
        )
    })
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Ramp(f64);

impl Ramp {
    /// # Errors
    /// As for [`ramp`].
    pub fn new(slope: f64) -> Result<Self> {
        if !(slope as f32 > 0.0 && (slope as f32).is_finite()) {
            candle::bail!("ramp: expected a slope above 0 that is finite in f32, found {slope}")
        }
        Ok(Self(slope))
    }

    /// Puts the ramp of the values of `h` in their place.
    pub fn overwrite<T: Real>(&self, h: &mut [T]) {
        for_row_blocks(h, 1, 1, &Overwrite(T::of(self.0)));
    }

    /// The gradient at the input from the `output` and the gradient at it, both contiguous, on the CPU.
    pub fn gradient(&self, output: &Tensor, grad: &Tensor) -> Result<Tensor> {
        output.apply_op2_no_bwd(grad, &Gradient(*self))
    }

    /// The same from candle's own ops, for the devices that have no kernel here.
    fn composed(&self, h: &Tensor) -> Result<Tensor> {
        // Not candle's `clamp`, which loses NaN on some devices.
        let y = (h * self.0)?;
        let one = y.ones_like()?;
        let y = y.gt(1.0)?.where_cond(&one, &y)?;
        y.lt(-1.0)?.where_cond(&one.neg()?, &y)
    }

    /// The gradient from the output: where that is ±1, `|s·h| ≥ 1`.
    fn composed_gradient(&self, output: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let y = output.abs()?;
        let closed = y.ge(1.0)?.where_cond(&y.zeros_like()?, &y)?; // 0 or NaN
        let slope = (y.ones_like()? * self.0)?;
        grad * y.lt(1.0)?.where_cond(&slope, &closed)?
    }
}

struct Clip<'a, T>(&'a [T], T);

impl<T: Real> RowKernel<T> for Clip<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        for (out, &h) in block.iter_mut().zip(&self.0[first..]) {
            *out = clip(self.1 * h);
        }
    }
}

struct Overwrite<T>(T);

impl<T: Real> RowKernel<T> for Overwrite<T> {
    #[inline(always)]
    fn run(&self, _: usize, block: &mut [T]) {
        for value in block {
            *value = clip(self.0 * *value);
        }
    }
}

#[inline(always)]
fn clip<T: Real>(y: T) -> T {
    let one = T::one();
    let y = if y > one { one } else { y };
    if y < -one { -one } else { y }
}

/// The output, the gradient at it, and the slope.
struct Gate<'a, T>(&'a [T], &'a [T], T);

impl<T: Real> RowKernel<T> for Gate<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        for ((out, &y), &grad) in block.iter_mut().zip(&self.0[first..]).zip(&self.1[first..]) {
            let y = y.abs();
            let closed = if y >= T::one() { T::zero() } else { y }; // 0 or NaN
            *out = grad * if y < T::one() { self.2 } else { closed };
        }
    }
}

impl CustomOp1 for Ramp {
    fn name(&self) -> &'static str {
        "ramp"
    }

    fn cpu_fwd(&self, h: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_real!(h, "ramp", T => {
            let h = slice::<T>(h, layout)?;
            let out = filled_rows("ramp", (h.len(), 1), 1, &Clip(h, self.0 as T))?;
            Ok((cpu::owned(out), layout.shape().clone()))
        })
    }

    fn bwd(&self, _: &Tensor, output: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.gradient(&output.detach(), &grad.detach().contiguous()?).map(Some)
    }
}

/// The gradient of [`Ramp`], from its output and the gradient at it.
struct Gradient(Ramp);

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        "ramp_gradient"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_real!(y, "ramp_gradient", T => {
            let (y, grad) = (slice::<T>(y, y_layout)?, slice::<T>(grad, grad_layout)?);
            let gate = Gate(y, grad, self.0.0 as T);
            let out = filled_rows("gradient of the ramp", (y.len(), 1), 1, &gate)?;
            Ok((cpu::owned(out), y_layout.shape().clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::largest::largest;
    use candle::{DType, Device, Var};

    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let mut rng = Rng::new(19);
        let mut normal = || rng.normal(0.0, 2.0, (3, 4, 5, 2), DType::F64, &Device::Cpu);
        let (h, upstream) = (Var::from_tensor(&normal()?)?, normal()?);
        for seen in [h.as_tensor().clone(), h.permute((0, 3, 1, 2))?.contiguous()?] {
            // Also a view whose channels are last in memory.
            for seen in [seen.clone(), seen.permute((0, 3, 1, 2))?] {
                let upstream = upstream.reshape(seen.shape())?;
                let out = ramp(&seen, 0.5)?;
                let grads = (&out * &upstream)?.sum_all()?.backward()?;
                let got = grads.get(&h).ok_or_else(|| candle::Error::msg("no gradient"))?;
                let composed = Ramp(0.5).composed(&seen)?;
                assert_eq!(largest(&(out - &composed)?)?, 0.0);
                let want = Ramp(0.5).composed_gradient(&composed, &upstream)?;
                let grads = (&seen * &want)?.sum_all()?.backward()?; // the adjoint of the view
                let want = grads.get(&h).ok_or_else(|| candle::Error::msg("no gradient"))?;
                assert_eq!(largest(&(got - want)?)?, 0.0);
            }
        }
        Ok(())
    }
}
