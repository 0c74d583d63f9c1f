//! Learning rules: functions from what a synapse may see to its update.
//!
//! All classical rules have one form (Miconi 2021, §2; Journé et al. 2023, Eq. 2). With rows `x`,
//! weights `w`, linear response `u = x·wᵀ` and post-synaptic activity `y`, `sg` = stop-gradient:
//!
//! ```text
//! L = − Σ sg(y)·u + ½ Σ_k sg(d_k)·‖w_k‖²        −∂L/∂w_k = Σ y_k x − d_k w_k
//! ```
//!
//! so most rules only say what `y` and the decay `d_k` are. The surrogate loss `L` follows from the
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
/// It sees matrices, never images: see [`Synapses`]. So one implementation serves every geometry,
/// every device and every tensor. A function of that form is a rule:
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
    /// What the rule makes of `synapses`, and of the `state` that it keeps from one batch to the
    /// next: empty at first. A rule without state leaves it alone.
    ///
    /// # Errors
    /// What the rule cannot do, a third factor that is missing for example.
    fn update(&self, synapses: &Synapses, state: &mut State) -> Result<Update>;

    /// The response that competes and that the rule reads, where that is not the linear one; the
    /// linear one unless a rule says otherwise.
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

/// What is to be added to the weights, for a rate of 1:
///
/// ```text
/// Δw = yᵀ·x − diag(d)·w − M·w + D
/// ```
///
/// for each site; every term may be absent. The first two are one fused product, so rules of the
/// decay form cost what the product does.
#[derive(Debug, Clone)]
pub struct Update {
    pub(crate) post: Option<Tensor>,
    pub(crate) decay: Option<Tensor>,
    pub(crate) mixing: Option<Tensor>,
    pub(crate) direct: Option<Tensor>,
}

impl Update {
    /// `yᵀ·x` with the activity `post`, `y (S, P, K)`.
    pub fn hebbian(post: Tensor) -> Self {
        Self { post: Some(post), decay: None, mixing: None, direct: None }
    }

    /// The update `D (S, K, F)` itself, for what has no other form.
    pub fn direct(update: Tensor) -> Self {
        Self { post: None, decay: None, mixing: None, direct: Some(update) }
    }

    /// Subtracts `d_k w_k` with `decay`, `d (S, K)`.
    pub fn decaying(self, decay: Tensor) -> Self {
        Self { decay: Some(decay), ..self }
    }

    /// The decay `d (S, K)`, where there is one.
    pub fn decay(&self) -> Option<&Tensor> {
        self.decay.as_ref()
    }

    /// Subtracts `M·w` with `mixing`, `M (S, K, K)`: what units take from each other.
    pub fn mixing(self, mixing: Tensor) -> Self {
        Self { mixing: Some(mixing), ..self }
    }
}

/// What a rule keeps from one batch to the next, by name: BCM's thresholds, for example. It belongs
/// to one layer, is saved with it and put back.
#[derive(Debug, Clone, Default)]
pub struct State(BTreeMap<String, Tensor>);

impl State {
    /// What is kept under `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Keeps `tensor` under `name`, without its graph.
    pub fn set(&mut self, name: &str, tensor: &Tensor) {
        self.0.insert(name.to_string(), tensor.detach());
    }

    /// All of it, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}
