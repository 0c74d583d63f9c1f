//! The real `golkar` program, in folders of its own: what it writes, what it refuses, and what is
//! left when it is killed.

mod bad_input;
#[cfg(unix)] // as are the tests that look into them
#[path = "../common/events.rs"]
mod events;
#[path = "../common/every_program.rs"]
mod every_program;
#[path = "../common/experiment.rs"]
mod experiment;
mod interrupted;
#[path = "../common/program.rs"]
mod program;
mod runs;
mod shared;

const PROGRAM: &str = "golkar";

/// The network that is trained on the digits.
const DIGITS: &str = "golkar-digits";

/// What a run that is complete can go on with more of; in [`TINY`].
const GROWS: &str = "--epochs";

/// Epochs of the small preset that take a second or more.
#[cfg(unix)] // as are the tests that interrupt
const LONG: &str = "1500";

/// Flags that take a number which makes no sense below 0, with what is said of it.
const NEGATIVE: &[(&str, &str)] =
    &[("--rate", "rates.w1 is -0.1"), ("--ridge", "ridge is -0.1"), ("--level", "level is -0.1")];

/// Flags of another run than that of the small preset, with what is said when it is resumed with them.
const OTHERS: &[(&[&str], &str)] = &[
    (&["--backprop"], "options/backprop is false there, true here"),
    (&["--rate", "0.02"], "rate is 0.005 there, 0.02 here"),
];

/// Some of its experiments.
const STUDIES: &[&str] = &["digits", "alignment"];

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
