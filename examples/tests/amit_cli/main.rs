//! The real `amit` program, in folders of its own: what it writes, what it refuses, and what is left
//! when it is killed.

mod bad_input;
#[cfg(unix)] // as are the tests that look into them
#[path = "../common/events.rs"]
mod events;
#[path = "../common/every_program.rs"]
mod every_program;
#[cfg(unix)] // as are the tests that kill
#[path = "../common/experiment.rs"]
mod experiment;
mod experiments;
mod interrupted;
#[path = "../common/program.rs"]
mod program;
mod runs;

const PROGRAM: &str = "amit";

/// The network that is trained on the digits.
const DIGITS: &str = "amit-digits";

/// What a run that is complete can go on with more of; in [`TINY`].
const GROWS: &str = "--epochs";

/// Epochs of the small preset that take a second or more.
#[cfg(unix)] // as are the tests that interrupt
const LONG: &str = "200";

/// Flags that take a number which makes no sense below 0, with what is said of it.
const NEGATIVE: &[(&str, &str)] = &[("--learning-rate", "learning_rate -0.1")];

/// Flags of another run than that of the small preset, with what is said when it is resumed with them.
const OTHERS: &[(&[&str], &str)] = &[
    (&["--protocol", "bp"], "training/protocol is \"urfb\" there, \"bp\" here"),
    (&["--loss", "softmax"], "training/loss"),
];

/// Some of its experiments.
const STUDIES: &[&str] = &["protocols"];

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
