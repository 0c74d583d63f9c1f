//! Patches: every position of a map as a row, ready for a matrix product.

mod composed;
mod kernel;
mod untied;

pub(crate) use untied::untied;

use super::backend::has_kernels;
use super::widen::widened;
use crate::memory;
use crate::window::{Axis, Conv2dConfig};
use candle::{Result, Tensor};

/// How patches are laid out as `(sites, rows, fan_in)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sites {
    /// A site per channel group, a row per image and position: weights shared over positions.
    Groups(usize),
    /// A site per position, a row per image: untied weights.
    Positions,
}

/// Unfolds `x (B, C, H, W)` into rows of `C/groups·kh·kw`, channel-major. Differentiable in `x`; the
/// gradient of a pixel is summed in f32 also for f16 and bf16. NaN and infinity are passed on.
///
/// # Errors
/// If the windows do not fit the image, the groups do not divide the channels, or there is not
/// enough memory for the patches.
pub(crate) fn unfold(
    x: &Tensor,
    kernel: (usize, usize),
    config: &Conv2dConfig,
    sites: Sites,
) -> Result<Tensor> {
    widened(x, |x| {
        let op = Unfold::new(x, kernel, config, sites)?;
        if x.elem_count() == 0 {
            return x.reshape(op.shape); // no images or no channels: no patches
        }
        if has_kernels(x.device()) { x.apply_op1(op) } else { op.composed(x) }
    })
}

/// Refuses untied weights `(OH, OW, …)` for an image with other numbers of windows, from top to bottom and from left to
/// right: each window would meet the weights of another place.
///
/// # Errors
/// If they differ.
pub(crate) fn check_windows(x: &Tensor, windows: (usize, usize), weight: &[usize]) -> Result<()> {
    if windows != (weight[0], weight[1]) {
        candle::bail!(
            "an input of {:?} has {} x {} windows, the untied weights {weight:?} have {} x {}",
            x.dims(),
            windows.0,
            windows.1,
            weight[0],
            weight[1]
        )
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Unfold {
    dims: (usize, usize, usize, usize),
    rows: Axis,
    columns: Axis,
    row_taps: Vec<Option<usize>>,
    column_taps: Vec<Option<usize>>,
    sites: Sites,
    /// The shape of the patches.
    shape: (usize, usize, usize),
}

impl Unfold {
    fn new(
        x: &Tensor,
        (kh, kw): (usize, usize),
        config: &Conv2dConfig,
        sites: Sites,
    ) -> Result<Self> {
        let dims @ (batch, channels, height, width) = x.dims4()?;
        let (rows, columns) = (config.axis(height, kh)?, config.axis(width, kw)?);
        let groups = match sites {
            Sites::Groups(groups) => groups,
            Sites::Positions => 1,
        };
        if groups == 0 || !channels.is_multiple_of(groups) {
            candle::bail!("{channels} input channels do not divide into {groups} groups")
        }
        let sizes = [batch, channels, rows.out, columns.out, kh, kw];
        memory::count("patches", &sizes, x.dtype().size_in_bytes())?;
        let positions = rows.out * columns.out;
        let shape = match sites {
            Sites::Groups(groups) => (groups, batch * positions, channels / groups * kh * kw),
            Sites::Positions => (positions, batch, channels * kh * kw),
        };
        let (row_taps, column_taps) = (rows.taps()?, columns.taps()?);
        Ok(Self { dims, rows, columns, row_taps, column_taps, sites, shape })
    }

    fn groups(&self) -> usize {
        match self.sites {
            Sites::Groups(groups) => groups,
            Sites::Positions => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::largest::largest;
    use crate::{PaddingMode, Rng};
    use candle::{DType, Device, Var};

    /// Kernel and composition agree, forward and backward, for images in both memory formats.
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
                    for channels_last in [true, false] {
                        let shape = if channels_last { [2, 7, 6, 4] } else { [2, 4, 7, 6] };
                        let x = rng.normal(0.0, 1.0, &shape, DType::F64, &Device::Cpu)?;
                        let x = Var::from_tensor(&x)?;
                        let seen = match channels_last {
                            true => x.permute((0, 3, 1, 2))?,
                            false => x.as_tensor().clone(),
                        };
                        let op = || Unfold::new(&seen, (3, 2), &config, sites);
                        let (kernel, composed) = (seen.apply_op1(op()?)?, op()?.composed(&seen)?);
                        assert_eq!(kernel.dims(), composed.dims());
                        let same = largest(&(&kernel - &composed)?)?;
                        assert_eq!(same, 0.0, "{config:?} {sites:?}");
                        let upstream =
                            rng.normal(0.0, 1.0, kernel.shape(), DType::F64, &Device::Cpu)?;
                        let grad = |out: &Tensor| -> Result<Tensor> {
                            let grads = (out * &upstream)?.sum_all()?.backward()?;
                            grads.get(&x).cloned().ok_or_else(|| candle::Error::msg("no gradient"))
                        };
                        let difference = (grad(&kernel)? - grad(&composed)?)?;
                        assert!(largest(&difference)? < 1e-12, "{config:?} {sites:?}");
                    }
                }
            }
        }
        Ok(())
    }
}
