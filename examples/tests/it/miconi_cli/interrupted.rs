//! Experiments that are interrupted and resumed.
#![cfg(unix)]

use super::PROGRAM;
use crate::common::experiment;

#[test]
fn a_stopped_experiment_goes_on() {
    let place = PROGRAM.place();
    let args = ["--epochs", "60", "--seeds", "1", "--limit-train", "200", "--limit-test", "100"];
    let args = [&args[..], &["--out", "out"]].concat();
    let second = "out/triangle/seed-0";
    let running = place.start_until(&args, || place.logged(second).len() > 5);
    running.signal("-INT");
    let stopped = running.end();
    assert_eq!(stopped.status, Some(130), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("continue with --resume"), "{}", stopped.stderr);
    let first = place.path("out/plain/seed-0/model.safetensors");
    let before = first.metadata().unwrap().modified().unwrap();
    let shown = place.run(&[&args[..], &["--resume"]].concat()).ok().stdout;
    assert_eq!(before, first.metadata().unwrap().modified().unwrap(), "trained again");
    assert_eq!(place.json("out/results.json")["runs"].as_array().unwrap().len(), 4);
    experiment::a_finished_one_is_read_back(&place, &args, &shown);
    let other = [&args[..], &["--resume", "--readout", "svm"]].concat();
    place.refused(&other, &["experiment.json belongs to another experiment: decoder/"]);
}
