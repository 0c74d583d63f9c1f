//! The real `miconi` program, in folders of its own: what it writes, what it refuses, and what is
//! left when it is killed.

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

const PROGRAM: &str = "miconi";

/// The network that is trained on the digits.
const DIGITS: &str = "miconi-digits";

/// What a run that is complete can go on with more of; in [`TINY`].
const GROWS: &str = "--epochs";

/// Epochs of the small preset that take a second or more.
#[cfg(unix)] // as are the tests that interrupt
const LONG: &str = "300";

/// Flags that take a number which makes no sense below 0, with what is said of it.
const NEGATIVE: &[(&str, &str)] =
    &[("--pruning", "pruning"), ("--learning-rate-factor", "learning rate is -")];

/// Flags of another run than that of the small preset, with what is said when it is resumed with them.
const OTHERS: &[(&[&str], &str)] = &[
    (&["--readout", "svm"], "options/decoder"),
    (&["--triangle", "never"], "triangle is \"always\" there, \"never\" here"),
];

/// Some of its experiments.
const STUDIES: &[&str] = &["interventions"];

/// Small enough for tests.
pub const TINY: [&str; 6] = ["--limit-train", "200", "--limit-test", "100", "--epochs", "2"];

/// Two layers, the second with connections missing.
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
