//! Unfolding on the CPU, and its adjoint.

use super::{Sites, Unfold};
use crate::cpu::{self, Real, slice, vectorised, with_real};
use crate::memory::filled;
use crate::ops::layout::view;
use candle::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

impl Unfold {
    fn gather<T: Real>(&self, x: &[T], [sb, sc, sh, sw]: [usize; 4]) -> Result<Vec<T>> {
        let (batch, channels, _, _) = self.dims;
        let (sites, rows, fan_in) = self.shape;
        let (lines, columns) = (self.rows.out, self.columns.out);
        let group = channels / self.groups();
        // A chunk is some rows that lie side by side: those of a line of positions, or of a
        // position.
        let chunk = match self.sites {
            Sites::Groups(_) => columns * fan_in,
            Sites::Positions => batch * fan_in,
        };
        filled("patches", &[sites, rows, fan_in], chunk, |index, patches| {
            let patches = patches.chunks_exact_mut(fan_in).enumerate();
            vectorised(|| match self.sites {
                Sites::Groups(_) => {
                    let (g, b) = (index / lines / batch, index / lines % batch);
                    let image = b * sb + g * group * sc;
                    for (ow, patch) in patches {
                        self.read(x, image, [sc, sh, sw], (index % lines, ow), patch);
                    }
                }
                Sites::Positions => {
                    let position = (index / columns, index % columns);
                    for (b, patch) in patches {
                        self.read(x, b * sb, [sc, sh, sw], position, patch);
                    }
                }
            });
            Ok(())
        })
    }

    /// Writes what the window at one position sees, of the channels from `image` on, over zeros.
    #[inline(always)]
    fn read<T: Real>(
        &self,
        x: &[T],
        image: usize,
        [sc, sh, sw]: [usize; 3],
        (oh, ow): (usize, usize),
        patch: &mut [T],
    ) {
        let (kh, kw) = (self.rows.window.kernel, self.columns.window.kernel);
        let group = self.dims.1 / self.groups();
        for i in 0..kh {
            let Some(h) = self.row_taps[oh * kh + i] else { continue };
            for j in 0..kw {
                let Some(w) = self.column_taps[ow * kw + j] else { continue };
                let (tap, at) = (i * kw + j, image + h * sh + w * sw);
                for c in 0..group {
                    patch[c * kh * kw + tap] = x[at + c * sc];
                }
            }
        }
    }

    /// The adjoint of [`gather`](Self::gather): adds every patch back to where it came from in
    /// `(B, C, H, W)`.
    fn scatter<T: Real>(&self, patches: &[T]) -> Result<Vec<T>> {
        let (batch, channels, height, width) = self.dims;
        let (_, _, fan_in) = self.shape;
        let positions = self.rows.out * self.columns.out;
        let group = channels / self.groups();
        let (kh, kw) = (self.rows.window.kernel, self.columns.window.kernel);
        let image = channels * height * width;
        filled("gradient of an image", &[batch, image], image, |b, out| {
            for at in 0..self.groups() * positions {
                let (g, position) = (at / positions, at % positions);
                let row = match self.sites {
                    Sites::Groups(_) => (g * batch + b) * positions + position,
                    Sites::Positions => position * batch + b,
                };
                let (oh, ow) = (position / self.columns.out, position % self.columns.out);
                let patch = &patches[row * fan_in..][..fan_in];
                for c in 0..group {
                    let plane = (g * group + c) * height * width;
                    for i in 0..kh {
                        let Some(h) = self.row_taps[oh * kh + i] else { continue };
                        for j in 0..kw {
                            let Some(w) = self.column_taps[ow * kw + j] else { continue };
                            out[plane + h * width + w] += patch[(c * kh + i) * kw + j];
                        }
                    }
                }
            }
            Ok(())
        })
    }
}

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_real!(x, "unfold", T => {
            let (x, strides) = view::<T>(x, layout)?;
            Ok((cpu::owned(self.gather(x, strides)?), self.shape.into()))
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        grad.detach().contiguous()?.apply_op1_no_bwd(&Fold(self)).map(Some)
    }
}

/// The gradient of [`Unfold`].
struct Fold<'a>(&'a Unfold);

impl CustomOp1 for Fold<'_> {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn cpu_fwd(&self, patches: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_real!(patches, "fold", T => {
            let x = self.0.scatter::<T>(slice(patches, layout)?)?;
            Ok((cpu::owned(x), self.0.dims.into()))
        })
    }
}
