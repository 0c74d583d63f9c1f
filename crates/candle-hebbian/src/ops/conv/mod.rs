//! Convolution on the CPU. On other devices, and inside [`composed`](super::composed), a convolution is computed like
//! every layer: by [unfolding](super::unfold()) into rows, a matrix product, and folding the rows back into shape.

mod as_product;
mod correlation;
mod kernel;
mod many;
mod node;
mod windows;
mod winograd;

use super::widen::{same_types, widened};
use crate::window::Conv2dConfig;
use candle::{Result, Tensor};
pub(crate) use node::Epilogue;
pub(crate) use windows::Windows;

/// Computes the response `(B, OH, OW, K)` of a convolution of `x (B, H, W, C)` with `weight (K, C/groups, kh, kw)`, and
/// what `epilogues` make of it, one after the other. The error is propagated back through `feedback`, which has the
/// shape of `weight` and gets no gradient. f16 and bf16 are computed in f32, and so are their gradients; NaN and
/// infinity are passed on. Tensors without images, channels or units are accepted if there are no epilogues. CPU only.
///
/// # Errors
/// If the tensors have different types, the windows or epilogues do not fit the image, or there is not enough memory.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    feedback: &Tensor,
    config: &Conv2dConfig,
    epilogues: &[Epilogue],
) -> Result<Tensor> {
    same_types("conv2d", x, weight, feedback)?;
    widened(x, |x| {
        let as_seen = |tensor: &Tensor| tensor.to_dtype(x.dtype());
        node::conv2d(x, &as_seen(weight)?, &as_seen(&feedback.detach())?, config, epilogues)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::largest::largest;
    use crate::ops::{Sites, linear_response, unfold};
    use crate::{Geometry, PaddingMode, Rng};
    use candle::{DType, Device, Var};

    /// The convolution as unfolded rows and matrix products, as on other devices.
    fn composed(x: &Tensor, w: &Tensor, r: &Tensor, config: &Conv2dConfig) -> Result<Tensor> {
        let kernel = (w.dim(2)?, w.dim(3)?);
        let rows = unfold(x, kernel, config, Sites::Groups(config.groups))?;
        let u = linear_response(&rows, w, r)?;
        Geometry::Conv2d(*config).fold(&u, x.dims(), w.dims())
    }

    /// Kernel and composition agree, forward and backward, in both memory orders, for several windows, widths that do
    /// not fill a vector, and tiles of every size.
    #[test]
    fn kernel_equals_composition() -> Result<()> {
        let mut rng = Rng::new(23);
        let plain = Conv2dConfig::default();
        let reflect = PaddingMode::Reflect;
        let configs = [
            (plain, (3, 3)),
            (Conv2dConfig::same(5), (5, 5)),
            (Conv2dConfig::same(2), (2, 2)),
            (Conv2dConfig { stride: 2, padding: 1, ..plain }, (3, 2)),
            (Conv2dConfig { padding: 2, ..plain }, (2, 2)), // with windows of zeros only
            (Conv2dConfig { stride: 3, padding: 3, ..plain }, (2, 2)),
            (Conv2dConfig { dilation: 2, padding: 2, ..plain }, (3, 3)),
            (Conv2dConfig { groups: 2, padding: 1, ..plain }, (3, 3)),
            (Conv2dConfig { padding: 2, stride: 2, padding_mode: reflect, ..plain }, (4, 4)),
            (Conv2dConfig { groups: 2, padding: 1, padding_mode: reflect, ..plain }, (3, 3)),
        ];
        for (config, (kh, kw)) in configs {
            for (channels, units) in [(2, 6), (4, 16), (6, 34), (20, 8)] {
                let mut normal = |shape: (usize, usize, usize, usize)| {
                    rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu)
                };
                let x = Var::from_tensor(&normal((3, channels, 9, 17))?)?;
                let kernel = (units, channels / config.groups, kh, kw);
                let (w, r) = (Var::from_tensor(&normal(kernel)?)?, normal(kernel)?);
                let last = x.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2))?;
                for seen in [x.as_tensor().clone(), last] {
                    let got = conv2d(&seen.permute((0, 2, 3, 1))?, &w, &r, &config, &[])?;
                    let got = got.permute((0, 3, 1, 2))?;
                    let want = composed(&seen, &w, &r, &config)?;
                    assert_eq!(got.dims(), want.dims());
                    let close = |a: &Tensor, b: &Tensor| -> Result<bool> {
                        Ok(largest(&(a - b)?)? <= 1e-13 * largest(b)?)
                    };
                    assert!(close(&got, &want)?, "{config:?} {channels} {units}");
                    let shape = want.dims4()?;
                    let upstream = rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu)?;
                    let got = (got * &upstream)?.sum_all()?.backward()?;
                    let want = (want * &upstream)?.sum_all()?.backward()?;
                    for (name, var) in [("x", &x), ("w", &w)] {
                        let (Some(got), Some(want)) = (got.get(var), want.get(var)) else {
                            candle::bail!("no gradient of {name}")
                        };
                        assert!(close(got, want)?, "{name} {config:?} {channels} {units}");
                    }
                }
            }
        }
        Ok(())
    }

    /// The gradient of the weights is summed over parts of the batch, of which the last is smaller: each weight of a
    /// kernel as large as the images sees one pixel of each of 37.
    #[test]
    fn every_image_counts() -> Result<()> {
        let x = Tensor::ones((37, 5, 5, 1), DType::F64, &Device::Cpu)?;
        let w = Var::ones((3, 1, 5, 5), DType::F64, &Device::Cpu)?;
        let out = conv2d(&x, &w, &w, &Conv2dConfig::default(), &[])?;
        let grads = out.sum_all()?.backward()?;
        let Some(found) = grads.get(&w) else { candle::bail!("no gradient") };
        assert_eq!(found.flatten_all()?.to_vec1::<f64>()?, [37.0; 75]);
        Ok(())
    }

    /// What a batch gives is what its parts give, where the matrix unit, which takes 64 images of 64 windows at a time,
    /// would compute both if there were one.
    #[test]
    fn images_do_not_mix() -> Result<()> {
        let mut rng = Rng::new(30);
        let mut normal = |shape: &[usize]| rng.normal(0.0, 1.0, shape, DType::F32, &Device::Cpu);
        let config = Conv2dConfig { stride: 2, padding: 1, ..Conv2dConfig::default() };
        let (x, w) = (normal(&[70, 16, 16, 32])?, Var::from_tensor(&normal(&[260, 32, 3, 3])?)?);
        let delta = normal(&[70, 8, 8, 260])?;
        let run = |first: usize, count: usize| -> Result<[Tensor; 3]> {
            let x = Var::from_tensor(&x.narrow(0, first, count)?.contiguous()?)?;
            let out = conv2d(&x, &w, &w, &config, &[])?;
            let grads = (&out * delta.narrow(0, first, count)?)?.sum_all()?.backward()?;
            let of = |var: &Var| grads.get(var).cloned().expect("a gradient");
            Ok([out, of(&x), of(&w)])
        };
        let [[out, of_x, of_w], [out_1, of_x_1, of_w_1], [out_2, of_x_2, of_w_2]] =
            [run(0, 70)?, run(0, 35)?, run(35, 35)?];
        for (name, whole, parts) in [
            ("response", out, Tensor::cat(&[out_1, out_2], 0)?),
            ("x", of_x, Tensor::cat(&[of_x_1, of_x_2], 0)?),
            ("w", of_w, (of_w_1 + of_w_2)?),
        ] {
            let rms = parts.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?;
            let apart = largest(&(whole - parts)?)?;
            assert!(apart <= 3e-5 * f64::from(rms), "{name}: {apart}, of {rms}");
        }
        Ok(())
    }

    /// In f32, at sizes that the matrix unit computes if there is one, response and gradients equal those in f64, for
    /// several windows. A NaN reaches the positions that see it, and no others.
    #[test]
    fn large_convolutions_of_f32_are_those_of_f64() -> Result<()> {
        let mut rng = Rng::new(29);
        let plain = Conv2dConfig::default();
        let reflect = PaddingMode::Reflect;
        for (config, channels, side) in [
            (Conv2dConfig::same(3), 32, 9),
            (Conv2dConfig { stride: 2, padding: 1, ..plain }, 32, 18),
            (Conv2dConfig { dilation: 2, padding: 2, ..plain }, 32, 9),
            (Conv2dConfig { padding: 1, padding_mode: reflect, ..plain }, 32, 9),
        ] {
            let mut normal = |shape: &[usize]| {
                Var::from_tensor(&rng.normal(0.0, 1.0, shape, DType::F32, &Device::Cpu)?)
            };
            let x = normal(&[4, side, side, channels])?;
            let (w, r) = (normal(&[260, channels, 3, 3])?, normal(&[260, channels, 3, 3])?);
            let wide = |var: &Var| Var::from_tensor(&var.to_dtype(DType::F64)?);
            let (x64, w64) = (wide(&x)?, wide(&w)?);
            let got = conv2d(&x, &w, &r, &config, &[])?;
            let want = conv2d(&x64, &w64, &r.to_dtype(DType::F64)?, &config, &[])?;
            // An entry is a sum of `terms` products of two normal values, whose magnitudes are 2/π on average. Each
            // product and sum is rounded to f32, which allows for an error of 2⁻²² of the magnitudes in all, as in the
            // tests of the unit; eight times as much if there are fewer multiplications, see `winograd`.
            let bits = if (config.stride, config.dilation) == (1, 1) { 19 } else { 22 };
            let close = |name: &str, terms: usize, got: &Tensor, want: &Tensor| -> Result<()> {
                let difference = largest(&(got.to_dtype(DType::F64)? - want)?)?;
                let most = terms as f64 * 0.5f64.powi(bits);
                assert!(difference <= most, "{name}, {config:?}: {difference} over {most}");
                Ok(())
            };
            let (batch, height, width, units) = got.dims4()?;
            close("response", 9 * channels, &got, &want)?;
            let delta = normal(got.dims())?;
            let grads = (got * delta.as_tensor())?.sum_all()?.backward()?;
            let wants = (want * delta.to_dtype(DType::F64)?)?.sum_all()?.backward()?;
            for (name, terms, var, wide) in
                [("x", 9 * units, &x, &x64), ("w", batch * height * width, &w, &w64)]
            {
                let (Some(got), Some(want)) = (grads.get(var), wants.get(wide)) else {
                    candle::bail!("no gradient of {name}")
                };
                close(name, terms, got, want)?;
            }
            let mut values = x.flatten_all()?.to_vec1::<f32>()?;
            values[0] = f32::NAN;
            let broken = Tensor::from_vec(values, x.shape(), &Device::Cpu)?;
            let got =
                conv2d(&broken, &w, &r, &config, &[])?.sum(3)?.flatten_all()?.to_vec1::<f32>()?;
            // The first pixel of the first image is in the windows at two positions in each of two lines, or at a
            // single position if the stride is 2.
            let seen = got.iter().filter(|x| x.is_nan()).count();
            let want = if config.stride == 2 { 1 } else { 4 };
            assert_eq!(seen, want, "{config:?}");
            assert!(got[got.len() / 4..].iter().all(|x| !x.is_nan()));
        }
        Ok(())
    }
}
