//! Amit 2019: deep learning with asymmetric feedback that learns by the same Hebbian product.
//!
//! `cargo run --release --example amit` trains four hidden layers on the embedded 8×8 digits by
//! back-propagation, updated random feedback (URFB) and fixed random feedback (FRFB), three seeds
//! each, and prints a table.
//!
//! `… -- --experiment fig5` repeats a figure of the paper on the digits in minutes, with `--dataset
//! cifar10` as in the paper. `… -- --preset amit-simpnet --protocol urfb --epochs 20` trains one
//! network on CIFAR-10. `… -- --list` lists networks and figures.
//! Data sets other than the digits come from the Hugging Face hub, with `--features hub`.

use hebbian_models::amit::Amit;
use std::process::ExitCode;

fn main() -> ExitCode {
    hebbian::door::<Amit>()
}
