//! Miconi 2021: Hebbian convolutional networks by gradients.
//!
//! `cargo run --release --example miconi` trains three small layers on the embedded 8×8 digits four
//! times, without and with triangle responses, without and with pruning, and prints how well classes
//! are read out of each layer.
//!
//! `… -- --preset miconi-cifar` trains the paper's network on CIFAR-10; `… -- --dataset cifar10` makes
//! the table of the four combinations there. `… -- --list` lists networks and experiments.
//! Data sets other than the digits come from the Hugging Face hub, with `--features hub`.

use hebbian_models::miconi::Miconi;
use std::process::ExitCode;

fn main() -> ExitCode {
    hebbian::door::<Miconi>()
}
