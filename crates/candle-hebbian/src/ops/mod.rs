//! Differentiable building blocks that candle lacks or gets wrong.
//!
//! On the CPU they have kernels of their own; elsewhere, and inside [`composed`], they are compositions
//! of candle's ops.
//!
//! # Types, layouts and sizes
//!
//! f16 and bf16 are computed in f32 and rounded once, at the end, forward and backward. Integers are
//! refused. Views with offsets, strides and broadcasts are taken as they come. A batch of no rows
//! gives a result of no rows, or sums of 0; no channels, units or columns is an error.
//!
//! # NaN and infinity
//!
//! NaN is never swallowed, in kernels and compositions alike.
//!
//! - An op on single values ([`ramp`], [`repu`]) makes NaN of NaN.
//! - An op on a row in which the values depend on each other makes NaN of the whole row: all units
//!   that [compete](crate::competition), all channels of a position in [`triangle`], all values of a
//!   sample in [`standardise`]; what [`kth_largest`] and [`above_kth_largest`] make of a row.
//! - A sum that holds a NaN is NaN, and a count of what is above 0 ([`column_counts`]) too.
//! - In a backward pass, NaN comes of a NaN in the input and of a NaN in the gradient that arrives,
//!   also where the op is flat: 0 times NaN is NaN.
//!
//! Infinities follow the arithmetic of floating point: they may win and be counted, `∞ − ∞`, `∞/∞`
//! and `0·∞` are NaN. So [`triangle`] and [`standardise`] of a row that holds an infinity hold NaN,
//! and [`SoftWta`](crate::SoftWta) says what becomes of one.
//!
//! Metal compiles its kernels with fast arithmetic, in which NaN and infinities may be taken not to
//! exist: there this holds with `CANDLE_METAL_ENABLE_FAST_MATH=0` in the environment.

mod backend;
mod batch_norm;
mod channel_affine;
mod conv;
mod custom_vjp;
mod dropout;
// Where there is no matrix unit, nobody reads them.
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux", feature = "x86-v4")),
    expect(dead_code)
)]
mod factor;
mod gemm;
mod host;
mod index;
mod kth_largest;
pub(crate) mod layout;
mod nan;
mod pad;
mod pool;
mod ramp;
mod rectify;
mod reduce;
mod registers;
mod response;
mod select;
mod sign;
mod sparse;
mod standardise;
mod surrogate;
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "x86-v4"))]
mod tiles;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", feature = "x86-v4")))]
#[path = "without_tiles.rs"]
mod tiles;
mod unfold;
mod value;
pub(crate) mod widen;

pub use crate::window::reflect;
pub use backend::{composed, has_kernels};
pub use batch_norm::{BatchNorm, batch_norm, normalise};
pub(crate) use conv::conv2d;
pub use custom_vjp::{Pass, custom_vjp};
pub use dropout::{Dropout, SeededDropout};
pub(crate) use gemm::matmul;
pub(crate) use index::index;
pub use kth_largest::{above_kth_largest, kth_largest};
pub(crate) use kth_largest::{kth_selected, kth_sorted};
pub(crate) use nan::over_nan_rows;
pub use pad::pad_reflect;
pub use pool::{Edge, Pool, Ties, avg_pool2d, max_pool2d, max_pool2d_same};
pub use ramp::ramp;
pub use rectify::{repu, triangle};
pub use reduce::{column_counts, column_dots, column_sums, squared_norms};
pub use response::linear_response;
pub(crate) use response::masked;
pub(crate) use sign::sign;
pub use standardise::standardise;
pub(crate) use surrogate::{hebbian_update, surrogate_loss};
pub(crate) use unfold::{Sites, unfold, untied};
pub use value::Value;

/// The same for images `(B, H, W, C)`.
///
/// A view of a graph costs a copy and a sum of the whole tensor in candle's backward pass, so a
/// network that trains by one can keep this order throughout, with
/// [`FeedbackLayer::forward_channels_last`](crate::FeedbackLayer::forward_channels_last).
pub mod channels_last {
    pub use super::pool::channels_last::{avg_pool2d, max_pool2d_same};
}
