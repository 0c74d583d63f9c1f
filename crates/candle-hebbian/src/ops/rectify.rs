//! Rectified powers: Triangle and RePU.

use super::backend::has_kernels;
use super::custom_vjp::custom_vjp;
use super::layout::axis_last;
use super::widen::widened;
use crate::cpu::{self, Real, RowKernel, slice, sum, with_real};
use crate::memory::filled_rows;
use candle::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

/// Computes `relu(u − mean_c u)^power`, where the mean is over the channels (dimension 1) at the
/// same position.
///
/// Coates et al. 2011; Journé et al. 2023 with a power. The gradient is exact. With `constant_mean`,
/// the mean is treated as a constant in the backward pass, as the released SoftHebb code does. If a
/// channel of a position is NaN, all channels of that position are NaN, and so is their gradient.
///
/// # Errors
/// A power that is not above 0 or not finite, in f32; no channels.
pub fn triangle(u: &Tensor, power: f64, constant_mean: bool) -> Result<Tensor> {
    Rectify::new(power, Some(constant_mean))?.apply(u, 1)
}

/// Computes `relu(u)^power`, with an exact gradient, which is 0 where `u ≤ 0`. NaN stays NaN, and
/// so does its gradient. With a power of 1 it is the rectifier itself; candle's `relu` turns NaN
/// into 0, and its gradient at 0 is 1.
///
/// # Errors
/// A power that is not above 0 or not finite, in f32; no channels (dimension 1).
pub fn repu(u: &Tensor, power: f64) -> Result<Tensor> {
    Rectify::new(power, None)?.apply(u, 1)
}

pub(super) mod channels_last {
    use super::*;

    /// [`triangle`](super::triangle) of `u (N, …, C)`.
    ///
    /// # Errors
    /// The same.
    pub fn triangle(u: &Tensor, power: f64, constant_mean: bool) -> Result<Tensor> {
        Rectify::new(power, Some(constant_mean))?.apply(u, u.rank().saturating_sub(1))
    }

    /// [`repu`](super::repu) of `u (N, …, C)`.
    ///
    /// # Errors
    /// The same.
    pub fn repu(u: &Tensor, power: f64) -> Result<Tensor> {
        Rectify::new(power, None)?.apply(u, u.rank().saturating_sub(1))
    }
}

/// A rectified power of values, or of what they exceed the mean of their position by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rectify {
    power: f64,
    centre: bool,
    constant_mean: bool,
}

impl Rectify {
    /// [`triangle`] with its `constant_mean`, or [`repu`] if that is `None`.
    ///
    /// # Errors
    /// As for [`repu`].
    pub fn new(power: f64, constant_mean: Option<bool>) -> Result<Self> {
        if !(power as f32 > 0.0 && (power as f32).is_finite()) {
            candle::bail!(
                "rectified power: expected a power above 0 that is finite in f32, found {power}"
            )
        }
        let (centre, constant_mean) = (constant_mean.is_some(), constant_mean.unwrap_or(true));
        Ok(Self { power, centre, constant_mean })
    }

    /// The result for `u`, whose channels are dimension `axis`.
    pub fn apply(self, u: &Tensor, axis: usize) -> Result<Tensor> {
        if u.rank() < 2 || u.dims()[axis] == 0 {
            let expected = if axis == 1 { "(N, C, …)" } else { "(N, …, C)" };
            candle::bail!(
                "rectified power: expected {expected} with channels, found {:?}",
                u.dims()
            )
        }
        if u.elem_count() == 0 {
            return Ok(u.clone());
        }
        widened(u, |u| {
            if axis == u.rank() - 1 {
                return self.of_rows(&u.contiguous()?);
            }
            // Channels last, so that a row is all channels of a position.
            let (to_last, back) = axis_last(u.rank(), axis);
            self.of_rows(&u.permute(to_last)?.contiguous()?)?.permute(back)
        })
    }

    /// The gradient at rows `u (…, C)` from the gradient at the result, both contiguous, on the CPU.
    pub fn gradient(&self, u: &Tensor, grad: &Tensor) -> Result<Tensor> {
        u.apply_op2_no_bwd(grad, &Gradient(*self))
    }

    fn of_rows(self, rows: &Tensor) -> Result<Tensor> {
        if has_kernels(rows.device()) {
            return rows.apply_op1(self);
        }
        custom_vjp(
            "rectify",
            [rows],
            |[rows]| Ok((self.composed(rows)?.into(), rows.clone())),
            move |pass| Ok([Some(self.composed_gradient(pass.residuals, pass.grad)?)]),
        )
    }

    fn excess(&self, u: &Tensor) -> Result<Tensor> {
        let u = if self.centre {
            u.broadcast_sub(&u.mean_keepdim(candle::D::Minus1)?)?
        } else {
            u.clone()
        };
        // Not candle's `relu`, which turns NaN into 0.
        u.le(0.0)?.where_cond(&u.zeros_like()?, &u)
    }

    /// The same from candle's own ops, for the devices that have no kernel here.
    fn composed(&self, u: &Tensor) -> Result<Tensor> {
        let excess = self.excess(u)?;
        if self.power == 1.0 { Ok(excess) } else { excess.powf(self.power) }
    }

    fn composed_gradient(&self, u: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let excess = self.excess(u)?;
        let active = excess.gt(0.0)?;
        let slope = if self.power == 1.0 {
            excess.ones_like()?
        } else {
            (excess.powf(self.power - 1.0)? * self.power)?
        };
        let slope = active.where_cond(&slope, &excess)?; // else 0, or NaN
        let grad = (grad * slope)?;
        if self.constant_mean {
            return Ok(grad);
        }
        grad.broadcast_sub(&grad.mean_keepdim(candle::D::Minus1)?)
    }

    #[inline(always)]
    fn threshold<T: Real>(&self, row: &[T]) -> T {
        if self.centre { mean(row) } else { T::zero() }
    }
}

#[inline(always)]
fn mean<T: Real>(row: &[T]) -> T {
    sum(row, |x| x) / T::of(row.len() as f64)
}

impl CustomOp1 for Rectify {
    fn name(&self) -> &'static str {
        "rectify"
    }

    fn cpu_fwd(&self, u: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let channels = layout.shape().dims().last().copied().unwrap_or(1);
        with_real!(u, "rectify", T => {
            let u = slice::<T>(u, layout)?;
            let kernel = Rows { rectify: *self, u, channels };
            let out = filled_rows("rectified power", (u.len(), channels), channels, &kernel)?;
            Ok((cpu::owned(out), layout.shape().clone()))
        })
    }

    fn bwd(&self, u: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.gradient(&u.detach(), &grad.detach().contiguous()?).map(Some)
    }
}

struct Rows<'a, T> {
    rectify: Rectify,
    u: &'a [T],
    channels: usize,
}

impl<T: Real> RowKernel<T> for Rows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        let power = T::of(self.rectify.power);
        for (i, out) in block.chunks_exact_mut(self.channels).enumerate() {
            let u = &self.u[(first + i) * self.channels..][..self.channels];
            let threshold = self.rectify.threshold(u);
            for (out, &u) in out.iter_mut().zip(u) {
                let excess = u - threshold;
                *out = if excess <= T::zero() { T::zero() } else { excess };
            }
            if power != T::one() {
                for out in out.iter_mut() {
                    *out = out.fast_pow(power);
                }
            }
        }
    }
}

struct GradientRows<'a, T> {
    rectify: Rectify,
    u: &'a [T],
    grad: &'a [T],
    channels: usize,
}

impl<T: Real> RowKernel<T> for GradientRows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        let power = T::of(self.rectify.power);
        for (i, out) in block.chunks_exact_mut(self.channels).enumerate() {
            let row = (first + i) * self.channels..(first + i + 1) * self.channels;
            let (u, grad) = (&self.u[row.clone()], &self.grad[row]);
            let threshold = self.rectify.threshold(u);
            for ((out, &u), &grad) in out.iter_mut().zip(u).zip(grad) {
                let excess = u - threshold;
                let slope = if power == T::one() {
                    T::one()
                } else {
                    power * excess.fast_pow(power - T::one())
                };
                let closed = if excess <= T::zero() { T::zero() } else { excess }; // 0 or NaN
                *out = grad * if excess > T::zero() { slope } else { closed };
            }
            if !self.rectify.constant_mean {
                let shared = mean(out);
                for out in out.iter_mut() {
                    *out -= shared;
                }
            }
        }
    }
}

/// The gradient of [`Rectify`], from its input and the gradient at its output.
struct Gradient(Rectify);

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        "rectify_gradient"
    }

    fn cpu_fwd(
        &self,
        u: &CpuStorage,
        u_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let channels = u_layout.shape().dims().last().copied().unwrap_or(1);
        with_real!(u, "rectify_gradient", T => {
            let (u, grad) = (slice::<T>(u, u_layout)?, slice::<T>(grad, grad_layout)?);
            let kernel = GradientRows { rectify: self.0, u, grad, channels };
            let name = "gradient of the rectified power";
            let out = filled_rows(name, (u.len(), channels), channels, &kernel)?;
            Ok((cpu::owned(out), u_layout.shape().clone()))
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
        let device = Device::Cpu;
        let mut rng = Rng::new(5);
        let u = rng.normal(0.0, 2.0, (3, 5, 4, 2), DType::F64, &device)?;
        let upstream = rng.normal(0.0, 1.0, (3, 5, 4, 2), DType::F64, &device)?;
        let last = |t: &Tensor| t.permute((0, 2, 3, 1))?.contiguous();
        for power in [0.7, 1.0, 1.4] {
            for (centre, constant_mean) in [(true, true), (true, false), (false, true)] {
                let rectify = Rectify { power, centre, constant_mean };
                let var = Var::from_tensor(&u)?;
                let out = rectify.apply(&var, 1)?;
                let difference = (last(&out)? - rectify.composed(&last(&u)?)?)?;
                assert!(largest(&difference)? < 1e-12, "{rectify:?}");
                let grads = (&out * &upstream)?.sum_all()?.backward()?;
                let got = grads.get(&var).ok_or_else(|| candle::Error::msg("no gradient"))?;
                let want = rectify.composed_gradient(&last(&u)?, &last(&upstream)?)?;
                let difference = largest(&(last(got)? - want)?)?;
                assert!(difference < 1e-12, "{rectify:?}: {difference}");
            }
        }
        Ok(())
    }
}
