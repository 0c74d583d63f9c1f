use super::geometry::geometry;
use super::{Computed, gradient};
use crate::CompetitionKind;
use crate::verify::inputs::{Got, Inputs};
use candle_hebbian::{Competition, Layer, RuleKind};
use serde::Deserialize;

#[derive(Deserialize)]
struct Params {
    rule: RuleKind,
    competition: CompetitionKind,
}

/// The update both as minus the surrogate's gradient and directly.
pub(super) fn compute(inputs: &Inputs) -> Computed {
    let Params { rule, competition } = inputs.params()?;
    let layer = Layer::new(inputs.get("w")?.clone(), geometry(inputs)?)?;
    let response = layer.response(inputs.get("x")?)?;
    let post = competition.compete(response.u())?;
    let grads = rule.rule().loss(&response, &post)?.backward()?;
    Ok(vec![
        Got::new("u", response.output()?),
        Got::new("y", response.fold(&post)?),
        Got::by("surrogate", "delta_w", gradient(&grads, layer.weight())?.neg()?),
        Got::by("update", "delta_w", rule.rule().update(&response, &post)?),
    ])
}
