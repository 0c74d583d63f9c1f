//! Patches: every position of a map as a row, ready for a matrix product.

use crate::cpu::{self, Real, slice, vectorised, with_real};
use crate::geometry::{Conv2dConfig, PaddingMode};
use crate::ops::{has_kernels, reflect};
use candle::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Which image positions a window reads along one axis: entry `o·k + i` is the source of tap `i`
/// of output `o`, `None` where zero padding is read.
#[derive(Debug, Clone)]
pub(crate) struct Taps {
    pub kernel: usize,
    pub out: usize,
    pub source: Vec<Option<usize>>,
}

impl Taps {
    pub(crate) fn new(size: usize, kernel: usize, config: &Conv2dConfig) -> Result<Self> {
        let out = config.output_size(size, kernel)?;
        let source = (0..out * kernel)
            .map(|tap| {
                let at = (tap / kernel) * config.stride + (tap % kernel) * config.dilation;
                let at = at as isize - config.padding as isize;
                match config.padding_mode {
                    PaddingMode::Zeros => usize::try_from(at).ok().filter(|&at| at < size),
                    PaddingMode::Reflect => Some(reflect(at, size)),
                }
            })
            .collect();
        Ok(Self { kernel, out, source })
    }
}

/// How patches are laid out as `(sites, rows, fan_in)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sites {
    /// A site per channel group, a row per image and position: weights shared over positions.
    Groups(usize),
    /// A site per position, a row per image: untied weights.
    Positions,
}

/// Unfolds `x (B, C, H, W)` into rows of `C/groups·kh·kw`, channel-major. Differentiable in `x`.
pub(crate) fn unfold(
    x: &Tensor,
    (kh, kw): (usize, usize),
    config: &Conv2dConfig,
    sites: Sites,
) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let op = Unfold {
        rows: Taps::new(height, kh, config)?,
        columns: Taps::new(width, kw, config)?,
        sites,
    };
    if has_kernels(x.device()) { x.apply_op1(op) } else { op.composed(x) }
}

struct Unfold {
    rows: Taps,
    columns: Taps,
    sites: Sites,
}

impl Unfold {
    /// The shape of the patches, and the row of image `b`, group `g`, position `l`.
    fn place(
        &self,
        batch: usize,
        channels: usize,
    ) -> (Shape, impl Fn(usize, usize, usize) -> usize) {
        let positions = self.rows.out * self.columns.out;
        let taps = self.rows.kernel * self.columns.kernel;
        let sites = self.sites;
        let shape = match sites {
            Sites::Groups(groups) => (groups, batch * positions, channels / groups * taps),
            Sites::Positions => (positions, batch, channels * taps),
        };
        let row = move |b: usize, g: usize, l: usize| match sites {
            Sites::Groups(_) => (g * batch + b) * positions + l,
            Sites::Positions => l * batch + b,
        };
        (shape.into(), row)
    }

    fn groups(&self) -> usize {
        match self.sites {
            Sites::Groups(groups) => groups,
            Sites::Positions => 1,
        }
    }

    /// Calls `patch(row, b, g, oh, ow)` for every patch of image `b`.
    #[inline(always)]
    fn for_patches(&self, b: usize, mut patch: impl FnMut(usize, usize, usize, usize)) {
        for g in 0..self.groups() {
            for oh in 0..self.rows.out {
                for ow in 0..self.columns.out {
                    patch(b, g, oh, ow);
                }
            }
        }
    }

    fn gather<T: Real>(&self, x: &[T], layout: &Layout) -> Result<(Vec<T>, Shape)> {
        let (batch, channels, _, _) = layout.shape().dims4()?;
        let [sb, sc, sh, sw] = strides(layout)?;
        let (shape, row) = self.place(batch, channels);
        let fan_in = shape.dims()[2];
        let group = channels / self.groups();
        let (kh, kw) = (self.rows.kernel, self.columns.kernel);
        let mut out: Vec<T> = Vec::with_capacity(shape.elem_count());
        let target = Rows(out.as_mut_ptr());
        let positions = self.rows.out * self.columns.out;
        (0..batch * self.rows.out).into_par_iter().for_each(|line| {
            let target = &target;
            let (b, oh) = (line / self.rows.out, line % self.rows.out);
            vectorised(|| {
                for g in 0..self.groups() {
                    for ow in 0..self.columns.out {
                        let start = row(b, g, oh * self.columns.out + ow) * fan_in;
                        // SAFETY: `row` is one-to-one from (b, g, position) to 0..rows, so each
                        // patch is written by one task only, and all of them are written.
                        let patch =
                            unsafe { std::slice::from_raw_parts_mut(target.0.add(start), fan_in) };
                        let source = b * sb + g * group * sc;
                        for i in 0..kh {
                            for j in 0..kw {
                                let tap = i * kw + j;
                                let at = self.rows.source[oh * kh + i]
                                    .zip(self.columns.source[ow * kw + j])
                                    .map(|(h, w)| source + h * sh + w * sw);
                                match at {
                                    Some(at) => {
                                        for c in 0..group {
                                            patch[c * kh * kw + tap] = x[at + c * sc];
                                        }
                                    }
                                    None => {
                                        for c in 0..group {
                                            patch[c * kh * kw + tap] = T::zero();
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            });
        });
        debug_assert_eq!(shape.elem_count(), batch * self.groups() * positions * fan_in);
        // SAFETY: every element was written above.
        unsafe { out.set_len(shape.elem_count()) };
        Ok((out, shape))
    }

    /// The adjoint: adds every patch back where it came from, `(B, C, H, W)`.
    fn scatter<T: Real>(&self, patches: &[T], shape: (usize, usize, usize, usize)) -> Vec<T> {
        let (batch, channels, height, width) = shape;
        let (patch_shape, row) = self.place(batch, channels);
        let fan_in = patch_shape.dims()[2];
        let group = channels / self.groups();
        let (kh, kw) = (self.rows.kernel, self.columns.kernel);
        let mut out = vec![T::zero(); batch * channels * height * width];
        out.par_chunks_mut((channels * height * width).max(1)).enumerate().for_each(|(b, out)| {
            self.for_patches(b, |b, g, oh, ow| {
                let patch = &patches[row(b, g, oh * self.columns.out + ow) * fan_in..][..fan_in];
                for c in 0..group {
                    let plane = (g * group + c) * height * width;
                    for i in 0..kh {
                        let Some(h) = self.rows.source[oh * kh + i] else { continue };
                        for j in 0..kw {
                            let Some(w) = self.columns.source[ow * kw + j] else { continue };
                            out[plane + h * width + w] += patch[(c * kh + i) * kw + j];
                        }
                    }
                }
            });
        });
        out
    }

    /// The same from candle's own ops, for the devices that have no kernel here.
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, channels, _, _) = x.dims4()?;
        let x = select(x, 2, &self.rows)?;
        let x = select(&x, 3, &self.columns)?;
        let groups = self.groups();
        let x = x.reshape(&[
            batch,
            groups,
            channels / groups,
            self.rows.out,
            self.rows.kernel,
            self.columns.out,
            self.columns.kernel,
        ])?;
        let order = match self.sites {
            Sites::Groups(_) => [1, 0, 3, 5, 2, 4, 6],
            Sites::Positions => [3, 5, 0, 1, 2, 4, 6],
        };
        x.permute(order.as_slice())?.contiguous()?.reshape(self.place(batch, channels).0)
    }
}

/// Reads the positions of `taps` along `dim`; zero padding is one row of zeros at the end.
fn select(x: &Tensor, dim: usize, taps: &Taps) -> Result<Tensor> {
    let size = x.dim(dim)?;
    let padded = taps.source.contains(&None);
    let x = if padded { x.pad_with_zeros(dim, 0, 1)? } else { x.clone() };
    let source: Vec<u32> = taps.source.iter().map(|at| at.unwrap_or(size) as u32).collect();
    let index = Tensor::new(source, x.device())?;
    x.contiguous()?.index_select(&index, dim)
}

fn strides(layout: &Layout) -> Result<[usize; 4]> {
    match layout.stride() {
        &[b, c, h, w] => Ok([b, c, h, w]),
        other => candle::bail!("expected four dimensions, found strides {other:?}"),
    }
}

/// The start of the patches, handed to parallel tasks that write disjoint rows.
struct Rows<T>(*mut T);
// SAFETY: tasks write disjoint rows only (see `gather`).
unsafe impl<T: Send> Sync for Rows<T> {}

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_real!(x, "unfold", T => {
            let x = &x.as_slice::<T>()?[layout.start_offset()..];
            let (patches, shape) = self.gather(x, layout)?;
            Ok((cpu::owned(patches), shape))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let fold = Fold { unfold: self, shape: x.dims4()? };
        grad.detach().contiguous()?.apply_op1_no_bwd(&fold).map(Some)
    }
}

struct Fold<'a> {
    unfold: &'a Unfold,
    shape: (usize, usize, usize, usize),
}

impl CustomOp1 for Fold<'_> {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn cpu_fwd(&self, patches: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_real!(patches, "fold", T => {
            let x = self.unfold.scatter::<T>(slice(patches, layout)?, self.shape);
            Ok((cpu::owned(x), self.shape.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use candle::{DType, Device, Var};

    /// Kernel and composition, forward and backward, in both memory formats.
    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let mut rng = Rng::new(11);
        for padding_mode in [PaddingMode::Zeros, PaddingMode::Reflect] {
            for (stride, padding, trailing_padding, dilation) in
                [(1, 0, 0, 1), (2, 1, 0, 1), (1, 2, 0, 2), (1, 0, 1, 1)]
            {
                let config = Conv2dConfig {
                    stride,
                    padding,
                    trailing_padding,
                    dilation,
                    groups: 1,
                    padding_mode,
                };
                for sites in [Sites::Groups(1), Sites::Groups(2), Sites::Positions] {
                    let x = rng.normal(0.0, 1.0, (2, 7, 6, 4), DType::F64, &Device::Cpu)?;
                    let x = Var::from_tensor(&x)?;
                    let seen = x.permute((0, 3, 1, 2))?; // channels adjacent
                    let op = || -> Result<Unfold> {
                        let (rows, columns) =
                            (Taps::new(7, 3, &config)?, Taps::new(6, 2, &config)?);
                        Ok(Unfold { rows, columns, sites })
                    };
                    let (kernel, composed) = (seen.apply_op1(op()?)?, op()?.composed(&seen)?);
                    assert_eq!(kernel.dims(), composed.dims());
                    let same = (&kernel - &composed)?.abs()?.max_all()?.to_scalar::<f64>()?;
                    assert_eq!(same, 0.0, "{config:?} {sites:?}");
                    let upstream =
                        rng.normal(0.0, 1.0, kernel.shape(), DType::F64, &Device::Cpu)?;
                    let grad = |out: &Tensor| -> Result<Tensor> {
                        let grads = (out * &upstream)?.sum_all()?.backward()?;
                        grads.get(&x).cloned().ok_or_else(|| candle::Error::msg("no gradient"))
                    };
                    let difference = (grad(&kernel)? - grad(&composed)?)?.abs()?.max_all()?;
                    assert!(difference.to_scalar::<f64>()? < 1e-12, "{config:?} {sites:?}");
                }
            }
        }
        Ok(())
    }
}
