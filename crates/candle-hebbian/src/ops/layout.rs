//! Memory order: activations travel with channels last, as convolutions leave them.

use candle::{Result, Tensor};

/// Runs `op` over contiguous memory, in which the channels of an image come last; free for what a
/// convolution or a pooling layer made. `op` must keep the shape and the place of the first axis.
pub(crate) fn channels_last(
    x: &Tensor,
    op: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    if x.rank() == 4 {
        return op(&x.permute((0, 2, 3, 1))?.contiguous()?)?.permute((0, 3, 1, 2));
    }
    op(&x.contiguous()?)
}
