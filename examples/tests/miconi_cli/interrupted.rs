//! Runs and experiments that end before their end, and go on.
#![cfg(unix)]

use crate::experiment;
use crate::program::{Place, until};

/// Lines in the log of a run folder.
fn logged(place: &Place, folder: &str) -> usize {
    let log = std::fs::read_to_string(place.path(&format!("{folder}/metrics.jsonl")));
    log.map_or(0, |log| log.lines().count())
}

/// Starts a run, and kills it with SIGKILL once the one in `folder` has logged some epochs.
fn kill_within(place: &Place, args: &[&str], folder: &str) {
    let mut child = place.command(&[args, &["--quiet"]].concat()).spawn().unwrap();
    let model = format!("{folder}/model.safetensors");
    until("the run is under way", || place.path(&model).exists() && logged(place, folder) > 5);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path(&format!("{folder}/results.json")).exists(), "it was over already");
}

#[test]
fn a_killed_run_goes_on_and_a_finished_one_is_read_back() {
    let place = Place::new();
    place.preset(|_| ());
    let args = ["--preset", "preset.json", "--epochs", "300", "--limit-train", "200", "--out"];
    let whole = place.run(&[&args[..], &["whole", "--quiet"]].concat()).ok().stdout;
    kill_within(&place, &[&args[..], &["out"]].concat(), "out");
    let resume = [&args[..], &["out", "--resume", "--quiet"]].concat();
    let resumed = place.run(&resume).ok().stdout;
    for file in ["model.safetensors", "winners.png", "win_rates.png", "receptive_fields_1.png"] {
        let [out, whole] = ["out", "whole"].map(|folder| place.bytes(&format!("{folder}/{file}")));
        assert!(out == whole, "{file} differs from that of an uninterrupted run");
    }
    let table = |report: &str| report.split("\nlearning").next().unwrap().to_string();
    assert_eq!(table(&resumed), table(&whole));
    assert_eq!(logged(&place, "out"), 300);
    let before = place.contents();
    assert_eq!(place.run(&resume).ok().stdout, resumed);
    assert!(before == place.contents(), "reading back wrote something");
    place.run(&[&resume[..], &["--save", "copy.safetensors"]].concat()).ok();
    assert_eq!(place.bytes("copy.safetensors"), place.bytes("out/model.safetensors"));

    // Killed after the last epoch, it has not seen any winners.
    let winners = place.bytes("out/winners.png");
    std::fs::remove_file(place.path("out/results.json")).unwrap();
    place.run(&resume).ok();
    assert!(winners == place.bytes("out/winners.png"));
}

#[test]
fn a_killed_experiment_goes_on() {
    let place = Place::new();
    let args = ["--epochs", "60", "--seeds", "1", "--limit-train", "200", "--limit-test", "100"];
    let args = [&args[..], &["--out", "out"]].concat();
    kill_within(&place, &args, "out/triangle/seed-0");
    let first = place.path("out/plain/seed-0/model.safetensors");
    let before = first.metadata().unwrap().modified().unwrap();
    let shown = place.run(&[&args[..], &["--resume"]].concat()).ok().stdout;
    assert_eq!(before, first.metadata().unwrap().modified().unwrap(), "trained again");
    assert_eq!(place.json("out/results.json")["runs"].as_array().unwrap().len(), 4);
    experiment::a_finished_one_is_read_back(&place, &args, &shown);
}

#[test]
fn another_run_is_not_resumed() {
    let place = Place::new();
    place.preset(|_| ());
    let args = ["--preset", "preset.json", "--limit-train", "200", "--epochs", "1", "--out", "out"];
    place.run(&args).ok();
    let refused = |more: &[&str], parts: &[&str]| {
        place.refused(&[&args[..], &["--resume"], more].concat(), parts);
    };
    refused(&["--seed", "3"], &["out/config.json", "options/seed is 0 there, 3 here", "--resume"]);
    refused(&["--triangle", "never"], &["triangle is \"always\" there, \"never\" here"]);
    let nothing = ["--preset", "preset.json", "--resume", "--out", "nothing"];
    place.refused(&nothing, &["no run to resume in nothing", "config.json", "without --resume"]);

    let resume = [&args[..], &["--resume"]].concat();
    place.counts_out_of_range_are_refused(&resume, "epoch", 1);
    // Nothing is left of what it started from.
    place.run(&[&args[..], &["--load", "out"]].concat()).ok();
    for file in ["results.json", "model.safetensors"] {
        std::fs::remove_file(place.path("out").join(file)).unwrap();
    }
    refused(&[], &["nothing to resume", "--load out"]);
}
