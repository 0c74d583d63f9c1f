//! `hebbian study search`, on the embedded digits.

use crate::program::{printed, refused};
use hebbian_train::{Results, RunFolder};
use serde_json::Value;
use std::path::Path;

const SEARCH: &[&str] = &[
    "study",
    "search",
    "krotov-hopfield",
    "--preset",
    "krotov-hopfield-digits",
    "--epochs",
    "2",
    "--head-epochs",
    "5",
    "--set",
    "learning_rate=0.001..0.1:log",
    "--set",
    "batch_size=10,50",
    "--trials",
    "4",
    "--halving",
    "2",
    "--quiet",
];

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).expect("JSON")
}

/// Four trials with a quarter of the images, the best two with half, the best one with all; of 1,442 training images, a
/// fifth is held out. The results are those of the runs, and a second search reads them.
#[test]
fn the_best_of_each_rung_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let report = printed(at, SEARCH);
    let out = at.join("runs/krotov-hopfield/search-krotov-hopfield-digits/digits-seed-0");
    let found = json(&out.join("results.json"));
    let trials = found["trials"].as_array().expect("trials");
    let rungs: Vec<_> = trials.iter().map(|trial| trial["rung"].as_u64()).collect();
    assert_eq!(rungs, [3, 2, 1, 1].map(Some));
    assert_eq!(found["best"], trials[0]["trial"]);
    let whole = trials[0]["images"].as_u64().expect("images");
    assert_eq!(whole, found["train_images"].as_u64().expect("images"));
    assert!(whole < 1442, "{whole}");
    assert_eq!(trials[1]["images"].as_u64(), Some(whole.div_ceil(2)));
    assert_eq!(trials[3]["images"].as_u64(), Some(whole.div_ceil(4)));

    let mut first = Vec::new();
    for trial in trials {
        let number = &trial["trial"];
        let last = out.join(format!("rung-{}-trial-{number}/seed-0", trial["rung"]));
        let Results { test_accuracy, .. } = RunFolder::results(&last).unwrap().unwrap();
        assert_eq!(trial["accuracy"].as_f64(), Some(test_accuracy));
        let config = json(&last.join("config.json"));
        let preset = &config["options"]["preset"];
        assert_eq!(preset["learning_rate"], trial["set"]["learning_rate"]);
        assert_eq!(preset["batch_size"], trial["set"]["batch_size"]);
        assert_eq!(config["validation"].as_f64(), Some(0.2), "{config}");
        let rate = preset["learning_rate"].as_f64().expect("a rate");
        assert!((0.001..=0.1).contains(&rate), "{rate}");
        let earlier = out.join(format!("rung-1-trial-{number}/seed-0"));
        first.push(RunFolder::results(&earlier).unwrap().unwrap().test_accuracy);
    }
    // The best two trials of the first rung were continued.
    assert!(first[..2].iter().all(|a| first[2..].iter().all(|b| a >= b)), "{first:?}");

    let preset = report.lines().find(|line| line.contains("hebbian train")).expect("a command");
    assert!(
        !preset.contains("epochs") && !preset.contains("--halving"),
        "the preset has the settings: {preset}"
    );
    let words = preset.split_whitespace().skip(1).map(|word| word.trim_matches('\''));
    let args: Vec<&str> = words.collect();
    printed(at, &args);
    let chosen = json(&at.join(format!("{}-chosen/config.json", out.display())));
    let best = format!("rung-{}-trial-{}", trials[0]["rung"], found["best"]);
    let config = json(&out.join(best).join("seed-0/config.json"));
    assert_eq!(chosen["options"]["preset"]["epochs"], config["options"]["preset"]["epochs"]);
    assert_eq!(
        chosen["options"]["preset"]["learning_rate"],
        config["options"]["preset"]["learning_rate"]
    );

    // Without its results, the search continues from the complete trials, to the same numbers.
    std::fs::remove_file(out.join("results.json")).unwrap();
    let second = &trials[1]["trial"];
    std::fs::remove_dir_all(out.join(format!("rung-2-trial-{second}"))).unwrap();
    printed(at, &[SEARCH, &["--resume"]].concat());
    let again = json(&out.join("results.json"));
    assert_eq!((&again["trials"], &again["best"]), (&found["trials"], &found["best"]));
}

/// The command for the best trial has the images and the seed of the search; a rung has the same share of the images
/// without labels as of those with labels.
#[test]
fn the_command_is_for_the_same_images() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let args =
        ["--seed", "3", "--limit-train", "400", "--labelled=80", "--parallel", "2", "--out", "out"];
    let report = printed(at, &[SEARCH, &args].concat());
    let command = report.lines().find(|line| line.contains("hebbian train")).expect("a command");
    assert!(command.contains("--seed 3 --limit-train 400 --labelled=80"), "{command}");
    assert!(!command.contains("--parallel"), "{command}");
    assert!(command.contains("--out out-chosen"), "{command}");
    let found = json(&at.join("out/results.json"));
    // Of 400 images, one half and one quarter are seen.
    let trials = found["trials"].as_array().expect("trials");
    let images: Vec<_> = trials.iter().map(|trial| trial["images"].as_u64()).collect();
    assert_eq!(images, [400, 200, 100, 100].map(Some));
    let last = at.join(format!("out/rung-1-trial-{}/seed-3/config.json", trials[3]["trial"]));
    let config = json(&last);
    let count = |name: &str| config[name].as_u64();
    assert_eq!((count("train_images"), count("unlabelled_images")), (Some(20), Some(80)));
    assert_eq!(count("labelled"), Some(20));
}

/// Trials that diverge are the worst, and the command is that of the best of the others; if all diverge, the error says
/// so, with the table.
#[test]
fn a_trial_that_diverges_is_the_worst() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let search =
        ["study", "search", "golkar", "--preset", "golkar-digits", "--epochs", "1", "--quiet"];
    let rate = ["--set", "training.rates.w1=0.01,1e30", "--trials", "5"];
    let out = ["--limit-train", "200", "--limit-test", "50", "--out", "out"];
    let report = printed(at, &[&search[..], &rate, &out].concat());
    assert!(report.contains("hebbian train golkar"), "{report}");
    let found = json(&at.join("out/results.json"));
    let trials = found["trials"].as_array().expect("trials");
    assert!(trials[0]["accuracy"].is_f64() && trials[4]["accuracy"].is_null(), "{found}");
    assert_eq!(found["best"], trials[0]["trial"]);
    for trial in trials {
        let rate = trial["set"]["training.rates.w1"].as_f64();
        assert_eq!(trial["accuracy"].is_null(), rate == Some(1e30), "{trial}");
    }
    let rate = ["--set", "training.rates.w1=1e29,1e29", "--trials", "2"];
    refused(at, &[&search[..], &rate, &out].concat(), &["all trials diverged", "1e+29"]);
}

/// In the folder that is the default, a complete study with other settings is not replaced unless the folder is named.
#[test]
fn a_complete_search_with_other_settings_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let few = ["--trials", "1", "--quiet", "--limit-train", "100", "--limit-test", "50"];
    let search =
        [&["study", "search", "golkar", "--preset", "golkar-digits", "--epochs", "1"][..], &few]
            .concat();
    let with = |more: &[&'static str]| [&search[..], more].concat();
    let one = with(&["--set", "training.rates.w1=0.01,0.02"]);
    printed(at, &one);
    let out = "runs/golkar/search-golkar-digits/digits-seed-0";
    let results = || std::fs::read(at.join(out).join("results.json")).unwrap();
    let first = results();
    let other = with(&["--set", "training.rates.w1=0.03,0.04"]);
    let words = ["complete experiment with other settings", "space/0", "0.03", "--out"];
    refused(at, &other, &words);
    assert_eq!(results(), first);
    // The same search again, and another seed, are no loss.
    printed(at, &one);
    printed(at, &[&other[..], &["--seed", "1"]].concat());
    printed(at, &[&other[..], &["--out", out]].concat());
    let found = json(&at.join(out).join("results.json"));
    assert_eq!(found["space"][0].as_str(), Some("training.rates.w1=0.03,0.04"));
}

#[test]
fn what_a_search_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |more: &[&str], words: &[&str]| {
        let args = [&["study", "search", "krotov-hopfield", "--quiet"], more].concat();
        refused(folder.path(), &args, words);
    };
    refused(&["--set", "rate=1,2"], &["rate=", "unknown field `rate`", "learning_rate"]);
    refused(&["--set", "epochs=soft,hard"], &["epochs", "soft"]);
    refused(&["--set", "epochs=1,2", "--trials", "0"], &["0 trials"]);
    refused(&["--set", "epochs=1,2", "--halving", "1"], &["factor of 1"]);
    refused(&["--set", "epochs=1,2", "--repeats", "0"], &["--repeats is 0"]);
    let many = "18446744073709551615";
    refused(&["--set", "epochs=1,2", "--repeats", many], &[many, "seeds", "100000 or fewer"]);
    refused(&["--set", "epochs=1,2", "--trials", many], &[many, "trials", "1 to 100000"]);
    refused(&["--set", "epochs=1,2", "--save", "x"], &["for a single network"]);
}

/// What stands beside the preset in a configuration is in the command; the method's other flags are in the preset.
#[test]
fn the_command_has_what_is_beside_the_preset() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let search = ["study", "search", "golkar", "--preset", "golkar-digits", "--epochs", "1"];
    let more = ["--backprop", "--set", "units=8,9", "--trials", "2", "--limit-train", "100"];
    let report = printed(at, &[&search[..], &more, &["--quiet", "--out", "out/"]].concat());
    let command = report.lines().find(|line| line.contains("hebbian train")).expect("a command");
    assert!(command.contains("--backprop") && !command.contains("--epochs"), "{command}");
    assert!(command.contains("--out out-chosen"), "{command}");
}
