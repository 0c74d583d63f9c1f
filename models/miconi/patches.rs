//! The processing of each patch by itself ("method 2").

use candle::{Result, Tensor};
use candle_hebbian::RowMap;
use candle_hebbian::ops::standardise;

/// Keeps a division by a standard deviation or a norm finite.
pub(super) const TINY: f64 = 1e-10;

/// A map that standardises patches to mean 0 and standard deviation 1 and, if there is a matrix, whitens them by
/// it and standardises them again.
#[derive(Debug)]
pub(super) struct PatchMap {
    pub(super) whitening: Option<Tensor>,
}

impl RowMap for PatchMap {
    fn map(&self, rows: &Tensor) -> Result<Tensor> {
        let rows = standardise(&rows.squeeze(0)?, TINY)?;
        let rows = match &self.whitening {
            Some(matrix) => standardise(&rows.matmul(matrix)?, TINY)?,
            None => rows,
        };
        rows.unsqueeze(0)
    }
}
