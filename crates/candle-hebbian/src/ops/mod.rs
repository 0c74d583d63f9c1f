//! Differentiable building blocks that candle lacks or gets wrong.
//!
//! On the CPU they have kernels of their own; elsewhere, and inside [`composed`], they are compositions
//! of candle's ops.
//!
//! # Types, layouts and sizes
//!
//! f16 and bf16 are computed in f32 and rounded once, at the end, in both the forward and the backward
//! pass. Integers are refused. Views with offsets, strides and broadcasts are accepted as they are. A
//! batch without rows gives a result without rows, or sums of 0; an input without channels, units or
//! columns is an error.
//!
//! # NaN and infinity
//!
//! NaN is never lost, neither in kernels nor in compositions.
//!
//! - An op on single values ([`ramp`], [`repu`], [`sign`]) returns NaN for NaN.
//! - An op on rows whose values depend on each other returns NaN for the whole row: for all units that
//!   [compete](crate::competition), all channels of a position in [`triangle`], all values of a sample
//!   in [`standardise`], and everything that [`kth_largest`] and [`above_kth_largest`] return for a
//!   row.
//! - A sum that includes a NaN is NaN, and so is a count of the values above 0 ([`column_counts`]).
//! - In a backward pass, a NaN in the input or in the incoming gradient gives NaN, even where the op is
//!   flat: 0 times NaN is NaN.
//!
//! Infinities follow floating-point arithmetic: they may win and be counted, and `∞ − ∞`, `∞/∞` and
//! `0·∞` are NaN. So the results of [`triangle`] and [`standardise`] for a row that holds an infinity
//! contain NaN, and [`SoftWta`](crate::SoftWta) describes its own handling of infinities.
//!
//! Metal compiles its kernels with fast arithmetic, which may assume that NaN and infinities do not
//! occur: there, these rules hold if `CANDLE_METAL_ENABLE_FAST_MATH=0` is set in the environment.

mod backend;
mod batch_norm;
mod channel_affine;
mod conv;
mod custom_vjp;
mod dropout;
// Dead code on targets without products of bf16.
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux", feature = "x86-v4")),
    expect(dead_code)
)]
mod factor;
mod flatten;
mod gemm;
mod host;
mod index;
mod kth_largest;
pub(crate) mod layout;
mod matrix;
mod nan;
mod pad;
mod pool;
mod presynaptic;
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

pub(crate) use self::gemm::matmul;
pub use crate::window::reflect;
pub use backend::{composed, has_kernels};
pub use batch_norm::{BatchNorm, batch_norm, normalise};
pub(crate) use conv::{Epilogue, Windows, conv2d};
pub use custom_vjp::{Pass, custom_vjp};
pub use dropout::{Dropout, SeededDropout};
pub use flatten::flatten;
pub(crate) use index::index;
pub use index::numbers;
pub use kth_largest::{above_kth_largest, kth_largest};
pub(crate) use kth_largest::{kth_selected, kth_sorted};
pub(crate) use nan::over_nan_rows;
pub use pad::pad_reflect;
pub use pool::{Edge, Pool, Ties, avg_pool2d, max_pool2d, max_pool2d_same};
pub(crate) use presynaptic::Presynaptic;
pub use ramp::ramp;
pub use rectify::{repu, triangle};
pub use reduce::{column_counts, column_dots, column_sums, squared_norms};
pub use response::linear_response;
pub(crate) use response::masked;
pub use sign::sign;
pub use standardise::standardise;
pub(crate) use surrogate::{hebbian_update, surrogate_loss};
pub(crate) use unfold::{Sites, check_windows, unfold, untied};
pub use value::Value;

/// Ops on images `(B, H, W, C)`.
///
/// Views that change the order of the axes cost a copy and a sum of the whole tensor each in candle's
/// backward pass. A network that trains through a graph avoids them by keeping this order throughout,
/// with [`FeedbackLayer::forward_channels_last`](crate::FeedbackLayer::forward_channels_last).
pub mod channels_last {
    pub use super::flatten::channels_last::flatten;
    pub use super::pool::channels_last::{avg_pool2d, max_pool2d_same};
    pub use super::rectify::channels_last::{repu, triangle};
}
