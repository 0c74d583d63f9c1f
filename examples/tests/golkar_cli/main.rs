//! The real `golkar` program, in folders of its own: what it writes, what it refuses, and what is
//! left when it is killed.

mod bad_input;
#[path = "../common/experiment.rs"]
mod experiment;
mod interrupted;
#[path = "../common/program.rs"]
mod program;
mod runs;
mod shared;

const PROGRAM: &str = "golkar";

/// Small enough for tests.
pub const TINY: [&str; 6] = ["--limit-train", "200", "--limit-test", "100", "--epochs", "3"];

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
