use super::geometry::geometry;
use super::{Computed, gradient};
use crate::amit::Protocol;
use crate::verify::inputs::{Got, Inputs};
use candle::{Module, Tensor, Var};
use candle_hebbian::{FeedbackLayer, Geometry};
use serde::Deserialize;

/// The protocol, as the files name it.
#[derive(Deserialize)]
pub(super) struct Params {
    protocol: Name,
    #[serde(default = "one")]
    feedback_rate: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    Backprop,
    Fixed,
    Updated,
}

fn one() -> f64 {
    1.0
}

impl Params {
    pub fn protocol(&self) -> Protocol {
        match self.protocol {
            Name::Backprop => Protocol::Backprop,
            Name::Fixed => Protocol::Frfb,
            Name::Updated if self.feedback_rate == 1.0 => Protocol::Urfb,
            Name::Updated => Protocol::Partial { rate: self.feedback_rate },
        }
    }
}

/// Returns a layer with that protocol. Back-propagation does not use `r`.
pub(super) fn layer(
    w: &Tensor,
    r: &Tensor,
    geometry: Geometry,
    protocol: Protocol,
) -> candle::Result<FeedbackLayer> {
    let config = protocol.feedback();
    let feedback = config.has_feedback().then_some(r);
    FeedbackLayer::from_tensors(w, feedback, geometry, config)
}

pub(super) fn compute(inputs: &Inputs) -> Computed {
    let params: Params = inputs.params()?;
    let protocol = params.protocol();
    let (w, r) = (inputs.get("w")?, inputs.get("r")?);
    let layer = layer(w, r, geometry(inputs)?, protocol)?;
    let x = Var::from_tensor(inputs.get("x")?)?;
    let out = layer.forward(&x)?;
    let grads = (&out * inputs.get("upstream")?)?.sum_all()?.backward()?;
    let mut got = vec![
        Got::new("out", out),
        Got::new("grad_x", gradient(&grads, &x)?),
        Got::new("grad_w", gradient(&grads, layer.weight())?),
    ];
    match (layer.feedback_gradient(&grads)?, params.protocol) {
        (Some(grad_r), _) => got.push(Got::new("grad_r", grad_r)),
        // Feedback that is updated at a rate of 0 has no update.
        (None, Name::Updated) => got.push(Got::new("grad_r", r.zeros_like()?)),
        (None, Name::Backprop | Name::Fixed) => {}
    }
    Ok(got)
}
