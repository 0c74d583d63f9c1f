//! The real `golkar` program, in folders of its own: what it writes, what it refuses, and what is
//! left when it is killed.

mod bad_input;
mod interrupted;
mod killed;
mod runs;

use crate::common::every_program::every_program;
use crate::common::program::Program;

every_program!(PROGRAM);

static PROGRAM: Program = Program {
    name: "golkar",
    digits: "golkar-digits",
    grows: "--epochs",
    #[cfg(unix)]
    long: "1500",
    negative: &[
        ("--rate", "rates.w1 is -0.1"),
        ("--ridge", "ridge is -0.1"),
        ("--level", "level is -0.1"),
    ],
    others: &[
        (&["--backprop"], "options/backprop is false there, true here"),
        (&["--rate", "0.02"], "rate is 0.005 there, 0.02 here"),
    ],
    studies: &["digits", "alignment"],
    tiny: &TINY,
    preset,
};

/// Small enough for tests.
const TINY: [&str; 6] = ["--limit-train", "200", "--limit-test", "100", "--epochs", "3"];

/// A rectified circuit of five units that learns one sample at a time.
fn preset() -> serde_json::Value {
    serde_json::json!({
        "name": "tiny",
        "description": "for tests",
        "dataset": "digits",
        "units": 5,
        "circuit": { "nonlinearity": "relu", "mean_rate": 0.01, "decoupled": true },
        "initial": { "w1": 0.05, "w2": 0.1 },
        "training": {
            "rates": { "w1": 0.01, "w2": 0.002, "q": 0.002 },
            "half_time": 1e5, "batch_size": 1, "epochs": 3
        },
        "backprop": { "rate": 0.005, "batch_size": 1 }
    })
}
