//! Where the weights of a variable are moved.

use super::variable::Variable;
use candle::{DType, Result, Storage, Tensor, Var};

/// The weights of a variable as `(S, K, F)`, in f32 or f64: its own memory, or a copy of it where
/// it is of another type.
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

    /// The weights as they are now. What changes this tensor in place moves them.
    pub(super) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// Puts other weights in their place.
    pub(super) fn write(&mut self, weight: &Tensor) -> Result<()> {
        if weight.shape() != self.weight.shape() {
            candle::bail!(
                "steps: a part made weights of shape {:?}, expected {:?}",
                weight.dims(),
                self.weight.dims()
            )
        }
        if self.is_copy {
            self.weight = weight.copy()?; // nobody else's memory: it may be changed in place
            return Ok(());
        }
        self.var.set(&self.apart(weight)?.reshape(self.var.shape())?)
    }

    /// `tensor`, copied if it lies in the memory of the weights: candle locks an operand's memory
    /// once to write and once to read, which for one memory would never end.
    pub(super) fn apart(&self, tensor: &Tensor) -> Result<Tensor> {
        match memory(tensor) == memory(&self.weight) {
            true => tensor.copy(),
            false => Ok(tensor.clone()),
        }
    }

    /// Rounds a copy into the variable.
    pub(super) fn finish(self) -> Result<()> {
        if !self.is_copy {
            return Ok(());
        }
        self.var.set(&self.weight.to_dtype(self.var.dtype())?.reshape(self.var.shape())?)
    }
}

/// Where a tensor's elements are, to compare.
fn memory(tensor: &Tensor) -> *const Storage {
    let (storage, _) = tensor.storage_and_layout();
    &raw const *storage
}
