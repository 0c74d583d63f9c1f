//! The competitions that a preset can name.

use candle::{Result, Tensor};
use candle_hebbian::{Competition, HardWta, KWta, NoCompetition, SoftWta, SoftWtaAntiHebbian};
use serde::{Deserialize, Deserializer, Serialize};

/// A [`Competition`] as JSON: `{"kind": "soft_wta", "inverse_temperature": 1.0}`. Unknown fields are
/// refused.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::Competition;
/// use hebbian_models::CompetitionKind;
/// let kind: CompetitionKind = serde_json::from_str(r#"{"kind": "k_wta_binary", "k": 1}"#)?;
/// let u = Tensor::new(&[[2f64, 3.0]], &Device::Cpu)?;
/// assert_eq!(kind.compete(&u)?.to_vec2::<f64>()?, [[0.0, 1.0]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CompetitionKind {
    /// [`NoCompetition`]
    #[serde(deserialize_with = "no_fields")]
    None,
    /// [`HardWta`]
    #[serde(deserialize_with = "no_fields")]
    HardWta,
    /// [`KWta::binary`]
    KWtaBinary {
        /// Number of winners.
        k: usize,
    },
    /// [`KWta::graded`]
    KWtaGraded {
        /// Number of winners.
        k: usize,
    },
    /// [`SoftWta`]
    SoftWta {
        /// `t`, one over the temperature.
        inverse_temperature: f64,
    },
    /// [`SoftWtaAntiHebbian`]
    SoftWtaAntiHebbian {
        /// `t`, one over the temperature.
        inverse_temperature: f64,
    },
}

impl Competition for CompetitionKind {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        match *self {
            Self::None => NoCompetition.compete(u),
            Self::HardWta => HardWta.compete(u),
            Self::KWtaBinary { k } => KWta::binary(k).compete(u),
            Self::KWtaGraded { k } => KWta::graded(k).compete(u),
            Self::SoftWta { inverse_temperature } => SoftWta { inverse_temperature }.compete(u),
            Self::SoftWtaAntiHebbian { inverse_temperature } => {
                SoftWtaAntiHebbian { inverse_temperature }.compete(u)
            }
        }
    }
}

/// `deny_unknown_fields` for a variant without fields, to which serde does not apply it.
pub(crate) fn no_fields<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoFields {}
    NoFields::deserialize(deserializer).map(drop)
}
