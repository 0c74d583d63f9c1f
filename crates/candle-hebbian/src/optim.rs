//! Steps: what is done with the gradient of a surrogate loss.

use crate::cpu::{Real, RowKernel, for_row_blocks, maximum, slice, vectorised, with_real};
use crate::layer::Layer;
use crate::ops::{has_kernels, squared_norms};
use candle::backprop::GradStore;
use candle::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How fast each unit learns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rate {
    /// `η_k = η₀`
    Constant {
        /// `η₀`
        learning_rate: f64,
    },
    /// `η_k = η₀·(1 − progress)`: 0 at the end.
    LinearDecay {
        /// `η₀`
        learning_rate: f64,
    },
    /// `η_k = m + (η₀ − m)·e^{−speed·progress}`, with `m` such that it ends at `η₀/divisor`.
    ExponentialDecay {
        /// `η₀`
        learning_rate: f64,
        /// How early it falls.
        speed: f64,
        /// `η₀` over the last rate.
        divisor: f64,
    },
    /// `η_k = η₀·(|r_k − 1| + 1e-10)^q` with `r_k = ‖w_k‖`: units slow down as they reach norm 1.
    /// Journé et al. 2023, who write `η·(r − 1)^q`; the absolute value and the 1e-10 are their
    /// code's.
    NormDependent {
        /// `η₀`
        learning_rate: f64,
        /// `q`
        power: f64,
    },
}

impl Rate {
    /// `η (S, K)` for squared norms `r² (S, K)` when the share `progress` (0 to 1) of training is
    /// done.
    pub fn rates(&self, squared_norms: &Tensor, progress: f64) -> Result<Tensor> {
        let same = |rate: f64| squared_norms.zeros_like()?.affine(1.0, rate);
        match *self {
            Self::Constant { learning_rate } => same(learning_rate),
            Self::LinearDecay { learning_rate } => {
                same((learning_rate * (1.0 - progress)).max(0.0))
            }
            Self::ExponentialDecay { learning_rate, speed, divisor } => {
                let end = (-speed).exp();
                let floor = learning_rate * (1.0 / divisor - end) / (1.0 - end);
                same(floor + (learning_rate - floor) * (-speed * progress).exp())
            }
            Self::NormDependent { learning_rate, power } => {
                let distance = (squared_norms.sqrt()? - 1.0)?.abs()?;
                (distance + 1e-10)?.powf(power)? * learning_rate
            }
        }
    }
}

/// A step whose largest entry is the unit's rate: `w_k ← w_k − η_k·G_k / (max|G| + 1e-30)` for the
/// gradient `G` of a rule's surrogate loss (minus the update), the maximum being over a site (the
/// layer, or a channel group).
///
/// From the released code of Journé et al. 2023 (`delta_weight`); not in the paper's Eq. 2. The
/// step does not change when the gradient is scaled, so sums and means over a batch give the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxAbsStep {
    /// The rate of each unit.
    pub rate: Rate,
}

impl MaxAbsStep {
    /// Moves the layer's weights down `gradient`, which has their shape, in place, when the share
    /// `progress` (0 to 1) of training is done.
    ///
    /// # Errors
    /// A gradient of another shape.
    pub fn descend(&self, layer: &Layer, gradient: &Tensor, progress: f64) -> Result<()> {
        let weight = layer.var()?;
        if gradient.shape() != weight.shape() {
            candle::bail!("a step of {:?} for weights of {:?}", gradient.dims(), weight.dims())
        }
        let dims = layer.dims();
        let matrices = (dims.sites, dims.units, dims.fan_in);
        let old = weight.detach().reshape(matrices)?;
        let gradient = gradient.detach().contiguous()?.reshape(matrices)?;
        let rates = self.rate.rates(&squared_norms(&old)?, progress)?;
        if has_kernels(old.device()) {
            return old.inplace_op2(&gradient, &AddScaled { rates });
        }
        let new = composed_step(&old, &gradient, &rates)?;
        weight.set(&new.reshape(weight.shape())?)
    }
}

/// The same from candle's own ops, for the devices that have no kernel here.
fn composed_step(weight: &Tensor, gradient: &Tensor, rates: &Tensor) -> Result<Tensor> {
    let largest = gradient.abs()?.max_keepdim(2)?.max_keepdim(1)?;
    let scale = rates.unsqueeze(2)?.broadcast_div(&(largest + 1e-30)?)?;
    weight - gradient.broadcast_mul(&scale)?
}

/// `w −= η_k·G_k / (max|G| + 1e-30)`
struct AddScaled {
    rates: Tensor,
}

impl InplaceOp2 for AddScaled {
    fn name(&self) -> &'static str {
        "max_abs_step"
    }

    fn cpu_fwd(
        &self,
        weight: &mut CpuStorage,
        weight_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let (sites, units, fan_in) = weight_layout.shape().dims3()?;
        let Some((start, end)) = weight_layout.contiguous_offsets() else {
            candle::bail!("max_abs_step: the weights are not contiguous")
        };
        with_real!(weight, "max_abs_step", T => {
            let rates = self.rates.to_vec2::<T>()?;
            let gradient = slice::<T>(gradient, gradient_layout)?;
            let weight = &mut T::storage_mut(weight)?[start..end];
            let site = (units * fan_in).max(1);
            for s in 0..sites {
                let gradient = &gradient[s * site..][..site];
                let largest = gradient
                    .par_chunks(1 << 14)
                    .map(|chunk| vectorised(|| maximum(chunk, |x| x.abs())))
                    .reduce(|| 0 as T, T::max);
                weight[s * site..][..site]
                    .par_chunks_mut(fan_in.max(1))
                    .zip(gradient.par_chunks(fan_in.max(1)))
                    .zip(&rates[s])
                    .for_each(|((w, g), &rate)| {
                        vectorised(|| {
                            let scale = rate / (largest + 1e-30);
                            for (w, &g) in w.iter_mut().zip(g) {
                                *w -= scale * g;
                            }
                        });
                    });
            }
            Ok(())
        })
    }
}

/// Plain gradient descent, `v ← v − ηG`, in place.
///
/// The same as `candle_nn::SGD` but for the copies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// `η`
    pub learning_rate: f64,
}

impl Sgd {
    /// Moves every variable that has a gradient.
    pub fn step<'a>(
        &self,
        vars: impl IntoIterator<Item = &'a Var>,
        grads: &GradStore,
    ) -> Result<()> {
        for var in vars {
            let Some(gradient) = grads.get(var) else { continue };
            let value = var.as_detached_tensor();
            if has_kernels(value.device()) {
                let descend = Descend { learning_rate: self.learning_rate };
                value.inplace_op2(&gradient.detach().contiguous()?, &descend)?;
            } else {
                var.set(&(value - (gradient * self.learning_rate)?)?)?;
            }
        }
        Ok(())
    }
}

struct Descend {
    learning_rate: f64,
}

impl InplaceOp2 for Descend {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn cpu_fwd(
        &self,
        value: &mut CpuStorage,
        value_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let Some((start, end)) = value_layout.contiguous_offsets() else {
            candle::bail!("sgd: the variable is not contiguous")
        };
        with_real!(value, "sgd", T => {
            let gradient = slice::<T>(gradient, gradient_layout)?;
            let value = &mut T::storage_mut(value)?[start..end];
            let kernel = DescendRows { gradient, rate: self.learning_rate as T };
            for_row_blocks(value, 1, 1, &kernel);
            Ok(())
        })
    }
}

/// `v −= η·G`
struct DescendRows<'a, T> {
    gradient: &'a [T],
    rate: T,
}

impl<T: Real> RowKernel<T> for DescendRows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        for (value, &gradient) in block.iter_mut().zip(&self.gradient[first..]) {
            *value -= self.rate * gradient;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Geometry, Rng};
    use candle::{DType, Device};

    #[test]
    fn sgd_moves_down_the_gradient() -> Result<()> {
        let var = Var::new(&[1f64, 2.0, 3.0], &Device::Cpu)?;
        let other = Var::new(&[5f64], &Device::Cpu)?; // has no gradient
        let grads = (var.as_tensor().sqr()? * 0.5)?.sum_all()?.backward()?; // G = v
        Sgd { learning_rate: 0.25 }.step([&var, &other], &grads)?;
        assert_eq!(var.to_vec1::<f64>()?, [0.75, 1.5, 2.25]);
        assert_eq!(other.to_vec1::<f64>()?, [5.0]);
        Ok(())
    }

    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let mut rng = Rng::new(17);
        let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu);
        let config = crate::Conv2dConfig { groups: 2, ..Default::default() };
        let layer = Layer::from_tensor(&normal((6, 2, 3, 3))?, Geometry::Conv2d(config))?;
        let gradient = normal((6, 2, 3, 3))?;
        let step = MaxAbsStep { rate: Rate::NormDependent { learning_rate: 0.3, power: 0.5 } };
        let old = layer.weight().copy()?.reshape((2, 3, 18))?;
        let rates = step.rate.rates(&squared_norms(&old)?, 0.0)?;
        let want = composed_step(&old, &gradient.reshape((2, 3, 18))?, &rates)?;
        step.descend(&layer, &gradient, 0.0)?;
        let difference = (layer.weight().reshape((2, 3, 18))? - want)?.abs()?.max_all()?;
        assert!(difference.to_scalar::<f64>()? < 1e-14);
        Ok(())
    }
}
