//! The code of an image in terms of patches.

use candle::{Device, Result, Tensor};
use candle_hebbian::device::send;
use candle_hebbian::ops::{above_kth_largest, channels_last::avg_pool2d, kth_largest};
use candle_hebbian::{Conv2dConfig, Geometry, Layer};

/// Patches `p_i (N, C, h, w)`, with which an image `z` is compared at every position:
///
/// ```text
/// k_i = A p_i      b_i = ½ p_iᵀ A p_i      A = (Σ + λI)⁻¹      d_i = b_i − z·k_i
/// ```
///
/// `Σ` is the covariance of the patches of all training images. With `z` and `p` in one frame, `d_i` is half the
/// squared distance after whitening, minus a term that is the same for all `i`.
#[derive(Debug)]
pub struct Dictionary {
    /// `k (N, C, h, w)`
    pub keys: Tensor,
    /// `b (N)`
    pub bias: Tensor,
}

impl Dictionary {
    /// The dictionary of `patches (N, C, h, w)`, where `inverse (C·h·w, C·h·w)` is `A`.
    ///
    /// # Errors
    /// Shapes that do not fit each other.
    pub fn new(patches: &Tensor, inverse: &Tensor) -> Result<Self> {
        let rows = patches.flatten_from(1)?;
        let keys = rows.matmul(inverse)?;
        let bias = ((rows * &keys)?.sum(1)? * 0.5)?;
        Ok(Self { keys: keys.reshape(patches.shape())?, bias })
    }

    /// Returns both halves of the code of `z (B, C, H, W)`, each `(B, OH, OW, N)`: φ⁺, the [`half`] of
    /// `−d_i = z·k_i − b_i`, and φ⁻, that of `−z·k_i − b_i`, in which the patches have the opposite sign.
    ///
    /// # Errors
    /// Images of another size; as [`half`].
    pub fn code(
        &self,
        z: &Tensor,
        winners: usize,
        temperature: Option<f64>,
    ) -> Result<[Tensor; 2]> {
        let config = Conv2dConfig::default();
        let layer = Layer::new(self.keys.clone(), Geometry::Conv2d(config))?;
        let (images, _, height, width) = z.dims4()?;
        let (patches, _, h, w) = self.keys.dims4()?;
        let size = (config.output_size(height, h)?, config.output_size(width, w)?);
        // One row per position, with the scores of all patches side by side.
        let scores = layer.response(z)?.u().reshape(((), patches))?;
        let code = |scores: &Tensor| {
            let code = half(&scores.broadcast_sub(&self.bias)?, winners, temperature)?;
            code.reshape((images, size.0, size.1, patches))
        };
        Ok([code(&scores)?, code(&scores.neg()?)?])
    }
}

/// Returns one half of the code, `(…, N)`, for `u = −d (…, N)`: 1 where `u` is above `t`, the `(K + 1)`-th largest of
/// its row, else 0; with a temperature T, `sigmoid((u − t)/T)`. There are `K = winners` ones, or fewer if values are
/// equal.
///
/// # Errors
/// `K` not below `N`.
pub fn half(u: &Tensor, winners: usize, temperature: Option<f64>) -> Result<Tensor> {
    match temperature {
        Some(temperature) => {
            let above = u.broadcast_sub(&kth_largest(u, winners + 1)?)?;
            candle_nn::ops::sigmoid(&(above / temperature)?)
        }
        None => above_kth_largest(u, winners + 1),
    }
}

/// Applies `op` to `together` images at a time, at least one, and joins the results.
///
/// # Errors
/// Those of `op`.
pub fn in_batches(
    images: &Tensor,
    together: usize,
    op: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (count, together) = (images.dim(0)?, together.max(1));
    let parts = (0..count.max(1)).step_by(together).map(|start| {
        let images = images.narrow(0, start, together.min(count - start))?;
        op(&images)
    });
    Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
}

/// Averages `map (B, H, W, C)` over windows of side `k` in steps of `s`, `⌈(H − k)/s⌉ + 1` of them from top to bottom.
/// The sum of a window that reaches over the edge is divided by the number of positions that it covers (PyTorch's
/// `ceil_mode`). Without windows, the averages are over quadrants of `⌈H/2⌉` and `⌊H/2⌋` rows, and of as many columns.
///
/// # Errors
/// A window larger than the map; a side or step of 0; a step larger than the side, with which the last window could lie
/// beyond the edge; a map that is not square, without windows.
pub fn average(map: &Tensor, windows: Option<(usize, usize)>) -> Result<Tensor> {
    let (_, height, width, _) = map.dims4()?;
    if windows.is_none() && height != width {
        candle::bail!(
            "quadrants of a map of {height} x {width}: expected a square one; cut the images to squares \
             (--image-size), or average over windows"
        )
    }
    let (side, step) = windows.unwrap_or((height.div_ceil(2), height.div_ceil(2)));
    if step == 0 || step > side || side > height.min(width) {
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

/// Averages `map (B, H, W, C)` over `side` windows from top to bottom and from left to right, where window `i` covers
/// the positions from `⌊i·H/side⌋` to before `⌈(i + 1)·H/side⌉` (PyTorch's `AdaptiveAvgPool2d`).
///
/// # Errors
/// A side of 0, or larger than that of the map.
pub fn adapt(map: &Tensor, side: usize) -> Result<Tensor> {
    let (images, height, width, channels) = map.dims4()?;
    if side == 0 || side > height.min(width) {
        candle::bail!("a grid of {side} x {side} averages of a map of {height} x {width}")
    }
    let shares = |size: usize| {
        let window = |i: usize| {
            let covered = i * size / side..((i + 1) * size).div_ceil(side);
            let share = 1.0 / covered.len() as f64;
            (0..size).map(move |at| if covered.contains(&at) { share } else { 0.0 })
        };
        let shares: Vec<f64> = (0..side).flat_map(window).collect();
        let shares = Tensor::from_vec(shares, (1, side, size), &Device::Cpu)?;
        send(&shares.to_dtype(map.dtype())?, map.device())
    };
    let rows = map.reshape((images, height, width * channels))?;
    let rows =
        shares(height)?.broadcast_matmul(&rows)?.reshape((images * side, width, channels))?;
    shares(width)?.broadcast_matmul(&rows)?.reshape((images, side, side, channels))
}
