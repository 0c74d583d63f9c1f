use super::{Rule, State, Update};
use crate::synapses::Synapses;
use candle::{Result, Tensor};

/// Hebbian learning with a third factor and a leak.
///
/// ```text
/// Δw_k = Σ m_k y_k x − ρ P w_k        d_k = ρP
/// ```
///
/// where `x` is a row of `synapses.pre()`, `y` of `post`, `m` of the third factor (an error, a
/// reward, a teaching signal), `ρ` is [`leak`](Self::leak) and `P` the number of rows: the sum is
/// over rows, and the leak is applied once per row.
///
/// Source: the form of all four updates of Golkar et al. 2020, arXiv 2011.15031, Eq. 5–7: basal
/// synapses with the plateau potential as `m`, the slope `f′(h)` as `y` and no leak; the others
/// with `m = 1` and a leak. There the updates are means over the batch, `1/P` of the sums here.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{ModulatedHebb, Synapses};
/// let w = Tensor::new(&[[0.5f64, 0.75]], &Device::Cpu)?;
/// let x = Tensor::new(&[[[1f64, 2.0], [3.0, -1.0]]], &Device::Cpu)?;
/// let y = Tensor::new(&[[[1f64], [2.0]]], &Device::Cpu)?;
/// let reward = Tensor::new(&[1f64, -0.5], &Device::Cpu)?;
/// let synapses = Synapses::new(&w, &x, &y, &y)?.with_third(&reward)?;
/// let update = synapses.update(&ModulatedHebb { leak: 0.5 })?;
/// // 1·1·(1, 2) − 0.5·2·(3, −1) − 0.5·2·(0.5, 0.75)
/// assert_eq!(update.flatten_all()?.to_vec1::<f64>()?, [-2.5, 2.25]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ModulatedHebb {
    /// `ρ`. Default: 0.
    pub leak: f64,
}

impl Rule for ModulatedHebb {
    fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
        let post = synapses.post().broadcast_mul(synapses.third()?)?;
        let (sites, rows, units) = post.dims3()?;
        if self.leak == 0.0 {
            return Ok(Update::hebbian(post));
        }
        let decay = Tensor::ones((sites, units), post.dtype(), post.device())?;
        Ok(Update::hebbian(post).decaying((decay * (self.leak * rows as f64))?))
    }
}
