//! How the error travels back through a layer: the protocols and their names in presets and on the command
//! line.

use candle::{Error, Result};
use candle_hebbian::feedback::{Learning, Pairing, Sizes, Source};
use candle_hebbian::{FeedbackConfig, without_backtrace};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The weights through which the backward pass of a layer sends the error, how they start, and whether
/// they learn. Each protocol is a named choice from those of [`candle_hebbian::feedback`].
///
/// Between layers `l−1` and `l`, the error at the output of `l−1` is `φ = K_lᵀ δ_l`. With the weights
/// `w`, feedback weights `r` of the same shape, and the gradient `G` of the weights:
///
/// | variant | `K` | start of `r` | change of `r` | name |
/// |---|---|---|---|---|
/// | [`Backprop`](Self::Backprop) | `w` | | | `bp` |
/// | [`Urfb`](Self::Urfb) | `r` | random | `−ηG` | `urfb` |
/// | [`Frfb`](Self::Frfb) | `r` | random | none | `frfb`, `fa` |
/// | [`Partial`](Self::Partial) | `r` | random | `−εηG` | `partial:ε` |
/// | [`Identical`](Self::Identical) | `r` | `w` | `−ηG` | `identical` |
/// | [`KolenPollack`](Self::KolenPollack) | `r` | random | `−ηG − ηλr` | `kp` |
/// | [`WeightMirror`](Self::WeightMirror) | `r` | random | `κ(M − r)`, `M ≈ w` | `wm`, `wm:κ` |
/// | [`UniformSign`](Self::UniformSign) | `s·sign(w)` | | | `usf` |
/// | [`BatchwiseRandomSign`](Self::BatchwiseRandomSign) | `\|r\|⊙sign(w)` | random | redrawn | `brsf` |
/// | [`FixedRandomSign`](Self::FixedRandomSign) | `\|r\|⊙sign(w)` | random | none | `frsf` |
/// | [`DirectFeedback`](Self::DirectFeedback) | see the variant | random | none | `dfa` |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Protocol {
    /// Back-propagation: the error goes back through the weights themselves.
    Backprop,
    /// Updated random feedback (Amit 2019): `r` is drawn separately from `w` but receives the same
    /// Hebbian update, so `w − r` never changes.
    Urfb,
    /// Fixed random feedback (Amit 2019), known as feedback alignment (Lillicrap et al. 2016).
    #[doc(alias = "FeedbackAlignment")]
    #[doc(alias = "fa")]
    Frfb,
    /// Between URFB and FRFB: `r` learns at `rate` (`ε`, 0 to 1) times the rate of `w`.
    Partial {
        /// `ε`
        rate: f64,
    },
    /// Updated feedback that starts equal to the weights and therefore stays equal: back-propagation
    /// without weight transport (Zipser & Rumelhart 1990).
    Identical,
    /// Weights and feedback weights receive the same update and the same decay, so that `w − r` shrinks by
    /// `1 − ηλ` a step (Kolen & Pollack 1994; Akrout et al. 2019). `λ` is the
    /// [`weight_decay`](super::Training::weight_decay) of training. Without it this would be URFB, and is refused.
    #[doc(alias = "kp")]
    KolenPollack,
    /// `r` mirrors the weights: after each step it moves towards `M`, an estimate of `w` from the response of the
    /// layer to noise, see [`FeedbackLayer::mirror`](candle_hebbian::FeedbackLayer::mirror) (Akrout et al. 2019). The
    /// noise has as many samples as a batch.
    #[doc(alias = "wm")]
    WeightMirror {
        /// `κ`, 0 to 1; 0.1 if only `wm` is given.
        rate: f64,
    },
    /// uSF: the signs of the weights, all with one magnitude (Liao et al. 2016): the standard deviation
    /// `√(2/(fan_in + fan_out))` of Glorot initialisation (Xiao et al. 2019).
    UniformSign,
    /// brSF: the signs of the weights, with magnitudes redrawn for each batch (Liao et al. 2016).
    BatchwiseRandomSign,
    /// frSF: the signs of the weights, with magnitudes drawn once (Liao et al. 2016).
    FixedRandomSign,
    /// Direct feedback alignment (Nøkland 2016): the layer receives the error of the network's output
    /// through fixed random weights, see [`candle_hebbian::direct_feedback`], and no error from the layer
    /// above.
    #[doc(alias = "dfa")]
    DirectFeedback,
}

/// `κ` of a weight mirror, unless another is given.
const MIRROR_RATE: f64 = 0.1;

impl Protocol {
    /// Returns how the error goes back through the layer itself. With direct feedback this is
    /// back-propagation, but the layers below do not receive that error.
    pub fn feedback(&self) -> FeedbackConfig {
        let own = |learning| FeedbackConfig { source: Source::Own, learning };
        let signs =
            |sizes| FeedbackConfig { source: Source::Signs { sizes }, learning: Learning::Fixed };
        match *self {
            Self::Backprop | Self::DirectFeedback => FeedbackConfig::default(),
            Self::Urfb | Self::Identical => own(Learning::LikeWeights { rate: 1.0 }),
            Self::Partial { rate } => own(Learning::LikeWeights { rate }),
            Self::Frfb => own(Learning::Fixed),
            Self::KolenPollack => own(Learning::KolenPollack),
            Self::WeightMirror { rate } => own(Learning::Mirror { rate }),
            Self::UniformSign => signs(Sizes::Uniform),
            Self::BatchwiseRandomSign => signs(Sizes::Redrawn),
            Self::FixedRandomSign => signs(Sizes::Own),
        }
    }

    /// Returns whether weights and feedback weights keep the same connections when connections are
    /// thinned. Only `Identical` needs this, for the two to stay identical.
    pub fn pairing(&self) -> Pairing {
        match self {
            Self::Identical => Pairing::Mutual,
            _ => Pairing::Independent,
        }
    }

    /// Checks the protocol.
    ///
    /// # Errors
    /// If a rate is outside [0, 1].
    pub fn check(&self) -> Result<()> {
        self.feedback().check()
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backprop => "bp",
            Self::Urfb => "urfb",
            Self::Frfb => "frfb",
            Self::Partial { rate } => return write!(f, "partial:{rate}"),
            Self::Identical => "identical",
            Self::KolenPollack => "kp",
            Self::WeightMirror { rate: MIRROR_RATE } => "wm",
            Self::WeightMirror { rate } => return write!(f, "wm:{rate}"),
            Self::UniformSign => "usf",
            Self::BatchwiseRandomSign => "brsf",
            Self::FixedRandomSign => "frsf",
            Self::DirectFeedback => "dfa",
        })
    }
}

impl FromStr for Protocol {
    type Err = candle::Error;

    fn from_str(name: &str) -> Result<Self> {
        let protocol = match name {
            "bp" => Self::Backprop,
            "urfb" => Self::Urfb,
            "frfb" | "fa" => Self::Frfb,
            "identical" => Self::Identical,
            "kp" => Self::KolenPollack,
            "wm" => Self::WeightMirror { rate: MIRROR_RATE },
            "usf" => Self::UniformSign,
            "brsf" => Self::BatchwiseRandomSign,
            "frsf" => Self::FixedRandomSign,
            "dfa" => Self::DirectFeedback,
            _ => match name.split_once(':').map(|(kind, rate)| (kind, rate.parse())) {
                Some(("partial", Ok(rate))) => Self::Partial { rate },
                Some(("wm", Ok(rate))) => Self::WeightMirror { rate },
                _ => {
                    return Err(Error::Msg(format!(
                        "unknown protocol {name:?}: expected bp, urfb, frfb (or fa), partial:RATE, \
                         identical, kp, wm (or wm:RATE), dfa, usf, brsf or frsf"
                    )));
                }
            },
        };
        // Flags and presets show the message as it is.
        protocol.check().map_err(|error| Error::Msg(without_backtrace(error)))?;
        Ok(protocol)
    }
}

impl TryFrom<String> for Protocol {
    type Error = candle::Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> Self {
        protocol.to_string()
    }
}
