//! Runs that succeed.

use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::{DEEP, PROGRAM, TINY};
use crate::common::events::events;
use crate::common::program::Place;

#[test]
fn a_run_writes_all_of_its_folder() {
    let place = PROGRAM.place();
    let run = place.run(&[TINY.as_slice(), &DEEP].concat()).ok();
    let folder = "runs/softhebb/softhebb-cnn-digits/digits-seed-0";
    let file = |name: &str| format!("{folder}/{name}");

    let config = place.json(&file("config.json"));
    assert_eq!(config["options"]["preset"]["name"], "softhebb-cnn-digits");
    assert_eq!(config["options"]["preset"]["training"]["head_epochs"], 2);
    assert_eq!((&config["train_images"], &config["test_images"]), (&json!(200), &json!(100)));

    let results = place.json(&file("results.json"));
    let number = |name: &str| {
        let value = results[name].as_f64();
        value.filter(|value| value.is_finite()).unwrap_or_else(|| panic!("{name}: {results}"))
    };
    assert!((0.0..=1.0).contains(&number("test_accuracy")));
    for part in ["unsupervised_seconds", "head_seconds"] {
        assert!(0.0 < number(part) && number(part) < number("total_seconds"));
    }
    // Two layers, one epoch each.
    let shown = number("unsupervised_images_per_second") * number("unsupervised_seconds");
    assert!((shown - 400.0).abs() < 1e-6, "{shown}");
    assert!(results["peak_memory_bytes"].as_u64().is_none_or(|bytes| bytes > 1 << 20));
    for (name, expected) in [
        ("train_images", json!(200)),
        ("seed", json!(0)),
        ("device", json!("cpu")),
        ("preset", json!("softhebb-cnn-digits")),
        ("dataset", json!("digits")),
        ("method", json!("softhebb")),
        ("trained_with_labels", json!(false)),
        ("training_steps", json!(40)),
        ("training_images", json!(400)),
        ("training_epochs", json!(2.0)),
    ] {
        assert_eq!(results[name], expected, "{name}");
    }
    // The read-outs that the example shows on the digits without being asked to.
    let readouts = results["readouts"].as_array().unwrap();
    let names: Vec<&str> =
        readouts.iter().map(|readout| readout["name"].as_str().unwrap()).collect();
    let control = "head on random features";
    let baselines = [&["head on raw pixels"][..], &[control; 5]].concat();
    assert_eq!(names, [&["head", "nearest class mean", "ridge"][..], &baselines].concat());
    assert_eq!(readouts[0]["test_accuracy"], results["test_accuracy"]);
    assert_eq!((&readouts[0]["features"], &readouts[3]["features"]), (&json!(384), &json!(64)));

    let lines = place.logged(folder);
    let (heads, learning): (Vec<&Value>, Vec<&Value>) =
        lines.iter().partition(|line| line["readout"].is_string());
    assert!(learning.is_sorted_by_key(|line| line["step"].as_u64().unwrap()));
    for line in &learning {
        // Ten images a step, two hundred an epoch.
        let steps = line["step"].as_f64().unwrap();
        assert_eq!(line["images"].as_f64(), Some(10.0 * steps));
        assert_eq!(line["epoch"].as_f64(), Some(steps / 20.0));
    }
    for name in ["layers.0.mean_radius", "layers.1.winner_entropy"] {
        assert!(learning.iter().any(|line| line[name].is_f64()), "{name}");
    }
    let epochs: Vec<_> = heads.iter().map(|line| (&line["readout"], &line["epoch"])).collect();
    // Random features five times, each with its own weights.
    let draws = (1..=5).map(|draw| format!("{control}, draw {draw}"));
    let trained: Vec<String> =
        ["head", baselines[0]].map(String::from).into_iter().chain(draws).collect();
    let readout = |at: usize| json!(trained[at / 2]);
    for (at, (name, epoch)) in epochs.into_iter().enumerate() {
        assert_eq!((name, epoch), (&readout(at), &json!((at % 2) as f64 + 1.0)));
    }
    assert!(
        heads.len() == 2 * trained.len() && heads.iter().all(|line| line["test_accuracy"].is_f64())
    );

    // 8x8 pixels halved twice leave 2x2 positions of 96 channels.
    let kernel = &config["options"]["preset"]["blocks"][0]["layer"]["kernel"];
    let shapes = json!({
        "layers.0.weight": [48, 1, kernel, kernel],
        "layers.0.running_mean": [1], "layers.0.running_var": [1],
        "layers.1.weight": [96, 48, 3, 3],
        "layers.1.running_mean": [48], "layers.1.running_var": [48],
        "head.weight": [10, 384], "head.bias": [10],
    });
    assert_eq!(json!(place.shapes(&file("model.safetensors"))), shapes);
    let bytes = place.bytes(&file("model.safetensors"));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    for (key, value) in [
        ("format", "pt"),
        ("method", "softhebb"),
        ("preset", "softhebb-cnn-digits"),
        ("dataset", "digits"),
    ] {
        assert_eq!(metadata[key], value);
    }

    for name in ["filters.png", "receptive_fields_2.png"] {
        let picture = image::load_from_memory(&place.bytes(&file(name))).unwrap();
        assert!(picture.width() >= 100 && picture.height() >= 100);
    }
    shown_in_tensorboard(&place, folder);

    // Only the report goes to stdout; the progress goes to stderr, as plain lines.
    let percent = format!("{:.2} %", 100.0 * number("test_accuracy"));
    assert!(run.stdout.starts_with("test accuracy\n"), "{}", run.stdout);
    let files = "results.json, metrics.jsonl, filters.png, receptive_fields_2.png\n";
    assert!(run.stdout.contains(&percent) && run.stdout.contains(files), "{}", run.stdout);
    assert!(run.stderr.contains("softhebb-cnn-digits: 400/400 images"), "{}", run.stderr);
    assert!(run.stderr.contains(", layer 2, radius "), "{}", run.stderr);
    let control = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
    assert!(!control(&run.stdout) && !control(&run.stderr));
}

/// Checks that TensorBoard shows all that is logged, and the filters: learning by steps, read-outs
/// by their own epochs.
fn shown_in_tensorboard(place: &Place, folder: &str) {
    let learning = events(&place.path(folder), false);
    let drawn = ["filters", "receptive_fields_2"].map(|name| (40, name.to_string()));
    let (mut logged, mut readouts) = (drawn.to_vec(), Vec::new());
    for line in place.logged(folder) {
        let clocks = ["step", "images", "epoch", "readout"];
        let names =
            line.as_object().unwrap().keys().filter(|name| !clocks.contains(&name.as_str()));
        match line["readout"].as_str() {
            Some(readout) => {
                let epoch = line["epoch"].as_f64().unwrap() as u64;
                readouts.extend(names.map(|name| (epoch, format!("{readout}/{name}"))));
            }
            None => {
                let step = line["step"].as_u64().unwrap();
                logged.extend(names.map(|name| (step, counted_from_one(name))));
            }
        }
    }
    logged.sort();
    readouts.sort();
    assert_eq!(learning, logged);
    assert_eq!(events(&place.path(folder), true), readouts);
}

/// `layers.0.mean_radius` as the terminal counts layers.
fn counted_from_one(name: &str) -> String {
    match name.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) {
        Some((layer, value)) => format!("{value}/layer {}", layer.parse::<usize>().unwrap() + 1),
        None => name.to_string(),
    }
}

/// The accuracy of the read-out of this name.
fn accuracy_of(results: &Value, name: &str) -> f64 {
    let readouts = results["readouts"].as_array().unwrap();
    let readout = readouts.iter().find(|readout| readout["name"] == name).unwrap();
    readout["test_accuracy"].as_f64().unwrap()
}

#[test]
fn quiet_says_nothing_but_the_result() {
    let place = PROGRAM.place();
    let run = place.tiny("out", &["--quiet"]).ok();
    assert_eq!(run.stderr, "");
    assert!(run.stdout.contains("test accuracy"));
}

#[test]
fn the_seed_decides_every_bit_and_the_threads_none() {
    let place = PROGRAM.place();
    place.seed_decides_every_bit(&[]);
}

#[test]
fn the_digits_are_learnt() {
    let place = PROGRAM.place();
    place.run(&["--quiet", "--out", "out"]).ok();
    let results = place.json("out/results.json");
    let accuracy = |name: &str| accuracy_of(&results, name);
    assert!(accuracy("head") > 0.8, "{results}");
    // What the example is meant to show.
    assert!(accuracy("head") > accuracy("head on raw pixels"), "{results}");
    let few = |name: &str| {
        let draws = results["few_labels"][name].as_array().unwrap();
        draws.iter().map(|accuracy| accuracy.as_f64().unwrap()).sum::<f64>() / draws.len() as f64
    };
    assert!(few("learned") > few("raw_pixels") + 0.03, "{results}");
}

#[test]
fn a_saved_network_evaluates_to_the_accuracy_of_its_run() {
    let place = PROGRAM.place();
    place.tiny("out", &["--save", "copy.safetensors"]).ok();
    assert_eq!(place.bytes("copy.safetensors"), place.bytes("out/model.safetensors"));
    let accuracy = place.json("out/results.json")["test_accuracy"].as_f64().unwrap();
    let before = place.contents();
    for path in ["copy.safetensors", "out/model.safetensors", "out"] {
        // The seed must not matter.
        let args = ["--limit-test", "100", "--seed", "5", "--eval-only", "--load", path];
        let run = place.run(&args).ok();
        assert_eq!(run.stdout, format!("test accuracy {:.2} %\n", 100.0 * accuracy), "{path}");
    }
    assert!(before == place.contents(), "evaluation wrote something");

    // If nothing in the network learns, what was loaded is what is saved.
    place.tiny("again", &["--load", "out", "--mode", "random-identity"]).ok();
    let (old, new) = (place.bytes("out/model.safetensors"), place.bytes("again/model.safetensors"));
    let (old, new) =
        (SafeTensors::deserialize(&old).unwrap(), SafeTensors::deserialize(&new).unwrap());
    for name in ["layers.0.weight", "layers.0.running_var"] {
        assert!(old.tensor(name).unwrap() == new.tensor(name).unwrap(), "{name}");
    }
    // A run that replaced the one it starts from could lose both.
    place.refused(&["--out", "out", "--load", "out"], &["replace the one that it starts from"]);
}

#[test]
fn every_mode_runs() {
    let place = PROGRAM.place();
    let mut models = Vec::new();
    for (mode, learns) in [
        ("successive", true),
        ("consecutive", true),
        ("simultaneous", true),
        ("random-calibrated", false),
        ("random-identity", false),
    ] {
        place.tiny(mode, &[&["--mode", mode], DEEP.as_slice()].concat()).ok();
        let results = place.json(&format!("{mode}/results.json"));
        let speed = results["unsupervised_images_per_second"].as_f64().unwrap();
        assert_eq!(speed > 0.0, learns, "{mode}");
        let model = place.bytes(&format!("{mode}/model.safetensors"));
        assert!(!models.contains(&model), "{mode} is the same as another");
        models.push(model);
    }
}

#[test]
fn simultaneous_mode_trains_the_head_of_a_single_layer_too() {
    let place = PROGRAM.place();
    place.preset(|preset| preset["training"]["head_learning_rate"] = json!(0.005));
    let args = ["--preset", "preset.json", "--mode", "simultaneous", "--epochs", "5"];
    place.run(&[&args[..], &["--head-epochs", "0", "--out", "out"]].concat()).ok();
    // Ten classes: chance is a tenth.
    assert!(place.json("out/results.json")["test_accuracy"].as_f64().unwrap() > 0.5);
}

#[test]
fn every_log_line_of_a_layer_has_seen_winners() {
    let place = PROGRAM.place();
    // 200 images in batches of 3 make 67 steps, which no whole number of windows of ten fills.
    place.tiny("out", &[&["--batch-size", "3"], DEEP.as_slice()].concat()).ok();
    let lines = place.logged("out");
    for layer in ["layers.0", "layers.1"] {
        let shares: Vec<(u64, f64)> = lines
            .iter()
            .filter_map(|line| {
                let share = line[format!("{layer}.winner_share")].as_f64()?;
                Some((line["step"].as_u64()?, share))
            })
            .collect();
        assert!(shares.len() > 2 && shares.iter().all(|(_, share)| *share > 0.0), "{shares:?}");
        assert_eq!(shares.last().unwrap().0 % 67, 0, "the last line is of the last step");
    }
}

#[test]
fn back_propagation_runs() {
    let place = PROGRAM.place();
    place.preset(|preset| {
        preset["blocks"][0]["learning"] = json!({ "kind": "backprop" });
        preset["blocks"][0]["activation"] = json!({ "kind": "relu" });
    });
    let args = ["--preset", "preset.json", "--limit-train", "200", "--limit-test", "100"];
    let run = place.run(&[&args[..], &["--head-epochs", "20", "--out", "out"]].concat()).ok();
    assert!(run.stderr.contains("tiny: 4000/4000 images"), "{}", run.stderr);
    assert!(run.stderr.contains(", by back-propagation, loss "), "{}", run.stderr);
    let results = place.json("out/results.json");
    let all = (&results["trained_with_labels"], &results["training_epochs"]);
    assert_eq!(all, (&json!(true), &json!(20.0)));
    assert_eq!(place.shapes("out/model.safetensors")["head.bias"], [10]);
    // Ten classes: chance is a tenth.
    assert!(place.json("out/results.json")["test_accuracy"].as_f64().unwrap() > 0.5);
}

#[test]
fn the_supervised_hebbian_head_runs() {
    let place = PROGRAM.place();
    place.preset(|preset| {
        let rate = json!({ "kind": "linear_decay", "learning_rate": 0.045 });
        preset["head"] = json!({ "kind": "supervised_hebbian", "rate": rate, "radius": 35.0 });
    });
    place.tiny("out", &["--preset", "preset.json"]).ok();
    let shapes = place.shapes("out/model.safetensors");
    assert_eq!(shapes["head.weight"], [10, 8 * 4 * 4]);
    assert!(!shapes.contains_key("head.bias"));
    let args = ["--preset", "preset.json", "--eval-only", "--load", "out", "--limit-test", "100"];
    let accuracy = place.json("out/results.json")["test_accuracy"].as_f64().unwrap();
    assert!(place.run(&args).ok().stdout.contains(&format!("{:.2} %", 100.0 * accuracy)));
}

#[test]
fn a_dense_network_labels_its_units() {
    let place = PROGRAM.place();
    place.preset(|preset| {
        let block = &mut preset["blocks"][0];
        block["layer"] = json!({ "kind": "dense", "units": 50 });
        block["batch_norm"] = json!(false);
        block["activation"] = json!({ "kind": "softmax", "scale": 5.0 });
        block.as_object_mut().unwrap().remove("pool");
    });
    let run = place.tiny("out", &["--preset", "preset.json"]).ok();
    let results = place.json("out/results.json");
    assert!((0.0..=1.0).contains(&accuracy_of(&results, "label assignment")));
    assert!(run.stdout.contains("label assignment"), "{}", run.stdout);
    // Each unit sees the whole image, so its weights are drawn as one.
    assert!(place.path("out/filters.png").exists() && run.stdout.contains("filters.png"));
}

#[test]
fn presets_are_listed_with_their_published_names() {
    let place = PROGRAM.place();
    let list = place.run(&["--list"]).ok().stdout;
    let line = list.lines().find(|line| line.starts_with("  softhebb-cnn3-cifar ")).unwrap();
    assert!(line.ends_with(" (4SoftHebbCnnCIFAR)"), "{line}");
    assert!(place.contents().is_empty());
    let digits = ["--dataset", "digits", "--preset", "2SoftHebbCnnCIFAR"];
    place.tiny("out", &digits).ok();
    assert_eq!(place.json("out/results.json")["preset"], "softhebb-cnn1-cifar");
}

#[test]
fn help_and_version_are_no_errors() {
    let place = PROGRAM.place();
    let help = place.run(&["--help"]).ok().stdout;
    assert!(help.contains("--eval-only"));
    // Flags that belong together are listed together.
    for (heading, flag) in [("Run", "--preset"), ("Images", "--dataset"), ("Device", "--cpu")] {
        let group = help.split_once(&format!("{heading}:\n")).expect(heading).1;
        assert_eq!(group.trim_start().split([' ', '\n']).next(), Some(flag), "{heading}");
    }
    assert!(place.run(&["--version"]).ok().stdout.starts_with("softhebb "));
}
