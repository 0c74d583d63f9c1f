use super::geometry::geometry;
use super::{Computed, gradient};
use crate::verify::inputs::{Got, Inputs};
use crate::{CompetitionKind, RuleKind};
use candle_hebbian::{Competition, Layer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Params {
    rule: RuleKind,
    competition: CompetitionKind,
}

/// Computes the update in two ways: as minus the gradient of the surrogate loss, and directly.
pub(super) fn compute(inputs: &Inputs) -> Computed {
    let Params { rule, competition } = inputs.params()?;
    let layer = Layer::from_tensor(inputs.get("w")?, geometry(inputs)?)?;
    let response = layer.response(inputs.get("x")?)?;
    let post = competition.compete(response.u())?;
    let grads = response.synapses(&post)?.loss(rule.rule())?.backward()?;
    Ok(vec![
        Got::new("u", response.output()?),
        Got::new("y", response.fold(&post)?),
        Got::by("surrogate", "delta_w", gradient(&grads, layer.weight())?.neg()?),
        Got::by("update", "delta_w", response.synapses(&post)?.update(rule.rule())?),
    ])
}
