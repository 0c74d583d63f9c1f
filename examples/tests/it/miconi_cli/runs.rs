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
    // Two epochs of ten batches.
    for (name, expected) in [
        ("train_images", json!(200)),
        ("training_epochs", json!(2.0)),
        ("training_steps", json!(20)),
        ("training_images", json!(400)),
        ("trained_with_labels", json!(false)),
    ] {
        assert_eq!(results[name], expected, "{name}");
    }
    let readouts: Vec<&str> = results["readouts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|readout| readout["name"].as_str().unwrap())
        .collect();
    assert_eq!(readouts, ["output", "layer 1", "layer 2"]);
    // 8x8 pixels become 6x6, pooled 3x3, then 2x2, pooled a single one.
    assert_eq!(results["readouts"][0]["features"], 12);
    assert_eq!(results["decoding"]["layers"].as_array().unwrap().len(), 2);
    assert_eq!(results["decoding"]["output"], accuracy);
    let shapes = json!({
        "transforms.0.zca": [64, 64],
        "layers.0.weight": [8, 1, 3, 3], "layers.0.threshold": [8],
        "layers.1.weight": [12, 8, 2, 2], "layers.1.mask": [12, 8, 2, 2],
        "layers.1.threshold": [12],
        "head.weight": [10, 12], "head.bias": [10],
    });
    assert_eq!(json!(place.shapes("out/model.safetensors")), shapes);
    for name in ["receptive_fields_1", "receptive_fields_2", "weights", "winners", "win_rates"] {
        let picture = place.bytes(&format!("out/{name}.png"));
        let picture = image::load_from_memory(&picture).unwrap().to_rgb8();
        let colours: std::collections::BTreeSet<_> = picture.pixels().map(|p| p.0).collect();
        assert!(colours.len() > 5, "{name} is empty");
    }
    let log = place.logged("out");
    let last = log.last().unwrap();
    assert_eq!((&last["step"], &last["epoch"]), (&json!(20), &json!(2.0)));
    let sum = last["layers.0.threshold_sum"].as_f64().unwrap();
    assert!(sum.is_finite() && last["layers.1.fourth_power"].as_f64().unwrap() <= 1.0);

    let percent = format!("test accuracy {:.2} %\n", 100.0 * accuracy);
    assert!(run.stdout.starts_with(&percent), "{}", run.stdout);
    for part in ["layer 1, quadrants", "last layer, whole output", "win rate", "wrote out: model"] {
        assert!(run.stdout.contains(part), "no '{part}' in: {}", run.stdout);
    }
    assert!(run.stderr.contains("tiny: 400/400 images"), "{}", run.stderr);
    assert_eq!(place.path("cache").read_dir().unwrap().count(), 1, "the whitening is kept");
}

/// Read-outs are fitted again, to the same weights.
#[test]
fn a_saved_network_evaluates_to_the_accuracies_of_its_run() {
    let place = PROGRAM.place();
    let tiny = |args: &[&'static str]| {
        [&TINY[..], &["--preset", "miconi-digits", "--pruning", "0.5"], args].concat()
    };
    let report = place.run(&tiny(&["--out", "out", "--save", "copy.safetensors"])).ok().stdout;
    assert_eq!(place.bytes("copy.safetensors"), place.bytes("out/model.safetensors"));
    let before = place.contents();
    for path in ["copy.safetensors", "out"] {
        let run = place.run(&tiny(&["--eval-only", "--seed", "5", "--load", path])).ok();
        assert!(run.stdout.contains("layer 3, quadrants"), "{}", run.stdout);
        assert!(report.starts_with(&run.stdout), "{report}\n{}", run.stdout);
    }
    assert!(before == place.contents(), "evaluation wrote something");
    // A run that replaced the one it starts from could lose both.
    let replaces = ["--out", "out", "--load", "out"];
    place.refused(&tiny(&replaces), &["replace the one that it starts from", "--out"]);
}

/// Each read-out gives other results, and the saved network evaluates to the same by it.
#[test]
fn every_read_out_runs() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    let mut seen = Vec::new();
    for readout in ["ridge", "svm", "logistic", "knn"] {
        let args = [&TINY[..], &["--preset", "preset.json", "--readout", readout]].concat();
        let report = place.run(&[&args[..], &["--out", readout]].concat()).ok().stdout;
        let readouts = place.figures(readout)["readouts"].clone();
        assert!(!seen.contains(&readouts), "{readout} is the same as another");
        seen.push(readouts);
        let logged = place.logged(readout);
        let epochs = logged.iter().filter(|line| line["readout"] == "output").count();
        assert_eq!(epochs, if readout == "logistic" { 20 } else { 0 });
        // Nearest neighbours have no weights: they are all of the training images.
        let shapes = place.shapes(&format!("{readout}/model.safetensors"));
        assert_eq!(shapes.contains_key("head.weight"), readout != "knn");
        let again = place.run(&[&args[..], &["--eval-only", "--load", readout]].concat()).ok();
        assert!(report.starts_with(&again.stdout), "{report}\n{}", again.stdout);
    }
}

#[test]
fn the_seed_decides_every_bit_and_the_threads_none() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    // The later runs with one seed read the whitening that the first computed.
    place.seed_decides_every_bit(&["--preset", "preset.json"]);
}

#[test]
fn every_setting_changes_the_network() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    let mut models = Vec::new();
    for setting in [
        &[][..],
        &["--triangle", "never"],
        &["--pruning", "0"],
        &["--winners", "2"],
        &["--plasticity", "graded"],
        &["--rule", "hebb"],
        &["--batch-size", "10"],
        &["--learning-rate-factor", "2"],
        &["--freeze"],
    ] {
        place.tiny("out", &[&["--preset", "preset.json"], setting].concat()).ok();
        let model = place.bytes("out/model.safetensors");
        assert!(!models.contains(&model), "{setting:?} is the same as another");
        models.push(model);
    }
}

/// The notebook's ways of reading out change nothing in the network.
#[test]
fn the_author_s_read_out_is_another() {
    let place = PROGRAM.place();
    // The digits are fewer than the 9,000 images of the author's whitening.
    place.preset(|preset| preset["input"]["transforms"] = json!([{ "kind": "standardise_image" }]));
    place.tiny("ours", &["--preset", "preset.json"]).ok();
    place.tiny("author", &["--preset", "preset.json", "--author"]).ok();
    let quirks = |out: &str| {
        place.json(&format!("{out}/config.json"))["options"]["preset"]["quirks"].clone()
    };
    for name in ["flip_in_evaluation", "adapt_in_evaluation", "top_left_receptive_fields"] {
        assert_eq!((&quirks("ours")[name], &quirks("author")[name]), (&json!(false), &json!(true)));
    }
    let file = |out: &str, name: &str| place.bytes(&format!("{out}/{name}"));
    let network = |out: &str| {
        let (mut tensors, _) = place.checkpoint(&format!("{out}/model.safetensors"));
        tensors.retain(|(name, _)| !name.starts_with("head."));
        let values =
            |tensor: candle::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        tensors.into_iter().map(|(name, tensor)| (name, values(tensor))).collect::<Vec<_>>()
    };
    assert_eq!(network("ours"), network("author"));
    let (fields, same) = ("receptive_fields_2.png", "receptive_fields_1.png");
    assert!(file("ours", same) == file("author", same));
    assert!(file("ours", fields) != file("author", fields));
    let decoding = |out: &str| place.json(&format!("{out}/results.json"))["decoding"].clone();
    assert_ne!(decoding("ours"), decoding("author"));
}

/// Random weights stay as they were drawn; their thresholds adapt.
#[test]
fn frozen_weights_do_not_move() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    let weights = |out: &str, epochs: &str| {
        let args = ["--preset", "preset.json", "--freeze", "--limit-train", "200", "--quiet"];
        place.run(&[&args[..], &["--epochs", epochs, "--out", out]].concat()).ok();
        let bytes = place.bytes(&format!("{out}/model.safetensors"));
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let bytes = |name: &str| file.tensor(name).unwrap().data().to_vec();
        (bytes("layers.1.weight"), bytes("layers.1.threshold"))
    };
    let (before, after) = (weights("a", "0"), weights("b", "1"));
    let numbers = |bytes: &[u8]| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|&number| f32::from_le_bytes(number)).collect()
    };
    for (before, after) in numbers(&before.0).iter().zip(numbers(&after.0)) {
        assert!((before - after).abs() < 1e-6, "scaled to norm 1 again at most");
    }
    assert_ne!(before.1, after.1);
}

#[test]
fn networks_and_experiments_are_listed() {
    let place = PROGRAM.place();
    let list = place.run(&["--list"]).ok().stdout;
    for name in ["miconi-cifar ", "miconi-simple ", "interventions ", "pruning ", "controls "] {
        assert!(list.lines().any(|line| line.trim_start().starts_with(name)), "{name}: {list}");
    }
    assert!(place.contents().is_empty());
}
