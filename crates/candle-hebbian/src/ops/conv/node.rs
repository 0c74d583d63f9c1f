//! A convolution with what follows it, as one node of a graph.
//!
//! candle's backward pass adds the error at every tensor of a graph to zeros, which costs more for the large images of
//! a first layer than the ramp or the sum behind it. Inside one node the error goes from op to op as it is. The result
//! is the same as that of the ops one by one.

use super::kernel::{AddTo, Conv, InputGradient, Plan, WeightGradient};
use crate::ops::pool::{Pool, Windows};
use crate::ops::ramp::Ramp;
use crate::ops::rectify::Rectify;
use crate::ops::{Value, custom_vjp};
use crate::window::Conv2dConfig;
use candle::{Result, Tensor, op};

/// An op on the response of a convolution, or on the result of the epilogue before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Epilogue {
    /// [`ramp`](crate::ops::ramp) of this slope.
    Ramp(f64),
    /// [`triangle`](crate::ops::triangle) of a power with its `constant_mean`, or [`repu`](crate::ops::repu).
    Rectify(f64, Option<bool>),
    /// Adds the input of the convolution.
    Residual,
    Pool(Pool),
}

/// An [`Epilogue`] for tensors of one size.
#[derive(Debug, Clone, Copy)]
enum Op {
    Ramp(Ramp),
    Rectify(Rectify),
    Residual,
    Pool(Windows),
}

impl Op {
    fn of(epilogue: &Epilogue, h: &Tensor) -> Result<Self> {
        Ok(match epilogue {
            Epilogue::Ramp(slope) => Self::Ramp(Ramp::new(*slope)?),
            Epilogue::Rectify(power, constant_mean) => {
                Self::Rectify(Rectify::new(*power, *constant_mean)?)
            }
            Epilogue::Residual => Self::Residual,
            Epilogue::Pool(pool) => Self::Pool(pool.windows(h)?),
        })
    }

    /// The result for `h`, where `x` is the input of the convolution.
    fn apply(&self, x: &Tensor, h: &Tensor) -> Result<Value> {
        match self {
            Self::Ramp(ramp) => Value::op1(h, ramp),
            Self::Rectify(rectify) => Value::op1(h, rectify),
            Self::Residual => Value::binary::<op::Add>(x, h),
            Self::Pool(windows) => Value::op1(h, windows),
        }
    }
}

/// [`conv2d`](super::conv2d) of f32 or f64.
pub(super) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    feedback: &Tensor,
    config: &Conv2dConfig,
    epilogues: &[Epilogue],
) -> Result<Tensor> {
    let plan = Plan::new(x, weight, config)?;
    let feedback = feedback.contiguous()?;
    // A ramp of the response itself overwrites it, as the error needs only the result.
    let (ramp, epilogues) = match epilogues {
        [Epilogue::Ramp(slope), rest @ ..] => (Some(Ramp::new(*slope)?), rest),
        all => (None, all),
    };
    custom_vjp(
        "conv2d",
        [x, weight],
        |[x, weight]| {
            let mut value = Value::op2(x, &weight.contiguous()?, &Conv { plan, ramp })?;
            // Each op with the value that it is applied to.
            let mut ops = Vec::new();
            for epilogue in epilogues {
                let h = value.into_tensor();
                let op = Op::of(epilogue, &h)?;
                value = op.apply(x, &h)?;
                ops.push((op, h));
            }
            Ok((value, (x.clone(), ops)))
        },
        move |pass| {
            let (x, ops) = pass.residuals;
            let (mut output, mut grad) = (pass.output, pass.grad.contiguous()?);
            // The error that reaches the input past the convolution.
            let mut past = None;
            for (op, h) in ops.iter().rev() {
                match op {
                    Op::Ramp(ramp) => grad = ramp.gradient(output, &grad)?,
                    Op::Rectify(rectify) => grad = rectify.gradient(h, &grad)?,
                    Op::Residual => past = Some(grad.clone()),
                    Op::Pool(windows) => grad = windows.gradient(h, output, &grad)?,
                }
                output = h;
            }
            if let Some(ramp) = ramp {
                grad = ramp.gradient(output, &grad)?;
            }
            let [wants_x, wants_weight] = pass.wanted;
            let grad_x = || -> Result<Tensor> {
                let grad_x = grad.apply_op2_no_bwd(&feedback, &InputGradient(plan))?;
                if let Some(past) = &past {
                    grad_x.inplace_op2(past, &AddTo)?; // nothing else has seen this memory
                }
                Ok(grad_x)
            };
            let grad_weight = || x.apply_op2_no_bwd(&grad, &WeightGradient(plan));
            let grads = (wants_x.then(grad_x), wants_weight.then(grad_weight));
            Ok([grads.0.transpose()?, grads.1.transpose()?])
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::ops::channels_last;
    use crate::ops::channels_last::max_pool2d_same;
    use crate::ops::{Edge, Ties, ramp};
    use candle::{DType, Device, Var};

    /// Values and gradients are those of the ops one by one, to the last bit, whether or not the input is part of the
    /// graph, and with a NaN.
    #[test]
    fn is_its_ops_one_by_one() -> Result<()> {
        let pool = Epilogue::Pool(Pool::MaxSame {
            kernel: 3,
            stride: 2,
            edge: Edge::Zeros,
            ties: Ties::All,
        });
        let (ramp_2, residual) = (Epilogue::Ramp(2.0), Epilogue::Residual);
        let mut rng = Rng::new(41);
        for epilogues in [
            &[][..],
            &[ramp_2],
            &[residual],
            &[pool],
            &[ramp_2, residual],
            &[ramp_2, residual, pool],
            &[pool, ramp_2],
            &[residual, ramp_2],
            &[Epilogue::Rectify(1.0, None)],
            &[pool, Epilogue::Rectify(1.5, Some(false))],
        ] {
            for (dtype, has_nan) in [(DType::F64, false), (DType::F32, false), (DType::F64, true)] {
                let mut draw = |shape: &[usize], deviation: f64| {
                    rng.normal(0.0, deviation, shape, dtype, &Device::Cpu)
                };
                let mut x = draw(&[3, 7, 6, 16], 1.0)?;
                if has_nan {
                    let one = x.narrow(1, 0, 1)?.narrow(2, 0, 1)?.narrow(3, 0, 1)?;
                    x =
                        x.slice_assign(&[0..3, 0..1, 0..1, 0..1], &(one.ones_like()? * f64::NAN)?)?;
                }
                // Responses around 0.3, of which a few are saturated.
                let (w, r) = (draw(&[16, 16, 3, 3], 0.025)?, draw(&[16, 16, 3, 3], 0.1)?);
                let (x, w) = (Var::from_tensor(&x)?, Var::from_tensor(&w)?);
                let config = Conv2dConfig::same(3);
                for seen in [x.as_tensor().clone(), x.as_detached_tensor()] {
                    let one_by_one = || -> Result<Tensor> {
                        let mut y = super::super::conv2d(&seen, &w, &r, &config, &[])?;
                        for epilogue in epilogues {
                            y = match epilogue {
                                Epilogue::Ramp(slope) => ramp(&y, *slope)?,
                                Epilogue::Rectify(power, None) => channels_last::repu(&y, *power)?,
                                Epilogue::Rectify(power, Some(constant_mean)) => {
                                    channels_last::triangle(&y, *power, *constant_mean)?
                                }
                                Epilogue::Residual => (&seen + y)?,
                                Epilogue::Pool(_) => {
                                    max_pool2d_same(&y, 3, 2, Edge::Zeros, Ties::All)?
                                }
                            };
                        }
                        Ok(y)
                    };
                    let found = super::super::conv2d(&seen, &w, &r, &config, epilogues)?;
                    let want = one_by_one()?;
                    assert_eq!(bits(&found)?, bits(&want)?, "{epilogues:?} in {dtype:?}");
                    let delta = draw(want.dims(), 1.0)?;
                    let backward = |y: &Tensor| (y * &delta)?.sum_all()?.backward();
                    let (found, want) = (backward(&found)?, backward(&want)?);
                    for (name, var) in [("x", &x), ("w", &w)] {
                        let of = |grads: &candle::backprop::GradStore| {
                            grads.get(var).map(bits).transpose()
                        };
                        assert_eq!(of(&found)?, of(&want)?, "{name}: {epilogues:?} in {dtype:?}");
                    }
                    assert_eq!(found.get(&x).is_some(), seen.track_op());
                }
            }
        }
        Ok(())
    }

    /// The bits of the values, where all NaNs are the same.
    fn bits(x: &Tensor) -> Result<Vec<u64>> {
        let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        Ok(values.into_iter().map(|x| if x.is_nan() { f64::NAN } else { x }.to_bits()).collect())
    }
}
