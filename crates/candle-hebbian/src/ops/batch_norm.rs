use super::attach::attach;
use super::reduce::{column_dots, column_sums};
use candle::{DType, Device, Result, Tensor};

/// Batch normalisation without an affine part, over dimension 1 of `x (N, C, …)`.
///
/// ```text
/// training:    x̂ = (x − mean_c) / √(var_c + ε)          biased variance of the batch
///              running ← (1 − momentum)·running + momentum·batch     unbiased variance
/// evaluation:  x̂ = (x − running_mean) / √(running_var + ε)
/// ```
///
/// Initial running mean 0 and variance 1. The statistics are plain tensors, never among what an
/// optimiser trains. The gradients are exact.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    running_mean: Tensor,
    running_var: Tensor,
    momentum: f64,
    eps: f64,
}

impl BatchNorm {
    /// PyTorch's defaults: momentum 0.1, ε 1e-5.
    pub fn new(channels: usize, dtype: DType, device: &Device) -> Result<Self> {
        Ok(Self {
            running_mean: Tensor::zeros(channels, dtype, device)?,
            running_var: Tensor::ones(channels, dtype, device)?,
            momentum: 0.1,
            eps: 1e-5,
        })
    }

    /// The running mean `(C,)`.
    pub fn running_mean(&self) -> &Tensor {
        &self.running_mean
    }

    /// The running variance `(C,)`.
    pub fn running_var(&self) -> &Tensor {
        &self.running_var
    }

    /// Puts back statistics that were saved.
    ///
    /// # Errors
    /// Shapes other than `(C,)`.
    pub fn set_running(&mut self, mean: &Tensor, var: &Tensor) -> Result<()> {
        if mean.shape() != self.running_mean.shape() || var.shape() != self.running_var.shape() {
            candle::bail!(
                "batch norm: statistics of {:?} and {:?} for {:?} channels",
                mean.dims(),
                var.dims(),
                self.running_mean.dims()
            )
        }
        self.running_mean = mean.detach();
        self.running_var = var.detach();
        Ok(())
    }

    /// Normalises with the running statistics.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let rstd = (&self.running_var + self.eps)?.sqrt()?.recip()?;
        let shape = per_channel(x)?;
        x.broadcast_sub(&self.running_mean.reshape(shape.as_slice())?)?
            .broadcast_mul(&rstd.reshape(shape.as_slice())?)
    }

    /// Normalises with the statistics of `x` and moves the running ones towards them.
    ///
    /// # Errors
    /// A single value per channel, which has no variance.
    pub fn forward_train(&mut self, x: &Tensor) -> Result<Tensor> {
        let (out, mean, var) = normalise(x, self.eps)?;
        let count = (x.elem_count() / x.dim(1)?) as f64;
        let unbiased = (var * (count / (count - 1.0)))?;
        let mix = |old: &Tensor, new: &Tensor| -> Result<Tensor> {
            (old * (1.0 - self.momentum))? + (new * self.momentum)?
        };
        self.running_mean = mix(&self.running_mean, &mean)?;
        self.running_var = mix(&self.running_var, &unbiased)?;
        Ok(out)
    }
}

/// `x (N, C, …)` normalised by its own statistics over everything but channels, with the mean and
/// the biased variance `(C,)`.
///
/// # Errors
/// Fewer than two values per channel.
pub fn normalise(x: &Tensor, eps: f64) -> Result<(Tensor, Tensor, Tensor)> {
    let shape = per_channel(x)?;
    let (rows, back) = channel_rows(&x.detach())?;
    let (_, count, _) = rows.dims3()?;
    if count < 2 {
        candle::bail!(
            "batch norm: {:?} has {count} value per channel, expected at least 2",
            x.dims()
        )
    }
    let mean = (column_sums(&rows)? / count as f64)?;
    let centred = rows.broadcast_sub(&mean.unsqueeze(1)?)?;
    let var = (column_dots(&centred, &centred)? / count as f64)?;
    let rstd = (&var + eps)?.sqrt()?.recip()?;
    let normal = centred.broadcast_mul(&rstd.unsqueeze(1)?)?;
    let value = back(&normal)?;
    let out = attach("batch_norm", x, &value, move |grad| {
        // dx = (g − mean(g) − x̂·mean(g·x̂)) / σ
        let (grad, back) = channel_rows(grad)?;
        let mean = (column_sums(&grad)? / count as f64)?.unsqueeze(1)?;
        let along = (column_dots(&grad, &normal)? / count as f64)?.unsqueeze(1)?;
        let grad = grad.broadcast_sub(&mean)?.sub(&normal.broadcast_mul(&along)?)?;
        back(&grad.broadcast_mul(&rstd.unsqueeze(1)?)?)
    })?;
    let channels = shape.iter().product::<usize>();
    Ok((out, mean.reshape(channels)?, var.reshape(channels)?))
}

/// `[1, C, 1, …]`
fn per_channel(x: &Tensor) -> Result<Vec<usize>> {
    if x.rank() < 2 {
        candle::bail!("batch norm: expected (N, C, …), found {:?}", x.dims())
    }
    let mut shape = vec![1; x.rank()];
    shape[1] = x.dim(1)?;
    Ok(shape)
}

/// `x (N, C, …)` as rows `(1, P, C)`, and the way back (a view).
fn channel_rows(x: &Tensor) -> Result<(Tensor, impl Fn(&Tensor) -> Result<Tensor> + use<>)> {
    let rank = x.rank();
    let mut last: Vec<usize> = (0..rank).filter(|&dim| dim != 1).collect();
    last.push(1);
    let mut order: Vec<usize> = (0..rank - 1).collect();
    order.insert(1, rank - 1);
    let moved = x.permute(last)?.contiguous()?;
    let shape = moved.dims().to_vec();
    let channels = x.dim(1)?;
    let rows = moved.reshape((1, x.elem_count() / channels.max(1), channels))?;
    Ok((rows, move |rows: &Tensor| rows.reshape(shape.as_slice())?.permute(order.clone())))
}
