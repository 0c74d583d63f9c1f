//! Learning rules, each a surrogate loss whose gradient is minus the wanted update.
//!
//! All classical rules have one form (Miconi 2021, §2; Journé et al. 2023, Eq. 2). With rows `x`,
//! weights `w`, linear response `u = x·wᵀ` and post-synaptic activity `y`, `sg` = stop-gradient:
//!
//! ```text
//! L = − Σ sg(y)·u + ½ Σ_k sg(d_k)·‖w_k‖²        −∂L/∂w_k = Σ y_k x − d_k w_k
//! ```
//!
//! so a rule only says what the decay `d_k` is. A rule of another form overrides
//! [`loss`](Rule::loss) and [`update`](Rule::update).

mod hebb;
mod hinge_hebb;
mod instar;
mod oja;
mod softhebb;

pub use hebb::Hebb;
pub use hinge_hebb::HingeHebb;
pub use instar::Instar;
pub use oja::Oja;
pub use softhebb::SoftHebb;

use crate::layer::Response;
use crate::ops::{hebbian_update, surrogate_loss};
use candle::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// A local learning rule.
///
/// It sees matrices, never images: rows `x (S, P, F)`, response `u (S, P, K)`, weights
/// `(S, K, F)`, with a leading axis of sites (1 for dense layers and ordinary convolutions). So
/// one implementation serves every geometry. Writing one takes a single function:
///
/// ```
/// use candle::{Device, Result, Tensor, Var};
/// use candle_hebbian::{Competition, Geometry, Layer, NoCompetition, Response, Rule, ops};
///
/// /// Plain Hebb with a forgetting rate: `Δw_k = Σ y_k x − ρ P w_k` over the `P` rows.
/// struct Forgetful {
///     rate: f64,
/// }
///
/// impl Rule for Forgetful {
///     fn name(&self) -> &'static str {
///         "forgetful"
///     }
///     fn decay(&self, response: &Response, post: &Tensor) -> Result<Option<Tensor>> {
///         let (sites, rows, units) = post.dims3()?;
///         let ones = Tensor::ones((sites, units), post.dtype(), post.device())?;
///         (ones * (self.rate * rows as f64)).map(Some)
///     }
/// }
///
/// let layer = Layer::new(Tensor::new(&[[0.5f64, 0.75]], &Device::Cpu)?, Geometry::Dense)?;
/// let response = layer.response(&Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?)?;
/// let post = NoCompetition.compete(response.u())?; // y = u = 2
/// let grads = Forgetful { rate: 2.0 }.loss(&response, &post)?.backward()?;
/// let grad = grads.get(layer.weight()).unwrap().to_vec2::<f64>()?;
/// assert_eq!(grad, [[-(2.0 - 2.0 * 0.5), -(4.0 - 2.0 * 0.75)]]);
/// # Ok::<(), candle::Error>(())
/// ```
pub trait Rule: Send + Sync {
    /// The rule's name, as in presets and logs.
    fn name(&self) -> &'static str;

    /// The decay `d (S, K)` given the post-synaptic activity `post (S, P, K)`; `None` for none.
    fn decay(&self, response: &Response, post: &Tensor) -> Result<Option<Tensor>>;

    /// The surrogate loss: a scalar, summed over rows and units. `backward()` leaves minus the
    /// update at the layer's weight and costs one matrix product.
    fn loss(&self, response: &Response, post: &Tensor) -> Result<Tensor> {
        let decay = self.decay(response, post)?;
        surrogate_loss(response.pre(), response.u(), post, decay.as_ref(), response.weight())
    }

    /// The update itself, without a graph, in the shape of the layer's weight.
    fn update(&self, response: &Response, post: &Tensor) -> Result<Tensor> {
        let decay = self.decay(response, post)?;
        hebbian_update(response.pre(), post, decay.as_ref(), response.weight())
    }
}

/// The rules that a preset can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// [`Hebb`]
    Hebb,
    /// [`Instar`]
    Instar,
    /// [`Oja`]
    Oja,
    /// [`SoftHebb`]
    Softhebb,
}

impl RuleKind {
    /// The rule of that name.
    pub fn rule(self) -> &'static dyn Rule {
        match self {
            Self::Hebb => &Hebb,
            Self::Instar => &Instar,
            Self::Oja => &Oja,
            Self::Softhebb => &SoftHebb,
        }
    }
}
