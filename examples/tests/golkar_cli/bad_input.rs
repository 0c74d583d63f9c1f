//! What is refused: exit status 1, a message that names the thing, and nothing left behind.

use serde_json::json;

use crate::program::{Place, TINY};

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let place = Place::new();
    place.refused(&["--preset", "nonsense"], &["'nonsense'", "golkar-mnist", ".json"]);
    place.refused(&["--experiment", "nonsense"], &["'nonsense'", "digits, fig3, table1"]);
    place.refused(&["--way", "nonsense"], &["'nonsense'", "surrogates, energy, explicit"]);
    let table = ["--experiment", "digits", "--dataset", "mnist", "--offline"];
    place.refused(&table, &["mnist"]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let place = Place::new();
    let digits = |flag: &str, value: &str, parts: &[&str]| {
        place.refused(&["--preset", "golkar-digits", flag, value], parts);
    };
    digits("--units", "0", &["units", "1 or more"]);
    digits("--batch-size", "0", &["batch size", "1 or more"]);
    digits("--rate", "NaN", &["rates.w1 is NaN"]);
    digits("--ridge=-1", "--quiet", &["ridge is -1", "≥ 0"]);
    digits("--level", "0", &["level is 0", "above 0"]);
    place.refused(&["--seeds", "0"], &["1 seed"]);
    place.refused(&["--epochs", "0"], &["1 epoch"]);
    let energy = ["--preset", "golkar-digits", "--decoupled", "--way", "energy"];
    place.refused(&energy, &["decoupled", "surrogates or explicit"]);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let place = Place::new();
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
    place.refused(&["--eval-only"], &["--load"]);
}

#[test]
fn presets_and_checkpoints_that_make_no_sense_are_refused() {
    let place = Place::new();
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
    // It has five units and weights R of its own.
    let load = ["--preset", "golkar-digits", "--eval-only", "--load", "out"];
    place.refused(&load, &["out/model.safetensors", "w1"]);
}

#[test]
fn runs_that_diverge_say_which_rate_to_lower() {
    let place = Place::new();
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
