//! The rules that a preset can name.

use candle::Result;
use candle_hebbian::{Hebb, Instar, Oja, Response, Rule, SoftHebb, State, Synapses, Update};
use serde::{Deserialize, Serialize};

/// A rule by its name in presets and reference vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// [`Hebb`]
    Hebb,
    /// [`Instar`]
    Instar,
    /// [`Oja`]
    Oja,
    /// [`SoftHebb`]
    Softhebb,
}

impl RuleKind {
    /// The name of the rule in presets and reference vectors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hebb => "hebb",
            Self::Instar => "instar",
            Self::Oja => "oja",
            Self::Softhebb => "softhebb",
        }
    }

    /// The rule itself.
    pub fn rule(self) -> &'static dyn Rule {
        match self {
            Self::Hebb => &Hebb,
            Self::Instar => &Instar,
            Self::Oja => &Oja,
            Self::Softhebb => &SoftHebb,
        }
    }
}

impl Rule for RuleKind {
    fn update(&self, synapses: &Synapses, state: &mut State) -> Result<Update> {
        self.rule().update(synapses, state)
    }

    fn response(&self, linear: Response) -> Result<Response> {
        self.rule().response(linear)
    }
}
