//! The windows of images as units see them, without writing them out.

use super::kernel::{Conv, InputGradient, Plan, WeightGradient};
use crate::ops::backend::has_kernels;
use crate::ops::layout::{to_channels_first, to_channels_last};
use crate::ops::unfold::{Sites, unfold};
use crate::window::Conv2dConfig;
use candle::{DType, Result, Tensor};
use std::sync::OnceLock;

/// The windows of a convolution whose response and update take less time from the images than from the windows as rows.
#[derive(Debug)]
pub(crate) struct Windows {
    /// `(B, H, W, C)`
    images: Tensor,
    /// Whether they were given in this order, in which the error at them is returned.
    channels_last: bool,
    config: Conv2dConfig,
    plan: Plan,
    rows: OnceLock<Tensor>,
}

impl Windows {
    /// The windows of images `x (B, C, H, W)`, or `(B, H, W, C)` if `channels_last`, under weights `(K, C, kh, kw)`.
    /// `None` if they are better written out, see [`unfold`].
    ///
    /// # Errors
    /// If the tensors do not fit each other.
    pub fn of(
        x: &Tensor,
        weight: &Tensor,
        config: Conv2dConfig,
        channels_last: bool,
    ) -> Result<Option<Self>> {
        if !has_kernels(x.device()) || [x.dtype(), weight.dtype()] != [DType::F32; 2] {
            return Ok(None);
        }
        let x = x.detach();
        let images = if channels_last { x } else { to_channels_last(&x)? };
        let plan = Plan::new(&images, weight, &config)?;
        let rows = OnceLock::new();
        Ok(plan.filters().then(|| Self { images, channels_last, config, plan, rows }))
    }

    /// The response `(1, P, K)` of `weight`, without a graph.
    pub fn response(&self, weight: &Tensor) -> Result<Tensor> {
        let weight = weight.detach().contiguous()?;
        let u = self.images.apply_op2_no_bwd(&weight, &Conv { plan: self.plan, ramp: None })?;
        u.flatten_to(2)?.unsqueeze(0)
    }

    /// The product `yᵀ·x (1, K, F)` of an activity `y (1, P, K)` and the rows.
    pub fn product(&self, y: &Tensor) -> Result<Tensor> {
        let product = self.images.apply_op2_no_bwd(&y.contiguous()?, &WeightGradient(self.plan))?;
        product.flatten_from(1)?.unsqueeze(0)
    }

    /// The error at the images, in the order in which they were given, from the error `grad (1, P, K)` at the response,
    /// through the weights `feedback`.
    pub fn error(&self, grad: &Tensor, feedback: &Tensor) -> Result<Tensor> {
        let feedback = feedback.detach().contiguous()?;
        let op = InputGradient(self.plan);
        let error = grad.contiguous()?.apply_op2_no_bwd(&feedback, &op)?;
        if self.channels_last { Ok(error) } else { to_channels_first(&error) }
    }

    /// The shape `(1, P, F)` of the rows.
    pub fn dims(&self) -> [usize; 3] {
        self.plan.dims()
    }

    /// The windows as rows `(1, P, F)`, written out when this is first called.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn rows(&self) -> Result<&Tensor> {
        if let Some(rows) = self.rows.get() {
            return Ok(rows);
        }
        let images = to_channels_first(&self.images)?;
        let rows = unfold(&images, self.plan.kernel(), &self.config, Sites::Groups(1))?;
        let rows = rows.contiguous()?;
        Ok(self.rows.get_or_init(|| rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::composed;
    use candle::Device;

    /// Only large enough convolutions of f32 by 3×3 kernels, at every position and of all channels, on the CPU.
    #[test]
    fn what_is_not_written_out() -> Result<()> {
        let there = |channels: usize, kernel, config: Conv2dConfig, dtype| -> Result<bool> {
            let x = Tensor::zeros((1, channels, 6, 6), dtype, &Device::Cpu)?;
            let weight =
                Tensor::zeros((32, channels / config.groups, kernel, kernel), dtype, &Device::Cpu)?;
            Ok(Windows::of(&x, &weight, config, false)?.is_some())
        };
        let same = Conv2dConfig::same(3);
        let plain = Conv2dConfig::default();
        assert!(there(16, 3, same, DType::F32)?);
        assert!(there(16, 3, plain, DType::F32)?);
        assert!(!there(8, 3, same, DType::F32)?);
        assert!(!there(16, 5, Conv2dConfig::same(5), DType::F32)?);
        assert!(!there(16, 3, Conv2dConfig { stride: 2, ..plain }, DType::F32)?);
        assert!(!there(16, 3, Conv2dConfig { dilation: 2, ..plain }, DType::F32)?);
        assert!(!there(64, 3, Conv2dConfig { groups: 2, ..plain }, DType::F32)?);
        assert!(!there(16, 3, same, DType::F64)?);
        assert!(!there(16, 3, same, DType::BF16)?);
        assert!(!composed(|| there(16, 3, same, DType::F32))?);
        Ok(())
    }
}
