//! Run folders and event files, through real files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hebbian_train::{
    ConfusionMatrix, Moment, Picture, ReadoutResult, Results, RunFolder, save_checkpoint,
};
use serde_json::{Value, json};

fn json_file(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn event_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.to_string_lossy().contains("tfevents")).collect();
    paths.sort();
    paths
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn metrics(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ten images a step, forty an epoch.
fn step(step: u64) -> Moment {
    Moment::Learning { step, images: 10 * step, epoch: step as f64 / 4.0 }
}

#[test]
fn a_run_leaves_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs/first");
    let mut run = RunFolder::create(&path).unwrap();
    run.write_config(&json!({"preset": "tiny", "seed": 3})).unwrap();
    run.log(step(10), &[("layer 0/mean radius", 4.5), ("loss", f64::NAN)]).unwrap();
    // The values are on disk at once, while the run is under way.
    assert_eq!(metrics(&path).len(), 1);
    run.log(step(20), &[("loss", 0.25)]).unwrap();
    run.picture("filters", 20, &Picture::new(3, 2, [255, 0, 0])).unwrap();
    let results = Results {
        test_accuracy: 0.81,
        train_images: 50000,
        seed: 3,
        device: "cpu".to_string(),
        extras: BTreeMap::from([("winner_entropy".to_string(), json!(1.5))]),
        ..Default::default()
    };
    assert!(!path.join("results.json").exists());
    run.finish(&results).unwrap();

    let config = json!({"program": "candle-hebbian", "preset": "tiny", "seed": 3});
    assert_eq!(json_file(path.join("config.json")), config);
    let files = json_file(path.join("run.json"))["files"].clone();
    for file in ["config.json", "filters.png", "metrics.jsonl", "results.json"] {
        assert!(files.as_array().unwrap().contains(&json!(file)), "{file}: {files}");
    }
    let lines = metrics(&path);
    assert_eq!(lines[0]["step"], 10);
    assert_eq!(lines[0]["layer 0/mean radius"], 4.5);
    assert_eq!(lines[0]["loss"], Value::Null);
    assert_eq!(lines[1]["loss"], 0.25);
    let history = RunFolder::history(&path).unwrap();
    let losses: Vec<f64> = history.by_images().map(|(_, values)| values["loss"]).collect();
    assert!(losses[0].is_nan() && losses[1] == 0.25, "{losses:?}");
    assert!(lines[1]["seconds"].as_f64() >= lines[0]["seconds"].as_f64());
    let written = json_file(path.join("results.json"));
    for key in [
        "test_accuracy",
        "train_images",
        "unsupervised_seconds",
        "unsupervised_images_per_second",
        "head_seconds",
        "total_seconds",
        "peak_memory_bytes",
        "seed",
        "device",
        "preset",
        "dataset",
    ] {
        assert!(written.get(key).is_some(), "{key}");
    }
    assert_eq!(written["winner_entropy"], 1.5);
    assert_eq!(serde_json::from_value::<Results>(written).unwrap(), results);
    assert_eq!(image::open(path.join("filters.png")).unwrap().to_rgb8().dimensions(), (3, 2));
    assert_eq!(event_files(&path).len(), 1);
}

/// Read-outs have clocks of their own, in the log and in TensorBoard; a resumed run begins them again.
#[test]
fn readouts_are_logged_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(folder.path()).unwrap();
    run.log(step(7), &[("loss", 1.0)]).unwrap();
    for epoch in [1, 2] {
        let moment = Moment::Readout { readout: "head".to_string(), epoch };
        run.log(moment, &[("test_accuracy", 0.5)]).unwrap();
    }
    let lines = metrics(folder.path());
    assert_eq!(lines[0]["step"], 7);
    assert_eq!((&lines[2]["readout"], &lines[2]["epoch"]), (&json!("head"), &json!(2.0)));
    assert!(lines[2].get("step").is_none());
    assert_eq!(event_files(folder.path()).len(), 2);
    assert_eq!(RunFolder::history(folder.path()).unwrap().0.len(), 3);
    drop(run);
    let run = RunFolder::resume(folder.path(), 7).unwrap();
    assert_eq!(RunFolder::history(folder.path()).unwrap().0.len(), 1);
    assert_eq!(event_files(folder.path()).len(), 1);
    drop(run);
}

/// A line of the log has each name once.
#[test]
fn names_of_the_log_are_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(folder.path()).unwrap();
    for name in ["readout", "step", "images", "epoch", "seconds"] {
        let error = run.log(step(1), &[("loss", 1.0), (name, 2.0)]).unwrap_err().to_string();
        assert!(error.contains(&format!("{name:?}")), "{error}");
    }
    run.log(step(1), &[("loss", 1.0), ("steps", 2.0)]).unwrap();
    assert_eq!(metrics(folder.path()).len(), 1);
}

/// Two runs in one folder would write over each other.
#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path()).unwrap();
    for refused in [RunFolder::create(folder.path()), RunFolder::resume(folder.path(), 0)] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("is in use by another run"), "{error}");
    }
    drop(run);
    RunFolder::create(folder.path()).unwrap();
}

#[test]
fn a_new_run_does_not_mix_with_an_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut run = RunFolder::create(path).unwrap();
    run.write_config(&json!({"seed": 3})).unwrap();
    run.log(step(1), &[("loss", 1.0)]).unwrap();
    run.picture("filters", 1, &Picture::new(3, 2, [255, 0, 0])).unwrap();
    run.finish(&Results::default()).unwrap();
    for file in [run.model(), run.state()] {
        save_checkpoint(file, &[], &BTreeMap::new()).unwrap();
    }
    let others = ["notes.txt", ".unfinished-abc", ".unfinished-notes.txt-aBc123"];
    let others = others.into_iter().chain(["events.out.tfevents.1700000000.host.1.2"]);
    others.clone().for_each(|file| std::fs::write(path.join(file), "mine").unwrap());
    let unfinished = [".unfinished-model.safetensors-aBc123", ".unfinished-filters.png-aBc123"];
    let leave = || unfinished.map(|file| std::fs::write(path.join(file), "a part").unwrap());
    leave();
    let old_events = event_files(path);
    assert_eq!(old_events.len(), 2);
    drop(run);

    // Values logged after the weights were saved are logged again, and a broken line is left out.
    let mut log = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    log += "{\"step\":2,\"seconds\":1.0,\"loss\":0.7}\n{\"step\":3,\"sec";
    std::fs::write(path.join("metrics.jsonl"), log).unwrap();
    let mut run = RunFolder::resume(path, 1).unwrap();
    run.log(step(2), &[("loss", 0.5)]).unwrap();
    let history = RunFolder::history(path).unwrap();
    let images: Vec<_> = history.by_images().map(|(at, values)| (at, values["loss"])).collect();
    assert_eq!(images, [(10, 1.0), (20, 0.5)]);
    let epochs: Vec<_> = history.by_epoch().map(|(at, _)| at).collect();
    assert_eq!(epochs, [0.25, 0.5]);
    assert_eq!(metrics(path).iter().map(|line| line["step"].clone()).collect::<Vec<_>>(), [1, 2]);
    // The run has one event file, without what came after the step; the other is another program's.
    assert_eq!(event_files(path).len(), 2);
    assert!(run.state().exists());
    unfinished.iter().for_each(|file| assert!(!path.join(file).exists(), "{file}"));
    drop(run);

    leave();
    let _run = RunFolder::create(path).unwrap();
    // One of another program, and one of the new run.
    assert_eq!(event_files(path).len(), 2);
    assert_eq!(metrics(path).len(), 0);
    let mut left = names(path);
    left.retain(|name| !name.starts_with("events"));
    let mut expected: Vec<&str> = others.clone().filter(|n| !n.starts_with("events")).collect();
    expected.extend(["metrics.jsonl", "run.json"]);
    expected.sort_unstable();
    assert_eq!(left, expected);
    for file in others {
        assert_eq!(std::fs::read_to_string(path.join(file)).unwrap(), "mine");
    }
}

#[test]
fn what_a_run_wrote_is_read_back_and_its_clock_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(RunFolder::config(path).unwrap().is_none());
    assert!(RunFolder::results(path).unwrap().is_none());
    let run = RunFolder::create(path).unwrap();
    run.write_config(&json!({"seed": 3})).unwrap();
    let results = Results { test_accuracy: 0.5, ..Results::default() };
    run.finish(&results).unwrap();
    drop(run);
    let config = json!({"program": "candle-hebbian", "seed": 3});
    assert_eq!(RunFolder::config(path).unwrap(), Some(config));
    assert_eq!(RunFolder::results(path).unwrap(), Some(results));

    // Interrupted after a thousand seconds, with the weights last saved after a hundred.
    let log = "{\"step\":1,\"seconds\":100.0}\n{\"step\":2,\"seconds\":1000.0}\n";
    std::fs::write(path.join("metrics.jsonl"), log).unwrap();
    let seconds = RunFolder::resume(path, 1).unwrap().seconds();
    assert!((100.0..200.0).contains(&seconds), "{seconds}");

    std::fs::write(path.join("results.json"), "{\"test").unwrap();
    let error = RunFolder::results(path).unwrap_err().to_string();
    assert!(error.contains("results.json is not what a run writes there"), "{error}");
}

/// A program that is killed may leave a part of a line, which may be a part of a character.
#[test]
fn a_line_that_ends_within_a_character_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut run = RunFolder::create(path).unwrap();
    run.log(step(1), &[("Δw", 0.5)]).unwrap();
    drop(run);
    let mut log = std::fs::read(path.join("metrics.jsonl")).unwrap();
    // The first of the two bytes of Δ.
    log.extend(b"{\"step\":2,\"seconds\":1.0,\"\xce");
    std::fs::write(path.join("metrics.jsonl"), log).unwrap();
    let history = RunFolder::history(path).unwrap();
    assert_eq!(history.by_epoch().map(|(_, values)| values["Δw"]).collect::<Vec<_>>(), [0.5]);
    drop(RunFolder::resume(path, 1).unwrap());
    assert_eq!(metrics(path).len(), 1);
}

/// Five read-outs of 1,000 classes have five million counts, which take 10 MB with a digit and a comma for each.
/// Results of more than 64 MiB, which is too much for a text of other programs, are read back too, and can be replaced.
#[test]
fn results_of_many_classes_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let confusion = Some(ConfusionMatrix { counts: vec![vec![7; 1000]; 1000] });
    let readout = |at: usize| ReadoutResult {
        name: format!("read-out {at}"),
        confusion: confusion.clone(),
        ..ReadoutResult::default()
    };
    let results = Results { readouts: (0..5).map(readout).collect(), ..Results::default() };
    RunFolder::create(path).unwrap().finish(&results).unwrap();
    let file = path.join("results.json");
    let bytes = file.metadata().unwrap().len();
    assert!((10_000_000..11_000_000).contains(&bytes), "{bytes}");
    assert!(RunFolder::results(path).unwrap() == Some(results));

    let note = ("note".to_string(), json!("x".repeat(1 << 26)));
    let results = Results { extras: BTreeMap::from([note]), ..Results::default() };
    RunFolder::create(path).unwrap().finish(&results).unwrap();
    assert!(RunFolder::results(path).unwrap() == Some(results));
    RunFolder::create(path).unwrap();
    assert!(!file.exists());
}

/// A program that is killed while it resumes a run leaves two event files, of which one is the copy of the other that
/// it was making. Each event is kept once.
#[test]
fn a_copy_that_was_being_made_adds_no_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut run = RunFolder::create(path).unwrap();
    run.log(step(1), &[("loss", 1.0)]).unwrap();
    run.log(step(2), &[("loss", 0.5)]).unwrap();
    drop(run);
    let whole = event_files(path)[0].metadata().unwrap().len();
    let copy = "events.out.tfevents.9999999999.0";
    std::fs::copy(&event_files(path)[0], path.join(copy)).unwrap();
    let mut mark = json_file(path.join("run.json"));
    mark["files"].as_array_mut().unwrap().push(json!(copy));
    std::fs::write(path.join("run.json"), mark.to_string()).unwrap();
    drop(RunFolder::resume(path, 2).unwrap());
    let files = event_files(path);
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().len(), whole);
}

/// Checks that a new run and a resumed one refuse the folder and change nothing.
fn refused(path: &Path, file: &str, reason: &str) {
    let contents = || {
        let read = |name: &String| std::fs::read(path.join(name)).unwrap_or_default();
        names(path).into_iter().map(|name| (read(&name), name)).collect::<Vec<_>>()
    };
    let before = contents();
    for run in [RunFolder::create(path), RunFolder::resume(path, 1)] {
        let error = run.unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(reason), "{error}");
        assert!(before == contents());
    }
}

#[test]
fn a_folder_is_no_run_s_because_of_the_names_of_its_files() {
    let own = ["config.json", "metrics.jsonl", "results.json", "model.safetensors", "filters.png"];
    for file in own {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), "downloaded").unwrap();
        let error = RunFolder::create(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(file) && error.contains("does not belong to an earlier run"),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(folder.path().join(file)).unwrap(), "downloaded");
        assert_eq!(names(folder.path()), [file]);
        let error = RunFolder::resume(folder.path(), 1).unwrap_err().to_string();
        assert!(error.contains("run.json, which every run writes, is missing"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.json"), "{\"program\": \"another\"}").unwrap();
    refused(folder.path(), "run.json", "belongs to another program");
}

/// Leaves a complete run.
fn complete(path: &Path) {
    let mut run = RunFolder::create(path).unwrap();
    run.write_config(&json!({"seed": 3})).unwrap();
    run.log(step(1), &[("loss", 1.0)]).unwrap();
    save_checkpoint(run.model(), &[], &BTreeMap::new()).unwrap();
    run.finish(&Results::default()).unwrap();
}

#[test]
fn a_file_that_another_program_put_in_place_of_the_run_s_stays() {
    let model = br#"S       {"__metadata__":{"format":"pt"}}"#;
    let model = [&(model.len() as u64 - 8).to_le_bytes(), &model[8..]].concat();
    for (file, foreign) in [
        ("model.safetensors", model.as_slice()),
        ("config.json", b"{\"model_type\": \"bert\"}"),
        ("results.json", b"{\"accuracy\": 0.9}"),
        ("metrics.jsonl", b"{\"epoch\": 1}\n"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        complete(folder.path());
        std::fs::write(folder.path().join(file), foreign).unwrap();
        refused(folder.path(), file, "is not what a run writes there");
    }
    // A picture of that name, which another program wrote while the run was under way.
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(folder.path()).unwrap();
    std::fs::write(folder.path().join("filters.png"), "mine").unwrap();
    let error = run.picture("filters", 1, &Picture::new(3, 2, [0; 3])).unwrap_err().to_string();
    assert!(error.contains("filters.png does not belong to this run"), "{error}");
    assert_eq!(std::fs::read_to_string(folder.path().join("filters.png")).unwrap(), "mine");
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let own = ["config.json", "metrics.jsonl", "results.json", "model.safetensors", "run.json"];
    for file in own {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        complete(folder.path());
        let target = elsewhere.path().join(file);
        std::fs::rename(folder.path().join(file), &target).unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join(file)).unwrap();
        let before = std::fs::read(&target).unwrap();
        refused(folder.path(), file, "is a link");
        assert!(before == std::fs::read(&target).unwrap());
        assert!(folder.path().join(file).is_symlink());
    }
}

#[test]
fn write_protected_files_stay() {
    for file in ["model.safetensors", "metrics.jsonl", "results.json"] {
        let folder = tempfile::tempdir().unwrap();
        complete(folder.path());
        let path = folder.path().join(file);
        let free = path.metadata().unwrap().permissions();
        let mut protected = free.clone();
        protected.set_readonly(true);
        std::fs::set_permissions(&path, protected).unwrap();
        refused(folder.path(), file, "is write-protected");
        std::fs::set_permissions(&path, free).unwrap();
        RunFolder::create(folder.path()).unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = RunFolder::create(file.join("run")).unwrap_err().to_string();
    assert!(error.contains("cannot make the folder") && error.contains("run"), "{error}");

    let path = folder.path().join("run");
    complete(&path);
    std::fs::remove_file(path.join("metrics.jsonl")).unwrap();
    std::fs::create_dir_all(path.join("metrics.jsonl")).unwrap();
    refused(&path, "metrics.jsonl", "is no file");
}

#[cfg(target_os = "linux")]
#[test]
fn peak_memory_counts_what_was_touched() {
    let before = hebbian_train::peak_memory_bytes().unwrap();
    let block = std::hint::black_box(vec![1u8; 512 << 20]);
    assert_eq!(block[block.len() / 2], 1);
    let after = hebbian_train::peak_memory_bytes().unwrap();
    assert!(after >= 512 << 20 && after >= before, "{before} {after}");
}

/// A report is one of the run's files: it is listed, replaced with the others, and removed when the
/// run is resumed.
#[test]
fn a_report_is_the_run_s() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    complete(path);
    let page = format!("{}<title>a run</title>", RunFolder::REPORT_START);
    let file = RunFolder::write_report(path, &page).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), page);
    assert!(RunFolder::is_report(&file));
    for other in ["config.json", "nothing.html"] {
        assert!(!RunFolder::is_report(&path.join(other)), "{other}");
    }
    assert!(
        json_file(path.join("run.json"))["files"]
            .as_array()
            .unwrap()
            .contains(&json!("report.html"))
    );
    drop(RunFolder::resume(path, 1).unwrap());
    assert!(!file.exists());
    RunFolder::write_report(path, &page).unwrap();
    drop(RunFolder::create(path).unwrap());
    assert!(!file.exists());
    std::fs::write(&file, "<!doctype html>").unwrap();
    assert!(!RunFolder::is_report(&file), "the page of another program");
    refused(path, "report.html", "is not what a run writes there");
    let error = RunFolder::write_report(path, &page).unwrap_err().to_string();
    assert!(error.contains("is not what a run writes there"), "{error}");
    let error = RunFolder::write_report(path.join("nothing"), &page).unwrap_err().to_string();
    assert!(error.contains("run.json"), "{error}");
}

/// A complete run that continues is no longer complete: its model, card and analyses go with its results.
#[test]
fn what_is_of_the_end_goes_when_a_run_continues() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    complete(path);
    std::fs::write(path.join("README.md"), "---\nlibrary_name: candle-hebbian\n").unwrap();
    let analysis = RunFolder::analysis(path, "layers.csv").unwrap();
    std::fs::write(&analysis, "layer,accuracy").unwrap();
    let names = ["model.safetensors", "README.md", "results.json", "analysis-layers.csv"];
    let there = || names.map(|name| path.join(name).exists());
    assert_eq!(there(), [true; 4]);
    drop(RunFolder::resume(path, 1).unwrap());
    assert_eq!(there(), [false; 4]);
    assert!(path.join("config.json").exists() && path.join("metrics.jsonl").exists());
}

/// TensorBoard counts layers from 1, as the terminal does; the log has the names of tensors.
#[test]
fn layers_are_counted_alike() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(folder.path()).unwrap();
    let values = [("layers.0.mean_radius", 1.0), ("layers.x", 2.0), ("angle/conv1", 3.0)];
    run.log(step(1), &values).unwrap();
    assert_eq!(metrics(folder.path())[0]["layers.0.mean_radius"], 1.0);
    let events = std::fs::read(&event_files(folder.path())[0]).unwrap();
    let has = |tag: &str| events.windows(tag.len()).any(|part| part == tag.as_bytes());
    assert!(has("mean_radius/layer 1") && has("layers.x") && has("angle/conv1"));
    assert!(!has("layers.0"));
}
