//! Shared by several tests.

use candle::{DType, Tensor};

/// The result of a test.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Asserts that the entries of `found`, in order, are those of `want` to within `tolerance`.
pub fn near(name: &str, found: &Tensor, want: &[f64], tolerance: f64) -> Result {
    let found = found.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    assert_eq!(found.len(), want.len(), "{name}: {found:?}");
    for (at, (found, want)) in found.iter().zip(want).enumerate() {
        assert!((found - want).abs() <= tolerance, "{name}[{at}]: {found}, expected {want}");
    }
    Ok(())
}
