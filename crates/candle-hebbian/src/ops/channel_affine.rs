//! A shift and a scale for each channel.

use super::backend::has_kernels;
use super::value::Value;
use crate::cpu::{self, Real, RowKernel, slice, with_real};
use crate::memory::filled_rows;
use candle::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

/// Computes `(x − shift_c)·scale_c` for rows `x (1, P, C)`, with `shift` and `scale (1, C)`. Not
/// differentiable.
///
/// # Errors
/// If the shapes differ from these.
pub(super) fn channel_affine(x: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Value> {
    if has_kernels(x.device()) {
        let (shift, scale) = (shift.contiguous()?, scale.contiguous()?);
        return Value::op3(&x.contiguous()?, &shift, &scale, &ChannelAffine);
    }
    Ok(x.broadcast_sub(&shift.unsqueeze(1)?)?.broadcast_mul(&scale.unsqueeze(1)?)?.into())
}

struct ChannelAffine;

impl CustomOp3 for ChannelAffine {
    fn name(&self) -> &'static str {
        "channel_affine"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        shift: &CpuStorage,
        shift_layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, _, channels) = x_layout.shape().dims3()?;
        for layout in [shift_layout, scale_layout] {
            if layout.dims() != [1, channels] {
                candle::bail!("{:?} for each channel of {:?}", layout.dims(), x_layout.dims())
            }
        }
        with_real!(x, "channel_affine", T => {
            let x = slice::<T>(x, x_layout)?;
            let (shift, scale) = (slice(shift, shift_layout)?, slice(scale, scale_layout)?);
            let kernel = Rows { x, shift, scale };
            let out = filled_rows("scaled channels", (x.len(), channels), channels, &kernel)?;
            Ok((cpu::owned(out), x_layout.shape().clone()))
        })
    }
}

struct Rows<'a, T> {
    x: &'a [T],
    shift: &'a [T],
    scale: &'a [T],
}

impl<T: Real> RowKernel<T> for Rows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        let channels = self.shift.len();
        let rows = self.x[first * channels..].chunks_exact(channels);
        for (out, x) in block.chunks_exact_mut(channels).zip(rows) {
            for (((out, &x), &shift), &scale) in
                out.iter_mut().zip(x).zip(self.shift).zip(self.scale)
            {
                *out = (x - shift) * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::ops::composed;
    use candle::{DType, Device};

    #[test]
    fn kernel_and_composition_are_the_definition() -> Result<()> {
        let mut rng = Rng::new(5);
        for (rows, channels) in [(3000, 7), (1, 1), (0, 4), (2, 20_000)] {
            let mut normal =
                |rows| rng.normal(0.0, 1.0, (1, rows, channels), DType::F64, &Device::Cpu);
            let (x, shift, scale) = (normal(rows)?, normal(1)?.squeeze(1)?, normal(1)?.squeeze(1)?);
            let kernel = channel_affine(&x, &shift, &scale)?.into_tensor();
            let other = composed(|| channel_affine(&x, &shift, &scale))?.into_tensor();
            let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f64>();
            let (shift, scale) = (flat(&shift)?, flat(&scale)?);
            let want: Vec<f64> = flat(&x)?
                .iter()
                .enumerate()
                .map(|(at, x)| (x - shift[at % channels]) * scale[at % channels])
                .collect();
            for found in [kernel, other] {
                assert_eq!(found.dims(), x.dims());
                assert_eq!(flat(&found)?, want);
            }
        }
        Ok(())
    }

    #[test]
    fn another_number_of_channels_is_refused() -> Result<()> {
        let (x, one) = (
            Tensor::zeros((1, 4, 3), DType::F32, &Device::Cpu)?,
            Tensor::zeros((1, 2), DType::F32, &Device::Cpu)?,
        );
        assert!(channel_affine(&x, &one, &one).is_err());
        assert!(composed(|| channel_affine(&x, &one, &one)).is_err());
        Ok(())
    }
}
