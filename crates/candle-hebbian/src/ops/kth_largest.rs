use super::host::on_host;
use candle::{D, Device, Result, Tensor};

/// The `k`-th largest value along the last dimension, `k` from 1 and equal values counted each:
/// `(…, K)` to `(…, 1)`. Carries no gradient.
///
/// ```
/// use candle::{Device, Tensor};
/// let u = Tensor::new(&[[1f64, 5.0, 5.0, 3.0]], &Device::Cpu)?;
/// let second = candle_hebbian::ops::kth_largest(&u, 2)?;
/// assert_eq!(second.to_vec2::<f64>()?, [[5.0]]);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// `k` outside `1..=K`.
pub fn kth_largest(u: &Tensor, k: usize) -> Result<Tensor> {
    let width = u.dim(D::Minus1)?;
    if k == 0 || k > width {
        candle::bail!("the k-th largest: k is {k}, expected 1 to {width}")
    }
    let kth = |u: &Tensor| {
        let (sorted, _) = u.contiguous()?.sort_last_dim(false)?;
        sorted.narrow(D::Minus1, k - 1, 1)?.contiguous()
    };
    let u = u.detach();
    if width > widest_sort(u.device()) { on_host("sort of wide rows", &u, kth) } else { kth(&u) }
}

/// The longest row that candle sorts on `device`: a thread for each value on Metal, the indices of
/// a whole row in 48 KiB of shared memory on CUDA. Neither is checked there.
fn widest_sort(device: &Device) -> usize {
    match device {
        Device::Cpu => usize::MAX,
        Device::Cuda(_) => 8192,
        Device::Metal(_) => 1024,
    }
}
