//! Runs that are interrupted and resumed.
#![cfg(unix)]

use std::process::{Command, Stdio};

use super::PROGRAM;
use crate::common::program::{Running, until};

#[test]
fn a_killed_run_of_back_propagation_goes_on() {
    let place = PROGRAM.place();
    let args = ["--preset", "golkar-digits", "--backprop", "--epochs", "200", "--out"];
    place.run(&[&args[..], &["whole", "--quiet"]].concat()).ok();
    let args = [&args[..], &["out"]].concat();
    place.start_until(&args, || place.logged("out").len() > 30).kill();
    assert!(!place.path("out/results.json").exists(), "it was over already");
    place.run(&[&args[..], &["--resume"]].concat()).ok();
    place.same_runs("out", "whole");
}

/// As after a power cut, which the weights survive and the end of the log does not.
#[test]
fn results_are_those_of_the_saved_weights_and_not_of_the_log() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    let args = ["--preset", "preset.json", "--limit-train", "200", "--limit-test", "100"];
    let args = [&args[..], &["--epochs", "3", "--out", "out"]].concat();
    place.run(&args).ok();
    let whole = place.figures("out");
    let log = std::fs::read_to_string(place.path("out/metrics.jsonl")).unwrap();
    for lines in [0, 3, log.lines().count()] {
        let kept: String = log.split_inclusive('\n').take(lines).collect();
        place.write("out/metrics.jsonl", kept);
        std::fs::remove_file(place.path("out/results.json")).unwrap();
        place.run(&[&args[..], &["--resume"]].concat()).ok();
        assert_eq!(place.figures("out"), whole);
    }
}

/// `nohup` starts a program to ignore SIGHUP.
#[test]
fn a_run_that_ignores_that_its_terminal_closes_goes_on() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    let plain = place.command(&place.long(&["--out", "out", "--quiet"]));
    let mut command = Command::new("nohup");
    command.arg(plain.get_program()).args(plain.get_args()).current_dir(place.path(""));
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = Running::of(command);
    until("the run is under way", || {
        assert!(!run.is_over(), "it was over already");
        place.logged("out").len() > 2
    });
    run.signal("-HUP");
    run.end().ok();
    assert!(place.path("out/results.json").exists());
}
