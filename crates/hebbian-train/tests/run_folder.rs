//! Run folders and event files, through real files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hebbian_train::{Picture, Results, RunFolder};
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

fn metrics(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_leaves_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs/first");
    let mut run = RunFolder::create(&path).unwrap();
    run.write_config(&json!({"preset": "tiny", "seed": 3})).unwrap();
    run.log(10, &[("layer 0/mean radius", 4.5), ("loss", f64::NAN)]).unwrap();
    // On disk at once, while the run goes on.
    assert_eq!(metrics(&path).len(), 1);
    run.log(20, &[("loss", 0.25)]).unwrap();
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

    assert_eq!(json_file(path.join("config.json")), json!({"preset": "tiny", "seed": 3}));
    let lines = metrics(&path);
    assert_eq!(lines[0]["step"], 10);
    assert_eq!(lines[0]["layer 0/mean radius"], 4.5);
    assert_eq!(lines[0]["loss"], Value::Null);
    assert_eq!(lines[1]["loss"], 0.25);
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

#[test]
fn a_new_run_does_not_mix_with_an_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut run = RunFolder::create(path).unwrap();
    run.write_config(&json!(1)).unwrap();
    run.log(1, &[("loss", 1.0)]).unwrap();
    run.finish(&Results::default()).unwrap();
    std::fs::write(run.model(), "old").unwrap();
    std::fs::write(run.state(), "old").unwrap();
    std::fs::write(path.join("notes.txt"), "mine").unwrap();
    std::fs::write(path.join(".unfinished-abc"), "of a killed program").unwrap();
    let old_events = event_files(path);
    let old_size = old_events[0].metadata().unwrap().len();
    drop(run);

    // What was logged after the weights were saved is logged again, a broken line is left out.
    let mut log = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    log += "{\"step\":2,\"seconds\":1.0,\"loss\":0.7}\n{\"step\":3,\"sec";
    std::fs::write(path.join("metrics.jsonl"), log).unwrap();
    let mut run = RunFolder::resume(path, 1).unwrap();
    run.log(2, &[("loss", 0.5)]).unwrap();
    let logged = RunFolder::logged(path).unwrap();
    assert_eq!(logged.keys().copied().collect::<Vec<u64>>(), [1, 2]);
    assert_eq!(logged[&2]["loss"], 0.5);
    assert_eq!(metrics(path).iter().map(|line| line["step"].clone()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(event_files(path).len(), 2);
    assert!(run.model().exists());
    drop(run);

    let run = RunFolder::create(path).unwrap();
    assert_eq!(metrics(path).len(), 0);
    let events = event_files(path);
    assert_eq!(events.len(), 1);
    assert!(events[0].metadata().unwrap().len() < old_size);
    let own = ["config.json", "results.json", "model.safetensors", "state.safetensors"];
    for gone in own.into_iter().chain([".unfinished-abc"]) {
        assert!(!run.path().join(gone).exists(), "{gone}");
    }
    assert_eq!(std::fs::read_to_string(path.join("notes.txt")).unwrap(), "mine");
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
    assert_eq!(RunFolder::config(path).unwrap(), Some(json!({"seed": 3})));
    assert_eq!(RunFolder::results(path).unwrap(), Some(results));

    // Interrupted after a thousand seconds, of which the weights of the first hundred were saved.
    let log = "{\"step\":1,\"seconds\":100.0}\n{\"step\":2,\"seconds\":1000.0}\n";
    std::fs::write(path.join("metrics.jsonl"), log).unwrap();
    let seconds = RunFolder::resume(path, 1).unwrap().seconds();
    assert!((100.0..200.0).contains(&seconds), "{seconds}");

    std::fs::write(path.join("results.json"), "{\"test").unwrap();
    let error = RunFolder::results(path).unwrap_err().to_string();
    assert!(error.contains("results.json is not what a run writes there"), "{error}");
}

#[test]
fn other_people_s_files_are_safe() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    std::fs::write(&model, "downloaded").unwrap();
    let error = RunFolder::create(folder.path()).unwrap_err().to_string();
    assert!(error.contains("holds model.safetensors but is not the folder of a run"), "{error}");
    assert_eq!(std::fs::read_to_string(&model).unwrap(), "downloaded");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = RunFolder::create(file.join("run")).unwrap_err().to_string();
    assert!(error.contains("cannot make the folder") && error.contains("run"), "{error}");

    let path = folder.path().join("run");
    std::fs::create_dir_all(path.join("metrics.jsonl")).unwrap();
    let error = RunFolder::create(&path).unwrap_err().to_string();
    assert!(error.contains("cannot write") && error.contains("metrics.jsonl"), "{error}");
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
