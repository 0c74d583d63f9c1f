use super::{Rule, State, Update};
use crate::ops::column_dots;
use crate::synapses::Synapses;
use candle::{Result, Tensor};

/// The name of the thresholds in the rule's [`State`].
const THRESHOLD: &str = "threshold";

/// The rule of Bienenstock, Cooper and Munro: activity above a sliding threshold strengthens
/// synapses, activity below it weakens them.
///
/// ```text
/// θ_k ← (1 − ρ) θ_k + ρ · mean_p y_pk²        before it is used
/// Δw_k = Σ y_k (y_k − θ_k) x                  d_k = 0
/// ```
///
/// where `x` is a row of `synapses.pre()`, `y` of `post`, `ρ` is [`rate`](Self::rate) and `θ` starts
/// at [`threshold`](Self::threshold). The sum is over rows, the mean over the `P` rows of the batch
/// (its positions included). `θ (S, K)` is the rule's state, under the name `threshold`.
///
/// Source: Bienenstock, Cooper & Munro 1982 (J. Neurosci. 2:32); the moving mean, with `θ = 1` at
/// the start and `ρ` of 0.3 to 0.35, is that of Jimenez Nimmo & Mondragón 2025 (Neural Networks
/// 190:107628), taken from their code.
///
/// Differs from the latter in that their cosine response, surround modulation and division of the
/// step by its largest entry are not part of the rule: they belong to the response, the competition
/// and the optimiser.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Bcm, State, Synapses};
/// let new = |rows: &[[f64; 2]; 2]| Tensor::new(rows, &Device::Cpu)?.unsqueeze(0);
/// let (w, x) = (new(&[[2.0, 0.0], [1.2, 1.6]])?, new(&[[3.0, 4.0], [1.0, 0.0]])?);
/// let u = new(&[[0.6, 1.0], [1.0, 0.6]])?; // cosines of rows and weights
/// let y = new(&[[0.0, 1.0], [1.0, 0.0]])?; // of each row, the largest
/// let mut state = State::default();
/// let update = Synapses::new(&w, &x, &u, &y)?.update_with(&Bcm::default(), &mut state)?;
/// let threshold = state.get("threshold").unwrap().to_vec2::<f64>()?;
/// assert!((threshold[0][0] - 0.85).abs() < 1e-12); // 0.7·1 + 0.3·½
/// for (got, want) in update.flatten_all()?.to_vec1::<f64>()?.iter().zip([0.15, 0.0, 0.45, 0.6]) {
///     assert!((got - want).abs() < 1e-12);
/// }
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bcm {
    /// `ρ`, 0 to 1. Default: 0.3.
    pub rate: f64,
    /// `θ` at the start. Default: 1.
    pub threshold: f64,
}

impl Default for Bcm {
    fn default() -> Self {
        Self { rate: 0.3, threshold: 1.0 }
    }
}

impl Rule for Bcm {
    fn update(&self, synapses: &Synapses, state: &mut State) -> Result<Update> {
        if !(0.0..=1.0).contains(&self.rate) || !self.threshold.is_finite() {
            candle::bail!(
                "BCM: a rate of {} and a first threshold of {}: expected a rate from 0 to 1 and a \
                 finite threshold",
                self.rate,
                self.threshold
            )
        }
        let post = synapses.post();
        let (sites, rows, units) = post.dims3()?;
        let old = match state.get(THRESHOLD) {
            Some(threshold) if threshold.dims() == [sites, units] => threshold.clone(),
            Some(threshold) => candle::bail!(
                "BCM: thresholds of {:?} for {sites} sites of {units} units: was the state another \
                 layer's?",
                threshold.dims()
            ),
            None => (Tensor::ones((sites, units), post.dtype(), post.device())? * self.threshold)?,
        };
        let threshold = match rows {
            0 => old, // a batch without rows has no mean
            _ => {
                let mean_square = (column_dots(post, post)? / rows as f64)?;
                ((old * (1.0 - self.rate))? + (mean_square * self.rate)?)?
            }
        };
        state.set(THRESHOLD, &threshold);
        let excess = post.broadcast_sub(&threshold.unsqueeze(1)?)?;
        Ok(Update::hebbian((post * excess)?))
    }
}
