use super::Computed;
use crate::verify::error::Problem;
use crate::verify::inputs::{Got, Inputs};
use candle::D;
use candle_hebbian::PaddingMode;
use candle_hebbian::ops::pad_reflect;
use serde::Deserialize;

#[derive(Deserialize)]
struct Params {
    padding: usize,
    padding_mode: PaddingMode,
}

pub(super) fn compute(inputs: &Inputs) -> Computed {
    let Params { padding, padding_mode } = inputs.params()?;
    let x = inputs.get("x")?;
    let side = x.dims().iter().rev().take(2).copied().min().unwrap_or_default();
    // candle takes memory for zeros on any scale.
    if padding > side {
        let expected = format!("at most {side}, the shorter side of the image");
        return Err(Problem::Unsupported { name: "padding", found: padding.to_string(), expected });
    }
    let out = match padding_mode {
        PaddingMode::Reflect => pad_reflect(x, padding)?,
        PaddingMode::Zeros => x.pad_with_zeros(D::Minus2, padding, padding)?.pad_with_zeros(
            D::Minus1,
            padding,
            padding,
        )?,
    };
    Ok(vec![Got::new("out", out)])
}
