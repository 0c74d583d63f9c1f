//! Pooling on the CPU, channels last.

use super::{Reduce, Ties, Windows};
use crate::cpu::{self, ARCH, Real, slice, with_real};
use crate::memory::filled;
use candle::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::NullaryFnOnce;

impl Windows {
    /// Pools `x (images, H, W, channels)`.
    fn forward<T: Real>(&self, x: &[T], images: usize, channels: usize) -> Result<Vec<T>> {
        let (lines, line) = (self.rows.out, self.columns.out * channels);
        let image = self.rows.size * self.columns.size * channels;
        filled("pool", &[images, lines, line], line, |at, out| {
            let x = &x[at / lines * image..][..image];
            ARCH.dispatch(Line { windows: self, x, channels, line: at % lines, out });
            Ok(())
        })
    }

    fn backward<T: Real>(
        &self,
        x: &[T],
        out: &[T],
        grad: &[T],
        images: usize,
        channels: usize,
    ) -> Result<Vec<T>> {
        let image = self.rows.size * self.columns.size * channels;
        let pooled = self.rows.out * self.columns.out * channels;
        filled("gradient of pool", &[images, image], image, |at, grad_x| {
            ARCH.dispatch(Image {
                windows: self,
                x: &x[at * image..][..image],
                out: &out[at * pooled..][..pooled],
                grad: &grad[at * pooled..][..pooled],
                channels,
                grad_x,
            });
            Ok(())
        })
    }

    /// The gradient at the input `x` from the output `out` and the gradient `grad` at it, all contiguous.
    pub fn gradient(&self, x: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Tensor> {
        x.apply_op3_no_bwd(out, grad, &Gradient(*self))
    }

    fn share<T: Real>(&self) -> T {
        T::one() / T::of(self.area)
    }
}

/// One line of the output, from the image `x`.
struct Line<'a, T> {
    windows: &'a Windows,
    x: &'a [T],
    channels: usize,
    line: usize,
    out: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Line<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { windows, x, channels, line, out } = self;
        for (o, out) in out.chunks_exact_mut(channels).enumerate() {
            let (sixteens, rest) = out.as_chunks_mut::<16>();
            let (fours, ones) = rest.as_chunks_mut::<4>();
            let (fours_at, ones_at) = (16 * sixteens.len(), channels - ones.len());
            for (at, out) in sixteens.iter_mut().enumerate() {
                *out = windows.pool((line, o), &x[16 * at..], channels);
            }
            for (at, out) in fours.iter_mut().enumerate() {
                *out = windows.pool((line, o), &x[fours_at + 4 * at..], channels);
            }
            for (at, out) in ones.iter_mut().enumerate() {
                [*out] = windows.pool((line, o), &x[ones_at + at..], channels);
            }
        }
    }
}

/// The gradient of one image.
struct Image<'a, T> {
    windows: &'a Windows,
    x: &'a [T],
    out: &'a [T],
    grad: &'a [T],
    channels: usize,
    grad_x: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Image<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { windows, x, out, grad, channels, grad_x } = self;
        let Windows { rows, columns, .. } = windows;
        let share = windows.share();
        // The gradient that a window has not given away yet. The maximum of a window that holds a NaN
        // is NaN, so a NaN is always one of the maxima.
        let mut left = vec![T::zero(); channels];
        for (o, (out, grad)) in
            out.chunks_exact(channels).zip(grad.chunks_exact(channels)).enumerate()
        {
            if windows.reduce == Reduce::Maximum(Ties::First) {
                left.copy_from_slice(grad);
            }
            for h in rows.span(o / columns.out) {
                for w in columns.span(o % columns.out) {
                    let at = (h * columns.size + w) * channels;
                    let (x, grad_x) = (&x[at..][..channels], &mut grad_x[at..][..channels]);
                    match windows.reduce {
                        Reduce::Average => {
                            for (grad_x, &grad) in grad_x.iter_mut().zip(grad) {
                                *grad_x += grad * share;
                            }
                        }
                        Reduce::Maximum(Ties::All) => {
                            let pixels = grad_x.iter_mut().zip(x).zip(out).zip(grad);
                            for (((grad_x, &x), &out), &grad) in pixels {
                                let chosen = x == out || x.is_nan();
                                *grad_x += if chosen { grad } else { T::zero() };
                            }
                        }
                        Reduce::Maximum(Ties::First) => {
                            let pixels = grad_x.iter_mut().zip(x).zip(out).zip(&mut left);
                            for (((grad_x, &x), &out), left) in pixels {
                                let chosen = x == out || x.is_nan();
                                *grad_x += if chosen { *left } else { T::zero() };
                                *left = if chosen { T::zero() } else { *left };
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Windows {
    /// Pools the first `N` channels of the window at `o`. They stay in registers while the pixels pass by.
    #[inline(always)]
    fn pool<T: Real, const N: usize>(
        &self,
        (line, column): (usize, usize),
        x: &[T],
        channels: usize,
    ) -> [T; N] {
        let over = self.rows.reaches_over(line) || self.columns.reaches_over(column);
        let mut out = match self.reduce {
            Reduce::Maximum(_) if !(self.zeros_compete && over) => [T::neg_infinity(); N],
            _ => [T::zero(); N],
        };
        for h in self.rows.span(line) {
            for w in self.columns.span(column) {
                let x = &x[(h * self.columns.size + w) * channels..][..N];
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = match self.reduce {
                        Reduce::Maximum(_) if x > *out || x.is_nan() => x,
                        Reduce::Maximum(_) => *out,
                        Reduce::Average => *out + x,
                    };
                }
            }
        }
        if self.reduce == Reduce::Average {
            let share = self.share();
            out.iter_mut().for_each(|out| *out *= share);
        }
        out
    }
}

impl CustomOp1 for Windows {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (images, _, _, channels) = layout.shape().dims4()?;
        with_real!(x, "pool", T => {
            let out = self.forward::<T>(slice(x, layout)?, images, channels)?;
            Ok((cpu::owned(out), (images, self.rows.out, self.columns.out, channels).into()))
        })
    }

    fn bwd(&self, x: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.gradient(&x.detach(), &out.detach(), &grad.detach().contiguous()?).map(Some)
    }
}

/// The gradient of [`Windows`], from their input, their output and the gradient at the output.
struct Gradient(Windows);

impl CustomOp3 for Gradient {
    fn name(&self) -> &'static str {
        "pool_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        out: &CpuStorage,
        out_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (images, height, width, channels) = x_layout.shape().dims4()?;
        with_real!(x, "pool_gradient", T => {
            let grad_x = self.0.backward::<T>(
                slice(x, x_layout)?,
                slice(out, out_layout)?,
                slice(grad, grad_layout)?,
                images,
                channels,
            )?;
            Ok((cpu::owned(grad_x), (images, height, width, channels).into()))
        })
    }
}
