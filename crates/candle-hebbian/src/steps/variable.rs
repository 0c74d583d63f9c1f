//! A variable with the units it holds.

use crate::geometry::WeightDims;
use candle::{Result, Var};

/// A variable that steps move, with its units if it is a weight.
///
/// A weight `(K, F)` or `(K, C, kh, kw)` is one site of `K` units, a weight `(OH, OW, K, C, kh, kw)` has `OH·OW` sites
/// of `K` units. Any other weight, such as a convolution in groups, must be given with its [`WeightDims`]. Without
/// them, variables of other shapes can only be moved by parts that need no units.
#[derive(Debug, Clone)]
pub struct Variable {
    var: Var,
    dims: Option<WeightDims>,
}

impl From<Var> for Variable {
    fn from(var: Var) -> Self {
        let dims = match *var.dims() {
            [units, fan_in] => Some(WeightDims { sites: 1, units, fan_in }),
            [units, c, kh, kw] => Some(WeightDims { sites: 1, units, fan_in: c * kh * kw }),
            [oh, ow, units, c, kh, kw] => {
                Some(WeightDims { sites: oh * ow, units, fan_in: c * kh * kw })
            }
            _ => None,
        };
        Self { var, dims }
    }
}

impl From<(Var, WeightDims)> for Variable {
    fn from((var, dims): (Var, WeightDims)) -> Self {
        Self { var, dims: Some(dims) }
    }
}

impl Variable {
    pub(super) fn var(&self) -> &Var {
        &self.var
    }

    pub(super) fn has_units(&self) -> bool {
        self.dims.is_some()
    }

    /// `(S, K, F)`; a variable without units counts as one unit.
    pub(super) fn matrices(&self) -> (usize, usize, usize) {
        match self.dims {
            Some(WeightDims { sites, units, fan_in }) => (sites, units, fan_in),
            None => (1, 1, self.var.elem_count()),
        }
    }

    /// Checks that the dimensions fit the variable, and that it can be moved in place.
    pub(super) fn check(&self) -> Result<()> {
        let (sites, units, fan_in) = self.matrices();
        let count = sites.checked_mul(units).and_then(|count| count.checked_mul(fan_in));
        if count != Some(self.var.elem_count()) {
            candle::bail!(
                "steps: {sites} sites of {units} units with {fan_in} inputs each are not what a \
                 variable of shape {:?} holds",
                self.var.dims()
            )
        }
        if !self.var.is_contiguous() {
            candle::bail!(
                "steps: a variable of shape {:?} and strides {:?} is not contiguous: make it of a \
                 contiguous tensor",
                self.var.dims(),
                self.var.stride()
            )
        }
        Ok(())
    }
}
