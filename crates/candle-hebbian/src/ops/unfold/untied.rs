//! The response of untied weights on the CPU, a position at a time.
//!
//! A weight sees one value of each image. With the batch as the last axis of the images, these values lie side by side,
//! and all three products of a position are sums of scalars times vectors over the batch or the units. They read the
//! images in place: nothing is unfolded, and nothing folded back.

use super::{Sites, Unfold, check_windows};
use crate::cpu::{self, ARCH, slice, vectorised, with_real};
use crate::memory::{clear, filled, filled_with};
use crate::ops::custom_vjp::custom_vjp;
use crate::ops::layout::{in_a_line, turn, view};
use crate::ops::registers::{Products, lanes_here};
use crate::ops::value::Value;
use crate::ops::widen::{same_types, widened};
use crate::window::Conv2dConfig;
use candle::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

/// Computes the response `(OH·OW, B, K)` to images `x (B, C, H, W)` of `weight (OH, OW, K, C, kh, kw)`, with separate
/// weights at each position. The error is propagated back through `feedback`, which has the shape of `weight` and gets
/// no gradient. f16 and bf16 are computed in f32, and so are their gradients. CPU only.
///
/// # Errors
/// If the tensors have different types, the weights are for another number of windows than the image has, or there is
/// not enough memory.
pub(crate) fn untied(
    x: &Tensor,
    weight: &Tensor,
    feedback: &Tensor,
    config: &Conv2dConfig,
) -> Result<Tensor> {
    let &[_, _, units, _, kh, kw] = weight.dims() else {
        candle::bail!("untied weights are (OH, OW, K, C, kh, kw), found {:?}", weight.dims())
    };
    same_types("untied", x, weight, feedback)?;
    widened(x, |x| {
        let op = Unfold::new(x, (kh, kw), config, Sites::Positions)?;
        check_windows(x, (op.rows.out, op.columns.out), weight.dims())?;
        let weight = weight.to_dtype(x.dtype())?;
        let feedback = feedback.detach().to_dtype(x.dtype())?;
        let kept = op.clone();
        custom_vjp(
            "untied",
            [x, &weight],
            |[x, weight]| {
                let images = x.apply_op1_no_bwd(&BatchLast { unfold: &op })?;
                let respond = Respond { unfold: &op, units };
                let u = Value::op2(&images, &weight.contiguous()?, &respond)?;
                Ok((u, (images, feedback.contiguous()?)))
            },
            move |pass| {
                let (images, feedback) = pass.residuals;
                let grad = pass.grad.contiguous()?;
                let grad_x = if pass.wanted[0] {
                    let op = InputGradient { unfold: &kept, units };
                    Some(grad.apply_op2_no_bwd(feedback, &op)?)
                } else {
                    None
                };
                let grad_weight = if pass.wanted[1] {
                    let op = WeightGradient { unfold: &kept, units };
                    Some(images.apply_op2_no_bwd(&grad, &op)?.reshape(feedback.shape())?)
                } else {
                    None
                };
                Ok([grad_x, grad_weight])
            },
        )
    })
}

/// Images `(B, C, H, W)` with the batch as the last axis, `(H, W, C, B')`, where `B'` is the batch padded with zeros to
/// whole vectors.
struct BatchLast<'a> {
    unfold: &'a Unfold,
}

impl CustomOp1 for BatchLast<'_> {
    fn name(&self) -> &'static str {
        "batch_last"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = self.unfold.dims;
        with_real!(x, "batch_last", T => {
            let (x, [sb, sc, sh, sw]) = view::<T>(x, layout)?;
            let whole = batch.next_multiple_of(lanes_here::<T>());
            let (shape, line) = ([height, width, channels, whole], width * channels * whole);
            let images = filled("images, batch last", &shape, line, |h, line| {
                // Goes along the axis of the pixels that lie closer together.
                let (columns, channel) = ((width, sw, channels * whole), (channels, sc, whole));
                let (outer, inner) = if sw < sc { (channel, columns) } else { (columns, channel) };
                vectorised(|| {
                    for at in 0..outer.0 {
                        let x = &x[h * sh + at * outer.1..];
                        turn(x, [sb, inner.1], (batch, inner.0), &mut line[at * outer.2..], inner.2);
                    }
                });
                Ok(())
            })?;
            Ok((cpu::owned(images), shape.as_slice().into()))
        })
    }
}

impl Unfold {
    /// The pixels that the window at a position sees, each with its tap.
    fn seen(&self, position: usize) -> impl Iterator<Item = (usize, usize)> {
        let (kh, kw) = (self.rows.window.kernel, self.columns.window.kernel);
        let (y, x) = (position / self.columns.out, position % self.columns.out);
        (0..kh * kw).filter_map(move |tap| {
            let h = self.row_taps[y * kh + tap / kw]?;
            let w = self.column_taps[x * kw + tap % kw]?;
            Some((h * self.dims.3 + w, tap))
        })
    }

    fn taps(&self) -> usize {
        self.rows.window.kernel * self.columns.window.kernel
    }
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
        images: &CpuStorage,
        images_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (units, (sites, batch, fan_in)) = (self.units, self.unfold.shape);
        let (channels, taps) = (self.unfold.dims.1, self.unfold.taps());
        with_real!(images, "untied", T => {
            let (images, weight) =
                (slice::<T>(images, images_layout)?, slice::<T>(weight, weight_layout)?);
            let whole = batch.next_multiple_of(lanes_here::<T>());
            let sizes = [sites, batch, units];
            let init = || (Vec::new(), Vec::new());
            let u = filled_with("response", &sizes, batch * units, init, |(sums, runs), site, u| {
                clear("response", sums, units * whole)?;
                runs.clear();
                runs.extend(self.unfold.seen(site).map(|(at, tap)| (tap, at * channels * whole)));
                ARCH.dispatch(Products {
                    runs: runs.as_slice(),
                    depth: channels,
                    left: &weight[site * units * fan_in..][..units * fan_in],
                    left_row: fan_in,
                    left_step: taps,
                    right: images,
                    right_step: whole,
                    width: whole,
                    adds: false,
                    out: &mut *sums,
                });
                vectorised(|| turn(sums, [whole, 1], (units, batch), u, units));
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
        images: &CpuStorage,
        images_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (units, (sites, batch, fan_in)) = (self.units, self.unfold.shape);
        let (channels, taps) = (self.unfold.dims.1, self.unfold.taps());
        with_real!(images, "untied_weight_gradient", T => {
            let (images, grad) =
                (slice::<T>(images, images_layout)?, slice::<T>(grad, grad_layout)?);
            let whole = batch.next_multiple_of(lanes_here::<T>());
            let width = units.next_multiple_of(lanes_here::<T>());
            let (sizes, name) = ([sites, units, fan_in], "gradient of the weights");
            let init = || (Vec::new(), Vec::new());
            let sums = filled_with(name, &sizes, units * fan_in, init, |(wide, sums), site, out| {
                clear(name, wide, batch * width)?;
                clear(name, sums, channels * width)?;
                let grad = &grad[site * batch * units..][..batch * units];
                for (wide, grad) in wide.chunks_exact_mut(width).zip(grad.chunks_exact(units)) {
                    wide[..units].copy_from_slice(grad);
                }
                for (at, tap) in self.unfold.seen(site) {
                    ARCH.dispatch(Products {
                        runs: &[(at * channels * whole, 0)],
                        depth: batch,
                        left: images,
                        left_row: whole,
                        left_step: 1,
                        right: &*wide,
                        right_step: width,
                        width,
                        adds: false,
                        out: &mut *sums,
                    });
                    vectorised(|| {
                        for (c, sums) in sums.chunks_exact(width).enumerate() {
                            for (k, &sum) in sums[..units].iter().enumerate() {
                                out[k * fan_in + c * taps + tap] = sum;
                            }
                        }
                    });
                }
                Ok(())
            })?;
            Ok((cpu::owned(sums), (sites, units, fan_in).into()))
        })
    }
}

/// `δ·r`, added up at each pixel: the gradient of the images.
struct InputGradient<'a> {
    unfold: &'a Unfold,
    units: usize,
}

impl CustomOp2 for InputGradient<'_> {
    fn name(&self) -> &'static str {
        "untied_input_gradient"
    }

    fn cpu_fwd(
        &self,
        grad: &CpuStorage,
        grad_layout: &Layout,
        feedback: &CpuStorage,
        feedback_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (units, (sites, batch, fan_in)) = (self.units, self.unfold.shape);
        let (dims @ (_, channels, height, width), taps) = (self.unfold.dims, self.unfold.taps());
        // Which weights see a pixel, and at which position.
        let mut seen = vec![Vec::new(); height * width];
        for site in 0..sites {
            for (at, tap) in self.unfold.seen(site) {
                seen[at].push((site, tap));
            }
        }
        with_real!(grad, "untied_input_gradient", T => {
            let (grad, feedback) =
                (slice::<T>(grad, grad_layout)?, slice::<T>(feedback, feedback_layout)?);
            let whole = batch.next_multiple_of(lanes_here::<T>());
            let sizes = [sites, units, whole];
            let turned = filled("gradient, batch last", &sizes, units * whole, |site, turned| {
                let grad = &grad[site * batch * units..][..batch * units];
                vectorised(|| turn(grad, [units, 1], (batch, units), turned, whole));
                Ok(())
            })?;
            let pixel = channels * whole;
            let sizes = [height * width, channels, whole];
            let sums = filled_with("gradient of the images", &sizes, pixel, Vec::new, |runs, at, out| {
                runs.clear();
                runs.extend(
                    seen[at].iter().map(|&(site, tap)| (site * units * fan_in + tap, site * units * whole)),
                );
                ARCH.dispatch(Products {
                    runs: runs.as_slice(),
                    depth: units,
                    left: feedback,
                    left_row: taps,
                    left_step: fan_in,
                    right: &turned,
                    right_step: whole,
                    width: whole,
                    adds: false,
                    out,
                });
                Ok(())
            })?;
            // Processes as many images side by side as a cache line has values.
            let (plane, together) = (height * width, in_a_line::<T>());
            let image = channels * plane;
            let out = filled("gradient of the images", &[batch, image], together * image, |at, out| {
                let images = out.len() / image;
                vectorised(|| {
                    for c in 0..channels {
                        let sums = &sums[c * whole + at * together..];
                        turn(sums, [pixel, 1], (plane, images), &mut out[c * plane..], image);
                    }
                });
                Ok(())
            })?;
            Ok((cpu::owned(out), dims.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::largest::largest;
    use crate::ops::{linear_response, unfold};
    use crate::{PaddingMode, Rng};
    use candle::{DType, Device, Var};

    /// The response and its gradients are those of unfolded rows, for several windows, in both memory orders, with
    /// other weights in the backward pass.
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
                    let difference = largest(&(a - b)?)?;
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

    /// For batches and units of up to five vectors and of parts of them, response and gradients equal the
    /// sums over the windows of the definition. The values are whole numbers, so the order of the sums does not matter.
    #[test]
    fn every_width_is_the_definition() -> Result<()> {
        let whole = |count: usize, modulus: usize| {
            Vec::from_iter((0..count).map(|i| (i * 7919 % modulus) as f32 - (modulus / 2) as f32))
        };
        for (batch, units, channels) in
            [(0, 3, 2), (1, 1, 1), (17, 5, 3), (40, 33, 2), (48, 16, 9), (70, 65, 2)]
        {
            let (size, kernel, out) = (4, 3, 2);
            let fan_in = channels * kernel * kernel;
            let x = whole(batch * channels * size * size, 11);
            let w = whole(out * out * units * fan_in, 7);
            let delta = whole(out * out * batch * units, 5);
            let (mut u, mut grad_x) = (vec![0f32; delta.len()], vec![0f32; x.len()]);
            let mut grad_w = vec![0f32; w.len()];
            for (at, (u, delta)) in u.iter_mut().zip(&delta).enumerate() {
                let (site, b, k) = (at / units / batch, at / units % batch, at % units);
                for f in 0..fan_in {
                    let (c, i, j) = (f / 9, f / 3 % 3, f % 3);
                    let pixel =
                        ((b * channels + c) * size + site / out + i) * size + site % out + j;
                    let weight = (site * units + k) * fan_in + f;
                    *u += x[pixel] * w[weight];
                    grad_x[pixel] += delta * w[weight];
                    grad_w[weight] += delta * x[pixel];
                }
            }
            let shape = (batch, channels, size, size);
            let x = Var::from_tensor(&Tensor::from_vec(x, shape, &Device::Cpu)?)?;
            let shape = &[out, out, units, channels, kernel, kernel][..];
            let w = Var::from_tensor(&Tensor::from_vec(w, shape, &Device::Cpu)?)?;
            let seen = untied(&x, &w, &w, &Conv2dConfig::default())?;
            let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
            assert_eq!(values(&seen)?, u, "{batch} images, {units} units");
            let delta = Tensor::from_vec(delta, seen.shape(), &Device::Cpu)?;
            let grads = (seen * delta)?.sum_all()?.backward()?;
            assert_eq!(
                values(grads.get(&x).expect("one"))?,
                grad_x,
                "{batch} images, {units} units"
            );
            assert_eq!(
                values(grads.get(&w).expect("one"))?,
                grad_w,
                "{batch} images, {units} units"
            );
        }
        Ok(())
    }

    #[test]
    fn other_windows_are_refused() -> Result<()> {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        let (x, w) = (zeros(&[1, 2, 5, 5])?, zeros(&[3, 2, 4, 2, 3, 3])?);
        let error = untied(&x, &w, &w, &Conv2dConfig::default()).unwrap_err().to_string();
        assert!(error.contains("3 x 3 windows") && error.contains("have 3 x 2"), "{error}");
        Ok(())
    }
}
