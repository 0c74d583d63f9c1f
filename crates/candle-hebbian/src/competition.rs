//! Competition among the units that see the same input: what makes post-synaptic activity `y` of
//! the linear response `u`.

use crate::cpu::{self, Real, RowKernel, for_row_blocks, maximum, slice, sum, with_real};
use crate::ops::{self, has_kernels};
use candle::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};
use serde::{Deserialize, Deserializer, Serialize};

/// How the units of one row (one sample, or one position of a map) compete.
///
/// The result `y` has the shape of `u`; competition is along the last dimension. It carries no
/// gradient: rules treat `y` as a constant.
///
/// ```
/// use candle_hebbian::Competition;
/// use candle::{Device, Tensor};
/// let u = Tensor::new(&[[1f64, 1.5, 1.0]], &Device::Cpu)?;
/// let y = Competition::SoftWtaAntiHebbian { inverse_temperature: 1.0 }.apply(&u)?;
/// let y = y.to_vec2::<f64>()?;
/// assert!((y[0][0] + 0.274069).abs() < 1e-6 && (y[0][1] - 0.451863).abs() < 1e-6);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Competition {
    /// `y = u`.
    #[serde(deserialize_with = "no_fields")]
    None,
    /// 1 for the unit of largest `u` (the first of equals), 0 for the others.
    #[serde(deserialize_with = "no_fields")]
    HardWta,
    /// 1 where `u` is at least the `k`-th largest and above 0, else 0. Ties at the `k`-th place
    /// all win. Miconi 2021.
    KWtaBinary {
        /// Number of winners.
        k: usize,
    },
    /// `u` itself where [`KWtaBinary`](Self::KWtaBinary) has 1, else 0.
    KWtaGraded {
        /// Number of winners.
        k: usize,
    },
    /// `y_k = e^{t·u_k} / Σ_l e^{t·u_l}`. Moraitis et al. 2022; Journé et al. 2023, Eq. 1.
    SoftWta {
        /// `t`, one over the temperature.
        inverse_temperature: f64,
    },
    /// [`SoftWta`](Self::SoftWta), negated for every unit but the one of largest `u`: the losers
    /// learn with the opposite sign. Journé et al. 2023.
    SoftWtaAntiHebbian {
        /// `t`, one over the temperature.
        inverse_temperature: f64,
    },
}

/// `deny_unknown_fields` for a variant without fields, to which serde does not apply it.
fn no_fields<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoFields {}
    NoFields::deserialize(deserializer).map(drop)
}

impl Competition {
    /// `y` for the response `u` (any shape, units last).
    ///
    /// # Errors
    /// `k` outside `1..=units`; an inverse temperature that is not finite; units of size 0.
    pub fn apply(&self, u: &Tensor) -> Result<Tensor> {
        let u = u.detach();
        let units = u.dim(D::Minus1)?;
        self.check(units)?;
        match self {
            Self::None => Ok(u),
            _ if has_kernels(u.device()) => u.contiguous()?.apply_op1_no_bwd(self),
            _ => self.composed(&u),
        }
    }

    fn check(&self, units: usize) -> Result<()> {
        match *self {
            _ if units == 0 => candle::bail!("competition: there are no units to compete"),
            Self::KWtaBinary { k } | Self::KWtaGraded { k } if k == 0 || k > units => {
                candle::bail!("competition: k is {k}, expected 1 to {units}, the number of units")
            }
            Self::SoftWta { inverse_temperature: t }
            | Self::SoftWtaAntiHebbian { inverse_temperature: t }
                if !t.is_finite() =>
            {
                candle::bail!("competition: inverse_temperature is {t}, expected a finite number")
            }
            _ => Ok(()),
        }
    }

    /// The same from candle's own ops, for the devices that have no kernel here.
    fn composed(&self, u: &Tensor) -> Result<Tensor> {
        let winner = || -> Result<Tensor> {
            // Not by `argmax`: which of equals it finds depends on the device.
            let units = u.dim(D::Minus1)? as f32;
            let order = Tensor::arange(0.0, units, u.device())?.broadcast_as(u.shape())?;
            let largest = u.broadcast_ge(&u.max_keepdim(D::Minus1)?)?;
            let first = largest.where_cond(&order, &order.affine(0.0, units.into())?)?;
            order.broadcast_eq(&first.min_keepdim(D::Minus1)?)?.to_dtype(u.dtype())
        };
        let k_wta = |k: usize| -> Result<Tensor> {
            (u.broadcast_ge(&ops::kth_largest(u, k)?)? * u.gt(0.0)?)?.to_dtype(u.dtype())
        };
        let softmax = |t: f64| candle_nn::ops::softmax(&(u * t)?, D::Minus1);
        match *self {
            Self::None => Ok(u.clone()),
            Self::HardWta => winner(),
            Self::KWtaBinary { k } => k_wta(k),
            Self::KWtaGraded { k } => k_wta(k)? * u,
            Self::SoftWta { inverse_temperature } => softmax(inverse_temperature),
            Self::SoftWtaAntiHebbian { inverse_temperature } => {
                let sign = winner()?.affine(2.0, -1.0)?;
                softmax(inverse_temperature)? * sign
            }
        }
    }

    #[inline(always)]
    fn row<T: Real>(&self, u: &[T], y: &mut [T], scratch: &mut Vec<T>) {
        match *self {
            Self::None => y.copy_from_slice(u),
            Self::HardWta => {
                y.fill(T::zero());
                y[argmax(u)] = T::one();
            }
            Self::KWtaBinary { k } => {
                let threshold = kth_largest(u, k, scratch);
                for (y, &u) in y.iter_mut().zip(u) {
                    *y = if u >= threshold && u > T::zero() { T::one() } else { T::zero() };
                }
            }
            Self::KWtaGraded { k } => {
                let threshold = kth_largest(u, k, scratch);
                for (y, &u) in y.iter_mut().zip(u) {
                    *y = if u >= threshold && u > T::zero() { u } else { T::zero() };
                }
            }
            Self::SoftWta { inverse_temperature } => {
                softmax(u, y, T::of(inverse_temperature));
            }
            Self::SoftWtaAntiHebbian { inverse_temperature } => {
                softmax(u, y, T::of(inverse_temperature));
                let winner = argmax(u);
                let share = y[winner];
                for y in y.iter_mut() {
                    *y = -*y;
                }
                y[winner] = share;
            }
        }
    }
}

#[inline(always)]
fn argmax<T: Real>(u: &[T]) -> usize {
    let best = maximum(u, |x| x);
    u.iter().position(|&x| x == best).unwrap_or(0)
}

fn kth_largest<T: Real>(u: &[T], k: usize, scratch: &mut Vec<T>) -> T {
    scratch.clear();
    scratch.extend_from_slice(u);
    let descending = |a: &T, b: &T| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal);
    *scratch.select_nth_unstable_by(k - 1, descending).1
}

#[inline(always)]
fn softmax<T: Real>(u: &[T], y: &mut [T], t: T) {
    let shift = maximum(u, |x| t * x);
    for (y, &u) in y.iter_mut().zip(u) {
        *y = (t * u - shift).fast_exp();
    }
    let scale = T::one() / sum(y, |x| x);
    for y in y.iter_mut() {
        *y *= scale;
    }
}

impl CustomOp1 for Competition {
    fn name(&self) -> &'static str {
        "competition"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = layout.shape();
        let units = shape.dims().last().copied().unwrap_or(1);
        with_real!(storage, "competition", T => {
            let u = slice::<T>(storage, layout)?;
            let mut out = vec![0 as T; u.len()];
            for_row_blocks(&mut out, units, units, &Rows { competition: *self, u, units });
            Ok((cpu::owned(out), shape.clone()))
        })
    }
}

struct Rows<'a, T> {
    competition: Competition,
    u: &'a [T],
    units: usize,
}

impl<T: Real> RowKernel<T> for Rows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        let mut scratch = Vec::new();
        for (i, y) in block.chunks_exact_mut(self.units).enumerate() {
            let u = &self.u[(first + i) * self.units..][..self.units];
            self.competition.row(u, y, &mut scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use candle::{DType, Device};

    /// The kernels and the composition from candle's ops are two ways to the same definition, where
    /// values are equal too.
    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let u = Rng::new(1).normal(0.0, 3.0, (2, 37, 19), DType::F64, &Device::Cpu)?;
        for competition in [
            Competition::None,
            Competition::HardWta,
            Competition::KWtaBinary { k: 3 },
            Competition::KWtaGraded { k: 19 },
            Competition::SoftWta { inverse_temperature: 1.3 },
            Competition::SoftWta { inverse_temperature: -0.4 },
            Competition::SoftWtaAntiHebbian { inverse_temperature: 0.7 },
        ] {
            for u in [&u, &u.round()?] {
                let difference = (competition.apply(u)? - competition.composed(u)?)?;
                let largest = difference.abs()?.max_all()?.to_scalar::<f64>()?;
                assert!(largest < 1e-12, "{competition:?}: {largest}");
            }
        }
        Ok(())
    }
}
