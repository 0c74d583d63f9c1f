use super::{Rule, State, Update};
use crate::layer::Response;
use crate::ops::widen::widened;
use crate::ops::{column_dots, matmul, sign};
use crate::synapses::Synapses;
use candle::Result;

/// Krotov and Hopfield's rule: unsupervised learning with a competition by rank and weights whose
/// `p`-norm goes to 1.
///
/// ```text
/// Q_k = Σ_i sign(w_ki)·|w_ki|^(p−1)·x_i        Δw_k = Σ g_k (x − Q_k w_k)        d_k = Σ g_k Q_k
/// ```
///
/// where `x` is a row of `synapses.pre()`, `Q` of [`response`](Synapses::response), `g` of `post`
/// and `p` is [`norm`](Self::norm); sums are over rows. `g` is 1 for the unit with the largest `Q`,
/// `−Δ` for the unit of rank `k`, else 0: see [`RankedWta`](crate::RankedWta). For `p = 2`, `Q` is
/// the linear response and the rule is that of [`SoftHebb`](crate::SoftHebb); for other `p`,
/// [`Rule::response`] computes `Q`. The fixed point for one pattern `x` is `x/‖x‖_p`.
///
/// Source: Krotov & Hopfield 2019 (PNAS 116:7723), as in the authors' code. Their code also divides
/// the step by its largest entry and lowers the rate linearly; here both belong to the optimiser.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Geometry, KrotovHopfield, Response, Rule};
/// let w = Tensor::new(&[[0.5f64, -0.2, 0.1]], &Device::Cpu)?;
/// let x = Tensor::new(&[[1f64, 0.5, 0.0]], &Device::Cpu)?;
/// let rule = KrotovHopfield { norm: 3.0 };
/// let response = rule.response(Response::new(&w, Geometry::Dense, &x)?)?;
/// let q = response.output()?.to_vec2::<f64>()?[0][0];
/// assert!((q - (0.25 - 0.04 * 0.5)).abs() < 1e-12);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KrotovHopfield {
    /// `p`, at least 1. Default: 2.
    pub norm: f64,
}

impl Default for KrotovHopfield {
    fn default() -> Self {
        Self { norm: 2.0 }
    }
}

impl Rule for KrotovHopfield {
    fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
        let post = synapses.post();
        Ok(Update::hebbian(post.clone()).decaying(column_dots(post, synapses.response())?))
    }

    fn response(&self, linear: Response) -> Result<Response> {
        if !(self.norm >= 1.0 && self.norm.is_finite()) {
            candle::bail!("Krotov–Hopfield: p is {}, expected a finite number from 1", self.norm)
        }
        if self.norm == 2.0 {
            return Ok(linear); // `sign(w)·|w|` is `w`
        }
        // Powers of small weights are 0 in f16.
        let q = widened(&linear.weights()?, |weights| {
            let efficacy = (sign(weights)? * weights.abs()?.powf(self.norm - 1.0)?)?;
            let pre = linear.pre()?.to_dtype(weights.dtype())?;
            matmul(&pre, &efficacy.transpose(1, 2)?)
        })?;
        linear.with_u(&q)
    }
}
