//! The real `amit` program, in folders of its own: what it writes, what it refuses, and what is left
//! when it is killed.

mod bad_input;
mod experiments;
mod interrupted;
mod runs;

use crate::common::every_program::every_program;
use crate::common::program::Program;

every_program!(PROGRAM);

static PROGRAM: Program = Program {
    name: "amit",
    digits: "amit-digits",
    grows: "--epochs",
    #[cfg(unix)]
    long: "200",
    negative: &[("--learning-rate", "learning_rate -0.1")],
    others: &[
        (&["--protocol", "bp"], "training/protocol is \"urfb\" there, \"bp\" here"),
        (&["--loss", "softmax"], "training/loss"),
    ],
    studies: &["protocols"],
    tiny: &TINY,
    preset,
};

/// Small enough for tests.
const TINY: [&str; 6] = ["--limit-train", "100", "--limit-test", "50", "--epochs", "2"];

/// An untied convolution and a dense layer.
fn preset() -> serde_json::Value {
    serde_json::json!({
        "name": "tiny",
        "description": "for tests",
        "dataset": "digits",
        "layers": [
            { "kind": "conv", "units": 4, "kernel": 3, "untied": true },
            { "kind": "max_pool", "kernel": 3, "stride": 2, "edge": "zeros" },
            { "kind": "dropout", "probability": 0.2 },
            { "kind": "dense", "units": 20 },
            { "kind": "classes" }
        ],
        "training": {
            "protocol": "urfb",
            "loss": { "kind": "hinge" },
            "learning_rate": 0.1,
            "batch_size": 10,
            "epochs": 2,
            "validation_images": 20,
            "ramp_slope": 0.5,
            "tied": { "epochs": 1, "learning_rate": 0.1, "batch_size": 10, "redraw": false }
        }
    })
}
