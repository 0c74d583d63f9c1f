//! What may be done to rows before units see them.

use candle::{Result, Tensor};
use std::fmt::Debug;

/// A function of the rows `(S, P, F)` that a layer unfolds its input into, each row by itself, in
/// place before the units see them: whitening of patches, for example. See
/// [`Block::set_rows`](super::Block::set_rows).
pub trait RowMap: Debug + Send + Sync {
    /// The rows that units see, of the shape of `rows (S, P, F)`.
    ///
    /// # Errors
    /// Rows that do not fit.
    fn map(&self, rows: &Tensor) -> Result<Tensor>;
}
