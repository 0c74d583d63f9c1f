//! The response of untied weights on the CPU, a position at a time.
//!
//! A position's rows, one for each image, fit the second cache: they are gathered there, multiplied and forgotten.
//! Unfolding the whole input would write and read every pixel once per tap, in memory, and a graph
//! of the rows would add as much again in the backward pass.

use super::kernel::Fold;
use super::{Sites, Unfold};
use crate::cpu::{self, slice, vectorised, with_real};
use crate::memory::filled_with;
use crate::ops::custom_vjp::custom_vjp;
use crate::ops::gemm::{Matrix, gemm, matmul};
use crate::ops::layout::view;
use crate::ops::value::Value;
use crate::ops::widen::widened;
use crate::window::Conv2dConfig;
use candle::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use gemm::Parallelism;

/// The response `(OH·OW, B, K)` to images `x (B, C, H, W)` of `weight (OH, OW, K, C, kh, kw)`, with weights of
/// their own at each position. The error goes back through `feedback`, of the same shape, which gets no
/// gradient. f16 and bf16 are computed in f32, and so are their gradients. CPU only.
///
/// # Errors
/// Weights for another number of windows than the image has; more than there is memory for.
pub(crate) fn untied(
    x: &Tensor,
    weight: &Tensor,
    feedback: &Tensor,
    config: &Conv2dConfig,
) -> Result<Tensor> {
    let &[oh, ow, units, _, kh, kw] = weight.dims() else {
        candle::bail!("untied weights are (OH, OW, K, C, kh, kw), found {:?}", weight.dims())
    };
    widened(x, |x| {
        let op = Unfold::new(x, (kh, kw), config, Sites::Positions)?;
        let (sites, _, fan_in) = op.shape;
        if (op.rows.out, op.columns.out) != (oh, ow) {
            candle::bail!(
                "an input of {:?} has {sites} windows, the untied weights {:?} have {}",
                x.dims(),
                weight.dims(),
                oh * ow
            )
        }
        let weight = weight.to_dtype(x.dtype())?;
        let feedback = feedback.detach().to_dtype(x.dtype())?;
        let kept = op.clone();
        custom_vjp(
            "untied",
            [x, &weight],
            |[x, weight]| {
                let u = Value::op2(x, &weight.contiguous()?, &Respond { unfold: &op, units })?;
                Ok((u, (x.clone(), feedback.contiguous()?)))
            },
            move |pass| {
                let (x, feedback) = pass.residuals;
                let grad = pass.grad.contiguous()?;
                let grad_x = if pass.wanted[0] {
                    let rows = matmul(&grad, &feedback.reshape((sites, units, fan_in))?)?;
                    Some(rows.apply_op1_no_bwd(&Fold(&kept))?)
                } else {
                    None
                };
                let grad_weight = if pass.wanted[1] {
                    let op = WeightGradient { unfold: &kept, units };
                    Some(x.apply_op2_no_bwd(&grad, &op)?.reshape(feedback.shape())?)
                } else {
                    None
                };
                Ok([grad_x, grad_weight])
            },
        )
    })
}

/// `u = x·wᵀ` at each position.
struct Respond<'a> {
    unfold: &'a Unfold,
    units: usize,
}

impl CustomOp2 for Respond<'_> {
    fn name(&self) -> &'static str {
        "untied"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (units, (sites, batch, fan_in)) = (self.units, self.unfold.shape);
        with_real!(x, "untied", T => {
            let ((x, strides), weight) = (view::<T>(x, x_layout)?, slice::<T>(weight, weight_layout)?);
            let sizes = [sites, batch, units];
            let u = filled_with("response", &sizes, batch * units, Vec::new, |rows, site, u| {
                vectorised(|| self.unfold.rows_at(x, strides, site, rows))?;
                let weight = &weight[site * units * fan_in..][..units * fan_in];
                let (rows, weight) = (Matrix::rows(rows, fan_in), Matrix::rows(weight, fan_in));
                gemm([batch, units, fan_in], rows, weight.t(), (1 as T, false), u, Parallelism::None);
                Ok(())
            })?;
            Ok((cpu::owned(u), (sites, batch, units).into()))
        })
    }
}

/// `δᵀ·x` at each position.
struct WeightGradient<'a> {
    unfold: &'a Unfold,
    units: usize,
}

impl CustomOp2 for WeightGradient<'_> {
    fn name(&self) -> &'static str {
        "untied_weight_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (units, (sites, batch, fan_in)) = (self.units, self.unfold.shape);
        with_real!(x, "untied_weight_gradient", T => {
            let ((x, strides), grad) = (view::<T>(x, x_layout)?, slice::<T>(grad, grad_layout)?);
            let (sizes, name) = ([sites, units, fan_in], "gradient of the weights");
            let sums = filled_with(name, &sizes, units * fan_in, Vec::new, |rows, site, sums| {
                vectorised(|| self.unfold.rows_at(x, strides, site, rows))?;
                let grad = &grad[site * batch * units..][..batch * units];
                let (grad, rows) = (Matrix::rows(grad, units), Matrix::rows(rows, fan_in));
                gemm([units, fan_in, batch], grad.t(), rows, (1 as T, false), sums, Parallelism::None);
                Ok(())
            })?;
            Ok((cpu::owned(sums), (sites, units, fan_in).into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{linear_response, unfold};
    use crate::{PaddingMode, Rng};
    use candle::{DType, Device, Var};

    /// The response and its gradients are those of unfolded rows, over windows, in both memory orders, with other
    /// weights on the way back.
    #[test]
    fn is_a_product_of_unfolded_rows() -> Result<()> {
        let mut rng = Rng::new(41);
        let plain = Conv2dConfig::default();
        let reflect = PaddingMode::Reflect;
        for (config, (kh, kw)) in [
            (plain, (3, 3)),
            (Conv2dConfig { stride: 2, padding: 1, ..plain }, (3, 2)),
            (Conv2dConfig { dilation: 2, padding: 2, ..plain }, (2, 3)),
            (Conv2dConfig { padding: 1, padding_mode: reflect, ..plain }, (3, 3)),
        ] {
            let mut normal = |shape: &[usize]| {
                Var::from_tensor(&rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu)?)
            };
            let x = normal(&[5, 3, 7, 6])?;
            let (oh, ow) = (config.output_size(7, kh)?, config.output_size(6, kw)?);
            let shape = [oh, ow, 4, 3, kh, kw];
            let (w, r, delta) = (normal(&shape)?, normal(&shape)?, normal(&[oh * ow, 5, 4])?);
            let last = x.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2))?;
            for seen in [x.as_tensor(), &last] {
                let got = untied(seen, &w, &r, &config)?;
                let rows = unfold(seen, (kh, kw), &config, Sites::Positions)?;
                let want = linear_response(&rows, &w, &r)?;
                let close = |a: &Tensor, b: &Tensor| -> Result<()> {
                    let difference = (a - b)?.abs()?.max_all()?.to_scalar::<f64>()?;
                    assert!(difference < 1e-12, "{config:?}: {difference}");
                    Ok(())
                };
                close(&got, &want)?;
                let grads = |u: Tensor| (u * delta.as_tensor())?.sum_all()?.backward();
                let (got, want) = (grads(got)?, grads(want)?);
                for var in [&x, &w] {
                    close(got.get(var).expect("one"), want.get(var).expect("one"))?;
                }
                assert!(got.get(&r).is_none());
            }
        }
        Ok(())
    }

    #[test]
    fn other_windows_are_refused() -> Result<()> {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        let (x, w) = (zeros(&[1, 2, 5, 5])?, zeros(&[3, 2, 4, 2, 3, 3])?);
        let error = untied(&x, &w, &w, &Conv2dConfig::default()).unwrap_err().to_string();
        assert!(error.contains("9 windows") && error.contains("have 6"), "{error}");
        Ok(())
    }
}
