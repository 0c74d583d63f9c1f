//! The update of one variable, to which parts contribute.

use candle::{Result, Tensor};

/// The update of one variable while the parts of a chain act on it.
///
/// Its direction `u` starts as the gradient. Parts [`multiply`](Self::multiply) and
/// [`divide`](Self::divide) the direction of each unit, which costs no pass over the weights, or
/// [`replace`](Self::replace) it.
#[derive(Debug)]
pub struct Descent<'a> {
    index: usize,
    weight: &'a Tensor,
    gradient: Tensor,
    // Kept apart so that a rate is divided once: `(η·f)/d` and not `η·(f/d)`.
    factors: Option<Tensor>,
    divisors: Option<Tensor>,
    learning_rate: f64,
    decay: f64,
    progress: f64,
}

impl<'a> Descent<'a> {
    pub(super) fn new(
        index: usize,
        weight: &'a Tensor,
        gradient: Tensor,
        learning_rate: f64,
        progress: f64,
    ) -> Self {
        let (factors, divisors) = (None, None);
        Self { index, weight, gradient, factors, divisors, learning_rate, decay: 0.0, progress }
    }

    /// The index of the variable among those of the steps, for parts that keep something for each
    /// variable.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The weights `(S, K, F)` before the step: `S` sites of `K` units with `F` inputs.
    pub fn weight(&self) -> &Tensor {
        self.weight
    }

    /// Returns the direction `u (S, K, F)` that earlier parts made of the gradient, without the
    /// learning rate. Costs a pass if one of them scaled it.
    ///
    /// # Errors
    /// If one of them scaled it by values of another type, or on another device, than the
    /// [`weight`](Self::weight).
    pub fn direction(&self) -> Result<Tensor> {
        match self.scale_by(1.0)? {
            Scale::Whole(_) => Ok(self.gradient.clone()),
            Scale::Units(scale) => self.gradient.broadcast_mul(&scale.unsqueeze(2)?),
        }
    }

    /// Replaces `u` by `direction (S, K, F)`.
    ///
    /// # Errors
    /// If the shape differs.
    pub fn replace(&mut self, direction: &Tensor) -> Result<()> {
        if direction.shape() != self.weight.shape() {
            candle::bail!(
                "steps: a part made a direction of shape {:?}, expected {:?}",
                direction.dims(),
                self.weight.dims()
            )
        }
        self.gradient = direction.detach().contiguous()?;
        (self.factors, self.divisors) = (None, None);
        Ok(())
    }

    /// Multiplies the direction of every unit by its factor, `(S, K)`, or by that of its site,
    /// `(S, 1)`.
    ///
    /// # Errors
    /// If the factors have another shape.
    pub fn multiply(&mut self, factors: &Tensor) -> Result<()> {
        self.check_units(factors)?;
        self.factors = Some(times(self.factors.take(), factors)?);
        Ok(())
    }

    /// Divides the direction of every unit by its divisor, `(S, K)`, or by that of its site,
    /// `(S, 1)`.
    ///
    /// # Errors
    /// If the divisors have another shape.
    pub fn divide(&mut self, divisors: &Tensor) -> Result<()> {
        self.check_units(divisors)?;
        self.divisors = Some(times(self.divisors.take(), divisors)?);
        Ok(())
    }

    /// Adds `λ` to the decay of the step: `w` is multiplied by `1 − ηλ`, however `u` is scaled.
    pub fn decay(&mut self, rate: f64) {
        self.decay += rate;
    }

    /// `η` at this step, as earlier parts left it.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Changes `η` for this step.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    /// The share of training that is done, 0 to 1.
    pub fn progress(&self) -> f64 {
        self.progress
    }

    fn check_units(&self, values: &Tensor) -> Result<()> {
        let dims = self.weight.dims();
        if values.dims() != &dims[..2] && values.dims() != [dims[0], 1] {
            candle::bail!(
                "steps: a part scales by values of shape {:?}, expected {:?}, one a unit, or {:?}, \
                 one a site",
                values.dims(),
                &dims[..2],
                [dims[0], 1]
            )
        }
        Ok(())
    }

    /// The tensor that is scaled and subtracted from the weights.
    pub(super) fn gradient(&self) -> &Tensor {
        &self.gradient
    }

    /// `η·(Π factors / Π divisors)`
    pub(super) fn scale(&self) -> Result<Scale> {
        self.scale_by(self.learning_rate)
    }

    fn scale_by(&self, rate: f64) -> Result<Scale> {
        let rates = match (&self.factors, &self.divisors) {
            (None, None) => return Ok(Scale::Whole(rate)),
            (Some(factors), _) => (factors * rate)?,
            (None, Some(divisors)) => divisors.zeros_like()?.affine(1.0, rate)?,
        };
        let scale = match &self.divisors {
            Some(divisors) => rates.broadcast_div(divisors)?,
            None => rates,
        };
        Ok(Scale::Units(scale.broadcast_as(&self.weight.dims()[..2])?))
    }

    /// `1 − ηλ`
    pub(super) fn keep(&self) -> f64 {
        1.0 - self.learning_rate * self.decay
    }
}

fn times(old: Option<Tensor>, new: &Tensor) -> Result<Tensor> {
    match old {
        Some(old) => old.broadcast_mul(&new.detach()),
        None => Ok(new.detach()),
    }
}

/// The factor of a direction.
pub(super) enum Scale {
    /// One number for the whole direction.
    Whole(f64),
    /// One number for each unit, `(S, K)`.
    Units(Tensor),
}
