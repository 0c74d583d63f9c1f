//! The real `miconi` program, in folders of its own: what it writes, what it refuses, and what is
//! left when it is killed.

mod bad_input;
mod experiments;
mod interrupted;
mod runs;

use crate::common::every_program::every_program;
use crate::common::program::Program;

every_program!(PROGRAM);

static PROGRAM: Program = Program {
    name: "miconi",
    digits: "miconi-digits",
    grows: "--epochs",
    #[cfg(unix)]
    long: "300",
    negative: &[("--pruning", "pruning"), ("--learning-rate-factor", "learning rate is -")],
    others: &[
        (&["--readout", "svm"], "options/decoder"),
        (&["--triangle", "never"], "triangle is \"always\" there, \"never\" here"),
    ],
    studies: &["interventions"],
    tiny: &TINY,
    preset,
};

/// Small enough for tests.
const TINY: [&str; 6] = ["--limit-train", "200", "--limit-test", "100", "--epochs", "2"];

/// Two layers, the second with missing connections.
fn preset() -> serde_json::Value {
    serde_json::json!({
        "name": "tiny",
        "description": "for tests",
        "dataset": "digits",
        "input": {
            "transforms": [{ "kind": "zca", "epsilon": 0.1 }],
            "augmentation": [{ "kind": "flip" }]
        },
        "layers": [
            { "units": 8, "kernel": 3, "pool": 2, "k": 1, "learning_rate": 1e-3,
              "threshold_rate": 0.2 },
            { "units": 12, "kernel": 2, "pool": 2, "k": 1, "learning_rate": 1e-2,
              "threshold_rate": 0.3, "pruning": 0.5 }
        ],
        "training": {
            "rule": "instar", "plasticity": "binary", "triangle": "always", "normalise": true,
            "batch_size": 20, "epochs": 2, "burn_in_batches": 3
        }
    })
}
