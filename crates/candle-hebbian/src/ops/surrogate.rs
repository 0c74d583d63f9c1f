//! The surrogate loss, and the one matrix product that is its gradient.

use super::backend::has_kernels;
use super::custom_vjp::custom_vjp;
use super::gemm::{gemm, threads_of_a_site};
use super::matrix::Matrix;
use super::presynaptic::Presynaptic;
use super::reduce::{column_dots, squared_norms};
use super::sparse::{Active, is_sparse};
use super::widen::wide;
use crate::cpu::{
    self, Real, RowKernel, for_row_blocks, rows_per_block, slice, vectorised, with_real,
};
use crate::memory::filled;
use candle::{CpuStorage, CustomOp3, DType, InplaceOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// `L = −Σ sg(y)·u + ½ Σ_k sg(d_k)·‖w_k‖²`, a scalar whose gradient in `weight` is
/// `−(Σ y_k x − d_k w_k)`.
///
/// The shapes are `pre (S, P, F)`, `u` and `y (S, P, K)`, and `d (S, K)` or `None` for 0; `weight` has any
/// shape that holds `(S, K, F)`. The loss is a sum, not a mean. `u` only gives the loss its value; the
/// graph of `u`, if any, is not followed. The gradient reads `weight` when `backward`
/// runs: call it before the next `Var::set`. For f16 and bf16 the loss is f32, whose range the sum needs.
pub(crate) fn surrogate_loss(
    pre: &Presynaptic,
    u: &Tensor,
    y: &Tensor,
    d: Option<&Tensor>,
    weight: &Tensor,
) -> Result<Tensor> {
    let (pre, y, d) = (pre.clone(), wide(y)?, d.map(wide).transpose()?);
    let value = value(&pre, u, &y, d.as_ref(), weight)?;
    custom_vjp(
        "surrogate_loss",
        [weight],
        |[weight]| Ok((value.into(), weight.clone())),
        move |pass| {
            let descent = pass.grad.neg()?;
            Ok([Some(scaled_update(&pre, &y, d.as_ref(), pass.residuals, &descent)?)])
        },
    )
}

fn value(
    pre: &Presynaptic,
    u: &Tensor,
    y: &Tensor,
    d: Option<&Tensor>,
    weight: &Tensor,
) -> Result<Tensor> {
    let drive = column_dots(y, &wide(u)?)?;
    match d {
        Some(d) => {
            let [sites, _, fan_in] = pre.dims();
            let dims = (sites, y.dim(2)?, fan_in);
            ((squared_norms(&wide(weight)?.reshape(dims)?)? * d)? * 0.5)?.sub(&drive)?
        }
        None => drive.neg()?,
    }
    .sum_all()
}

/// Computes `scale·D` with `D = yᵀ·x − diag(d)·w` for each site, in the shape of `weight`. `D` is the update, and `−D`
/// the gradient of the surrogate loss.
pub(crate) fn hebbian_update(
    pre: &Presynaptic,
    y: &Tensor,
    d: Option<&Tensor>,
    weight: &Tensor,
    scale: f64,
) -> Result<Tensor> {
    let scale = (Tensor::ones((), y.dtype(), y.device())? * scale)?;
    scaled_update(pre, y, d, weight, &scale)
}

/// [`hebbian_update`] with a scale that is already on the device.
fn scaled_update(
    pre: &Presynaptic,
    y: &Tensor,
    d: Option<&Tensor>,
    weight: &Tensor,
    scale: &Tensor,
) -> Result<Tensor> {
    let (y, d) = (wide(y)?.contiguous()?, d.map(wide).transpose()?);
    let [sites, _, fan_in] = pre.dims();
    let matrices = wide(weight)?.reshape((sites, y.dim(2)?, fan_in))?;
    let update = if has_kernels(y.device()) {
        let op = ScaledUpdate { decay: d, scale: scale.to_dtype(DType::F64)?.to_scalar::<f64>()? };
        let matrices = matrices.contiguous()?;
        match pre {
            Presynaptic::Windows(windows) if !is_sparse(&y)? => {
                let product = windows.product(&y)?;
                product.inplace_op2(&matrices, &op)?;
                product
            }
            _ => pre.wide()?.rows()?.contiguous()?.apply_op3_no_bwd(&y, &matrices, &op)?,
        }
    } else {
        let pre = pre.wide()?;
        let update = composed_update(pre.rows()?, &y, d.as_ref(), &matrices)?;
        update.broadcast_mul(&scale.to_dtype(pre.dtype())?)?
    };
    update.reshape(weight.shape())?.to_dtype(weight.dtype())
}

/// The update by candle's own ops, for the devices that have no kernel here.
fn composed_update(
    pre: &Tensor,
    y: &Tensor,
    d: Option<&Tensor>,
    matrices: &Tensor,
) -> Result<Tensor> {
    let product = y.transpose(1, 2)?.matmul(pre)?;
    match d {
        Some(d) => product - matrices.broadcast_mul(&d.detach().unsqueeze(2)?)?,
        None => Ok(product),
    }
}

/// `scale·(yᵀ·x − diag(d)·w)` in one pass: the product is added to the decay.
struct ScaledUpdate {
    decay: Option<Tensor>,
    scale: f64,
}

impl CustomOp3 for ScaledUpdate {
    fn name(&self) -> &'static str {
        "hebbian_update"
    }

    fn cpu_fwd(
        &self,
        pre: &CpuStorage,
        pre_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (sites, rows, fan_in) = pre_layout.shape().dims3()?;
        let (y_sites, y_rows, units) = y_layout.shape().dims3()?;
        if (y_sites, y_rows) != (sites, rows) {
            candle::bail!(
                "update: rows {:?} and activity {:?} differ",
                pre_layout.dims(),
                y_layout.dims()
            )
        }
        with_real!(pre, "hebbian_update", T => {
            let (pre, y, w) = (
                slice::<T>(pre, pre_layout)?,
                slice::<T>(y, y_layout)?,
                slice::<T>(w, w_layout)?,
            );
            let (scale, d) = (self.scale as T, self.decays::<T>(sites * units)?);
            // The decay of the units from `first` on.
            let decay_rows = |first: usize| {
                let (d, w) = (d.as_ref()?.get(first..)?, w.get(first * fan_in..)?);
                Some(DecayRows { d, w, fan_in, scale })
            };
            let block = rows_per_block(fan_in);
            let sizes = [sites, units, fan_in];
            let mut out = filled("update", &sizes, block * fan_in, |index, out| {
                if let Some(rows) = decay_rows(0) {
                    vectorised(|| rows.run(index * block, out));
                }
                Ok(())
            })?;
            let threads = threads_of_a_site(sites);
            let site = |s: usize, out: &mut [T]| {
                let pre = &pre[s * rows * fan_in..][..rows * fan_in];
                let y = &y[s * rows * units..][..rows * units];
                if let Some(active) = Active::of(y, units, pre, fan_in) {
                    if active.add_product(pre, fan_in, scale, out) {
                        return;
                    }
                    if let Some(rows) = decay_rows(s * units) {
                        for_row_blocks(out, fan_in, fan_in, &rows);
                    }
                }
                gemm(
                    [units, fan_in, rows],
                    Matrix::rows(y, units).t(),
                    Matrix::rows(pre, fan_in),
                    (scale, self.decay.is_some()),
                    out,
                    threads,
                );
            };
            out.par_chunks_mut((units * fan_in).max(1))
                .enumerate()
                .for_each(|(s, out)| site(s, out));
            Ok((cpu::owned(out), (sites, units, fan_in).into()))
        })
    }
}

/// Turns a product `yᵀ·x` into the update.
impl InplaceOp2 for ScaledUpdate {
    fn name(&self) -> &'static str {
        "hebbian_update"
    }

    fn cpu_fwd(
        &self,
        product: &mut CpuStorage,
        product_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<()> {
        let (sites, units, fan_in) = product_layout.shape().dims3()?;
        with_real!(w, "hebbian_update", T => {
            let (w, scale) = (slice::<T>(w, w_layout)?, self.scale as T);
            let d = self.decays::<T>(sites * units)?;
            let product = T::storage_mut(product)?;
            for_row_blocks(product, fan_in, fan_in, &ProductRows { d: d.as_deref(), w, fan_in, scale });
            Ok(())
        })
    }
}

impl ScaledUpdate {
    /// The decays of so many units.
    fn decays<T: Real>(&self, units: usize) -> Result<Option<Vec<T>>> {
        let Some(d) = &self.decay else { return Ok(None) };
        let d = d.flatten_all()?.to_vec1::<T>()?;
        if d.len() != units {
            candle::bail!("update: expected a decay for each of {units} units, found {}", d.len())
        }
        Ok(Some(d))
    }
}

/// `scale·(p_k − d_k·w_k)` in place of the product `p_k`; without decay, the weights are not read.
struct ProductRows<'a, T> {
    d: Option<&'a [T]>,
    w: &'a [T],
    fan_in: usize,
    scale: T,
}

impl<T: Real> RowKernel<T> for ProductRows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        for (i, out) in block.chunks_exact_mut(self.fan_in).enumerate() {
            let Some(d) = self.d.map(|d| d[first + i]) else {
                out.iter_mut().for_each(|out| *out = self.scale * *out);
                continue;
            };
            for (out, &w) in out.iter_mut().zip(&self.w[(first + i) * self.fan_in..]) {
                *out = self.scale * (*out - d * w);
            }
        }
    }
}

/// `−scale·d_k·w_k`
struct DecayRows<'a, T> {
    d: &'a [T],
    w: &'a [T],
    fan_in: usize,
    scale: T,
}

impl<T: Real> RowKernel<T> for DecayRows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        for (i, out) in block.chunks_exact_mut(self.fan_in).enumerate() {
            let factor = -self.scale * self.d[first + i];
            for (out, &w) in out.iter_mut().zip(&self.w[(first + i) * self.fan_in..]) {
                *out = factor * w;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::largest::largest;
    use candle::Device;

    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let mut rng = Rng::new(13);
        let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu);
        for sites in [1, 3] {
            let (pre, y) = (normal((sites, 17, 5))?, normal((sites, 17, 4))?);
            let (w, d) = (normal((sites, 4, 5))?, normal((1, sites, 4))?.squeeze(0)?);
            for d in [None, Some(&d)] {
                let kernel = hebbian_update(&Presynaptic::rows_of(&pre)?, &y, d, &w, 1.0)?;
                let difference = (kernel - composed_update(&pre, &y, d, &w)?)?;
                assert!(largest(&difference)? < 1e-12);
            }
        }
        Ok(())
    }

    /// With few active units, the same product is computed in another way. Here no unit is active, or one
    /// unit in one row, or one of many in every row, or all in one of several sites.
    #[test]
    fn sparse_activity_equals_composition() -> Result<()> {
        let mut rng = Rng::new(14);
        let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu);
        for (sites, rows, units) in [(1, 2000, 37), (2, 50, 40), (1, 3, 1)] {
            let (pre, w) = (normal((sites, rows, 5))?, normal((sites, units, 5))?);
            let (all, d) = (normal((sites, rows, units))?, normal((1, sites, units))?.squeeze(0)?);
            let kept = |keep: &dyn Fn(usize, usize, usize) -> bool| -> Result<Tensor> {
                let at = (0..sites * rows * units)
                    .map(|i| keep(i / (rows * units), i / units % rows, i % units))
                    .map(|kept| f64::from(u8::from(kept)));
                &all * Tensor::from_iter(at, &Device::Cpu)?.reshape((sites, rows, units))?
            };
            for y in [
                kept(&|_, _, _| false)?,
                kept(&|_, row, unit| (row, unit) == (rows - 1, units - 1))?,
                kept(&|_, row, unit| unit == row * 7 % units)?,
                kept(&|site, row, unit| site == 1 || unit == row % units)?,
            ] {
                for d in [None, Some(&d)] {
                    let kernel = hebbian_update(&Presynaptic::rows_of(&pre)?, &y, d, &w, 1.0)?;
                    let difference = (kernel - composed_update(&pre, &y, d, &w)?)?;
                    let difference = largest(&difference)?;
                    assert!(difference < 1e-10, "{sites} {rows} {units}: {difference}");
                }
            }
        }
        Ok(())
    }

    /// One of forty units is active in each of fifty rows but the first. A value that is not finite, in a
    /// row with or without an active unit, reaches every unit, since 0 times it is NaN; the other inputs are
    /// unaffected.
    #[test]
    fn what_is_not_finite_reaches_the_units_that_are_not_active() -> Result<()> {
        let y: Vec<f64> = (0..50 * 40)
            .map(|i| (i / 40, i % 40))
            .map(|(row, unit)| if row > 0 && unit == row % 40 { 1.0 } else { 0.0 })
            .collect();
        let y = Tensor::from_vec(y, (1, 50, 40), &Device::Cpu)?;
        let w = Tensor::ones((1, 40, 3), DType::F64, &Device::Cpu)?;
        let d = Tensor::ones((1, 40), DType::F64, &Device::Cpu)?;
        for bad in [f64::NAN, f64::INFINITY] {
            for row in [0, 7] {
                let x: Vec<f64> =
                    (0..150).map(|i| if i == 3 * row + 1 { bad } else { 2.0 }).collect();
                let x = Tensor::from_vec(x, (1, 50, 3), &Device::Cpu)?;
                for d in [None, Some(&d)] {
                    let update = hebbian_update(&Presynaptic::rows_of(&x)?, &y, d, &w, 1.0)?
                        .squeeze(0)?
                        .to_vec2::<f64>()?;
                    for (unit, update) in update.into_iter().enumerate() {
                        // Rows 1 to 49 make units 1 to 9 active twice, unit 0 and the others once.
                        let times = if (1..10).contains(&unit) { 2.0 } else { 1.0 };
                        let rest = 2.0 * times - f64::from(u8::from(d.is_some()));
                        assert_eq!((update[0], update[2]), (rest, rest), "{bad} {row} {unit}");
                        let active = row == 7 && unit == 7;
                        assert_eq!(
                            update[1].is_nan(),
                            bad.is_nan() || !active,
                            "{bad} {row} {unit}"
                        );
                        assert!(!update[1].is_finite());
                    }
                }
            }
        }
        Ok(())
    }

    /// With 4096 rows of ones in f16 and 512 in bf16, neither type can count that far one by one, and
    /// 4096·4096, the sum of the loss, is outside the range of f16. Checks update, loss and gradient, by
    /// kernel and composition.
    #[test]
    fn halves_are_summed_in_f32() -> Result<()> {
        for (dtype, n) in [(DType::F16, 4096_u16), (DType::BF16, 512)] {
            let rows = usize::from(n);
            let ones = |shape| Tensor::ones(shape, dtype, &Device::Cpu);
            let (pre, y) = (ones((1, rows, 2))?, ones((1, rows, 3))?);
            let u = (ones((1, rows, 3))? * f64::from(n))?;
            let weight = candle::Var::from_tensor(&ones((1, 3, 2))?)?;
            let d = (ones((1, 3, 1))?.squeeze(2)? * f64::from(n / 2))?;
            let all = |t: &Tensor, want: f64| -> Result<()> {
                let found = t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                assert!(found.iter().all(|&found| found == want), "{dtype:?}: {found:?}");
                Ok(())
            };
            let check = || {
                // Σ y·x − d·w = n − n/2
                let half = f64::from(n / 2);
                let update =
                    hebbian_update(&Presynaptic::rows_of(&pre)?, &y, Some(&d), &weight, 1.0)?;
                assert_eq!(update.dtype(), dtype);
                all(&update, half)?;
                let loss = surrogate_loss(&Presynaptic::rows_of(&pre)?, &u, &y, Some(&d), &weight)?;
                // ½·Σ_k d·‖w_k‖² − Σ y·u = 3·(½·n/2·2 − n·n)
                let n = f64::from(n);
                all(&loss, 3.0 * (n / 2.0 - n * n))?;
                let grads = loss.backward()?;
                let grad = grads.get(&weight).expect("a gradient");
                assert_eq!(grad.dtype(), dtype);
                all(grad, -half)
            };
            check()?;
            crate::ops::composed(check)?;
        }
        Ok(())
    }
}
