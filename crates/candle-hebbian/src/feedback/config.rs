//! The config of the backward path: through which weights the error goes back, and how they learn.

use crate::geometry::Geometry;
use crate::window::PaddingMode;
use candle::Result;
use serde::{Deserialize, Serialize};

/// The matrix `K` through which the error goes back, `φ = Kᵀδ`, in terms of the weights `W` and the feedback weights
/// `R`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// `K = W`: back-propagation.
    #[default]
    Weights,
    /// `K = R`: separate feedback weights of the layer.
    Own,
    /// `K = s ⊙ sign W`, with `sign 0 = 0`: the current signs of the weights (Liao et al. 2016).
    Signs {
        /// `s`
        sizes: Sizes,
    },
}

/// The sizes `s` by which the signs of the weights are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sizes {
    /// All sizes are `√(2/(fan_in + fan_out))`, the standard deviation of Glorot's draw (Xiao et al. 2019).
    Uniform,
    /// `|R|`
    Own,
    /// `|R|`, where `R` is drawn again for each batch from Glorot's distribution: call
    /// [`redraw`](super::FeedbackLayer::redraw) before each training batch, but not for evaluation.
    Redrawn,
}

/// How the feedback weights `R` learn.
///
/// Let `W ← (1 − ηλ)W − ηu` be the step of the weights under any [`Decoupled`](super::Decoupled) optimiser (`u` is the
/// gradient under plain descent, Adam's ratio of moments under Adam). `R` takes a step of its own from the same `u` and
/// never has a state in the optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Learning {
    /// `R` does not learn: it stays as it is, under any optimiser and decay.
    #[default]
    Fixed,
    /// `R ← R − εηu`: `R` learns like the weights. `R − εW` must never change, so the weights must not decay (Amit
    /// 2019; `ε = 1` is his updated random feedback). [`WithFeedback`](super::WithFeedback) takes this step.
    LikeWeights {
        /// `ε`, 0 to 1.
        rate: f64,
    },
    /// `R ← (1 − ηλ)R − ηu`: the same step and the same decay as the weights, so that `W − R` shrinks by `1 − ηλ` a
    /// step (Kolen & Pollack 1994; Akrout et al. 2019). `λ` is that of the optimiser.
    /// [`WithFeedback`](super::WithFeedback) takes this step.
    KolenPollack,
    /// `R ← (1 − κ)R + κM`, where `M ≈ W` is estimated from the response to noise, independently of the task and its
    /// optimiser: call [`mirror`](super::FeedbackLayer::mirror) after each step (Akrout et al. 2019). Not for layers
    /// with reflection padding, where `M` is not `W` on average.
    Mirror {
        /// `κ`, 0 to 1.
        rate: f64,
    },
}

/// How the error goes back through a layer: two of the three choices. The third, which units are connected, is made by
/// the layer's [masks](super::FeedbackLayer::set_masks). The default is back-propagation.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeedbackConfig {
    /// The matrix through which the error goes back. Default: the weights.
    pub source: Source,
    /// How the feedback weights learn. Default: they do not.
    pub learning: Learning,
}

impl FeedbackConfig {
    /// Whether the layer has feedback weights `R`, in the shape of its weights.
    pub fn has_feedback(&self) -> bool {
        !matches!(self.source, Source::Weights | Source::Signs { sizes: Sizes::Uniform })
    }

    /// `ε`, or `None` if the feedback weights do not learn from the step of the weights.
    pub fn rate(&self) -> Option<f64> {
        match self.learning {
            Learning::LikeWeights { rate } if rate > 0.0 => Some(rate),
            Learning::KolenPollack => Some(1.0),
            _ => None,
        }
    }

    /// Checks that the source and the learning fit together.
    ///
    /// # Errors
    /// If a rate is outside [0, 1], or if the layer learns without feedback weights that could keep what they learn.
    pub fn check(&self) -> Result<()> {
        match self.learning {
            Learning::LikeWeights { rate } if !(0.0..=1.0).contains(&rate) => candle::bail!(
                "feedback weights that learn like the weights at rate ε = {rate}: expected 0 (fixed) \
                 to 1 (updated like the weights)"
            ),
            Learning::Mirror { rate } if !(0.0..=1.0).contains(&rate) => candle::bail!(
                "a weight mirror at rate κ = {rate}: expected 0 (fixed) to 1 (forgets at once)"
            ),
            _ => {}
        }
        if self.learning == Learning::Fixed {
            return Ok(());
        }
        if !self.has_feedback() {
            candle::bail!(
                "{:?} has no feedback weights, so that {:?} has nothing to change: expected learning \
                 'fixed', or the source 'own'",
                self.source,
                self.learning
            )
        }
        if self.source == (Source::Signs { sizes: Sizes::Redrawn }) {
            candle::bail!(
                "sizes that are redrawn for each batch keep nothing of what {:?} changes: expected \
                 learning 'fixed', or sizes 'own'",
                self.learning
            )
        }
        Ok(())
    }

    /// [`check`](Self::check) for a layer of this geometry.
    ///
    /// # Errors
    /// Those of [`check`](Self::check), and a mirror of a layer with reflection padding.
    pub(super) fn check_for(&self, geometry: Geometry) -> Result<()> {
        self.check()?;
        let (Geometry::Conv2d(window) | Geometry::LocallyConnected2d(window)) = geometry else {
            return Ok(());
        };
        let padding = window.padding.max(window.trailing_padding);
        let mirrors = matches!(self.learning, Learning::Mirror { .. });
        if mirrors && padding > 0 && window.padding_mode == PaddingMode::Reflect {
            candle::bail!(
                "{:?} for a layer with reflection padding of {padding}: two taps of a window would read the same \
                 pixel of the noise, and each would learn the sum of both weights: expected padding with zeros, or \
                 another learning",
                self.learning
            )
        }
        Ok(())
    }
}
