//! `local_supervision_steps`: then the prediction for the last batch.

use candle::DType;
use hebbian_models::golkar::{Circuit, CircuitConfig, Nonlinearity, Rates, Way};

use crate::{Case, Result};

fn check(case: &Case, way: Way) -> Result<()> {
    let Case { params, tensors, .. } = case;
    let number = |name: &str| params[name].as_f64().ok_or(format!("no number {name}"));
    let rate =
        |name: &str| params["learning_rates"][name].as_f64().ok_or(format!("no rate {name}"));
    let config = CircuitConfig {
        nonlinearity: serde_json::from_value(params["nonlinearity"].clone())?,
        mean_rate: number("mean_rate_per_sample")?,
        ridge: number("ridge")?,
        level: 1.0,
        decoupled: params["decoupled"].as_bool().ok_or("no decoupled")?,
    };
    if way == Way::Energy && config.decoupled {
        return Ok(()); // it has no energy
    }
    let [w1, w2, q] = ["w1", "w2", "q"].map(|name| &tensors[name]);
    let mut circuit = Circuit::from_weights(config, w1, w2, q, tensors.get("r"))?;
    let rates = Rates { w1: rate("w1")?, w2: rate("w2")?, q: rate("q")? };
    let (x, y) = (&tensors["x"], &tensors["y"]);
    let steps = x.dim(0)?;
    for step in 0..steps {
        circuit.step(&x.get(step)?, &y.get(step)?, rates, way)?;
    }
    let mut got = circuit.tensors();
    got.push(("prediction".to_string(), circuit.predict(&x.get(steps - 1)?)?));
    // Without a non-linearity there is no running mean; the file's is 0.
    if config.nonlinearity == Nonlinearity::Identity {
        assert_eq!(circuit.mean().abs()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?, 0.0);
    }
    case.check(got)
}

#[test]
fn local_supervision_steps() -> Result<()> {
    let cases = Case::all("local_supervision.", "local_supervision_steps")?;
    assert_eq!(cases.len(), 2 * 4);
    for way in [Way::Surrogates, Way::Energy, Way::Explicit] {
        cases.iter().try_for_each(|(case, _)| check(case, way))?;
    }
    Ok(())
}
