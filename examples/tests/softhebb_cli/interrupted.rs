//! A run that ends before its end.
#![cfg(unix)]

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::program::{Place, until};

/// Started quietly: nobody reads its pipes.
fn start(place: &Place, epochs: &str) -> Child {
    let limits = ["--limit-train", "300", "--limit-test", "100", "--head-epochs", "5"];
    let args = ["--quiet", "--out", "out", "--epochs", epochs];
    place.command(&[&limits[..], &args].concat()).spawn().unwrap()
}

/// Whatever is there is whole.
fn check(place: &Place) {
    for name in ["out/config.json", "out/results.json"] {
        if place.path(name).exists() {
            place.json(name);
        }
    }
    if place.path("out/model.safetensors").exists() {
        assert!(place.shapes("out/model.safetensors").contains_key("layers.1.weight"));
    }
    if place.path("out/filters.png").exists() {
        image::load_from_memory(&place.bytes("out/filters.png")).unwrap();
    }
}

#[test]
fn killed_at_any_moment_a_run_leaves_only_whole_files() {
    let place = Place::new();
    for moment in 0..20 {
        let mut child = start(&place, "1");
        std::thread::sleep(Duration::from_millis(8 * moment));
        child.kill().unwrap();
        child.wait().unwrap();
        check(&place);
    }
}

#[test]
fn a_killed_run_has_no_results_and_makes_way_for_another() {
    let place = Place::new();
    place.tiny("out", &[]).ok();
    let mut child = start(&place, "100000");
    let logged = || std::fs::metadata(place.path("out/metrics.jsonl")).is_ok_and(|m| m.len() > 0);
    // The folder of the earlier run is taken over first.
    until("the first log line", || !place.path("out/results.json").exists() && logged());
    child.kill().unwrap();
    child.wait().unwrap();
    check(&place);
    assert!(place.path("out/model.safetensors").exists());
    assert!(!place.path("out/results.json").exists());
    place.tiny("again", &["--load", "out"]).ok();
    place.tiny("out", &[]).ok();
    assert!(place.path("out/results.json").exists());
}

#[test]
fn interrupted_a_run_leaves_only_whole_files() {
    let place = Place::new();
    let mut child = start(&place, "100000");
    until("the first checkpoint", || place.path("out/model.safetensors").exists());
    // Who runs the tests in the background has shells ignore SIGINT, which children inherit.
    for signal in ["-INT", "-TERM"] {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let sent = Instant::now();
        while child.try_wait().unwrap().is_none() && sent.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(!child.wait().unwrap().success());
    check(&place);
    assert!(!place.path("out/results.json").exists());
}
