//! Homeostasis: units that win too often make it harder for themselves.

use crate::cpu::{self, Real, RowKernel, for_row_blocks, slice, with_real};
use crate::ops::{column_counts, has_kernels};
use candle::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor};

/// Adaptive thresholds that keep every unit active equally often.
///
/// ```text
/// r = u − θ        θ_k ← θ_k + μ ( mean_p 1[y_pk > 0] − ρ )
/// ```
///
/// `u (S, P, K)` is a layer's linear response, `r` what competes in its place, `y` what the
/// competition made of it; the mean is over the `P` rows of a batch. `μ` is `rate`, `ρ` is `target`.
/// With exactly `k` winners of `K` in every row and `ρ = k/K` the sum of thresholds does not change;
/// any other target makes all of them drift without end. A `μρ` of about 0.03 balances units
/// quickly without shaking them.
///
/// Source: Miconi 2021, arXiv 2107.01729.
///
/// ```
/// use candle::{DType, Device, Tensor};
/// use candle_hebbian::{AdaptiveThreshold, Competition};
/// let mut threshold = AdaptiveThreshold::new((1, 2), 3.0, 0.5, DType::F64, &Device::Cpu)?;
/// let u = Tensor::new(&[[[1f64, 0.5], [2.0, 0.0]]], &Device::Cpu)?; // unit 0 wins both rows
/// let y = Competition::KWtaBinary { k: 1 }.apply(&threshold.apply(&u)?)?;
/// threshold.adapt(&y)?;
/// assert_eq!(threshold.values().to_vec2::<f64>()?, [[1.5, -1.5]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug)]
pub struct AdaptiveThreshold {
    values: Tensor,
    rate: f64,
    target: f64,
}

impl AdaptiveThreshold {
    /// Thresholds of 0 for `(sites, units)`.
    ///
    /// # Errors
    /// A rate that is negative or not finite, or a target outside 0 to 1.
    pub fn new(
        (sites, units): (usize, usize),
        rate: f64,
        target: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        if !(rate >= 0.0 && rate.is_finite() && (0.0..=1.0).contains(&target)) {
            candle::bail!(
                "adaptive threshold: expected a rate ≥ 0 and a target from 0 to 1, found {rate} and \
                 {target}"
            )
        }
        Ok(Self { values: Tensor::zeros((sites, units), dtype, device)?, rate, target })
    }

    /// `θ (S, K)`
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Puts saved thresholds back.
    ///
    /// # Errors
    /// Another shape.
    pub fn set(&mut self, values: &Tensor) -> Result<()> {
        if values.shape() != self.values.shape() {
            candle::bail!("thresholds of {:?} for {:?}", values.dims(), self.values.dims())
        }
        self.values = values.detach();
        Ok(())
    }

    /// `u − θ` for `u (S, P, K)`.
    ///
    /// # Errors
    /// Other sites or units than there are thresholds of.
    pub fn apply(&self, u: &Tensor) -> Result<Tensor> {
        let (u, values) = (u.detach(), self.values.detach());
        let (sites, _, units) = u.dims3()?;
        if values.dims() != [sites, units] {
            candle::bail!("thresholds of {:?} for a response of {:?}", values.dims(), u.dims())
        }
        match has_kernels(u.device()) {
            true => u.contiguous()?.apply_op2_no_bwd(&values.contiguous()?, &Excess),
            false => u.broadcast_sub(&values.unsqueeze(1)?),
        }
    }

    /// Moves the thresholds by what the activity `post (S, P, K)` of one batch was above or below
    /// the target.
    pub fn adapt(&mut self, post: &Tensor) -> Result<()> {
        let rows = post.dim(1)?.max(1) as f64;
        let excess = column_counts(post)?.affine(1.0 / rows, -self.target)?;
        self.values = (&self.values + (excess * self.rate)?)?;
        Ok(())
    }
}

/// `u − θ`
struct Excess;

impl CustomOp2 for Excess {
    fn name(&self) -> &'static str {
        "excess"
    }

    fn cpu_fwd(
        &self,
        u: &CpuStorage,
        u_layout: &Layout,
        threshold: &CpuStorage,
        threshold_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, rows, units) = u_layout.shape().dims3()?;
        with_real!(u, "excess", T => {
            let u = slice::<T>(u, u_layout)?;
            let threshold = slice::<T>(threshold, threshold_layout)?;
            let mut out = vec![0 as T; u.len()];
            for_row_blocks(&mut out, units, units, &Rows { u, threshold, rows, units });
            Ok((cpu::owned(out), u_layout.shape().clone()))
        })
    }
}

struct Rows<'a, T> {
    u: &'a [T],
    threshold: &'a [T],
    rows: usize,
    units: usize,
}

impl<T: Real> RowKernel<T> for Rows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        for (i, out) in block.chunks_exact_mut(self.units).enumerate() {
            let u = &self.u[(first + i) * self.units..][..self.units];
            let threshold = &self.threshold[(first + i) / self.rows * self.units..][..self.units];
            for ((out, &u), &threshold) in out.iter_mut().zip(u).zip(threshold) {
                *out = u - threshold;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let mut rng = Rng::new(21);
        let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu);
        let (u, values) = (normal((3, 7, 5))?, normal((1, 3, 5))?.squeeze(0)?);
        let mut threshold = AdaptiveThreshold::new((3, 5), 1.0, 0.2, DType::F64, &Device::Cpu)?;
        threshold.set(&values)?;
        let difference = (threshold.apply(&u)? - u.broadcast_sub(&values.unsqueeze(1)?)?)?;
        assert_eq!(difference.abs()?.max_all()?.to_scalar::<f64>()?, 0.0);
        Ok(())
    }
}
