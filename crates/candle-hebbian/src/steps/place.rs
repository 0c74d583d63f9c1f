//! Where the weights of a variable are moved.

use super::variable::Variable;
use candle::{DType, Result, Storage, Tensor, Var};

/// The weights of a variable as `(S, K, F)`, in f32 or f64: the variable's own memory, or a copy of
/// it if the variable has another type.
pub(super) struct Place<'a> {
    var: &'a Var,
    weight: Tensor,
    is_copy: bool,
}

impl<'a> Place<'a> {
    pub(super) fn of(variable: &'a Variable) -> Result<Self> {
        let var = variable.var();
        let weight = var.as_detached_tensor().reshape(variable.matrices())?;
        let is_copy = !matches!(weight.dtype(), DType::F32 | DType::F64);
        let weight = if is_copy { weight.to_dtype(DType::F32)? } else { weight };
        Ok(Self { var, weight, is_copy })
    }

    /// The current weights. A change of this tensor in place moves them.
    pub(super) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `tensor`, of the variable's shape, in the shape and type of the weights, contiguous and without a graph.
    pub(super) fn like(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.detach().to_dtype(self.weight.dtype())?.contiguous()?.reshape(self.weight.shape())
    }

    /// Replaces the weights.
    pub(super) fn write(&mut self, weight: &Tensor) -> Result<()> {
        if weight.shape() != self.weight.shape() {
            candle::bail!(
                "steps: a part made weights of shape {:?}, expected {:?}",
                weight.dims(),
                self.weight.dims()
            )
        }
        if self.is_copy {
            self.weight = weight.force_contiguous()?; // nobody else's memory: it may be changed in place
            return Ok(());
        }
        self.var.set(&self.apart(weight)?.reshape(self.var.shape())?)
    }

    /// `tensor`, copied if it shares the memory of the weights: candle locks the memory of one
    /// operand for writing and that of the other for reading, which would deadlock if they were the
    /// same.
    pub(super) fn apart(&self, tensor: &Tensor) -> Result<Tensor> {
        match memory(tensor) == memory(&self.weight) {
            true => tensor.force_contiguous(),
            false => Ok(tensor.clone()),
        }
    }

    /// Writes a copy back to the variable, rounded to its type.
    pub(super) fn finish(self) -> Result<()> {
        if !self.is_copy {
            return Ok(());
        }
        self.var.set(&self.weight.to_dtype(self.var.dtype())?.reshape(self.var.shape())?)
    }
}

/// The address of a tensor's storage, for comparison.
pub(super) fn memory(tensor: &Tensor) -> *const Storage {
    let (storage, _) = tensor.storage_and_layout();
    &raw const *storage
}
