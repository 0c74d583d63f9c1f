//! Feedback: layers whose error need not go back through their forward weights.
//!
//! ```text
//! forward     h = W x
//! backward    φ = Kᵀ δ        ∂L/∂W = δ xᵀ = G
//! ```
//!
//! where `δ` is the error at `h` and `φ` the error that reaches `x`. There are three independent choices:
//!
//! 1. the [`Source`] of `K`: the weights `W`, separate feedback weights `R` with the shape and the
//!    index order of `W`, or the signs of `W`; or the error comes [directly](direct_feedback) from the
//!    output of the network;
//! 2. how `R` [learns](Learning): not at all, from the step of the weights (by [`WithFeedback`]), or as
//!    a [mirror](FeedbackLayer::mirror) of the weights;
//! 3. which units are connected: [masks](FeedbackLayer::set_masks) for `W` and for `R`.
//!
//! The protocols of the literature are combinations:
//!
//! | protocol | source | learning | note |
//! |---|---|---|---|
//! | back-propagation, BP | `Weights` | `Fixed` | |
//! | URFB, updated random feedback (Amit 2019) | `Own` | `LikeWeights { rate: 1.0 }` | `W − R` never changes |
//! | URFB starting from `R = W` (Zipser & Rumelhart 1990) | `Own` | `LikeWeights { rate: 1.0 }` | BP without weight transport |
//! | FRFB, fixed random feedback (Amit 2019); FA, feedback alignment (Lillicrap et al. 2016) | `Own` | `Fixed` | |
//! | KP, Kolen–Pollack (Kolen & Pollack 1994) | `Own` | `KolenPollack` | URFB with decay of both |
//! | WM, weight mirror (Akrout et al. 2019) | `Own` | `Mirror { rate: 0.1 }` | here linear, with decay |
//! | uSF, uniform sign-concordant feedback (Liao et al. 2016) | `Signs { sizes: Uniform }` | `Fixed` | |
//! | brSF, batch-wise random magnitudes | `Signs { sizes: Redrawn }` | `Fixed` | |
//! | frSF, fixed random magnitudes | `Signs { sizes: Own }` | `Fixed` | |
//! | DFA, direct feedback alignment (Nøkland 2016) | `Weights` | `Fixed` | with [`direct_feedback`] past the layers above |
//!
//! Networks with any of these are ordinary candle modules, also in `candle_nn::seq()`. The gradient of `W` is in the
//! `GradStore` under `W`; `R` has no gradient there, so that no optimiser over `VarMap::all_vars()` can move or decay
//! it by mistake.

mod config;
mod connections;
mod direct;
mod layer;
mod mirror;
mod optimizer;

pub use config::{FeedbackConfig, Learning, Sizes, Source};
pub use connections::Pairing;
pub use direct::direct_feedback;
pub use layer::{FeedbackLayer, conv2d, dense, locally_connected2d};
pub(crate) use optimizer::no_gradients;
pub use optimizer::{Decoupled, WithFeedback, WithFeedbackConfig};
