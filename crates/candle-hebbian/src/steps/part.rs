//! The parts of a chain.

use super::descent::Descent;
use super::place::Place;
use super::scaling::unit_norm;
use candle::{Result, Tensor};
use std::fmt::{self, Debug};

/// A link of the chain in [`Steps`](super::Steps).
///
/// As an example of your own part, momentum:
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
    /// Checks the part's numbers. This is called when the chain gets its variables, so that a rate
    /// that would lead to NaN is refused before anything is learned.
    ///
    /// # Errors
    /// If a number is wrong; the message says which, what was found and what was expected.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Whether the part acts on units, so that variables without any (a bias) are refused. Default:
    /// yes. If not, a variable without units counts as one unit whose inputs are all its entries.
    fn needs_units(&self) -> bool {
        true
    }

    /// How the part's effect depends on the weights, beside the gradient. Feedback weights that
    /// learn like the weights can take the same step only if this is [`Dependence::None`] or
    /// [`Dependence::Decay`]: see [`WithFeedback`](crate::WithFeedback). Default:
    /// [`Dependence::Weights`].
    fn dependence(&self) -> Dependence {
        Dependence::Weights
    }

    /// Contributes to the update of one variable, before its weights move. Default: nothing.
    ///
    /// # Errors
    /// If the part cannot compute what it contributes, for example because it scales by values of a
    /// wrong shape. The step then ends: this variable and those after it stay as they are.
    fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
        let _ = descent;
        Ok(())
    }

    /// The constraint that is imposed on the weights after they have moved. Default: none.
    fn constraint(&self) -> Option<Constraint<'_>> {
        None
    }
}

/// How the effect of a part depends on the weights that it moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Dependence {
    /// Not at all: it is computed from gradients alone.
    None,
    /// The effect is to multiply the weights by `1 − ηλ`, and nothing else; the value is `λ`.
    Decay(f64),
    /// Anything else.
    Weights,
}

/// A constraint that the weights meet after each step.
pub enum Constraint<'a> {
    /// Every unit has norm 1: see [`UnitNorm`](super::UnitNorm).
    UnitNorm,
    /// The weights `(S, K, F)` are replaced by the result of this function, in a pass of its own.
    Map(WeightMap<'a>),
}

/// A function from weights `(S, K, F)` to weights of that shape.
type WeightMap<'a> = Box<dyn Fn(&Tensor) -> Result<Tensor> + 'a>;

impl Debug for Constraint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnitNorm => "UnitNorm",
            Self::Map(_) => "Map(..)",
        })
    }
}

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
