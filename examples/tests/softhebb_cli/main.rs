//! The real `softhebb` program, in folders of its own: what it writes, what it refuses, and what is
//! left when it is killed.

mod bad_data;
mod bad_input;
#[path = "../common/events.rs"]
mod events;
#[path = "../common/every_program.rs"]
mod every_program;
mod interrupted;
#[path = "../common/program.rs"]
mod program;
mod runs;
mod shared;

const PROGRAM: &str = "softhebb";

/// The network that is trained on the digits.
const DIGITS: &str = "softhebb-cnn-digits";

/// What a run that is complete can go on with more of; in [`TINY`].
const GROWS: &str = "--head-epochs";

/// Epochs of the small preset that take a second or more.
#[cfg(unix)] // as are the tests that interrupt
const LONG: &str = "300";

/// Flags that take a number which makes no sense below 0, with what is said of it.
const NEGATIVE: &[(&str, &str)] = &[];

/// Flags of another run than that of the small preset, with what is said when it is resumed with them.
const OTHERS: &[(&[&str], &str)] = &[
    (&["--mode", "consecutive"], "mode is \"successive\" there, \"consecutive\" here"),
    (&["--batch-size", "5"], "batch_size is 10 there, 5 here"),
];

/// Some of its experiments.
const STUDIES: &[&str] = &[];

/// Small enough for tests; `--preset` and `--out` are left to the test.
pub const TINY: [&str; 8] =
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
