//! Transformations of rows before units see them.

use candle::{Result, Tensor};
use std::fmt::Debug;

/// A function that transforms each of the rows `(S, P, F)` into which a layer unfolds its input,
/// before the units see them: whitening of patches, for example. See
/// [`Block::set_rows`](super::Block::set_rows).
pub trait RowMap: Debug + Send + Sync {
    /// Returns the rows that the units see, in the shape of `rows (S, P, F)`.
    ///
    /// # Errors
    /// If the rows do not fit.
    fn map(&self, rows: &Tensor) -> Result<Tensor>;
}
