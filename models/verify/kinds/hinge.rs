use super::{Computed, gradient};
use crate::verify::inputs::{Got, Inputs};
use candle::Var;
use candle_hebbian::HingeHebb;
use serde::Deserialize;

#[derive(Deserialize)]
struct Params {
    mu: f64,
}

pub(super) fn compute(inputs: &Inputs) -> Computed {
    let Params { mu } = inputs.params()?;
    let h = Var::from_tensor(inputs.get("h")?)?;
    let loss = HingeHebb::new(mu)?.loss(&h, inputs.get("labels")?)?;
    let grads = loss.backward()?;
    Ok(vec![Got::new("loss", loss.reshape(1)?), Got::new("grad_h", gradient(&grads, &h)?)])
}
