//! Measurements of steps that are read later.

use crate::Result;
use candle::{DType, Tensor};
use candle_hebbian::device::read;

/// Figures that steps measured, kept on their device until several can be read together, because each read waits
/// for the device. With each step's figures goes a `T`: what the host knows about the step.
///
/// ```
/// use candle::{Device, Tensor};
/// use hebbian_train::Deferred;
/// let mut losses = Deferred::default();
/// losses.push(&Tensor::new(&[0.5f32, 0.25], &Device::Cpu)?, 10)?;
/// assert!(!losses.is_due());
/// losses.push(&Tensor::new(&[2f32], &Device::Cpu)?, 11)?;
/// assert_eq!(losses.take()?, [(vec![0.5, 0.25], 10), (vec![2.0], 11)]);
/// assert!(losses.take()?.is_empty());
/// # Ok::<(), hebbian_train::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Deferred<T> {
    rows: Vec<(Tensor, T)>,
}

/// The number of rows after which they should be read.
const READ_EVERY: usize = 50;

impl<T> Default for Deferred<T> {
    fn default() -> Self {
        Self { rows: Vec::new() }
    }
}

impl<T: Clone> Deferred<T> {
    /// Keeps a copy of `figures`, in f32, and nothing of what they were computed from.
    ///
    /// # Errors
    /// If the figures are of a type that is not numeric.
    pub fn push(&mut self, figures: &Tensor, known: T) -> Result<()> {
        // `Tensor::copy` of a view would copy, and keep, all that it is a view of.
        let figures = figures.detach().flatten_all()?.to_dtype(DType::F32)?.force_contiguous()?;
        self.rows.push((figures, known));
        Ok(())
    }

    /// Whether 50 or more rows wait to be read.
    pub fn is_due(&self) -> bool {
        self.rows.len() >= READ_EVERY
    }

    /// Reads all rows, the oldest first, and keeps them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read(&self) -> Result<Vec<(Vec<f32>, T)>> {
        let figures: Vec<_> = self.rows.iter().map(|(figures, _)| figures).collect();
        if figures.is_empty() {
            return Ok(Vec::new());
        }
        let figures = read(&Tensor::cat(&figures, 0)?)?.to_vec1::<f32>()?;
        let mut left = figures.into_iter();
        let rows = self.rows.iter();
        Ok(rows
            .map(|(row, known)| (left.by_ref().take(row.elem_count()).collect(), known.clone()))
            .collect())
    }

    /// Reads all rows, the oldest first, and removes them.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn take(&mut self) -> Result<Vec<(Vec<f32>, T)>> {
        let rows = self.read()?;
        self.rows.clear();
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{CpuStorage, Device, Storage};

    /// A part of a step's activity is kept without the rest, which has as many values as all outputs of a layer.
    #[test]
    fn a_part_is_kept_without_the_whole() -> Result<()> {
        let whole = Tensor::arange(0f32, 1000., &Device::Cpu)?.reshape((1, 100, 10))?;
        let mut kept = Deferred::default();
        kept.push(&whole.narrow(1, 3, 1)?, ())?;
        kept.push(&whole.narrow(2, 3, 1)?, ())?;
        let held = kept.rows.iter().map(|(row, ())| match &*row.storage_and_layout().0 {
            Storage::Cpu(CpuStorage::F32(values)) => values.len(),
            other => panic!("kept as {other:?}"),
        });
        assert_eq!(held.collect::<Vec<_>>(), [10, 100]);
        let rows = kept.take()?;
        assert_eq!(rows[0].0, (30u8..40).map(f32::from).collect::<Vec<_>>());
        assert_eq!(rows[1].0[..3], [3., 13., 23.]);
        Ok(())
    }
}
