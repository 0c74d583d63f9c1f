//! The builder of a chain of parts.

use super::Steps;
use super::part::Part;
use super::variable::Variable;
use candle::Result;
use std::collections::HashSet;

/// Builds [`Steps`]: takes a learning rate, parts in the order in which they act, then the
/// variables.
///
/// ```
/// use candle::{Device, Var};
/// use candle_hebbian::{LargestEntry, NormDependent, Steps, WeightDims};
/// let dense = Var::zeros((4, 3), candle::DType::F32, &Device::Cpu)?;
/// let grouped = Var::zeros((4, 3, 5, 5), candle::DType::F32, &Device::Cpu)?; // in two groups
/// let dims = WeightDims { sites: 2, units: 2, fan_in: 75 };
/// let chain = || Steps::builder(0.08).then(LargestEntry).then(NormDependent { power: 0.5 });
/// chain().build([dense])?;
/// chain().build([(grouped, dims)])?;
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug)]
pub struct StepsBuilder {
    learning_rate: f64,
    parts: Vec<Box<dyn Part>>,
}

impl StepsBuilder {
    pub(super) fn new(learning_rate: f64) -> Self {
        Self { learning_rate, parts: Vec::new() }
    }

    /// Adds `part` at the end of the chain.
    pub fn then(mut self, part: impl Part + 'static) -> Self {
        self.parts.push(Box::new(part));
        self
    }

    /// Makes the steps of `variables`, each a `Var` or a `(Var, WeightDims)`. Variables that are
    /// empty, or not of a floating-point type, are left out.
    ///
    /// # Errors
    /// If the learning rate is negative or not finite, or a part refuses one of its numbers; if the
    /// units of a variable are not known and a part needs them; if the dimensions given for a
    /// variable do not fit it; or if a variable is not contiguous.
    pub fn build<V: Into<Variable>>(self, variables: impl IntoIterator<Item = V>) -> Result<Steps> {
        let Self { learning_rate, parts } = self;
        check_learning_rate(learning_rate)?;
        parts.iter().try_for_each(|part| part.check())?;
        let mut seen = HashSet::new();
        let variables: Vec<Variable> = variables
            .into_iter()
            .map(Into::into)
            // candle refuses to write in place to an empty tensor.
            .filter(|variable: &Variable| {
                variable.var().dtype().is_float() && variable.var().elem_count() > 0
            })
            // A weight that two layers share takes one step.
            .filter(|variable| seen.insert(variable.var().as_tensor().id()))
            .collect();
        for variable in &variables {
            variable.check()?;
            if let Some(part) = parts.iter().find(|part| part.needs_units())
                && !variable.has_units()
            {
                candle::bail!(
                    "steps: {part:?} acts on the units of a weight (K, F), (K, C, kh, kw) or (OH, OW, \
                     K, C, kh, kw), found a variable of shape {:?}: give its WeightDims with it, or \
                     move it by steps of its own without that part",
                    variable.var().dims()
                )
            }
        }
        Ok(Steps { variables, parts, learning_rate, progress: 0.0 })
    }
}

pub(super) fn check_learning_rate(rate: f64) -> Result<()> {
    match rate.is_finite() && rate >= 0.0 {
        true => Ok(()),
        false => candle::bail!(
            "steps: the learning rate is {rate}, expected a finite number of 0 or more (to ascend, \
             turn the sign of the loss)"
        ),
    }
}
