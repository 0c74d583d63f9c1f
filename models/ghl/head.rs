//! The layers after the convolutions.

use candle::{Result, Tensor, Var};
use candle_hebbian::ops::{BatchNorm, Dropout, batch_norm, linear_response, repu};
use candle_hebbian::{Rng, init};
use candle_nn::{Init, VarBuilder};

/// A dense layer with a bias.
#[derive(Debug)]
struct Linear {
    weight: Var,
    bias: Var,
}

/// At most one hidden layer, dropout, and a class layer; all of them learn by back-propagation.
///
/// ```text
/// h = γ·norm(relu(A f + a)) + β        logits = V dropout(h) + b
/// ```
#[derive(Debug)]
pub struct Head {
    hidden: Option<Hidden>,
    dropout: Dropout,
    classes: Linear,
}

#[derive(Debug)]
struct Hidden {
    linear: Linear,
    norm: BatchNorm,
    /// `γ` and `β`.
    scale: Var,
    shift: Var,
}

impl Linear {
    /// A layer with weights and biases from `U(±1/√F)`, as in PyTorch.
    fn new(inputs: usize, units: usize, vb: &VarBuilder) -> Result<Self> {
        let init = init::fan_in_uniform((units, inputs));
        Ok(Self {
            weight: Var::from_tensor(&vb.get_with_hints((units, inputs), "weight", init)?)?,
            bias: Var::from_tensor(&vb.get_with_hints(units, "bias", init)?)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.as_tensor();
        linear_response(x, weight, weight)?.broadcast_add(&self.bias)
    }
}

impl Head {
    /// A head for `features` inputs, with variables from `vb`.
    pub(super) fn new(
        features: usize,
        hidden: Option<usize>,
        dropout: f64,
        classes: usize,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let width = hidden.unwrap_or(features);
        let hidden = hidden.map(|units| {
            let vb = vb.pp("hidden");
            let constant = |name, value| {
                Var::from_tensor(&vb.get_with_hints(units, name, Init::Const(value))?)
            };
            Ok::<_, candle::Error>(Hidden {
                linear: Linear::new(features, units, &vb)?,
                norm: batch_norm(units, vb.clone())?,
                scale: constant("scale", 1.0)?,
                shift: constant("shift", 0.0)?,
            })
        });
        Ok(Self {
            hidden: hidden.transpose()?,
            dropout: Dropout::new(dropout)?,
            classes: Linear::new(width, classes, &vb.pp("head"))?,
        })
    }

    /// The variables that learn.
    pub(super) fn vars(&self) -> Vec<Var> {
        let hidden = self.hidden.iter().flat_map(|hidden| {
            let Hidden { linear, scale, shift, .. } = hidden;
            [&linear.weight, &linear.bias, scale, shift]
        });
        hidden.chain([&self.classes.weight, &self.classes.bias]).cloned().collect()
    }

    /// All tensors of a checkpoint, with their names.
    pub(super) fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        let hidden = self.hidden.iter().flat_map(|hidden| {
            let Hidden { linear, norm, scale, shift } = hidden;
            [
                ("hidden.weight", linear.weight.as_tensor()),
                ("hidden.bias", linear.bias.as_tensor()),
                ("hidden.scale", scale.as_tensor()),
                ("hidden.shift", shift.as_tensor()),
                ("hidden.running_mean", norm.running_mean()),
                ("hidden.running_var", norm.running_var()),
            ]
        });
        let classes = [
            ("head.weight", self.classes.weight.as_tensor()),
            ("head.bias", self.classes.bias.as_tensor()),
        ];
        hidden.chain(classes).collect()
    }

    /// Returns the input of the class layer for `features (B, F)`; in training, batch norm uses the statistics of the
    /// batch.
    pub(super) fn hidden(&self, features: &Tensor, training: bool) -> Result<Tensor> {
        let Some(Hidden { linear, norm, scale, shift }) = &self.hidden else {
            return Ok(features.clone());
        };
        let active = repu(&linear.forward(features)?, 1.0)?;
        let normed = if training { norm.forward_train(&active) } else { norm.forward(&active) };
        normed?.broadcast_mul(scale)?.broadcast_add(shift)
    }

    /// Returns the logits `(B, classes)` for the output of [`hidden`](Self::hidden). With `masks`, dropout is drawn
    /// from them.
    pub(super) fn logits(&self, hidden: &Tensor, masks: Option<&mut Rng>) -> Result<Tensor> {
        match masks {
            Some(masks) => self.classes.forward(&self.dropout.apply(hidden, masks)?),
            None => self.classes.forward(hidden),
        }
    }
}
