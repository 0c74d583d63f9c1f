use super::{Computed, gradient};
use crate::verify::inputs::{Got, Inputs};
use candle::{Module, Var};
use candle_hebbian::ops::Pool;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Params {
    Max { kernel: usize, stride: usize, padding: usize },
    Avg { kernel: usize, stride: usize, padding: usize },
}

/// Computes the case in both memory formats: channels first, and channels last seen through a permutation.
pub(super) fn compute(inputs: &Inputs) -> Computed {
    let pool = match inputs.params()? {
        Params::Max { kernel, stride, padding } => Pool::Max { kernel, stride, padding },
        Params::Avg { kernel, stride, padding } => Pool::Avg { kernel, stride, padding },
    };
    let (x, upstream) = (Var::from_tensor(inputs.get("x")?)?, inputs.get("upstream")?);
    let last = x.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2))?;
    let mut got = Vec::new();
    for (way, seen) in [("channels first", x.as_tensor()), ("channels last", &last)] {
        let out = pool.forward(seen)?;
        let grads = (&out * upstream)?.sum_all()?.backward()?;
        got.push(Got::by(way, "out", out));
        got.push(Got::by(way, "grad_x", gradient(&grads, &x)?));
    }
    Ok(got)
}
