//! Runs that are interrupted and resumed.
#![cfg(unix)]

use std::time::Duration;

use serde_json::{Value, json};

use super::PROGRAM;
use crate::common::program::{Place, until};

const TINY: [&str; 6] = ["--preset", "preset.json", "--limit-train", "200", "--limit-test", "100"];

/// Flags of a run of the preset for the digits, with this many epochs.
fn digits(epochs: &'static str) -> Vec<&'static str> {
    let limits = ["--limit-train", "300", "--limit-test", "100", "--head-epochs", "5"];
    [&limits[..], &["--out", "out", "--epochs", epochs]].concat()
}

/// Checks that every file that exists is whole.
fn check(place: &Place) {
    for name in ["out/config.json", "out/results.json"] {
        if place.path(name).exists() {
            place.json(name);
        }
    }
    for name in ["out/model.safetensors", "out/state.safetensors"] {
        if place.path(name).exists() {
            assert!(place.shapes(name).contains_key("layers.0.weight"));
        }
    }
    if place.path("out/filters.png").exists() {
        image::load_from_memory(&place.bytes("out/filters.png")).unwrap();
    }
}

#[test]
fn killed_at_any_moment_a_run_leaves_only_whole_files() {
    let place = PROGRAM.place();
    for moment in 0..20 {
        let running = place.start(&digits("1"));
        std::thread::sleep(Duration::from_millis(8 * moment));
        running.kill();
        check(&place);
    }
    // Files that were half written when a run was killed are gone once a run is complete.
    place.run(&digits("1")).ok();
    let left: Vec<_> = place.contents().into_keys().collect();
    let unfinished = left.iter().filter(|path| path.to_string_lossy().contains("unfinished"));
    assert_eq!(unfinished.count(), 0, "{left:?}");
}

#[test]
fn a_killed_run_has_no_results_and_makes_way_for_another() {
    let place = PROGRAM.place();
    place.tiny("out", &[]).ok();
    // The folder of the earlier run is taken over first.
    let there = || !place.path("out/results.json").exists() && !place.logged("out").is_empty();
    place.start_until(&digits("100000"), there).kill();
    check(&place);
    assert!(place.path("out/state.safetensors").exists());
    assert!(!place.path("out/model.safetensors").exists());
    assert!(!place.path("out/results.json").exists());
    place.tiny("again", &["--load", "out"]).ok();
    place.tiny("out", &[]).ok();
    assert!(place.path("out/results.json").exists());
}

#[test]
fn a_run_that_another_version_goes_on_with_says_so() {
    let place = PROGRAM.place();
    place.preset(|_| {});
    let args = place.long(&["--out", "out"]);
    place.start_until(&args, || place.logged("out").len() > 5).kill();
    let mut config = place.json("out/config.json");
    config["version"] = json!("0.0.1");
    place.write("out/config.json", config.to_string());
    let resumed = place.run(&[&args[..], &["--resume"]].concat()).ok();
    let told = "out was begun by version 0.0.1 on cpu with precision highest and goes on with version 0.1.0";
    assert!(resumed.stderr.contains(told), "{}", resumed.stderr);
}

/// Two small convolutions, whose learning rate depends on how far the training is.
fn two_blocks(learning: Option<Value>) -> Place {
    let place = PROGRAM.place();
    place.preset(|preset| {
        let rate = json!({ "kind": "linear_decay", "learning_rate": 0.01 });
        let block = &mut preset["blocks"][0];
        block["learning"]["rate"] = rate;
        if let Some(learning) = learning {
            block["learning"] = learning;
        }
        let block = block.clone();
        preset["blocks"].as_array_mut().unwrap().push(block);
    });
    place
}

/// The steps that the state in `out` has done; `None` if there is no state.
fn steps(place: &Place) -> Option<u64> {
    let there = place.path("out/state.safetensors").exists();
    there.then(|| place.checkpoint("out/state.safetensors").1["steps"].parse().unwrap())
}

/// Every way of learning, killed part of the way into each of its stages.
#[test]
fn a_killed_run_goes_on_as_if_nothing_had_happened() {
    let backprop = || Some(json!({ "kind": "backprop" }));
    let hebbian = ["--epochs", "250", "--head-epochs", "5"];
    for (mode, learning, stages, epochs) in [
        (&["--mode", "successive"][..], None, 2, &hebbian[..]),
        (&["--mode", "consecutive"], None, 1, &hebbian),
        (&["--mode", "simultaneous"], None, 1, &hebbian),
        (&[], backprop(), 1, &["--head-epochs", "800"]),
    ] {
        let place = two_blocks(learning);
        let args = [&TINY[..], mode, epochs].concat();
        place.run(&[&args[..], &["--quiet", "--out", "whole"]].concat()).ok();
        let all = place.json("whole/results.json")["training_steps"].as_u64().unwrap();
        let args = [&args[..], &["--out", "out"]].concat();
        let resume = [&args[..], &["--resume"]].concat();
        // Kills it in each stage. On a busy machine a stage may be over before it is killed: it is then not within the
        // stage.
        let killed_within_each = || {
            (0..stages).all(|stage| {
                let before = stage * (all / stages);
                let later = |step| {
                    let logged = place.logged("out");
                    logged.last().is_some_and(|line| line["step"].as_u64() > Some(step))
                };
                // What is logged after the last save is logged again.
                let there = || steps(&place).is_some_and(|steps| steps > before && later(steps));
                let mut running = place.start(if stage == 0 { &args } else { &resume });
                until("the run is in its stage, or over", || running.is_over() || there());
                if running.is_over() {
                    return false;
                }
                running.kill();
                (before + 1..before + all / stages).contains(&steps(&place).unwrap())
            })
        };
        let tried = (0..5).any(|attempt| {
            if attempt > 0 {
                std::fs::remove_dir_all(place.path("out")).unwrap();
            }
            killed_within_each()
        });
        assert!(tried, "{mode:?}: never killed within its stages");
        place.run(&resume).ok();
        place.same_runs("out", "whole");
    }
}

#[test]
fn a_run_killed_while_the_head_learns_trains_the_head_again() {
    let place = two_blocks(None);
    let args = [&TINY[..], &["--epochs", "2", "--head-epochs", "1000"]].concat();
    place.run(&[&args[..], &["--quiet", "--out", "whole"]].concat()).ok();
    let args = [&args[..], &["--out", "out"]].concat();
    let head = |epoch: f64| {
        let lines = place.logged("out");
        lines.iter().any(|line| line["readout"] == "head" && line["epoch"] == epoch)
    };
    place.start_until(&args, || head(5.0)).kill();
    assert!(!place.path("out/results.json").exists(), "it was over already");
    assert_eq!(steps(&place), Some(2 * 2 * 20));
    let args = [&args[..], &["--resume"]].concat();
    // If the run is asked to stop there, it says what is saved.
    let running = place.start_until(&args, || head(100.0));
    running.signal("-TERM");
    let stopped = running.end();
    assert_eq!(stopped.status, Some(143), "{}", stopped.stderr);
    let at = "stopped after learning, before all was read out; progress is saved in out";
    assert!(stopped.stderr.contains(at), "{}", stopped.stderr);
    place.run(&args).ok();
    place.same_runs("out", "whole");
}

#[test]
fn a_run_without_unsupervised_steps_or_state_is_resumed_too() {
    let place = two_blocks(None);
    for mode in ["random-calibrated", "random-identity", "successive"] {
        let args = [&TINY[..], &["--mode", mode, "--head-epochs", "2", "--out"]].concat();
        for out in ["whole", "out"] {
            place.run(&[&args[..], &[out]].concat()).ok();
        }
        for files in [&["results.json"][..], &["results.json", "state.safetensors"]] {
            for file in files {
                std::fs::remove_file(place.path("out").join(file)).unwrap();
            }
            place.run(&[&args[..], &["out", "--resume"]].concat()).ok();
            place.same_runs("out", "whole");
        }
    }
}

/// The rates of back-propagation, and of a head that learns with the network, depend on how long learning is to last.
#[test]
fn what_was_learned_by_other_rates_does_not_go_on_for_longer() {
    let place = two_blocks(Some(json!({ "kind": "backprop" })));
    let args = [&TINY[..], &["--out", "out", "--head-epochs"]].concat();
    place.run(&[&args[..], &["2"]].concat()).ok();
    let longer = [&args[..], &["4", "--resume"]].concat();
    place.refused(&longer, &["those of 2 head_epochs, not of 4"]);
    // The refused run is still there.
    place.run(&[&args[..], &["2", "--resume"]].concat()).ok();
}
