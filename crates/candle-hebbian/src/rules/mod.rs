//! Learning rules: functions from what a synapse may see to its update.
//!
//! All classical rules have the same form (Miconi 2021; Journé et al. 2023, Eq. 2). With rows
//! `x`, weights `w`, linear response `u = x·wᵀ`, post-synaptic activity `y`, and `sg` for
//! stop-gradient:
//!
//! ```text
//! L = − Σ sg(y)·u + ½ Σ_k sg(d_k)·‖w_k‖²        −∂L/∂w_k = Σ y_k x − d_k w_k
//! ```
//!
//! so most rules only define `y` and the decay `d_k`. The surrogate loss `L` follows from the
//! update ([`Synapses::loss`]), never the other way round, so the two cannot differ.
//!
//! **Sums.** Every update here is a sum over rows, never a mean. Divide the loss, the update or the
//! learning rate by the number of rows for a mean.

mod bcm;
mod global_direction;
mod hebb;
mod hinge_hebb;
mod instar;
mod krotov_hopfield;
mod modulated_hebb;
mod oja;
mod softhebb;

pub use bcm::Bcm;
pub use global_direction::GlobalDirection;
pub use hebb::Hebb;
pub use hinge_hebb::HingeHebb;
pub use instar::Instar;
pub use krotov_hopfield::KrotovHopfield;
pub use modulated_hebb::ModulatedHebb;
pub use oja::Oja;
pub use softhebb::SoftHebb;

use crate::layer::Response;
use crate::synapses::Synapses;
use candle::{Result, Tensor};
use std::collections::BTreeMap;

/// A local learning rule.
///
/// A rule sees matrices, never images: see [`Synapses`]. So one implementation serves every
/// geometry, every device and every tensor. Any function with the arguments and result of
/// [`update`](Self::update) is a rule:
///
/// ```
/// use candle::{Device, Result, Tensor, Var};
/// use candle_hebbian::{Geometry, Response, State, Synapses, Update};
///
/// /// Plain Hebb with a forgetting rate: `Δw_k = Σ y_k x − ρ P w_k` over the `P` rows.
/// fn forgetful(synapses: &Synapses, _: &mut State) -> Result<Update> {
///     let post = synapses.post();
///     let (sites, rows, units) = post.dims3()?;
///     let decay = Tensor::full(0.25 * rows as f64, (sites, units), post.device())?;
///     Ok(Update::hebbian(post.clone()).decaying(decay))
/// }
///
/// let weight = Var::new(&[[0.5f64, 0.75]], &Device::Cpu)?;
/// let x = Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?;
/// let response = Response::new(&weight, Geometry::Dense, &x)?; // u = 2
/// let synapses = response.synapses(response.u())?; // y = u
/// let grads = synapses.loss(&forgetful)?.backward()?;
/// let grad = grads.get(&weight).unwrap().to_vec2::<f64>()?;
/// assert_eq!(grad, [[-(2.0 - 0.25 * 0.5), -(4.0 - 0.25 * 0.75)]]);
/// # Ok::<(), candle::Error>(())
/// ```
pub trait Rule: Send + Sync {
    /// Computes the update for `synapses`. The rule may keep `state` from one batch to the next; it
    /// is empty at first, and a rule without state leaves it alone.
    ///
    /// # Errors
    /// If the rule cannot compute its update, for example because a third factor is missing.
    fn update(&self, synapses: &Synapses, state: &mut State) -> Result<Update>;

    /// Returns the response that competes and that the rule reads. Default: the linear response.
    ///
    /// # Errors
    /// If the rule cannot compute that response, for example because one of its numbers is out of
    /// range or there is not enough memory for the rows. The default never fails.
    fn response(&self, linear: Response) -> Result<Response> {
        Ok(linear)
    }
}

impl<F> Rule for F
where
    F: Fn(&Synapses, &mut State) -> Result<Update> + Send + Sync,
{
    fn update(&self, synapses: &Synapses, state: &mut State) -> Result<Update> {
        self(synapses, state)
    }
}

/// The change of the weights at a learning rate of 1:
///
/// ```text
/// Δw = yᵀ·x − diag(d)·w − M·w + D
/// ```
///
/// for each site. Any term may be absent. The first two are one fused product, so rules of the
/// decay form cost no more than that product.
#[derive(Debug, Clone)]
pub struct Update {
    pub(crate) post: Option<Tensor>,
    pub(crate) decay: Option<Tensor>,
    pub(crate) mixing: Option<Tensor>,
    pub(crate) direct: Option<Tensor>,
}

impl Update {
    /// The update `yᵀ·x`, where `post` is the activity `y (S, P, K)`.
    pub fn hebbian(post: Tensor) -> Self {
        Self { post: Some(post), decay: None, mixing: None, direct: None }
    }

    /// The update `D (S, K, F)` itself, for rules that have no other form.
    pub fn direct(update: Tensor) -> Self {
        Self { post: None, decay: None, mixing: None, direct: Some(update) }
    }

    /// Subtracts `d_k w_k`, where `decay` is `d (S, K)`.
    pub fn decaying(self, decay: Tensor) -> Self {
        Self { decay: Some(decay), ..self }
    }

    /// The decay `d (S, K)`, if there is one.
    pub fn decay(&self) -> Option<&Tensor> {
        self.decay.as_ref()
    }

    /// Subtracts `M·w`, where `mixing` is `M (S, K, K)`: a mix of the weights of the site's units.
    pub fn mixing(self, mixing: Tensor) -> Self {
        Self { mixing: Some(mixing), ..self }
    }
}

/// The tensors that a rule keeps from one batch to the next, by name: BCM's thresholds, for
/// example. A state belongs to one layer, and is saved and restored with it.
#[derive(Debug, Clone, Default)]
pub struct State(BTreeMap<String, Tensor>);

impl State {
    /// The tensor kept under `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Keeps `tensor` under `name`, without its graph. It is not copied: what shares memory with a variable, as
    /// [`Synapses::weights`] may, changes with the next step, so keep `weights()?.force_contiguous()?`. (candle 0.11.1
    /// copies nothing in `Tensor::copy` on Metal.)
    pub fn set(&mut self, name: &str, tensor: &Tensor) {
        self.0.insert(name.to_string(), tensor.detach());
    }

    /// All tensors with their names, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}
