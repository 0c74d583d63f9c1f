//! What a chain is made of.

use super::descent::Descent;
use super::place::Place;
use super::unit_norm::unit_norm;
use candle::{Result, Tensor};
use std::fmt::Debug;

/// A link of the chain in [`Steps`](super::Steps).
///
/// Momentum, as an example of one's own:
///
/// ```
/// use candle::{Device, Result, Tensor, Var};
/// use candle_hebbian::{Dependence, Descent, Part, Steps};
/// use std::collections::HashMap;
///
/// /// `v ← μv + u`, in place of `u`.
/// #[derive(Debug)]
/// struct Momentum {
///     mu: f64,
///     velocities: HashMap<usize, Tensor>,
/// }
///
/// impl Part for Momentum {
///     fn needs_units(&self) -> bool {
///         false
///     }
///
///     fn dependence(&self) -> Dependence {
///         Dependence::None
///     }
///
///     fn apply(&mut self, descent: &mut Descent) -> Result<()> {
///         let mut velocity = descent.direction()?;
///         if let Some(old) = self.velocities.get(&descent.index()) {
///             velocity = (velocity + (old * self.mu)?)?;
///         }
///         self.velocities.insert(descent.index(), velocity.clone());
///         descent.replace(&velocity)
///     }
/// }
///
/// let w = Var::new(&[1f64], &Device::Cpu)?;
/// let momentum = Momentum { mu: 0.5, velocities: HashMap::new() };
/// let mut steps = Steps::builder(0.25).then(momentum).build([w.clone()])?;
/// for want in [0.75, 0.375] {
///     // The gradient is 1: v is 1, then 1.5.
///     steps.descend(|w| w.ones_like().ok())?;
///     assert_eq!(w.to_vec1::<f64>()?, [want]);
/// }
/// # Ok::<(), candle::Error>(())
/// ```
pub trait Part: Debug + Send + Sync {
    /// Whether its numbers make sense. Asked when the chain gets its variables, so that a rate that
    /// would make NaN is refused before anything is learned.
    ///
    /// # Errors
    /// The number, what was found and what was expected.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Whether it acts on units, so that variables without any (a bias) are refused. Default: yes.
    /// Without units all of a variable is the fan-in of one unit.
    fn needs_units(&self) -> bool {
        true
    }

    /// How its effect depends on the weights, beside the gradient. Feedback weights that learn like
    /// the weights can make the same step where it has nothing, or is a decay: see
    /// [`WithFeedback`](crate::WithFeedback). Default: in any way.
    fn dependence(&self) -> Dependence {
        Dependence::Weights
    }

    /// Contributes to the update of one variable, before its weights move. Default: nothing.
    fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
        let _ = descent;
        Ok(())
    }

    /// The constraint on the weights after they moved. Default: none.
    fn constraint(&self) -> Option<Constraint<'_>> {
        None
    }
}

/// How the effect of a part depends on the weights that it moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Dependence {
    /// Not at all: it is computed from gradients alone.
    None,
    /// It multiplies them by `1 − ηλ` and nothing else; this is `λ`.
    Decay(f64),
    /// Anything else.
    Weights,
}

/// What holds for weights after each step.
pub enum Constraint<'a> {
    /// Every unit has norm 1: see [`UnitNorm`](super::UnitNorm).
    UnitNorm,
    /// The weights `(S, K, F)` are what this function makes of them. A pass of its own.
    Map(WeightMap<'a>),
}

/// A function from weights `(S, K, F)` to weights of that shape.
type WeightMap<'a> = Box<dyn Fn(&Tensor) -> Result<Tensor> + 'a>;

impl Constraint<'_> {
    pub(super) fn impose(&self, place: &mut Place) -> Result<()> {
        match self {
            Self::UnitNorm => unit_norm(place),
            Self::Map(map) => {
                let mapped = map(place.weight())?;
                place.write(&mapped)
            }
        }
    }
}
