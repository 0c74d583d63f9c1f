//! Runs and experiments that end before their end, and go on.
#![cfg(unix)]

use std::process::Child;

use serde_json::Value;

use crate::experiment;
use crate::program::{Place, until};

const EXPERIMENT: [&str; 8] =
    ["--epochs", "150", "--seeds", "2", "--limit-train", "200", "--limit-test", "100"];

/// Started quietly: nobody reads its pipes.
fn start(place: &Place, args: &[&str]) -> Child {
    place.command(&[args, &["--quiet"]].concat()).spawn().unwrap()
}

/// Lines in the log of a run folder.
fn logged(place: &Place, folder: &str) -> usize {
    let log = std::fs::read_to_string(place.path(&format!("{folder}/metrics.jsonl")));
    log.map_or(0, |log| log.lines().count())
}

/// Kills it with SIGKILL once the run in `folder` has logged some epochs, but not all.
fn kill_within(place: &Place, mut child: Child, folder: &str) {
    let model = format!("{folder}/model.safetensors");
    until("the run is under way", || place.path(&model).exists() && logged(place, folder) > 5);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path(&format!("{folder}/results.json")).exists(), "it was over already");
}

#[test]
fn a_killed_experiment_goes_on_as_if_nothing_had_happened() {
    let place = Place::new();
    let whole = [&EXPERIMENT[..], &["--quiet", "--out", "whole"]].concat();
    place.run(&whole).ok();
    let args = [&EXPERIMENT[..], &["--out", "out"]].concat();
    let second = "out/digits-bp-h/seed-1";
    kill_within(&place, start(&place, &args), second);
    assert!(!place.path("out/results.json").exists());
    // The first run was over: it must not be trained again.
    let first = |file: &str| place.bytes(&format!("out/digits-bp-h/seed-0/{file}"));
    let (log, model) = (first("metrics.jsonl"), first("model.safetensors"));
    let before = place.path("out/digits-bp-h/seed-0/model.safetensors").metadata().unwrap();

    let shown = place.run(&[&args[..], &["--resume"]].concat()).ok().stdout;
    assert!(log == first("metrics.jsonl") && model == first("model.safetensors"));
    let after = place.path("out/digits-bp-h/seed-0/model.safetensors").metadata().unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    for run in ["digits-bp-h/seed-1", "digits-frfb/seed-1"] {
        let model = |out: &str| place.bytes(&format!("{out}/{run}/model.safetensors"));
        assert!(model("out") == model("whole"), "{run} differs from an uninterrupted run");
        assert_eq!(
            logged(&place, &format!("out/{run}")),
            151,
            "a line for each epoch, and one for the start"
        );
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

#[test]
fn a_killed_run_goes_on_and_a_finished_one_is_read_back() {
    let place = Place::new();
    // Killed while untied, or just before.
    place.preset(|_| ());
    let args = ["--preset", "preset.json", "--epochs", "200", "--limit-train", "100", "--out"];
    let whole = place.run(&[&args[..], &["whole", "--quiet"]].concat()).ok().stdout;
    kill_within(&place, start(&place, &[&args[..], &["out"]].concat()), "out");
    let resume = [&args[..], &["out", "--resume", "--quiet"]].concat();
    let resumed = place.run(&resume).ok().stdout;
    assert_eq!(place.bytes("out/model.safetensors"), place.bytes("whole/model.safetensors"));
    let table = |report: &str| report.split("\ntraining").next().unwrap().to_string();
    assert_eq!(table(&resumed), table(&whole));
    let before = place.contents();
    assert_eq!(place.run(&resume).ok().stdout, resumed);
    assert!(before == place.contents(), "reading back wrote something");
    // Except where it is asked for.
    place.run(&[&resume[..], &["--save", "copy.safetensors"]].concat()).ok();
    assert_eq!(place.bytes("copy.safetensors"), place.bytes("out/model.safetensors"));
}

#[test]
fn another_run_is_not_resumed() {
    let place = Place::new();
    place.preset(|_| ());
    let args = ["--preset", "preset.json", "--limit-train", "100", "--epochs", "1", "--out", "out"];
    place.run(&args).ok();
    let refused = |more: &[&str], parts: &[&str]| {
        place.refused(&[&args[..], &["--resume"], more].concat(), parts);
    };
    refused(&["--seed", "3"], &["out/config.json", "options/seed is 0 there, 3 here", "--resume"]);
    refused(&["--protocol", "frfb"], &["training/protocol is \"urfb\" there, \"frfb\" here"]);
    refused(&["--limit-test", "50"], &["test_images is 355 there, 50 here"]);
    let nothing = ["--preset", "preset.json", "--resume", "--out", "nothing"];
    place.refused(&nothing, &["no run to resume in nothing", "config.json", "without --resume"]);
    let resume = [&args[..], &["--resume"]].concat();
    place.counts_out_of_range_are_refused(&resume, "epoch", 2);
    // Nothing is left of what it started from.
    place.run(&[&args[..], &["--load", "out"]].concat()).ok();
    for file in ["results.json", "model.safetensors"] {
        std::fs::remove_file(place.path("out").join(file)).unwrap();
    }
    refused(&[], &["nothing to resume", "--load out"]);

    // In an experiment too: a folder trained for another number of epochs.
    let experiment = ["--limit-train", "100", "--seeds", "1", "--out", "experiment"];
    place.run(&[&experiment[..], &["--epochs", "1"]].concat()).ok();
    let again = [&experiment[..], &["--epochs", "2", "--resume"]].concat();
    let run = place.run(&again);
    assert_eq!(run.status, Some(1), "{}", run.stdout);
    assert!(
        run.stderr.contains("experiment.json is of another experiment: epochs is 1 there, 2 here"),
        "{}",
        run.stderr
    );
    // Without it, it makes way.
    place.run(&again[..again.len() - 1]).ok();
}
