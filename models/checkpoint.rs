//! What the checkpoints of all papers say of themselves.

use candle::Tensor;
use hebbian_train::Result;
use hebbian_train::save_checkpoint;
use std::path::Path;

/// Writes `tensors` with their method, preset and data set, this crate's version, and what else the
/// method has to say.
pub(crate) fn write_checkpoint(
    path: &Path,
    tensors: &[(String, Tensor)],
    [method, preset, dataset]: [&str; 3],
    more: &[(&str, String)],
) -> Result<()> {
    let known = [("method", method), ("preset", preset), ("dataset", dataset)];
    let known = known.into_iter().chain([("version", env!("CARGO_PKG_VERSION"))]);
    let known = known.map(|(key, value)| (key.to_string(), value.to_string()));
    let more = more.iter().map(|(key, value)| (key.to_string(), value.clone()));
    save_checkpoint(path, tensors, &known.chain(more).collect())
}
