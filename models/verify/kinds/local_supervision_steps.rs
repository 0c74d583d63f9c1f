use super::Computed;
use crate::golkar::{Circuit, CircuitConfig, Nonlinearity, Rates, Way};
use crate::verify::inputs::{Got, Inputs};
use serde::Deserialize;

#[derive(Deserialize)]
struct Params {
    nonlinearity: Nonlinearity,
    mean_rate_per_sample: f64,
    ridge: f64,
    decoupled: bool,
    learning_rates: LearningRates,
}

#[derive(Deserialize)]
struct LearningRates {
    w1: f64,
    w2: f64,
    q: f64,
}

/// Computes the case by surrogate losses, by the energy (which the decoupled circuit lacks) and by products.
pub(super) fn compute(inputs: &Inputs) -> Computed {
    let params: Params = inputs.params()?;
    let mut got = by("surrogates", Way::Surrogates, &params, inputs)?;
    if !params.decoupled {
        got.extend(by("energy", Way::Energy, &params, inputs)?);
    }
    got.extend(by("products", Way::Explicit, &params, inputs)?);
    Ok(got)
}

fn by(name: &'static str, way: Way, params: &Params, inputs: &Inputs) -> Computed {
    let LearningRates { w1, w2, q } = params.learning_rates;
    let rates = Rates { w1, w2, q };
    let config = CircuitConfig {
        nonlinearity: params.nonlinearity,
        mean_rate: params.mean_rate_per_sample,
        ridge: params.ridge,
        level: 1.0,
        decoupled: params.decoupled,
    };
    let (w1, w2, q) = (inputs.get("w1")?, inputs.get("w2")?, inputs.get("q")?);
    let r = if params.decoupled { Some(inputs.get("r")?) } else { None };
    let mut circuit = Circuit::from_weights(config, w1, w2, q, r)?;
    let (x, y) = (inputs.get("x")?, inputs.get("y")?);
    let steps = x.dim(0)?;
    for step in 0..steps {
        circuit.step(&x.get(step)?, &y.get(step)?, rates, way)?;
    }
    let tensors = circuit.tensors().into_iter();
    let mut got: Vec<Got> = tensors.map(|(tensor, value)| Got::by(name, tensor, value)).collect();
    if let Some(last) = steps.checked_sub(1) {
        got.push(Got::by(name, "prediction", circuit.predict(&x.get(last)?)?));
    }
    Ok(got)
}
