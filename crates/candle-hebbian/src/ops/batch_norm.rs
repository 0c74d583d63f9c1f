//! Batch normalisation without an affine part.

use super::backend::has_kernels;
use super::channel_affine::channel_affine;
use super::custom_vjp::custom_vjp;
use super::layout::axis_last;
use super::reduce::{column_dots, column_sums};
use super::value::Value;
use super::widen::{expect_real, wide_dtype};
use crate::cpu::{self, Real, RowKernel, slice, with_real};
use crate::memory::{self, filled_rows};
use candle::{CpuStorage, CustomOp3, DType, Device, Layout, ModuleT, Result, Shape, Tensor, Var};
use candle_nn::{Init, VarBuilder};

/// Batch normalisation without an affine part, over dimension 1 of `x (N, C, …)`.
///
/// ```text
/// training:    x̂ = (x − mean_c) / √(var_c + ε)          biased variance of the batch
///              running ← (1 − momentum)·running + momentum·batch     unbiased variance
/// evaluation:  x̂ = (x − running_mean) / √(running_var + ε)
/// ```
///
/// with PyTorch's momentum 0.1 and ε 10⁻⁵; the running mean begins at 0 and the running variance at 1.
/// The running statistics are variables, so that a `VarMap` saves and loads them, but no gradient
/// reaches them. The gradient in `x` is exact. f16 and bf16 are computed in f32, which is also the
/// type of their statistics.
///
/// `forward_t(x, train)` of candle's `ModuleT` calls [`forward_train`](Self::forward_train) if `train`
/// is true, else [`forward`](Self::forward); [`in_training`](crate::in_training) turns it into a
/// `Module`.
///
/// A batch norm is not `Clone`, since a clone would share its statistics.
///
/// ```
/// use candle::{DType, Device, Tensor};
/// use candle_hebbian::ops::batch_norm;
/// use candle_nn::{VarBuilder, VarMap};
/// let varmap = VarMap::new();
/// let vb = VarBuilder::from_varmap(&varmap, DType::F64, &Device::Cpu);
/// let norm = batch_norm(1, vb.pp("norm"))?; // variables norm.running_mean and norm.running_var
/// let out = norm.forward_train(&Tensor::new(&[[1f64], [3.0]], &Device::Cpu)?)?;
/// let out = out.flatten_all()?.to_vec1::<f64>()?; // mean 2, variance 1
/// assert!((out[0] + 1.0).abs() < 1e-5 && (out[1] - 1.0).abs() < 1e-5);
/// let running_mean = &varmap.data().lock().unwrap()["norm.running_mean"];
/// assert_eq!(running_mean.to_vec1::<f64>()?, [0.2]); // a tenth of the way
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchNorm {
    running_mean: Var,
    running_var: Var,
    momentum: f64,
    eps: f64,
}

/// Builds a [`BatchNorm`] for `channels` channels, whose statistics are `vb`'s `running_mean` and
/// `running_var`.
///
/// # Errors
/// If the statistics in `vb` have another shape.
pub fn batch_norm(channels: usize, vb: VarBuilder) -> Result<BatchNorm> {
    let dtype = wide_dtype(vb.dtype());
    memory::check("running statistics", &[channels], dtype, vb.device())?;
    let var = |name, value| {
        Var::from_tensor(&vb.get_with_hints_dtype(channels, name, Init::Const(value), dtype)?)
    };
    Ok(BatchNorm::assemble(var("running_mean", 0.0)?, var("running_var", 1.0)?))
}

impl BatchNorm {
    /// Creates a batch norm for `channels` channels, with variables of its own, for inputs of type
    /// `dtype`.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn new(channels: usize, dtype: DType, device: &Device) -> Result<Self> {
        let dtype = wide_dtype(dtype);
        memory::check("running statistics", &[channels], dtype, device)?;
        let mean = Var::zeros(channels, dtype, device)?;
        Ok(Self::assemble(mean, Var::ones(channels, dtype, device)?))
    }

    fn assemble(running_mean: Var, running_var: Var) -> Self {
        Self { running_mean, running_var, momentum: 0.1, eps: 1e-5 }
    }

    /// The running mean `(C,)`.
    pub fn running_mean(&self) -> &Tensor {
        self.running_mean.as_tensor()
    }

    /// The running variance `(C,)`.
    pub fn running_var(&self) -> &Tensor {
        self.running_var.as_tensor()
    }

    /// Restores saved statistics.
    ///
    /// # Errors
    /// Shapes other than `(C,)`.
    pub fn set_running(&self, mean: &Tensor, var: &Tensor) -> Result<()> {
        if mean.shape() != self.running_mean.shape() || var.shape() != self.running_var.shape() {
            candle::bail!(
                "batch norm: found a mean of {:?} and a variance of {:?}, expected {:?} for both",
                mean.dims(),
                var.dims(),
                self.running_mean.dims()
            )
        }
        for (own, given) in [(&self.running_mean, mean), (&self.running_var, var)] {
            own.set(&given.detach().to_dtype(own.dtype())?.to_device(own.device())?)?;
        }
        Ok(())
    }

    /// Normalises with the running statistics; differentiable in `x`.
    ///
    /// # Errors
    /// If `x` has another number of channels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.evaluate(x, 1)
    }

    /// [`forward`](Self::forward) or [`forward_train`](Self::forward_train) for `x (N, …, C)`.
    pub(crate) fn channels_last(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let axis = x.rank().saturating_sub(1);
        if train { self.train(x, axis) } else { self.evaluate(x, axis) }
    }

    fn evaluate(&self, x: &Tensor, axis: usize) -> Result<Tensor> {
        self.check_channels(x, axis)?;
        if x.elem_count() == 0 {
            return Ok(x.clone());
        }
        let wide = x.to_dtype(wide_dtype(x.dtype()))?;
        let statistic = |var: &Var| var.as_detached_tensor().to_dtype(wide.dtype())?.unsqueeze(0);
        let mean = statistic(&self.running_mean)?;
        let rstd = (statistic(&self.running_var)? + self.eps)?.sqrt()?.recip()?;
        custom_vjp(
            "batch_norm",
            [&wide],
            |[x]| {
                let normal = channel_affine(&channel_rows(x, axis)?, &mean, &rstd)?;
                Ok((folded(normal, x.shape(), axis)?, rstd))
            },
            move |pass| {
                let (grad, rstd) = (channel_rows(pass.grad, axis)?, pass.residuals);
                let grad = channel_affine(&grad, &rstd.zeros_like()?, rstd)?;
                Ok([Some(folded(grad, pass.grad.shape(), axis)?.into_tensor())])
            },
        )?
        .to_dtype(x.dtype())
    }

    /// Normalises with the statistics of `x` and moves the running statistics towards them.
    ///
    /// # Errors
    /// If `x` has another number of channels, is empty, or has a single value per channel, which has
    /// no variance.
    pub fn forward_train(&self, x: &Tensor) -> Result<Tensor> {
        self.train(x, 1)
    }

    fn train(&self, x: &Tensor, axis: usize) -> Result<Tensor> {
        self.check_channels(x, axis)?;
        let (out, mean, var) = normalise_over(x, axis, self.eps)?;
        let count = (x.elem_count() / x.dim(axis)?) as f64;
        let unbiased = (var * (count / (count - 1.0)))?;
        let moved = |running: &Var, batch: &Tensor| -> Result<Tensor> {
            let batch = batch.to_dtype(running.dtype())?;
            (running.as_detached_tensor() * (1.0 - self.momentum))? + (batch * self.momentum)?
        };
        self.running_mean.set(&moved(&self.running_mean, &mean)?)?;
        self.running_var.set(&moved(&self.running_var, &unbiased)?)?;
        Ok(out)
    }

    fn check_channels(&self, x: &Tensor, axis: usize) -> Result<()> {
        let channels = self.running_mean.dims();
        if channels != [channels_of(x, axis)?] {
            candle::bail!(
                "batch norm: expected {channels:?} channels in dimension {axis}, found {:?}",
                x.dims()
            )
        }
        Ok(())
    }
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        if train { self.forward_train(x) } else { self.forward(x) }
    }
}

/// Normalises `x (N, C, …)` by its own statistics over all dimensions but the channels. Also returns
/// the mean and the biased variance `(C,)`, which are f32 for f16 and bf16.
///
/// # Errors
/// Fewer than two values per channel; an `eps` that is negative or not finite.
pub fn normalise(x: &Tensor, eps: f64) -> Result<(Tensor, Tensor, Tensor)> {
    if !(eps >= 0.0 && eps.is_finite()) {
        candle::bail!("normalise: eps is {eps}, expected a finite number of 0 or more")
    }
    normalise_over(x, 1, eps)
}

/// [`normalise`] for `x` whose channels are dimension `axis`.
fn normalise_over(x: &Tensor, axis: usize, eps: f64) -> Result<(Tensor, Tensor, Tensor)> {
    let channels = channels_of(x, axis)?;
    let wide = x.to_dtype(wide_dtype(x.dtype()))?;
    let rows = channel_rows(&wide.detach(), axis)?;
    let (_, count, _) = rows.dims3()?;
    if count < 2 {
        candle::bail!(
            "batch norm: {:?} has {count} values per channel, expected at least 2",
            x.dims()
        )
    }
    let mean = (column_sums(&rows)? / count as f64)?;
    let (zero, one) = (mean.zeros_like()?, mean.ones_like()?);
    let centred = channel_affine(&rows, &mean, &one)?.into_tensor();
    let var = (column_dots(&centred, &centred)? / count as f64)?;
    let rstd = (&var + eps)?.sqrt()?.recip()?;
    let out = custom_vjp(
        "batch_norm",
        [&wide],
        |[x]| Ok((folded(channel_affine(&centred, &zero, &rstd)?, x.shape(), axis)?, rstd)),
        move |pass| {
            // dx = (g − mean(g) − x̂·mean(g·x̂)) / σ
            let (grad, rstd) = (channel_rows(pass.grad, axis)?, pass.residuals);
            let normal = channel_rows(pass.output, axis)?;
            let mean = (column_sums(&grad)? / count as f64)?;
            let along = (column_dots(&grad, &normal)? / count as f64)?;
            let grad = normal_gradient(&grad, &normal, [&mean, &along, rstd])?;
            Ok([Some(folded(grad, pass.grad.shape(), axis)?.into_tensor())])
        },
    )?;
    Ok((out.to_dtype(x.dtype())?, mean.reshape(channels)?, var.reshape(channels)?))
}

/// How many channels `x` has in dimension `axis`.
fn channels_of(x: &Tensor, axis: usize) -> Result<usize> {
    expect_real(x)?;
    match x.dims() {
        dims @ &[_, _, ..] => Ok(dims[axis]),
        dims => candle::bail!("batch norm: expected (N, C, …), found {dims:?}"),
    }
}

/// Returns `x`, whose channels are dimension `axis`, as rows `(1, P, C)`.
fn channel_rows(x: &Tensor, axis: usize) -> Result<Tensor> {
    let channels = x.dim(axis)?;
    let (to_last, _) = axis_last(x.rank(), axis);
    let rows = x.permute(to_last)?.contiguous()?;
    rows.reshape((1, x.elem_count() / channels.max(1), channels))
}

/// Brings such rows back into a shape whose channels are dimension `axis`: for another axis than the last, as a view.
fn folded(rows: Value, shape: &Shape, axis: usize) -> Result<Value> {
    let (to_last, back) = axis_last(shape.rank(), axis);
    let last: Vec<usize> = to_last.iter().map(|&dim| shape.dims()[dim]).collect();
    let value = rows.reshape(&last.into())?;
    match axis == shape.rank() - 1 {
        true => Ok(value),
        false => Ok(value.into_tensor().permute(back)?.into()),
    }
}

/// Computes `(g − a − x̂·b)·c` for rows `g` and `x̂ (1, P, C)`, with `a`, `b` and `c (1, C)`. Not differentiable.
fn normal_gradient(grad: &Tensor, normal: &Tensor, of_channels: [&Tensor; 3]) -> Result<Value> {
    if has_kernels(grad.device()) {
        let of_channels = Tensor::cat(&of_channels, 0)?;
        return Value::op3(grad, normal, &of_channels, &NormalGradient);
    }
    let [mean, along, rstd] = of_channels.map(|x| x.unsqueeze(1));
    let centred = grad.broadcast_sub(&mean?)?;
    Ok((centred - normal.broadcast_mul(&along?)?)?.broadcast_mul(&rstd?)?.into())
}

struct NormalGradient;

impl CustomOp3 for NormalGradient {
    fn name(&self) -> &'static str {
        "batch_norm_gradient"
    }

    fn cpu_fwd(
        &self,
        grad: &CpuStorage,
        grad_layout: &Layout,
        normal: &CpuStorage,
        normal_layout: &Layout,
        of_channels: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels) = layout.shape().dims2()?;
        with_real!(grad, "batch_norm_gradient", T => {
            let (grad, normal) = (slice::<T>(grad, grad_layout)?, slice(normal, normal_layout)?);
            let rows = Rows { grad, normal, of_channels: slice(of_channels, layout)? };
            let out = filled_rows("gradient of batch norm", (grad.len(), channels), channels, &rows)?;
            Ok((cpu::owned(out), grad_layout.shape().clone()))
        })
    }
}

struct Rows<'a, T> {
    grad: &'a [T],
    normal: &'a [T],
    of_channels: &'a [T],
}

impl<T: Real> RowKernel<T> for Rows<'_, T> {
    #[inline(always)]
    fn run(&self, first: usize, block: &mut [T]) {
        let channels = self.of_channels.len() / 3;
        let (mean, rest) = self.of_channels.split_at(channels);
        let (along, rstd) = rest.split_at(channels);
        let start = first * channels;
        let rows = self.grad[start..].chunks_exact(channels);
        let rows = rows.zip(self.normal[start..].chunks_exact(channels));
        for (out, (grad, normal)) in block.chunks_exact_mut(channels).zip(rows) {
            for (c, out) in out.iter_mut().enumerate() {
                *out = (grad[c] - mean[c] - normal[c] * along[c]) * rstd[c];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use candle_nn::VarMap;

    const CPU: &Device = &Device::Cpu;

    fn values(t: &Tensor) -> Result<Vec<f64>> {
        t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
    }

    /// The statistics are the variables of the map: in training, in evaluation and after loading.
    #[test]
    fn statistics_live_in_the_map() -> Result<()> {
        let build = |varmap: &VarMap| {
            batch_norm(2, VarBuilder::from_varmap(varmap, DType::F64, CPU).pp("norm"))
        };
        let varmap = VarMap::new();
        let norm = build(&varmap)?;
        let x = Tensor::new(&[[1f64, 4.0], [3.0, 8.0]], CPU)?;
        norm.forward_t(&x, true)?;
        let held = |name: &str| values(&varmap.data().lock().unwrap()[name]);
        // Means 2 and 6, unbiased variances 2 and 8, a tenth of the way from 0 and 1.
        let near = |found: Vec<f64>, want: [f64; 2]| {
            assert!(found.iter().zip(want).all(|(f, w)| (f - w).abs() < 1e-15), "{found:?}");
        };
        near(held("norm.running_mean")?, [0.2, 0.6]);
        near(held("norm.running_var")?, [1.1, 1.7]);

        let path = std::env::temp_dir().join(format!("batch-norm-{}", std::process::id()));
        varmap.save(&path)?;
        let mut other = VarMap::new();
        let loaded = build(&other)?;
        other.load(&path)?;
        let file = std::fs::read(&path)?;
        std::fs::remove_file(&path)?;
        let vb = VarBuilder::from_buffered_safetensors(file, DType::F64, CPU)?;
        let frozen = batch_norm(2, vb.pp("norm"))?;
        for same in [&loaded, &frozen] {
            assert_eq!(values(&same.forward_t(&x, false)?)?, values(&norm.forward(&x)?)?);
        }
        // A batch norm that was not built from a map has variables of its own.
        frozen.forward_t(&x, true)?;
        assert_ne!(values(frozen.running_mean())?, held("norm.running_mean")?);

        norm.set_running(&Tensor::new(&[1f64, 2.0], CPU)?, &Tensor::new(&[3f64, 4.0], CPU)?)?;
        near(held("norm.running_mean")?, [1.0, 2.0]);
        near(held("norm.running_var")?, [3.0, 4.0]);
        // No gradient reaches them.
        let x = Var::from_tensor(&x)?;
        let grads = norm.forward(&x)?.sum_all()?.backward()?;
        assert!(grads.get(&x).is_some());
        assert!(grads.get(norm.running_mean()).is_none());
        Ok(())
    }

    /// Half precision gives the results of f32 to the last place, and the same statistics: for 4096
    /// values of 16 ± 1, whose sum and sum of squares f16 cannot hold, and with an ε that f16 rounds
    /// by 0.1 %.
    #[test]
    fn halves_are_computed_in_f32() -> Result<()> {
        let x: Vec<f32> = (0..4096).map(|i| if i % 2 == 0 { 15.0 } else { 17.0 }).collect();
        let x = Tensor::from_vec(x, (4096, 1), CPU)?;
        for dtype in [DType::F16, DType::BF16] {
            let norm = BatchNorm::new(1, dtype, CPU)?;
            let half = Var::from_tensor(&x.to_dtype(dtype)?)?;
            let out = norm.forward_train(&half)?;
            assert_eq!(out.dtype(), dtype);
            let want = |i: usize| if i.is_multiple_of(2) { -1.0 } else { 1.0 };
            let out = values(&out)?;
            assert!(out.iter().enumerate().all(|(i, &out)| (out - want(i)).abs() < 1e-5));
            let mean = values(norm.running_mean())?;
            assert!((mean[0] - 1.6).abs() < 1e-6, "{mean:?}");
            let var = values(norm.running_var())?;
            assert!((var[0] - (0.9 + 0.1 * 4096.0 / 4095.0)).abs() < 1e-6, "{var:?}");
            // The mean of the gradient is subtracted, so a constant gradient becomes 0.
            let grads = norm.forward_train(&half)?.backward()?;
            let grad = grads.get(&half).expect("a gradient");
            assert_eq!(grad.dtype(), dtype);
            assert!(values(grad)?.iter().all(|g| g.abs() < 1e-6));
            assert_eq!(norm.forward(&half)?.dtype(), dtype);
        }
        Ok(())
    }

    #[test]
    fn any_layout_is_taken() -> Result<()> {
        let x = Rng::new(2).normal(1.0, 2.0, (5, 4, 3), DType::F64, CPU)?;
        for view in [x.clone(), x.transpose(0, 2)?, x.narrow(0, 1, 3)?, x.narrow(2, 1, 2)?] {
            let norm = BatchNorm::new(view.dim(1)?, DType::F64, CPU)?;
            let whole = BatchNorm::new(view.dim(1)?, DType::F64, CPU)?;
            let copy = view.force_contiguous()?;
            let (found, want) = (norm.forward_train(&view)?, whole.forward_train(&copy)?);
            assert_eq!(values(&found)?, values(&want)?);
            assert_eq!(values(&norm.forward(&view)?)?, values(&whole.forward(&copy)?)?);
        }
        Ok(())
    }

    #[test]
    fn what_has_no_statistics_is_refused() -> Result<()> {
        let norm = BatchNorm::new(3, DType::F32, CPU)?;
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, CPU);
        for (shape, part) in [
            (&[0, 3][..], "[0, 3] has 0 values"),
            (&[1, 3], "[1, 3] has 1 values"),
            (&[4, 2], "expected [3] channels in dimension 1, found [4, 2]"),
            (&[3], "expected (N, C, …), found [3]"),
        ] {
            let error = norm.forward_train(&zeros(shape)?).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let nothing = zeros(&[0, 3, 2])?; // of which nothing is asked of a device
        assert_eq!(norm.forward(&nothing)?.id(), nothing.id());
        let error = norm.forward(&zeros(&[4, 2])?).unwrap_err().to_string();
        assert!(error.contains("expected [3] channels in dimension 1, found [4, 2]"), "{error}");
        let none = BatchNorm::new(0, DType::F32, CPU)?;
        assert!(none.forward_train(&zeros(&[4, 0])?).is_err());
        let two = zeros(&[2])?;
        assert!(norm.set_running(&two, &two).unwrap_err().to_string().contains("[2]"));
        assert_eq!(values(norm.running_var())?, [1.0; 3]);
        Ok(())
    }
}
