//! SoftHebb (Journé et al. 2023): deep learning without feedback, targets or errors.
//!
//! `cargo run --release --example softhebb` trains 100 competing units on the embedded 8×8 digits without labels, then
//! a linear read-out, and compares it with the same read-out on raw pixels and on random features. It takes seconds.
//!
//! `… -- --preset softhebb-cnn3-cifar` is the paper's CIFAR-10 network, and `… -- --dataset mnist` learns MNIST;
//! `… -- --list` says what to expect of each.

use hebbian_models::softhebb::Softhebb;
use std::process::ExitCode;

fn main() -> ExitCode {
    hebbian::door::<Softhebb>()
}
