//! The code of an image in patches.

use candle::{D, Module, Result, Tensor};
use candle_hebbian::ops::{channels_last::avg_pool2d, kth_largest};
use candle_hebbian::{Conv2dConfig, Geometry, Layer};

/// Patches `p_i (N, C, h, w)`, with which an image `z` is compared at every position:
///
/// ```text
/// k_i = A p_i      b_i = ½ p_iᵀ A p_i      A = (Σ + λI)⁻¹      d_i = b_i − z·k_i
/// ```
///
/// `Σ` is the covariance of the patches of all training images. With `z` and `p` in one frame, `d_i` is half
/// the squared distance after whitening, less what is the same for all `i`.
#[derive(Debug)]
pub struct Dictionary {
    /// `k (N, C, h, w)`
    pub keys: Tensor,
    /// `b (N)`
    pub bias: Tensor,
}

impl Dictionary {
    /// Of `patches (N, C, h, w)` and `A (C·h·w, C·h·w)`.
    ///
    /// # Errors
    /// Shapes that do not fit each other.
    pub fn new(patches: &Tensor, inverse: &Tensor) -> Result<Self> {
        let rows = patches.flatten_from(1)?;
        let keys = rows.matmul(inverse)?;
        let bias = ((rows * &keys)?.sum(1)? * 0.5)?;
        Ok(Self { keys: keys.reshape(patches.shape())?, bias })
    }

    /// The code `(B, OH, OW, 2N)` of `z (B, C, H, W)`: the [`half`] φ⁺ of `b_i − z·k_i`, and φ⁻ of
    /// `b_i + z·k_i`, for which patches have the other sign.
    ///
    /// # Errors
    /// Images of another size; as [`half`].
    pub fn code(&self, z: &Tensor, winners: usize, temperature: Option<f64>) -> Result<Tensor> {
        let layer = Layer::new(self.keys.clone(), Geometry::Conv2d(Conv2dConfig::default()))?;
        let scores = layer.forward(z)?.permute((0, 2, 3, 1))?;
        let code = |scores: &Tensor| half(&self.bias.broadcast_sub(scores)?, winners, temperature);
        Tensor::cat(&[code(&scores)?, code(&scores.neg()?)?], D::Minus1)
    }
}

/// Half a code, `(…, N)`, of `d (…, N)`: 1 where it is below `τ`, the `(K + 1)`-th smallest of its row, else 0;
/// with a temperature T `sigmoid((τ − d)/T)`. Of `K = winners` ones there are fewer where values are equal.
///
/// # Errors
/// `K` not below `N`.
pub fn half(d: &Tensor, winners: usize, temperature: Option<f64>) -> Result<Tensor> {
    let u = d.neg()?;
    let above = u.broadcast_sub(&kth_largest(&u, winners + 1)?)?; // τ − d
    match temperature {
        Some(temperature) => candle_nn::ops::sigmoid(&(above / temperature)?),
        None => above.gt(0.0)?.to_dtype(d.dtype()),
    }
}

/// The averages of `map (B, H, W, C)` over windows of side `k` in steps of `s`, `⌈(H − k)/s⌉ + 1` of them from top
/// to bottom: one that reaches over the edge divides by what it covers (PyTorch's `ceil_mode`). Without windows,
/// over quadrants of `⌈H/2⌉` and `⌊H/2⌋` positions a side, and of as many columns.
///
/// # Errors
/// A window larger than the map; a side or step of 0.
pub fn average(map: &Tensor, windows: Option<(usize, usize)>) -> Result<Tensor> {
    let (_, height, width, _) = map.dims4()?;
    let (side, step) = windows.unwrap_or((height.div_ceil(2), height.div_ceil(2)));
    if side == 0 || step == 0 || side > height.min(width) {
        candle::bail!(
            "windows of {side} positions in steps of {step} on a map of {height} x {width}"
        )
    }
    let beyond = |size: usize| size.saturating_sub(side).next_multiple_of(step) + side - size;
    let sums = |map: &Tensor| {
        let padded =
            map.pad_with_zeros(1, 0, beyond(height))?.pad_with_zeros(2, 0, beyond(width))?;
        avg_pool2d(&padded, side, step, 0)
    };
    let covered = sums(&Tensor::ones((1, height, width, 1), map.dtype(), map.device())?)?;
    sums(map)?.broadcast_div(&covered)
}
