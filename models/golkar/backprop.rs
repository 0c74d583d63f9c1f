//! The same network trained by back-propagation, for comparison.

use super::circuit::{Circuit, CircuitConfig, batch_size, descend};
use candle::{Result, Tensor, Var};
use candle_hebbian::device::to_host;

/// Gradient descent on `½ mean ‖y − W₂z‖²`, with `z = f(W₁x) − z̄` as in the [`Circuit`].
///
/// Source: Golkar et al. 2020, Eq. 1–2 and 8.
#[derive(Debug)]
pub struct Backprop {
    config: CircuitConfig,
    w1: Var,
    w2: Var,
    mean: Tensor,
}

impl Backprop {
    /// Creates a network that starts from the circuit's weights and running mean; `ridge` is the `λ` of
    /// `½λ‖W₂W₁‖²`.
    ///
    /// # Errors
    /// If the ridge is negative or not finite, or the device lacks the memory for a copy of the weights.
    pub fn from_circuit(circuit: &Circuit, ridge: f64) -> Result<Self> {
        let config = CircuitConfig { ridge, ..*circuit.config() };
        config.check()?;
        let copy = |var: &Var| Var::from_tensor(&var.as_detached_tensor());
        Ok(Self {
            config,
            w1: copy(circuit.w1())?,
            w2: copy(circuit.w2())?,
            mean: circuit.mean().clone(),
        })
    }

    /// `W₁ (k, m)`
    pub fn w1(&self) -> &Var {
        &self.w1
    }

    /// `W₂ (n, k)`
    pub fn w2(&self) -> &Var {
        &self.w2
    }

    /// Returns every tensor of a checkpoint: `w1`, `w2`, `mean`.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        [("w1", self.w1.as_detached_tensor()), ("w2", self.w2.as_detached_tensor())]
            .into_iter()
            .chain([("mean", self.mean.clone())])
            .map(|(name, tensor)| (name.to_string(), tensor))
            .collect()
    }

    /// Restores the tensors of a checkpoint; `take(name, shape)` returns each by its name.
    ///
    /// # Errors
    /// If `take` fails.
    pub fn restore<E: From<candle::Error>>(
        &mut self,
        mut take: impl FnMut(&str, &[usize]) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<(), E> {
        self.w1.set(&take("w1", self.w1.dims())?)?;
        self.w2.set(&take("w2", self.w2.dims())?)?;
        self.mean = take("mean", self.mean.dims())?.to_dtype(self.mean.dtype())?;
        Ok(())
    }

    /// Computes `ŷ (B, n)` for `x (B, m)`; differentiable in `x`.
    ///
    /// # Errors
    /// As for [`hidden`](Self::hidden).
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        self.hidden(x)?.matmul(&self.w2.as_detached_tensor().t()?)
    }

    /// Computes `z (B, k)` for `x (B, m)`; differentiable in `x`.
    ///
    /// # Errors
    /// If `x` is not `(B, m)`, or of another type or on another device than the weights.
    pub fn hidden(&self, x: &Tensor) -> Result<Tensor> {
        let f = self.config.nonlinearity;
        let rate = f.rate(&x.matmul(&self.w1.as_detached_tensor().t()?)?)?;
        f.output(&rate, &self.mean)
    }

    /// Takes one step on a batch `x (B, m)`, `y (B, n)`, with separate learning rates for `W₁` and `W₂`, then
    /// updates the running mean.
    ///
    /// # Errors
    /// If `x` is not `(B, m)` or `y` not `(B, n)`, either is of another type or on another device than the weights,
    /// there are no samples, or a learning rate is negative or not finite.
    pub fn step(&mut self, x: &Tensor, y: &Tensor, (w1, w2): (f64, f64)) -> Result<()> {
        let CircuitConfig { nonlinearity: f, mean_rate, .. } = self.config;
        let samples = batch_size(x)?;
        let rate = f.rate(&x.detach().matmul(&self.w1.t()?)?)?;
        let prediction = f.output(&rate, &self.mean)?.matmul(&self.w2.t()?)?;
        let mut loss = ((y.detach() - prediction)?.sqr()?.sum_all()? * (0.5 / samples))?;
        if self.config.ridge > 0.0 {
            let product = self.w2.matmul(self.w1.as_tensor())?;
            loss = (loss + (product.sqr()?.sum_all()? * (0.5 * self.config.ridge))?)?;
        }
        descend(&[(&self.w1, w1), (&self.w2, w2)], &loss.backward()?)?;
        self.mean = f.moved_mean(&self.mean, &rate, mean_rate)?;
        Ok(())
    }
}

/// Computes `mean ‖y − ŷ‖²` of predictions and targets `(T, n)`, the loss that the paper plots.
///
/// # Errors
/// If their shapes, types or devices differ, or there are no samples.
pub fn loss(prediction: &Tensor, y: &Tensor) -> Result<f64> {
    let error = (y.detach() - prediction.detach())?.sqr()?.sum_all()?;
    Ok(to_host(&error)?.to_scalar::<f64>()? / batch_size(y)?)
}
