//! SoftHebb (Journé et al. 2023): deep learning without feedback, targets or errors.
//!
//! `cargo run --release --example softhebb` trains two layers on the embedded 8×8 digits without
//! labels, then a linear read-out, and compares it with the same read-out on raw pixels and on
//! random features. Expect 98 % in seconds on two cores.
//!
//! `… -- --preset softhebb-cnn3-cifar` is the paper's CIFAR-10 network: 80.8 % in 16 minutes (80.3 %
//! in the paper). `… -- --dataset mnist`: 99.3 % in 12 minutes.

use hebbian_models::softhebb::Softhebb;
use std::process::ExitCode;

fn main() -> ExitCode {
    hebbian::door::<Softhebb>()
}
