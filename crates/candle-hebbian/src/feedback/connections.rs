//! Which units are connected: masks of the weights and of the feedback weights.

use super::layer::{Connections, FeedbackLayer};
use crate::Rng;
use crate::ops::{custom_vjp, masked};
use candle::backprop::GradStore;
use candle::{DType, Result, Tensor, Var};

/// Whether the weights and the feedback weights connect the same units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Weights and feedback weights are masked independently.
    Independent,
    /// There is a feedback weight wherever there is a weight, and nowhere else.
    Mutual,
}

impl FeedbackLayer {
    /// Keeps each connection of the weights with `probability`, and those of the feedback weights
    /// as `pairing` says; all others are 0 from then on. Connections that the layer lacks already stay missing. Kept
    /// weights are not rescaled. The masks are not in a `VarMap`: see [`masks`](Self::masks).
    ///
    /// # Errors
    /// If the probability is outside [0, 1], or the weights are not variables.
    pub fn thinned(mut self, probability: f64, pairing: Pairing, rng: &mut Rng) -> Result<Self> {
        let weight = self.weight().clone();
        let mut draw =
            || rng.bernoulli(probability, weight.shape(), weight.dtype(), weight.device());
        let (of_weight, of_feedback) = self.masks();
        let mask = masked(&draw()?, of_weight)?;
        let (mask, feedback_mask) = match (&self.feedback, pairing) {
            (None, _) => (mask, None),
            (_, Pairing::Mutual) => {
                let both = masked(&mask, of_feedback)?;
                (both.clone(), Some(both))
            }
            (_, Pairing::Independent) => (mask, Some(masked(&draw()?, of_feedback)?)),
        };
        self.set_masks(Some(mask), feedback_mask)?;
        Ok(self)
    }

    /// Keeps only the connections where a mask is 1 (it is 0 elsewhere); `None` keeps all. Weights and feedback weights
    /// without a connection become 0, and get no gradient. An optimiser with momentum from before or a file that is
    /// loaded may still change them: they are not used.
    ///
    /// Clones made before keep their masks, and so does the clone in a [`WithFeedback`](super::WithFeedback) that was
    /// made before: it does not move connections that only the new masks have. Make it again for masks of other values.
    ///
    /// # Errors
    /// If a mask has another shape than the weights, if it is for feedback weights that do not
    /// exist, or if the weights are not variables.
    pub fn set_masks(
        &mut self,
        weight_mask: Option<Tensor>,
        feedback_mask: Option<Tensor>,
    ) -> Result<()> {
        let pairs = [(&weight_mask, Some(self.weight())), (&feedback_mask, self.feedback())];
        for (mask, weights) in pairs {
            match (mask, weights) {
                (Some(mask), Some(weights)) if weights.shape() != mask.shape() => {
                    candle::bail!(
                        "a mask of {:?} for weights of {:?}: expected the same shape",
                        mask.dims(),
                        weights.dims()
                    )
                }
                (Some(_), None) => {
                    candle::bail!("a mask for the feedback weights, but there are none: give None")
                }
                _ => {}
            }
        }
        let kept = |mask: Option<Tensor>| mask.map(|mask| self.kept(&mask)).transpose();
        let (weight_mask, feedback_mask) = (kept(weight_mask)?, kept(feedback_mask)?);
        let weight = weight_mask.as_ref().map(|_| self.var()).transpose()?;
        let feedback = feedback_mask.as_ref().map(|_| self.feedback_var()).transpose()?.flatten();
        for (mask, var) in [(&weight_mask, weight), (&feedback_mask, feedback)] {
            if let (Some(mask), Some(var)) = (mask, var) {
                // 0 times NaN is NaN, but there is no weight where there is no connection. Otherwise the product is
                // what a mask leaves everywhere, with the sign of its zeros.
                let (weights, zeros) = (var.as_detached_tensor(), mask.zeros_like()?);
                let product = (&weights * mask)?;
                let product = product.eq(&product)?.where_cond(&product, &zeros)?;
                var.set(&mask.ne(0.0)?.where_cond(&weights, &product)?)?;
            }
        }
        let alike = match (&weight_mask, &feedback_mask) {
            (None, _) => true, // the gradient of W is the whole of G
            (Some(weight), Some(feedback)) => same(weight, feedback)?,
            (Some(_), None) => false,
        };
        let tap = match self.config.rate() {
            // An optimiser that was made before has the same tap.
            Some(_) if !alike => match self.connections.tap.take() {
                Some(tap) => Some(tap),
                None => Some(Var::from_tensor(&self.weight().zeros_like()?)?),
            },
            _ => None,
        };
        self.connections = Connections { weight_mask, feedback_mask, tap };
        Ok(())
    }

    /// A mask in the type of the weights.
    ///
    /// # Errors
    /// If an entry is neither 0 nor 1.
    pub(crate) fn kept(&self, mask: &Tensor) -> Result<Tensor> {
        let mask = mask.detach().to_dtype(self.weight().dtype())?;
        let other = (mask.ne(0.0)? * mask.ne(1.0)?)?.to_dtype(DType::F32)?.sum_all()?;
        match other.to_scalar::<f32>()? {
            0.0 => Ok(mask),
            count => candle::bail!(
                "a mask with {count} entries that are neither 0 (no connection) nor 1 (a connection)"
            ),
        }
    }

    /// The masks of the weights and of the feedback weights: 1 for each connection that exists,
    /// else 0; `None` if all connections exist.
    pub fn masks(&self) -> (Option<&Tensor>, Option<&Tensor>) {
        (self.connections.weight_mask.as_ref(), self.connections.feedback_mask.as_ref())
    }

    /// The weights as a node of the graph whose gradient `G` reaches the variable only where there
    /// is a connection.
    pub(crate) fn connected(&self) -> Result<Tensor> {
        let Connections { weight_mask, tap, .. } = &self.connections;
        let (weight, Some(mask)) = (self.weight(), weight_mask) else {
            return Ok(self.weight().clone());
        };
        let whole = tap.as_ref().map_or_else(|| weight.detach(), |tap| tap.as_tensor().clone());
        custom_vjp(
            "connections",
            [weight, &whole],
            |[weight, _]| Ok((masked(weight, Some(mask))?.into(), mask.clone())),
            |pass| {
                let of_weight = masked(pass.grad, Some(pass.residuals))?;
                Ok([Some(of_weight), Some(pass.grad.clone())])
            },
        )
    }

    /// The feedback weights of the connections that exist, without a graph: 0 elsewhere, whatever the variable holds.
    pub(super) fn present_feedback(&self) -> Result<Option<Tensor>> {
        let present = |feedback: &Tensor| masked(&feedback.detach(), self.masks().1);
        self.feedback.as_ref().map(present).transpose()
    }

    /// `G`, or at least the part of it for which the weights or the feedback weights have
    /// connections.
    pub(super) fn product<'a>(&self, grads: &'a GradStore) -> Option<&'a Tensor> {
        match &self.connections.tap {
            Some(tap) => grads.get(tap),
            None => grads.get(self.weight()),
        }
    }
}

/// Whether two masks of one shape are equal.
fn same(a: &Tensor, b: &Tensor) -> Result<bool> {
    if a.id() == b.id() {
        return Ok(true);
    }
    Ok(a.ne(&b.to_dtype(a.dtype())?)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()? == 0.0)
}
