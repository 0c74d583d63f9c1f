//! Feedback weights that learn to mirror the weights.

use super::config::Learning;
use super::layer::FeedbackLayer;
use crate::ops::widen::widened;
use crate::ops::{linear_response, masked};
use candle::{Result, Tensor};

impl FeedbackLayer {
    /// Moves the feedback weights of [`Learning::Mirror`] towards the weights; does nothing for other learning. The
    /// move is estimated from the response to `noise`, an input of the layer with independent entries of mean 0 and
    /// variance 1. Call it once after each step:
    ///
    /// ```text
    /// h = W x        M = (1/N) Σ h xᵀ        R ← (1 − κ)R + κM
    /// ```
    ///
    /// where `N` is the number of samples that a weight sees: for a kernel, samples times the positions at which its
    /// tap is in the image. Since `E[xxᵀ] = 1`, `M = W` on average, so `R` converges to `W` up to the noise of the last
    /// `1/κ` batches: with `F` inputs per unit, `tan ∠(R, W) ≈ √((F/N)·κ/(2 − κ))`. A call costs two matrix products
    /// and involves neither the task's error nor any optimiser. f16 and bf16 are computed in f32, and `R` is rounded
    /// once.
    ///
    /// With reflection padding, two taps of a window may read the same pixel, so that `E[xxᵀ]` is not 1: a layer with
    /// such padding is [refused](FeedbackLayer::new) as a mirror.
    ///
    /// Source: Akrout et al. 2019 (weight mirrors). Their version sends uniform noise of variance 0.1²/12 through the
    /// sigmoid of the layer and adds without decay, which takes thousands of steps. This one is linear, without bias,
    /// and decays.
    ///
    /// ```
    /// use candle::{DType, Device};
    /// use candle_hebbian::feedback::{Learning, Source};
    /// use candle_hebbian::{FeedbackConfig, FeedbackLayer, Geometry, Rng};
    /// let (mut rng, cpu) = (Rng::new(0), &Device::Cpu);
    /// let mut normal = |shape: (usize, usize)| rng.normal(0.0, 1.0, shape, DType::F64, cpu);
    /// let (w, r) = (normal((4, 3))?, normal((4, 3))?);
    /// let mirror = FeedbackConfig { source: Source::Own, learning: Learning::Mirror { rate: 0.1 } };
    /// let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, mirror)?;
    /// for _ in 0..100 {
    ///     layer.mirror(&normal((500, 3))?)?;
    /// }
    /// let apart = (layer.feedback().unwrap() - &w)?.abs()?.max_all()?.to_scalar::<f64>()?;
    /// assert!(apart < 0.1);
    /// # Ok::<(), candle::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the noise does not fit the layer or has no samples, or if the feedback weights are not a variable.
    pub fn mirror(&self, noise: &Tensor) -> Result<()> {
        let Learning::Mirror { rate } = self.config.learning else { return Ok(()) };
        let Some(feedback) = self.feedback_var()? else { return Ok(()) };
        if noise.elem_count() == 0 {
            candle::bail!("a weight mirror: noise of {:?} has no samples", noise.dims())
        }
        // Sums over rows lose small terms in half precision.
        let moved = widened(&self.responding()?.weight().detach(), |weight| {
            let noise = noise.to_dtype(weight.dtype())?;
            let pre = self.layer.unfold(&noise)?;
            let post = linear_response(&pre, weight, weight)?;
            let sum = post.transpose(1, 2)?.matmul(&pre)?;
            let seen = self.layer.unfold(&noise.ones_like()?)?.sum_keepdim(1)?;
            let mean = sum.broadcast_div(&seen.maximum(1.0)?)?.reshape(weight.shape())?;
            let before = feedback.as_detached_tensor().to_dtype(weight.dtype())?;
            (before * (1.0 - rate))? + (masked(&mean, self.masks().1)? * rate)?
        })?;
        feedback.set(&moved)
    }
}
