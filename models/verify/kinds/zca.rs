use super::Computed;
use crate::verify::error::Problem;
use crate::verify::inputs::{Got, Inputs};
use hebbian_data::{Divisor, Zca};
use serde::Deserialize;

#[derive(Deserialize)]
struct Params {
    covariance: String,
    epsilon: f64,
}

/// Fits the whitening on the host in f64, wherever the images are.
pub(super) fn compute(inputs: &Inputs) -> Computed {
    let Params { covariance, epsilon } = inputs.params()?;
    let sum = covariance.split(',').next().unwrap_or_default();
    if sum != "X^T X / n" {
        let expected = "'X^T X / n, no per-pixel mean removal'".to_string();
        return Err(Problem::Unsupported { name: "covariance", found: covariance, expected });
    }
    let zca = Zca::from_rows(inputs.get("x")?, Divisor::Images, epsilon)?;
    let zca = zca.to(inputs.dtype, inputs.device)?;
    Ok(vec![Got::new("matrix", zca.matrix().clone())])
}
