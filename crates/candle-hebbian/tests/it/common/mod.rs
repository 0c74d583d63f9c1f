//! Layers and rules that several test modules share.

pub mod draw;

use candle_hebbian::{Hebb, Instar, Oja, Rule, SoftHebb};

/// The rules of the decay form, by name: oracles choose the definition by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleName {
    Hebb,
    Instar,
    Oja,
    Softhebb,
}

impl RuleName {
    pub fn rule(self) -> &'static dyn Rule {
        match self {
            Self::Hebb => &Hebb,
            Self::Instar => &Instar,
            Self::Oja => &Oja,
            Self::Softhebb => &SoftHebb,
        }
    }
}
