//! The real `softhebb` program, in folders of its own: what it writes, what it refuses, and what is
//! left when it is killed.

mod bad_data;
mod bad_input;
mod interrupted;
mod runs;

use crate::common::every_program::every_program;
use crate::common::program::Program;

every_program!(PROGRAM);

static PROGRAM: Program = Program {
    name: "softhebb",
    digits: "softhebb-mlp-digits",
    grows: "--head-epochs",
    #[cfg(unix)]
    long: "300",
    negative: &[],
    others: &[
        (&["--mode", "consecutive"], "mode is \"successive\" there, \"consecutive\" here"),
        (&["--batch-size", "5"], "batch_size is 10 there, 5 here"),
    ],
    studies: &[],
    tiny: &TINY,
    preset,
};

/// The network of two layers for the digits.
const DEEP: [&str; 2] = ["--preset", "softhebb-cnn-digits"];

/// Small enough for tests; `--preset` and `--out` are left to the test.
const TINY: [&str; 8] =
    ["--limit-train", "200", "--limit-test", "100", "--epochs", "1", "--head-epochs", "2"];

/// One small convolution.
fn preset() -> serde_json::Value {
    serde_json::json!({
        "name": "tiny",
        "description": "for tests",
        "dataset": "digits",
        "blocks": [{
            "layer": { "kind": "conv2d", "channels": 8, "kernel": 3, "padding": 1 },
            "batch_norm": true,
            "learning": {
                "kind": "hebbian",
                "competition": { "kind": "soft_wta", "inverse_temperature": 1.0 },
                "rate": { "kind": "constant", "learning_rate": 0.01 },
                "radius": 5.0
            },
            "activation": { "kind": "triangle", "power": 1.0 },
            "pool": { "kind": "max", "kernel": 2, "stride": 2, "padding": 0 }
        }],
        "head": { "kind": "linear", "dropout": 0.0 },
        "training": { "epochs": 1, "head_epochs": 2 }
    })
}
