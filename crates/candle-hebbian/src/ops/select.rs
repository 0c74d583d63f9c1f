//! Reading the places of an axis in any order: padding and windows, where there is no kernel for them.

use super::index::index;
use crate::memory;
use candle::{Result, Tensor};

/// What the places `source` of `x` hold along `dim`, zeros where there is `None`. Differentiable.
pub(crate) fn select(x: &Tensor, dim: usize, source: &[Option<usize>]) -> Result<Tensor> {
    let mut sizes = x.dims().to_vec();
    let size = std::mem::replace(&mut sizes[dim], source.len());
    memory::check("reading of windows", &sizes, x.dtype(), x.device())?;
    memory::check("reading of windows", x.dims(), x.dtype(), x.device())?;
    // Zero padding is one row of zeros at the end.
    let padded = source.contains(&None);
    let x = if padded { x.pad_with_zeros(dim, 0, 1)? } else { x.clone() };
    let source: Vec<u32> = source.iter().map(|at| at.unwrap_or(size) as u32).collect();
    x.contiguous()?.index_select(&index(&source, x.device())?, dim)
}
