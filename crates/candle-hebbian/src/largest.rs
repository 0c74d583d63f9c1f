//! The largest entry of a tensor, for tests.

use candle::{DType, Result, Tensor};

/// The largest absolute value of the entries, and NaN if one of them is NaN: candle's maximum and Rust's ignore NaN.
pub(crate) fn largest(values: &Tensor) -> Result<f64> {
    let values = values.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(values.into_iter().fold(0.0, |largest: f64, value| match value.abs() {
        value if value > largest || value.is_nan() => value,
        _ => largest,
    }))
}

#[test]
fn largest_keeps_nan() -> Result<()> {
    let of = |values: &[f32]| largest(&Tensor::new(values, &candle::Device::Cpu)?);
    assert_eq!(of(&[1.0, -3.0, 2.0])?, 3.0);
    for values in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
        assert!(of(&values)?.is_nan());
    }
    Ok(())
}
