//! Differentiable building blocks that candle lacks or gets wrong.
//!
//! On the CPU they have kernels of their own; elsewhere, and inside [`composed`], they are compositions
//! of candle's ops.

mod attach;
mod backend;
mod batch_norm;
mod conv;
mod dropout;
mod host;
mod index;
mod kth_largest;
pub(crate) mod layout;
mod pad;
mod pool;
mod ramp;
mod rectify;
mod reduce;
mod response;
mod select;
mod sparse;
mod standardise;
mod surrogate;
mod unfold;
pub(crate) mod widen;

pub use crate::window::reflect;
pub(crate) use attach::{attach, attach2};
pub use backend::{composed, has_kernels};
pub use batch_norm::{BatchNorm, normalise};
pub(crate) use conv::conv2d;
pub use dropout::Dropout;
pub use kth_largest::kth_largest;
pub use pad::pad_reflect;
pub use pool::{Edge, Pool, Ties, avg_pool2d, max_pool2d, max_pool2d_same};
pub use ramp::ramp;
pub use rectify::{repu, triangle};
pub use reduce::{column_counts, column_dots, column_sums, squared_norms};
pub(crate) use response::{Asymmetry, linear_response, masked};
pub use standardise::standardise;
pub(crate) use surrogate::{hebbian_update, surrogate_loss};
pub(crate) use unfold::{Sites, unfold};

/// The same for images `(B, H, W, C)`.
///
/// A view of a graph costs a copy and a sum of the whole tensor in candle's backward pass, so a
/// network that trains by one can keep this order throughout, with
/// [`FeedbackLayer::forward_channels_last`](crate::FeedbackLayer::forward_channels_last).
pub mod channels_last {
    pub use super::pool::channels_last::{avg_pool2d, max_pool2d_same};
}
