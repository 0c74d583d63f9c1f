//! Experiments that are interrupted and resumed.
#![cfg(unix)]

use serde_json::Value;

use super::PROGRAM;
use crate::common::experiment;

const EXPERIMENT: [&str; 8] =
    ["--epochs", "150", "--seeds", "2", "--limit-train", "200", "--limit-test", "100"];

#[test]
fn a_killed_experiment_goes_on_as_if_nothing_had_happened() {
    let place = PROGRAM.place();
    let whole = [&EXPERIMENT[..], &["--quiet", "--out", "whole"]].concat();
    place.run(&whole).ok();
    let args = [&EXPERIMENT[..], &["--out", "out"]].concat();
    let second = "out/digits-bp-h/seed-1";
    place.start_until(&args, || place.logged(second).len() > 5).kill();
    for folder in [second, "out"] {
        let results = place.path(folder).join("results.json");
        assert!(!results.exists(), "it was over already");
    }
    // The first run was complete: it must not be trained again.
    let first = "out/digits-bp-h/seed-0";
    let (log, model) = (place.logged(first), place.path(first).join("model.safetensors"));
    let before = model.metadata().unwrap().modified().unwrap();

    let shown = place.run(&[&args[..], &["--resume"]].concat()).ok().stdout;
    assert_eq!(log, place.logged(first));
    assert_eq!(before, model.metadata().unwrap().modified().unwrap());
    for run in ["digits-bp-h/seed-0", "digits-bp-h/seed-1", "digits-frfb/seed-1"] {
        place.same_runs(&format!("out/{run}"), &format!("whole/{run}"));
        let lines = place.logged(&format!("out/{run}")).len();
        assert_eq!(lines, 151, "a line for each epoch, and one for the start");
    }
    let results = |out: &str| {
        let results = place.json(&format!("{out}/results.json"));
        let runs = results["runs"].as_array().unwrap();
        runs.iter()
            .map(|run| [&run["test_error"], &run["curves"]].map(Value::clone))
            .collect::<Vec<_>>()
    };
    assert_eq!(results("out"), results("whole"));
    experiment::a_finished_one_is_read_back(&place, &args, &shown);
}

/// The folder was made for another number of epochs.
#[test]
fn another_experiment_is_not_resumed() {
    let place = PROGRAM.place();
    let args = ["--limit-train", "100", "--seeds", "1", "--out", "out"];
    place.run(&[&args[..], &["--epochs", "1"]].concat()).ok();
    let again = [&args[..], &["--epochs", "2"]].concat();
    let other = "experiment.json belongs to another experiment: epochs is 1 there, 2 here";
    place.refused(&[&again[..], &["--resume"]].concat(), &[other]);
    // Without `--resume`, the old experiment makes way.
    place.run(&again).ok();
}
