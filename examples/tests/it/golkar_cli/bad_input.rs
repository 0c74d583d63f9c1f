//! What is refused: exit status 1, a message that names the thing, and nothing left behind.

use serde_json::json;

use super::{PROGRAM, TINY};
use crate::common::binary::outcome;

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let place = PROGRAM.place();
    place.refused(&["--preset", "nonsense"], &["'nonsense'", "golkar-mnist", ".json"]);
    place.refused(&["--experiment", "nonsense"], &["'nonsense'", "digits, fig3, table1"]);
    place.refused(&["--way", "nonsense"], &["'nonsense'", "surrogates, energy, explicit"]);
    let table = ["--experiment", "digits", "--dataset", "mnist", "--offline"];
    place.refused(&table, &["mnist"]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let place = PROGRAM.place();
    let digits = |flag: &str, value: &str, parts: &[&str]| {
        place.refused(&["--preset", "golkar-digits", flag, value], parts);
    };
    digits("--units", "0", &["units", "1 or more"]);
    digits("--batch-size", "0", &["batch size", "1 or more"]);
    digits("--rate", "NaN", &["rates.w1 is NaN"]);
    digits("--ridge=-1", "--quiet", &["ridge is -1", "≥ 0"]);
    digits("--level", "0", &["level is 0", "above 0"]);
    place.refused(&["--seeds", "0"], &["0 seeds", "1 or more"]);
    place.refused(&["--epochs", "0"], &["0 epochs", "1 or more"]);
    let energy = ["--preset", "golkar-digits", "--decoupled", "--way", "energy"];
    place.refused(&energy, &["decoupled", "surrogates or explicit"]);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let place = PROGRAM.place();
    for flag in [
        &["--preset", "golkar-digits"][..],
        &["--backprop"],
        &["--units", "3"],
        &["--way", "energy"],
        &["--rate", "0.1"],
        &["--load", "model.safetensors"],
        &["--save", "model.safetensors"],
    ] {
        let args = [&["--experiment", "fig3"], flag].concat();
        place.refused(&args, &["--experiment", flag[0]]);
    }
    // The paper's networks learn the test images of MNIST, so the training images are not there to be divided.
    for flag in [["--validation", "0.1"], ["--labelled", "100"]] {
        let args = ["--experiment", "fig3", "--dataset", "mnist", "--offline", flag[0], flag[1]];
        place.refused(&args, &[flag[0], "'fig3' learns the test images", "leave it out"]);
    }
}

#[test]
fn presets_and_checkpoints_that_make_no_sense_are_refused() {
    let place = PROGRAM.place();
    let refused = |parts: &[&str]| {
        place.refused(&[&["--preset", "preset.json", "--out", "out"], &TINY[..]].concat(), parts);
    };
    place.preset(|preset| preset["momentum"] = json!(0.9));
    refused(&["preset.json", "Golkar 2020", "unknown field `momentum`"]);
    place.preset(|preset| preset["circuit"]["nonlinearity"] = json!("tanh"));
    refused(&["preset.json", "`tanh`", "`relu`"]);
    place.preset(|preset| preset["training"]["half_time"] = json!(0));
    refused(&["preset.json", "half_time is 0", "above 0"]);
    place.preset(|_| ());
    place.tiny("out", &["--preset", "preset.json"]).ok();
    // The saved circuit has five units and weights R of its own.
    let load = ["--preset", "golkar-digits", "--eval-only", "--load", "out"];
    place.refused(&load, &["out/model.safetensors", "w1"]);
}

#[test]
fn runs_that_diverge_say_which_rate_to_lower() {
    let place = PROGRAM.place();
    place.preset(|preset| {
        preset["circuit"] = json!({ "nonlinearity": "identity" });
        preset["training"]["rates"] = json!({ "w1": 10.0, "w2": 0.1, "q": 0.1 });
    });
    let run = place.tiny("out", &["--preset", "preset.json"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    for part in ["diverged", "sample", "lower rates.w1 (10)"] {
        assert!(run.stderr.contains(part), "no '{part}' in: {}", run.stderr);
    }
    assert!(!place.path("out/results.json").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn threads_that_are_not_to_be_had_are_an_error() {
    let place = PROGRAM.place();
    let mut command = std::process::Command::new("sh");
    // The stacks of 2,000 threads take twice as much address space.
    command.args(["-c", "ulimit -v 2000000; exec \"$0\" --cpu --epochs 1"]);
    command.arg(crate::common::binary::binary(PROGRAM.name)).current_dir(place.path("."));
    command.env("RAYON_NUM_THREADS", "2000");
    let run = outcome(command);
    assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    for part in ["error: cannot start 2000 threads", "RAYON_NUM_THREADS"] {
        assert!(run.stderr.contains(part), "no '{part}' in: {}", run.stderr);
    }
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn counts_that_cannot_be_counted_are_refused() {
    let place = PROGRAM.place();
    for epochs in ["9223372036854775808", "18446744073709551615", "1000000000000000"] {
        let args = ["--preset", "golkar-digits", "--epochs", epochs, "--out", "out"];
        place.refused(&args, &[epochs, "epochs of 1442 are too many to count: give fewer"]);
    }
}
