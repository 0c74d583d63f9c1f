//! Single runs that succeed.

use serde_json::json;

use super::{PROGRAM, TINY};

#[test]
fn a_run_writes_its_folder_and_a_report() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    let run = place.tiny("out", &["--preset", "preset.json"]).ok();
    let results = place.json("out/results.json");
    let accuracy = results["test_accuracy"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&accuracy));
    // One tied epoch and two untied ones, of nine batches.
    for (name, expected) in [
        ("train_images", json!(90)),
        ("training_epochs", json!(3.0)),
        ("training_steps", json!(27)),
        ("training_images", json!(270)),
        ("trained_with_labels", json!(true)),
        ("unsupervised_seconds", json!(0.0)),
    ] {
        assert_eq!(results[name], expected, "{name}");
    }
    let clock = |line: &serde_json::Value| {
        [&line["step"], &line["images"], &line["epoch"]].map(|at| at.as_f64())
    };
    let logged: Vec<_> = place.logged("out").iter().map(clock).collect();
    let expected = (0..=3).map(|epoch| [9.0, 90.0, 1.0].map(|one| Some(one * f64::from(epoch))));
    assert_eq!(logged, expected.collect::<Vec<_>>());
    assert_eq!(place.json("out/config.json")["validation_images"], 10);
    let shapes = json!({
        "layers.0.weight": [8, 8, 4, 1, 3, 3], "layers.0.feedback": [8, 8, 4, 1, 3, 3],
        "layers.1.weight": [20, 64], "layers.1.feedback": [20, 64],
        "layers.2.weight": [10, 20], "layers.2.feedback": [10, 20],
    });
    assert_eq!(json!(place.shapes("out/model.safetensors")), shapes);

    let percent = format!("test accuracy {:.2} %\n", 100.0 * accuracy);
    assert!(run.stdout.starts_with(&percent), "{}", run.stdout);
    for part in ["training error after epoch 3", "validation error", "conv1", "dense1", "classes"] {
        assert!(run.stdout.contains(part), "no '{part}' in: {}", run.stdout);
    }
    assert!(run.stdout.contains("wrote out: model.safetensors, results.json"), "{}", run.stdout);
    assert!(run.stderr.contains("tiny: 270/270 images"), "{}", run.stderr);
}

#[test]
fn no_epochs_measure_the_start() {
    let place = PROGRAM.place();
    let limits = ["--limit-train", "100", "--limit-test", "50", "--out", "out"];
    place.run(&[&limits[..], &["--preset", "amit-digits", "--epochs", "0"]].concat()).ok();
    let results = place.json("out/results.json");
    assert_eq!((&results["training_epochs"], &results["training_steps"]), (&json!(0.0), &json!(0)));
    let log = place.logged("out");
    assert!(log.len() == 1 && log[0]["validation_error"].is_f64(), "{log:?}");
    assert!(log[0]["train_error"].is_null(), "{log:?}");
    place.shapes("out/model.safetensors");
}

/// Neither the tied part nor the rest of training takes a step, and the loss that the preset has keeps its `μ` if a
/// flag names it too.
#[test]
fn no_epochs_leave_out_the_tied_part_and_a_named_loss_keeps_its_parameter() {
    let place = PROGRAM.place();
    place.preset(|preset| preset["training"]["loss"] = json!({ "kind": "hinge", "mu": 3.0 }));
    let limits = ["--limit-train", "100", "--limit-test", "50", "--out", "out"];
    let flags = ["--preset", "preset.json", "--epochs", "0", "--loss", "hinge"];
    place.run(&[&limits[..], &flags].concat()).ok();
    let results = place.json("out/results.json");
    assert_eq!((&results["training_epochs"], &results["training_steps"]), (&json!(0.0), &json!(0)));
    let config = place.json("out/config.json");
    let training = &config["options"]["preset"]["training"];
    assert_eq!(training["loss"], json!({ "kind": "hinge", "mu": 3.0 }));
    assert_eq!(training["tied"]["epochs"], 0);
}

#[test]
fn a_saved_network_evaluates_to_the_accuracy_of_its_run() {
    let place = PROGRAM.place();
    let network = ["--preset", "amit-digits", "--protocol", "partial:0.5", "--batch-size", "5"];
    let tiny = |args: &[&'static str]| [&TINY[..], &network, args].concat();
    place.run(&tiny(&["--out", "out", "--save", "copy.safetensors"])).ok();
    assert_eq!(place.bytes("copy.safetensors"), place.bytes("out/model.safetensors"));
    let accuracy = place.json("out/results.json")["test_accuracy"].as_f64().unwrap();
    let before = place.contents();
    for path in ["copy.safetensors", "out"] {
        let run = place.run(&tiny(&["--eval-only", "--seed", "5", "--load", path])).ok();
        assert_eq!(run.stdout, format!("test accuracy {:.2} %\n", 100.0 * accuracy), "{path}");
    }
    assert!(before == place.contents(), "evaluation wrote something");
    // A run that replaced the one it starts from could lose both.
    let replaces = ["--out", "out", "--load", "out"];
    place.refused(&tiny(&replaces), &["replace the one that it starts from", "--out"]);
}

#[test]
fn the_seed_decides_every_bit_and_the_threads_none() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    place.seed_decides_every_bit(&["--preset", "preset.json"]);
}

#[test]
fn every_protocol_runs() {
    let place = PROGRAM.place();
    let mut models = Vec::new();
    let plain = ["bp", "urfb", "frfb", "partial:0.25", "wm", "dfa", "usf", "brsf", "frsf"];
    let plain = plain.into_iter().map(|protocol| (protocol, "0"));
    for (protocol, decay) in plain.chain([("kp", "0.1"), ("bp", "0.1")]) {
        let args = ["--preset", "amit-digits", "--batch-size", "10", "--protocol", protocol];
        let run = place.tiny("out", &[&args[..], &["--weight-decay", decay]].concat()).ok();
        assert!(run.stdout.contains("dense4"), "{}", run.stdout);
        let model = place.bytes("out/model.safetensors");
        assert!(!models.contains(&model), "{protocol} is the same as another");
        models.push(model);
    }
}

#[test]
fn networks_and_experiments_are_listed() {
    let place = PROGRAM.place();
    let list = place.run(&["--list"]).ok().stdout;
    for name in
        ["amit-simpnet ", "amit-deepernet-s-untied-all ", "fig4 ", "fig12 ", "depth ", "feedback "]
    {
        assert!(list.lines().any(|line| line.trim_start().starts_with(name)), "{name}: {list}");
    }
    assert!(place.contents().is_empty());
}
