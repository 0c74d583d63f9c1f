//! The real `amit` program, in folders of its own: what it writes, what it refuses, and what is left
//! when it is killed.

mod bad_input;
#[cfg(unix)] // as are the tests that kill
#[path = "../common/experiment.rs"]
mod experiment;
mod experiments;
mod interrupted;
#[path = "../common/program.rs"]
mod program;
mod runs;

const PROGRAM: &str = "amit";

/// Small enough for tests.
pub const TINY: [&str; 6] = ["--limit-train", "100", "--limit-test", "50", "--epochs", "2"];

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
