//! Convolution on the CPU. Elsewhere, and inside [`composed`](super::composed), it is what every layer is:
//! [unfolded](super::unfold()) rows, a matrix product, and the rows put back in shape.

mod correlation;
mod kernel;

use super::response::Asymmetry;
use super::widen::widened;
use crate::window::Conv2dConfig;
use candle::{Result, Tensor};

/// The response `(B, OH, OW, K)` of a convolution of `x (B, H, W, C)` with `weight (K, C/groups,
/// kh, kw)`. The error goes back through `feedback`, of the same shape. f16 and bf16 are computed in f32,
/// and so are their gradients; NaN and infinity are passed on. No images, channels or units are taken.
/// CPU only.
///
/// # Errors
/// Tensors of different types; windows that the image does not have; more than there is memory for.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    feedback: &Tensor,
    config: &Conv2dConfig,
    asymmetry: Asymmetry,
) -> Result<Tensor> {
    if [weight.dtype(), feedback.dtype()] != [x.dtype(); 2] {
        candle::bail!(
            "conv2d: an input of type {:?} needs weights of that type, found {:?} and feedback of {:?}",
            x.dtype(),
            weight.dtype(),
            feedback.dtype()
        )
    }
    widened(x, |x| {
        let as_seen = |tensor: &Tensor| tensor.to_dtype(x.dtype());
        let mask = |mask: &Option<Tensor>| mask.as_ref().map(as_seen).transpose();
        let asymmetry = Asymmetry {
            weight_mask: mask(&asymmetry.weight_mask)?,
            feedback_mask: mask(&asymmetry.feedback_mask)?,
            ..asymmetry
        };
        kernel::conv2d(x, &as_seen(weight)?, &as_seen(feedback)?, config, asymmetry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Sites, linear_response, unfold};
    use crate::{Geometry, PaddingMode, Rng};
    use candle::{DType, Device, Var};

    /// The convolution as unfolded rows and matrix products, which other devices use.
    fn composed(
        x: &Tensor,
        w: &Tensor,
        r: &Tensor,
        config: &Conv2dConfig,
        asymmetry: Asymmetry,
    ) -> Result<Tensor> {
        let kernel = (w.dim(2)?, w.dim(3)?);
        let rows = unfold(x, kernel, config, Sites::Groups(config.groups))?;
        let u = linear_response(&rows, w, r, asymmetry)?;
        Geometry::Conv2d(*config).fold(&u, x.dims(), w.dims())
    }

    /// Kernel and composition, forward and backward, in both memory orders, over windows, widths
    /// that fill no vector, and tiles of every size.
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
                let (w, r) =
                    (Var::from_tensor(&normal(kernel)?)?, Var::from_tensor(&normal(kernel)?)?);
                let last = x.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2))?;
                for seen in [x.as_tensor().clone(), last] {
                    let asymmetry = Asymmetry { rate: 0.25, ..Default::default() };
                    let got =
                        conv2d(&seen.permute((0, 2, 3, 1))?, &w, &r, &config, asymmetry.clone())?;
                    let got = got.permute((0, 3, 1, 2))?;
                    let want = composed(&seen, &w, &r, &config, asymmetry)?;
                    assert_eq!(got.dims(), want.dims());
                    let close = |a: &Tensor, b: &Tensor| -> Result<bool> {
                        let difference = (a - b)?.abs()?.max_all()?.to_scalar::<f64>()?;
                        Ok(difference <= 1e-13 * b.abs()?.max_all()?.to_scalar::<f64>()?)
                    };
                    assert!(close(&got, &want)?, "{config:?} {channels} {units}");
                    let shape = want.dims4()?;
                    let upstream = rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu)?;
                    let got = (got * &upstream)?.sum_all()?.backward()?;
                    let want = (want * &upstream)?.sum_all()?.backward()?;
                    for (name, var) in [("x", &x), ("w", &w), ("r", &r)] {
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
}
