//! The kinds of cases, one per file.

mod amit_steps;
mod feedback;
mod geometry;
mod hinge;
mod local_supervision_steps;
mod miconi_steps;
mod pad;
mod pool;
mod rule;
mod softhebb_steps;
mod zca;

use super::error::Problem;
use super::inputs::{Got, Inputs};
use candle::Tensor;
use candle::backprop::GradStore;
use std::fmt;

/// What a case checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A rule with a competition in a geometry: response, activity, update.
    Rule,
    /// The hinge-Hebbian class layer.
    Hinge,
    /// A layer with asymmetric feedback.
    Feedback,
    /// Pooling, with its gradient.
    Pool,
    /// Padding.
    Pad,
    /// Whitening.
    Zca,
    /// Steps of a network of Amit 2019.
    AmitSteps,
    /// Steps of a SoftHebb network.
    SofthebbSteps,
    /// Steps of a network of Miconi 2021.
    MiconiSteps,
    /// Steps of the microcircuit of Golkar et al. 2020.
    LocalSupervisionSteps,
}

type Computed = Result<Vec<Got>, Problem>;

impl Kind {
    /// All kinds, with their names in files.
    pub const ALL: [(&'static str, Self); 10] = [
        ("rule", Self::Rule),
        ("hinge", Self::Hinge),
        ("feedback", Self::Feedback),
        ("pool", Self::Pool),
        ("pad", Self::Pad),
        ("zca", Self::Zca),
        ("amit_steps", Self::AmitSteps),
        ("softhebb_steps", Self::SofthebbSteps),
        ("miconi_steps", Self::MiconiSteps),
        ("local_supervision_steps", Self::LocalSupervisionSteps),
    ];

    /// Returns the kind with that name in files.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|&(_, kind)| kind)
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The names of all kinds.
    pub(super) fn known() -> String {
        Self::ALL.map(|(name, _)| name).join(", ")
    }

    pub(super) fn compute(self, inputs: &Inputs) -> Computed {
        match self {
            Self::Rule => rule::compute(inputs),
            Self::Hinge => hinge::compute(inputs),
            Self::Feedback => feedback::compute(inputs),
            Self::Pool => pool::compute(inputs),
            Self::Pad => pad::compute(inputs),
            Self::Zca => zca::compute(inputs),
            Self::AmitSteps => amit_steps::compute(inputs),
            Self::SofthebbSteps => softhebb_steps::compute(inputs),
            Self::MiconiSteps => miconi_steps::compute(inputs),
            Self::LocalSupervisionSteps => local_supervision_steps::compute(inputs),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Returns the gradient of `var`, which is 0 if the loss does not depend on it.
fn gradient(grads: &GradStore, var: &Tensor) -> candle::Result<Tensor> {
    grads.get(var).map_or_else(|| var.zeros_like(), |gradient| Ok(gradient.clone()))
}
