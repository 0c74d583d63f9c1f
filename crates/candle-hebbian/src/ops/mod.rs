//! Differentiable building blocks that candle lacks or gets wrong.
//!
//! On the CPU they have kernels of their own; elsewhere they are compositions of candle's ops.

mod attach;
mod batch_norm;
mod pad;
mod pool;
mod rectify;
mod reduce;
mod response;
mod surrogate;
mod unfold;

pub use batch_norm::{BatchNorm, normalise};
pub use pad::{pad_reflect, reflect};
pub use pool::{Pool, Ties, avg_pool2d, max_pool2d};
pub use rectify::{repu, triangle};
pub use reduce::{column_dots, column_sums, squared_norms};
pub(crate) use response::linear_response;
pub(crate) use surrogate::{hebbian_update, surrogate_loss};
pub(crate) use unfold::{Sites, unfold};
