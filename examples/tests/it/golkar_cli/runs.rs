//! Runs that succeed.

use candle::{DType, Tensor};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{PROGRAM, TINY};
use crate::common::experiment;

#[test]
fn a_run_writes_its_folder_and_a_report() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    let run = place.tiny("out", &["--preset", "preset.json"]).ok();
    let results = place.json("out/results.json");
    let accuracy = results["test_accuracy"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&accuracy));
    // Three epochs; each sample is a step, because the circuit learns online.
    for (name, expected) in [
        ("train_images", json!(200)),
        ("training_epochs", json!(3.0)),
        ("training_steps", json!(600)),
        ("training_images", json!(600)),
        ("learner", json!("bmvr")),
    ] {
        assert_eq!(results[name], expected, "{name}");
    }
    let (loss, optimum) = (&results["loss"], &results["linear_optimum"]);
    // Predicting nothing has a loss of 0.9: the mean square of one-hot labels minus a tenth.
    assert!(loss.as_f64().unwrap() < 0.95 && (0.0..0.9).contains(&optimum.as_f64().unwrap()));
    assert_eq!(results["spectrum"].as_array().unwrap().len(), 5);
    let shapes = json!({
        "w1": [5, 64], "w2": [10, 5], "q": [5, 5], "r": [5, 5], "mean": [5],
        "input.mean": [1], "input.deviation": [1],
    });
    assert_eq!(json!(place.shapes("out/model.safetensors")), shapes);
    let log = place.logged("out");
    let steps: Vec<u64> = log.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps[..6], [0, 1, 2, 3, 4, 6]);
    assert_eq!(steps[steps.len() - 3..], [200, 400, 600]);

    let percent = format!("test accuracy {:.2} %", 100.0 * accuracy);
    assert!(run.stdout.starts_with(&percent), "{}", run.stdout);
    for part in ["optimum of a linear network", "cosine", "samples/s", "wrote out: model"] {
        assert!(run.stdout.contains(part), "no '{part}' in: {}", run.stdout);
    }
    assert!(run.stderr.contains("tiny: 600/600 images"), "{}", run.stderr);
}

#[test]
fn a_saved_circuit_evaluates_to_the_accuracy_of_its_run() {
    let place = PROGRAM.place();
    for learner in [&[][..], &["--backprop"]] {
        let tiny = [&TINY[..], &["--preset", "golkar-digits", "--units", "7"], learner].concat();
        place.run(&[&tiny[..], &["--out", "out", "--save", "copy.safetensors"]].concat()).ok();
        assert_eq!(place.bytes("copy.safetensors"), place.bytes("out/model.safetensors"));
        let accuracy = place.json("out/results.json")["test_accuracy"].as_f64().unwrap();
        let before = place.contents();
        for path in ["copy.safetensors", "out"] {
            let args = [&tiny[..], &["--eval-only", "--seed", "5", "--load", path]].concat();
            let run = place.run(&args).ok();
            assert_eq!(run.stdout, format!("test accuracy {:.2} %\n", 100.0 * accuracy), "{path}");
        }
        assert!(before == place.contents(), "evaluation wrote something");
    }
}

#[test]
fn a_run_can_start_from_other_weights() {
    let place = PROGRAM.place();
    place.tiny("first", &["--preset", "golkar-digits"]).ok();
    let first = place.json("first/results.json");
    place.tiny("out", &["--preset", "golkar-digits", "--load", "first"]).ok();
    let start = &place.logged("out")[0];
    assert_eq!((&start["step"], &start["loss"]), (&json!(0), &first["loss"]));
}

#[test]
fn the_seed_decides_every_bit_and_the_threads_none() {
    let place = PROGRAM.place();
    place.seed_decides_every_bit(&["--preset", "golkar-digits"]);
}

/// A read-out of its own learns by the delta rule and leaves the circuit alone.
#[test]
fn a_delta_rule_read_out_changes_only_the_prediction() {
    let place = PROGRAM.place();
    let tensors = |readout: Value| {
        place.preset(|preset| {
            preset["training"]["batch_size"] = json!(5);
            preset["training"]["readout"] = readout.clone();
        });
        place.tiny("out", &["--preset", "preset.json", "--quiet"]).ok();
        let bytes = place.bytes("out/model.safetensors");
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec()));
        let loss = place.json("out/results.json")["loss"].as_f64().unwrap();
        (tensors.collect::<std::collections::BTreeMap<_, _>>(), loss)
    };
    let (without, apical) = tensors(Value::Null);
    let (mut with, own) = tensors(json!(0.05));
    let readout = with.remove("head.weight").expect("a read-out");
    assert!(with == without, "the circuit differs");
    assert!(readout != without["w2"] && own < apical, "{own}, {apical}");
}

/// Different ways to the same step end at one loss, different settings at others.
#[test]
fn ways_agree_and_settings_differ() {
    let place = PROGRAM.place();
    let loss = |args: &[&str]| {
        let tiny = ["--preset", "golkar-digits", "--quiet"];
        place.tiny("out", &[&tiny[..], args].concat()).ok();
        place.json("out/results.json")["loss"].as_f64().unwrap()
    };
    let default = loss(&[]);
    for way in ["surrogates", "energy", "explicit"] {
        let other = loss(&["--way", way]);
        assert!((other - default).abs() < 1e-4 * default, "{way}: {other}, {default}");
    }
    let mut seen = vec![default];
    for setting in [
        &["--units", "9"][..],
        &["--batch-size", "5"],
        &["--rate", "0.05"],
        &["--ridge", "0.5"],
        &["--level", "0.5"],
        &["--backprop"],
        &["--decoupled"],
    ] {
        let found = loss(setting);
        assert!(seen.iter().all(|other| (other - found).abs() > 1e-6), "{setting:?}: {found}");
        seen.push(found);
    }
}

#[test]
fn without_flags_the_digits_are_learned_by_both_rules_beside_random_weights() {
    let place = PROGRAM.place();
    let run = place.run(&[&TINY[..], &["--seeds", "2"]].concat()).ok();
    let out = "runs/golkar/study-digits/digits-seed-0";
    let rules = ["BMVR", "backprop", "random hidden weights", "random hidden weights, delta rule"];
    for preset in ["golkar-digits-linear", "golkar-digits"] {
        for row in rules.map(|rule| format!("{preset}, {rule} ")) {
            assert!(run.stdout.contains(&row), "no '{row}' in {}", run.stdout);
        }
    }
    let results = place.json(&format!("{out}/results.json"));
    let runs = results["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 16);
    let losses: Vec<f64> = (0..2).map(|at| runs[at]["results"]["loss"].as_f64().unwrap()).collect();
    let mean = format!("{:.4} ± ", 0.5 * (losses[0] + losses[1]));
    assert!(run.stdout.contains(&mean), "no '{mean}' in {}", run.stdout);
    let csv = String::from_utf8(place.bytes(&format!("{out}/table.csv"))).unwrap();
    let head = "preset,rule,seed,samples,loss,train_accuracy,test_accuracy";
    assert_eq!(csv.lines().next(), Some(head));
    let picture = place.bytes(&format!("{out}/figure.png"));
    assert!(image::load_from_memory(&picture).unwrap().width() > 100);

    // All start from the same weights. The controls keep those of the hidden neurons; only the last reads them by a
    // head.
    let checkpoint = |label: &str| {
        let path = format!("{out}/golkar-digits-{label}/seed-1/model.safetensors");
        let values = |tensor: &Tensor| {
            tensor.flatten_all().and_then(|all| all.to_dtype(DType::F32)?.to_vec1::<f32>()).unwrap()
        };
        let tensors = place.checkpoint(&path).0.into_iter();
        tensors.map(|(name, tensor)| (name, values(&tensor))).collect::<BTreeMap<_, _>>()
    };
    let [bmvr, random, delta_rule] =
        ["bmvr", "random-hidden-weights", "random-hidden-weights-delta-rule"].map(checkpoint);
    assert!(random["w1"] == delta_rule["w1"] && random["q"] == delta_rule["q"]);
    assert!(bmvr["w1"] != random["w1"] && bmvr["q"] != random["q"]);
    assert!(random["w2"] == delta_rule["w2"] && random["w2"] != delta_rule["head.weight"]);
    assert!(!random.contains_key("head.weight"));
}

#[test]
fn experiments_look_at_circuits() {
    let place = PROGRAM.place();
    for (name, column) in [("alignment", "interneuron_gap"), ("spectrum", "eigenvalue_64")] {
        let args = ["--experiment", name, "--seeds", "2", "--out", name];
        let args = [&TINY[..], &args].concat();
        let run = place.run(&args).ok();
        let csv = String::from_utf8(place.bytes(&format!("{name}/table.csv"))).unwrap();
        assert!(csv.lines().next().unwrap().ends_with(column), "{csv}");
        assert_eq!(csv.lines().count(), 1 + 2 * 4, "for each seed, the start and each epoch a row");
        assert!(run.stdout.contains("after 3 epochs"), "{}", run.stdout);
        let results = place.json(&format!("{name}/results.json"));
        let runs = results["runs"].as_array().unwrap();
        let cosines = runs.iter().map(|run| run["alignment"].as_f64().unwrap());
        let cosines = cosines.collect::<Vec<_>>();
        assert!(cosines.iter().all(|cosine| cosine.abs() <= 1.0));
        // Each seed has its own circuit, the same as when it runs alone.
        assert_ne!(cosines[0], cosines[1]);
        let second = ["--experiment", name, "--seeds", "1", "--seed", "1", "--out", "second"];
        place.run(&[&TINY[..], &second].concat()).ok();
        let second = place.json("second/results.json");
        assert_eq!(second["runs"].as_array().unwrap()[..], runs[1..]);
        std::fs::remove_dir_all(place.path("second")).unwrap();
        let picture = place.bytes(&format!("{name}/figure.png"));
        assert!(image::load_from_memory(&picture).is_ok());
        experiment::a_finished_one_is_read_back(&place, &args, &run.stdout);
        // An interrupted experiment has kept no weights, and says so.
        std::fs::remove_file(place.path(&format!("{name}/results.json"))).unwrap();
        let again = place.run(&[&args[..], &["--resume"]].concat()).ok();
        assert!(again.stderr.contains(&format!("{name} keeps no weights")), "{}", again.stderr);
    }
    let run = place.tiny("fig3", &["--experiment", "fig3", "--seeds", "1"]).ok();
    assert!(run.stdout.contains("golkar-digits-linear, backprop"), "{}", run.stdout);
}

#[test]
fn circuits_and_experiments_are_listed() {
    let place = PROGRAM.place();
    let list = place.run(&["--list"]).ok().stdout;
    for name in ["golkar-mnist ", "golkar-cifar10-linear ", "fig3 ", "table1 ", "alignment "] {
        assert!(list.lines().any(|line| line.trim_start().starts_with(name)), "{name}: {list}");
    }
    assert!(place.contents().is_empty());
}
