//! Homeostasis: units that win too often raise their own thresholds.

use crate::cpu::{self, Real, RowKernel, slice, with_real};
use crate::memory::{self, filled_rows};
use crate::ops::widen::{wide_dtype, widened};
use crate::ops::{Value, column_counts, custom_vjp, has_kernels};
use candle::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, Var};
use candle_nn::{Init, VarBuilder};

/// Adaptive thresholds that keep every unit active equally often.
///
/// ```text
/// r = u − θ        θ_k ← θ_k + μ ( mean_p 1[y_pk > 0] − ρ )
/// ```
///
/// `u (S, P, K)` is a layer's linear response, `r` competes in its place, and `y` is the activity after the
/// competition; the mean is over the `P` rows of a batch. `μ` is `rate`, `ρ` is `target`. With exactly `k` winners
/// among `K` units in every row and `ρ = k/K`, the sum of the thresholds does not change; any other target makes all of
/// them drift without end. A `μρ` of about 0.03 balances units quickly without making the thresholds fluctuate.
///
/// Thresholds are a variable, so that a `VarMap` saves and loads them, but no gradient reaches them. For responses in
/// f16 and bf16 they are kept in f32, since steps so small would be rounded away. A NaN activity makes the threshold of
/// its unit NaN, because its count cannot be trusted.
///
/// Source: Miconi 2021, arXiv 2107.01729.
///
/// ```
/// use candle::{DType, Device, Tensor};
/// use candle_hebbian::{AdaptiveThreshold, Competition, KWta};
/// let threshold = AdaptiveThreshold::new((1, 2), 3.0, 0.5, DType::F64, &Device::Cpu)?;
/// let u = Tensor::new(&[[[1f64, 0.5], [2.0, 0.0]]], &Device::Cpu)?; // unit 0 wins both rows
/// let y = KWta::binary(1).compete(&threshold.apply(&u)?)?;
/// threshold.adapt(&y)?;
/// assert_eq!(threshold.values().to_vec2::<f64>()?, [[1.5, -1.5]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug)]
pub struct AdaptiveThreshold {
    /// One threshold for each unit, site by site.
    var: Var,
    /// The same memory in the shape `(S, K)`.
    values: Tensor,
    rate: f64,
    target: f64,
}

/// Builds an [`AdaptiveThreshold`] for `(sites, units)` whose thresholds are the variable `threshold (S·K)` of `vb`;
/// new thresholds are 0.
///
/// # Errors
/// As for [`AdaptiveThreshold::new`], or if `vb` has thresholds of another shape.
pub fn adaptive_threshold(
    (sites, units): (usize, usize),
    rate: f64,
    target: f64,
    vb: VarBuilder,
) -> Result<AdaptiveThreshold> {
    // What is refused leaves no variable behind.
    check(units, rate, target)?;
    let (hints, dtype) = (Init::Const(0.0), wide_dtype(vb.dtype()));
    memory::check("thresholds", &[sites, units], dtype, vb.device())?;
    let var = vb.get_with_hints_dtype(sites * units, "threshold", hints, dtype)?;
    AdaptiveThreshold::of(Var::from_tensor(&var)?, (sites, units), rate, target)
}

/// Refuses thresholds of no units, and parameters with which they could not adapt.
fn check(units: usize, rate: f64, target: f64) -> Result<()> {
    if !(rate >= 0.0 && (rate as f32).is_finite() && (0.0..=1.0).contains(&target)) {
        candle::bail!(
            "adaptive threshold: expected a rate ≥ 0 and a target from 0 to 1, found {rate} and \
             {target}"
        )
    }
    if units == 0 {
        candle::bail!("adaptive threshold: there are no units to have one")
    }
    Ok(())
}

impl AdaptiveThreshold {
    /// Makes thresholds of 0 for `(sites, units)` and responses of type `dtype`, in a new variable of their own.
    ///
    /// # Errors
    /// If there are no units or not enough memory, the rate is negative or not finite in f32, or the target is outside
    /// 0 to 1.
    pub fn new(
        (sites, units): (usize, usize),
        rate: f64,
        target: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        check(units, rate, target)?;
        let dtype = wide_dtype(dtype);
        memory::check("thresholds", &[sites, units], dtype, device)?;
        let var = Var::zeros(sites * units, dtype, device)?;
        Self::of(var, (sites, units), rate, target)
    }

    fn of(var: Var, (sites, units): (usize, usize), rate: f64, target: f64) -> Result<Self> {
        let values = var.as_detached_tensor().reshape((sites, units))?;
        Ok(Self { var, values, rate, target })
    }

    /// The thresholds `θ (S, K)`, in f32 or f64. They share memory with the variable.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    pub(crate) fn var(&self) -> &Var {
        &self.var
    }

    /// Restores saved thresholds.
    ///
    /// # Errors
    /// If their shape differs.
    pub fn set(&self, values: &Tensor) -> Result<()> {
        if values.shape() != self.values.shape() {
            candle::bail!("thresholds of {:?}, expected {:?}", values.dims(), self.values.dims())
        }
        self.var.set(&values.detach().to_dtype(self.var.dtype())?.flatten_all()?)
    }

    /// Computes `u − θ` for `u (S, P, K)`; differentiable in `u`.
    ///
    /// # Errors
    /// If the sites, units or type differ from those that the thresholds were made for.
    pub fn apply(&self, u: &Tensor) -> Result<Tensor> {
        self.fits("a response", u)?;
        if u.elem_count() == 0 {
            return Ok(u.clone());
        }
        let excess = |u: &Tensor| match has_kernels(u.device()) {
            true => Value::op2(&u.contiguous()?, &self.values.contiguous()?, &Excess),
            false => Ok(u.broadcast_sub(&self.values.unsqueeze(1)?)?.into()),
        };
        widened(u, |u| {
            let forward = |[u]: &[Tensor; 1]| Ok((excess(u)?, ()));
            custom_vjp("excess", [u], forward, |pass| Ok([Some(pass.grad.clone())]))
        })
    }

    /// Moves the thresholds by how much the activity `post (S, P, K)` of one batch is above or below the target. A
    /// batch without rows moves none.
    ///
    /// # Errors
    /// If the sites, units or type differ from those that the thresholds were made for.
    pub fn adapt(&self, post: &Tensor) -> Result<()> {
        let rows = self.fits("the activity", post)?;
        if rows == 0 {
            return Ok(());
        }
        let counts = column_counts(&post.detach().to_dtype(self.values.dtype())?)?;
        let excess = counts.affine(1.0 / rows as f64, -self.target)?;
        self.set(&(&self.values + (excess * self.rate)?)?)
    }

    /// The number of rows of `t (S, P, K)`, if its other sizes and its type fit.
    fn fits(&self, what: &str, t: &Tensor) -> Result<usize> {
        match (t.dims(), self.values.dims()) {
            (&[sites, rows, units], &[s, k]) if (sites, units) == (s, k) => {
                if wide_dtype(t.dtype()) != self.values.dtype() {
                    candle::bail!(
                        "thresholds in {:?} for {what} in {:?}: expected thresholds in {:?}",
                        self.values.dtype(),
                        t.dtype(),
                        wide_dtype(t.dtype())
                    )
                }
                Ok(rows)
            }
            (found, thresholds) => {
                candle::bail!(
                    "thresholds of {thresholds:?} (sites, units) for {what} of {found:?}: \
                     expected (sites, rows, units) with the same sites and units"
                )
            }
        }
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
            let kernel = Rows { u, threshold, rows, units };
            let out = filled_rows("excess", (u.len(), units), units, &kernel)?;
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
    use crate::largest::largest;

    /// An error passes the subtraction unchanged, and none reaches the thresholds.
    #[test]
    fn the_response_gets_the_error() -> Result<()> {
        let threshold = AdaptiveThreshold::new((1, 2), 1.0, 0.2, DType::F64, &Device::Cpu)?;
        threshold.set(&Tensor::new(&[[0.5f64, -1.0]], &Device::Cpu)?)?;
        let u = Var::new(&[[[1f64, 2.0], [3.0, 4.0]]], &Device::Cpu)?;
        let error = Tensor::new(&[[[1f64, -2.0], [0.0, 4.0]]], &Device::Cpu)?;
        let excess = threshold.apply(&u)?;
        assert_eq!(excess.to_vec3::<f64>()?, [[[0.5, 3.0], [2.5, 5.0]]]);
        let grads = (excess * &error)?.sum_all()?.backward()?;
        let gradient = grads.get(&u).expect("a gradient");
        assert_eq!(gradient.to_vec3::<f64>()?, error.to_vec3::<f64>()?);
        assert!(grads.get(threshold.var()).is_none());
        Ok(())
    }

    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let mut rng = Rng::new(21);
        let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu);
        let (u, values) = (normal((3, 7, 5))?, normal((1, 3, 5))?.squeeze(0)?);
        let threshold = AdaptiveThreshold::new((3, 5), 1.0, 0.2, DType::F64, &Device::Cpu)?;
        threshold.set(&values)?;
        let difference = (threshold.apply(&u)? - u.broadcast_sub(&values.unsqueeze(1)?)?)?;
        assert_eq!(largest(&difference)?, 0.0);
        Ok(())
    }

    /// Of two rows, the unit of the first site wins one and that of the second both; the target is one of two.
    #[test]
    fn each_site_has_its_win_rate() -> Result<()> {
        let threshold = AdaptiveThreshold::new((2, 1), 1.0, 0.5, DType::F64, &Device::Cpu)?;
        threshold.adapt(&Tensor::new(&[[[1f64], [0.0]], [[1.0], [1.0]]], &Device::Cpu)?)?;
        assert_eq!(threshold.values().to_vec2::<f64>()?, [[0.0], [0.5]]);
        assert!(threshold.set(&Tensor::zeros((1, 2), DType::F64, &Device::Cpu)?).is_err());
        Ok(())
    }
}
