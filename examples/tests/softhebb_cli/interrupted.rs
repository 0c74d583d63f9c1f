//! Runs that end before their end, and go on.
#![cfg(unix)]

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::program::{Place, until};

const TINY: [&str; 6] = ["--preset", "preset.json", "--limit-train", "200", "--limit-test", "100"];

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

/// Two small convolutions, whose learning rate depends on how far the training is.
fn two_blocks() -> Place {
    let place = Place::new();
    place.preset(|preset| {
        let rate = json!({ "kind": "linear_decay", "learning_rate": 0.01 });
        preset["blocks"][0]["learning"]["rate"] = rate;
        let block = preset["blocks"][0].clone();
        preset["blocks"].as_array_mut().unwrap().push(block);
    });
    place
}

/// The steps that the checkpoint in `out` has done; none where there is no checkpoint.
fn steps(place: &Place) -> Option<u64> {
    let bytes = std::fs::read(place.path("out/model.safetensors")).ok()?;
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    Some(header.metadata().as_ref().unwrap()["steps"].parse().unwrap())
}

/// The whole lines of a run's log, without the time.
fn logged(place: &Place, out: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(place.path(&format!("{out}/metrics.jsonl")));
    let log = log.unwrap_or_default();
    let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let mut lines: Vec<Value> = whole.map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("seconds").unwrap();
    }
    lines
}

/// Starts a run in `out`, and kills it with SIGKILL once it is where it should be.
fn kill_once(place: &Place, args: &[&str], there: impl Fn() -> bool) {
    let mut child = place.command(&[args, &["--quiet", "--out", "out"]].concat()).spawn().unwrap();
    until("the run is under way", || place.path("out/config.json").exists() && there());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path("out/results.json").exists(), "it was over already");
}

/// Resumes the run in `out`; it must end as `whole` did. Returns what it said.
fn resume(place: &Place, args: &[&str]) -> String {
    let run = place.run(&[args, &["--out", "out", "--resume"]].concat()).ok();
    let model = |out: &str| place.bytes(&format!("{out}/model.safetensors"));
    assert!(model("out") == model("whole"), "the resumed run differs");
    assert_eq!(logged(place, "out"), logged(place, "whole"));
    let figures = |out: &str| {
        let mut results = place.json(&format!("{out}/results.json"));
        let measured = |name: &str| !name.contains("second") && !name.contains("memory");
        results.as_object_mut().unwrap().retain(|name, _| measured(name));
        results
    };
    assert_eq!(figures("out"), figures("whole"));
    run.stderr
}

#[test]
fn a_killed_run_goes_on_as_if_nothing_had_happened() {
    for (mode, stages) in [("successive", 2), ("consecutive", 1)] {
        let place = two_blocks();
        let args = ["--mode", mode, "--epochs", "150", "--head-epochs", "5"];
        let args = [&TINY[..], &args].concat();
        place.run(&[&args[..], &["--quiet", "--out", "whole"]].concat()).ok();
        // Some way into each stage; what is logged after the checkpoint is logged again.
        for stage in 0..stages {
            let before = stage * 150 * 20;
            let later = |step| {
                logged(&place, "out").last().is_some_and(|line| line["step"].as_u64() > Some(step))
            };
            let there = || steps(&place).is_some_and(|steps| steps > before && later(steps));
            let resume: &[&str] = if stage == 0 { &[] } else { &["--resume"] };
            kill_once(&place, &[&args[..], resume].concat(), there);
            assert!((before + 1..before + 150 * 20).contains(&steps(&place).unwrap()), "{mode}");
        }
        let said = resume(&place, &args);
        assert!(said.contains("30000/30000 images"), "{said}");
    }
}

#[test]
fn a_run_killed_while_the_head_learns_trains_the_head_again() {
    let place = two_blocks();
    let args = [&TINY[..], &["--epochs", "2", "--head-epochs", "1000"]].concat();
    place.run(&[&args[..], &["--quiet", "--out", "whole"]].concat()).ok();
    let head = || logged(&place, "out").iter().any(|line| line["head.epoch"] == 5.0);
    kill_once(&place, &args, head);
    assert_eq!(steps(&place), Some(2 * 2 * 20));
    resume(&place, &args);
    // Killed between the last checkpoint and the results.
    std::fs::remove_file(place.path("out/results.json")).unwrap();
    resume(&place, &args);
}

#[test]
fn a_finished_run_is_read_back() {
    let place = two_blocks();
    let args = [&TINY[..], &["--head-epochs", "2", "--out", "out", "--quiet"]].concat();
    let whole = place.run(&args).ok().stdout;
    let resume = [&args[..], &["--resume"]].concat();
    let before = place.contents();
    assert_eq!(place.run(&resume).ok().stdout, whole);
    assert!(before == place.contents(), "reading back wrote something");
    place.run(&[&resume[..], &["--save", "copy.safetensors"]].concat()).ok();
    assert!(place.bytes("copy.safetensors") == place.bytes("out/model.safetensors"));
}

#[test]
fn what_cannot_be_resumed_starts_anew() {
    let backprop = |preset: &mut Value| {
        for block in preset["blocks"].as_array_mut().unwrap() {
            block["learning"] = json!({ "kind": "backprop" });
        }
    };
    for (mode, said) in [("simultaneous", "simultaneous mode"), ("successive", "back-propagation")]
    {
        let place = two_blocks();
        if said == "back-propagation" {
            place.preset(backprop);
        }
        let args = ["--mode", mode, "--epochs", "50", "--head-epochs", "300"];
        let args = [&TINY[..], &args].concat();
        place.run(&[&args[..], &["--quiet", "--out", "whole"]].concat()).ok();
        let kill = || kill_once(&place, &args, || logged(&place, "out").len() > 2);
        let line = format!("{said} cannot be resumed: the run in out starts anew\n");
        kill();
        assert!(resume(&place, &args).contains(&line));
        // Finished, it is read back.
        assert!(!resume(&place, &args).contains("anew"));
        std::fs::remove_dir_all(place.path("out")).unwrap();
        kill();
        assert_eq!(resume(&place, &[&args[..], &["--quiet"]].concat()), "");
    }
}

#[test]
fn a_run_without_unsupervised_steps_or_checkpoint_is_resumed_too() {
    let place = two_blocks();
    for mode in ["random-calibrated", "random-identity", "successive"] {
        let args = [&TINY[..], &["--mode", mode, "--head-epochs", "2"]].concat();
        for out in ["whole", "out"] {
            place.run(&[&args[..], &["--out", out]].concat()).ok();
        }
        std::fs::remove_file(place.path("out/results.json")).unwrap();
        resume(&place, &args);
        for file in ["results.json", "model.safetensors"] {
            std::fs::remove_file(place.path("out").join(file)).unwrap();
        }
        resume(&place, &args);
    }
}

#[test]
fn another_run_is_not_resumed() {
    let place = two_blocks();
    let args = [&TINY[..], &["--head-epochs", "2", "--out", "out"]].concat();
    place.run(&args).ok();
    let resume = [&args[..], &["--resume"]].concat();
    let refused =
        |more: &[&str], parts: &[&str]| place.refused(&[&resume[..], more].concat(), parts);
    refused(&["--seed", "3"], &["out/config.json", "options/seed is 0 there, 3 here", "--resume"]);
    refused(&["--mode", "consecutive"], &["mode is \"successive\" there, \"consecutive\" here"]);
    refused(&["--load", "out"], &["--resume", "--load"]);
    let other = ["--resume", "--out", "out", "--limit-train", "200", "--limit-test", "100"];
    place.refused(&other, &["out/config.json", "options/preset"]);
    let nothing = ["--preset", "preset.json", "--resume", "--out", "nothing"];
    place.refused(&nothing, &["no run to resume in nothing", "config.json", "without --resume"]);

    place.counts_out_of_range_are_refused(&resume, "steps", 40);
    // Nothing is left of what it started from.
    place.run(&[&args[..], &["--load", "out"]].concat()).ok();
    for file in ["results.json", "model.safetensors"] {
        std::fs::remove_file(place.path("out").join(file)).unwrap();
    }
    refused(&[], &["nothing to resume", "--load out"]);
}
