//! Golkar et al. 2020: a microcircuit that learns locally and comes close to back-propagation.
//!
//! `cargo run --release --example golkar` trains a linear and a rectified circuit on the embedded 8×8
//! digits, and compares them with back-propagation and the best that a linear network can do.
//!
//! `… -- --experiment fig3 --dataset mnist` draws a curve of the paper's Fig. 3, `--experiment table1
//! --dataset mnist` makes its Table 1. `… -- --preset golkar-mnist-online` trains one circuit. `… --
//! --list` lists circuits and experiments.

use hebbian_models::golkar::Golkar;
use std::process::ExitCode;

fn main() -> ExitCode {
    hebbian::door::<Golkar>()
}
