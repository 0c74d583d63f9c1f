//! Reads the places of an axis in any order, for padding and windows that have no kernel.

use super::index::index;
use crate::memory;
use candle::{Result, Tensor};

/// Selects the places `source` of `x` along `dim`, with zeros for `None`. Differentiable.
pub(crate) fn select(x: &Tensor, dim: usize, source: &[Option<usize>]) -> Result<Tensor> {
    let mut sizes = x.dims().to_vec();
    let size = std::mem::replace(&mut sizes[dim], source.len());
    memory::check("reading of windows", &sizes, x.dtype(), x.device())?;
    memory::check("reading of windows", x.dims(), x.dtype(), x.device())?;
    // Zero padding reads a row of zeros that is appended at the end.
    let padded = source.contains(&None);
    let x = if padded { x.pad_with_zeros(dim, 0, 1)? } else { x.clone() };
    let source: Vec<u32> = source.iter().map(|at| at.unwrap_or(size) as u32).collect();
    x.contiguous()?.index_select(&index(&source, x.device())?, dim)
}
