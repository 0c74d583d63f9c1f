//! Runs that end before their end, and go on.
#![cfg(unix)]

use crate::program::{Place, until};

/// Lines in the log of a run folder.
fn logged(place: &Place, folder: &str) -> usize {
    let log = std::fs::read_to_string(place.path(&format!("{folder}/metrics.jsonl")));
    log.map_or(0, |log| log.lines().count())
}

#[test]
fn a_killed_run_goes_on_and_a_finished_one_is_read_back() {
    let place = Place::new();
    for learner in [&[][..], &["--backprop"]] {
        let args = ["--preset", "golkar-digits", "--epochs", "200", "--quiet"];
        let args = [&args[..], learner].concat();
        let whole = place.run(&[&args[..], &["--out", "whole"]].concat()).ok().stdout;
        let args = [&args[..], &["--out", "out"]].concat();
        let mut child = place.command(&args).spawn().unwrap();
        until("the run is under way", || logged(&place, "out") > 30);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!place.path("out/results.json").exists(), "it was over already");

        let resume = [&args[..], &["--resume"]].concat();
        let resumed = place.run(&resume).ok().stdout;
        assert!(place.bytes("out/model.safetensors") == place.bytes("whole/model.safetensors"));
        assert_eq!(logged(&place, "out"), logged(&place, "whole"));
        let figures = |report: &str| report.split("\nlearning").next().unwrap().to_string();
        assert_eq!(figures(&resumed), figures(&whole));
        let before = place.contents();
        assert_eq!(place.run(&resume).ok().stdout, resumed);
        assert!(before == place.contents(), "reading back wrote something");
        place.run(&[&resume[..], &["--save", "copy.safetensors"]].concat()).ok();
        assert!(place.bytes("copy.safetensors") == place.bytes("out/model.safetensors"));
        std::fs::remove_dir_all(place.path("out")).unwrap();
    }
}

#[test]
fn another_run_is_not_resumed() {
    let place = Place::new();
    place.preset(|_| ());
    place.tiny("out", &["--preset", "preset.json"]).ok();
    let args = ["--preset", "preset.json", "--resume", "--out", "out", "--limit-train", "200"];
    let args = [&args[..], &["--limit-test", "100", "--epochs", "3"]].concat();
    let seed = [&args[..], &["--seed", "3"]].concat();
    place.refused(&seed, &["out/config.json", "options/seed is 0 there, 3 here"]);
    let rate = [&args[..], &["--rate", "0.02"]].concat();
    place.refused(&rate, &["rate is 0.005 there, 0.02 here"]);
    let nothing = ["--preset", "preset.json", "--resume", "--out", "nothing"];
    place.refused(&nothing, &["no run to resume in nothing", "config.json"]);
}

/// As after a power cut, which the weights outlive and the end of the log does not.
#[test]
fn results_are_those_of_the_saved_weights_and_not_of_the_log() {
    let place = Place::new();
    place.preset(|_| ());
    let args = ["--preset", "preset.json", "--limit-train", "200", "--limit-test", "100"];
    let args = [&args[..], &["--epochs", "3", "--out", "out"]].concat();
    place.run(&args).ok();
    let figures = |place: &Place| {
        let results = place.json("out/results.json");
        ["test_accuracy", "train_accuracy", "loss", "samples", "spectrum"]
            .map(|name| results[name].clone())
    };
    let whole = figures(&place);
    let log = std::fs::read_to_string(place.path("out/metrics.jsonl")).unwrap();
    let resume = [&args[..], &["--resume"]].concat();
    for lines in [0, 3, log.lines().count()] {
        let kept: String = log.split_inclusive('\n').take(lines).collect();
        place.write("out/metrics.jsonl", kept);
        std::fs::remove_file(place.path("out/results.json")).unwrap();
        place.run(&resume).ok();
        assert_eq!(figures(&place), whole);
        let last = std::fs::read_to_string(place.path("out/metrics.jsonl")).unwrap();
        assert!(last.lines().last().unwrap().contains("\"step\":600"), "{last}");
    }
    place.counts_out_of_range_are_refused(&resume, "samples", 600);
}
