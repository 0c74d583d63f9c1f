//! What is refused: exit status 1, a message that names the thing, and nothing half-written.

use serde_json::json;

use super::{PROGRAM, TINY};
use crate::common::binary::outcome;

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let place = PROGRAM.place();
    let nearest = "'softheb-digits'; the nearest are: softhebb-cnn-digits, ";
    place.refused(&["--preset", "softheb-digits"], &[nearest, "--list", ".json"]);
    place.refused(&["--dataset", "nonsense"], &["'nonsense'", "digits, mnist", "cifar100"]);
    place.refused(&["--mode", "nonsense"], &["'nonsense'", "successive", "random-identity"]);
    place.refused(&["--head-layers", "first"], &["'first'", "last", "all"]);
    place.refused(&["--device", "nonsense"], &["'nonsense'", "cuda", "metal"]);
    // A preset for a data set that is not here: the message says where its images can come from.
    let images = ["imagenette", "--data-dir FOLDER", "offline"];
    place.refused(&["--preset", "softhebb-cnn4-imagenet", "--offline"], &images);
}

#[test]
fn wrong_flags_are_named() {
    let place = PROGRAM.place();
    place.refused(&["--nonsense"], &["--nonsense", "Usage"]);
    place.refused(&["--seed", "1.5"], &["'1.5'", "--seed"]);
    place.refused(&["--epochs", "many"], &["'many'", "--epochs"]);
    place.refused(&["--device", "cpu"], &["--device", "--cpu"]);
}

#[test]
fn nothing_of_nothing_is_refused() {
    let place = PROGRAM.place();
    place.refused(&["--batch-size", "0"], &["batch size is 0"]);
    place.refused(&["--augmented-copies", "0"], &["number of augmented copies is 0"]);
    place.preset(|preset| preset["training"]["head_batch_size"] = json!(0));
    place.refused(&["--preset", "preset.json"], &["head's batch size is 0"]);
    place.refused(&["--limit-train", "0"], &["--limit-train is 0"]);
    place.refused(&["--limit-test", "0"], &["--limit-test is 0"]);
}

#[test]
fn flags_of_a_linear_head_need_one() {
    let place = PROGRAM.place();
    let by_the_rule = ["--preset", "softhebb-cnn3-cifar-hebbian-head", "--dataset", "digits"];
    for flags in [&["--head-layers", "all"][..], &["--head-mirrored"]] {
        let given = [&by_the_rule[..], flags].concat();
        place.refused(&given, &[flags[0], "softhebb-cnn3-cifar-hebbian-head", "not linear"]);
    }
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let place = PROGRAM.place();
    for (device, built) in [("cuda", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))] {
        if built {
            println!("skipped: built for {device}");
            continue;
        }
        let run = outcome(place.command_on_any_device(&["--device", device]));
        assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
        let flags = [format!("--device {device}"), format!("--features {device}")];
        for part in flags.iter().map(String::as_str).chain(["--device cpu"]) {
            assert!(run.stderr.contains(part), "no '{part}' in: {}", run.stderr);
        }
        assert!(place.contents().is_empty());
    }
}

#[test]
fn presets_of_another_schema_are_refused() {
    let place = PROGRAM.place();
    let args = ["--preset", "preset.json", "--out", "out"];
    place.refused(&args, &["preset.json", "os error 2"]);
    place.write("preset.json", "{ \"name\": ");
    place.refused(&args, &["preset.json", "line 1"]);
    place.preset(|preset| preset["learning_rate"] = json!(1.0));
    place.refused(&args, &["preset.json", "unknown field `learning_rate`", "`blocks`"]);
    place.preset(|preset| preset["blocks"][0]["pool"]["size"] = json!(2));
    place.refused(&args, &["preset.json", "unknown field `size`"]);
    place.preset(|preset| preset["head"]["kind"] = json!("nonsense"));
    place.refused(&args, &["preset.json", "`nonsense`", "`linear`"]);
}

/// Each preset fails only once its tensors are made, which must still be before anything is written.
#[test]
fn presets_that_make_no_sense_are_refused() {
    let place = PROGRAM.place();
    let wrong = |pointer: &str, value: serde_json::Value, parts: &[&str]| {
        place.preset(|preset| match preset.pointer_mut(pointer) {
            Some(found) => *found = value.clone(),
            None => panic!("{pointer}"),
        });
        place.refused(&[&["--preset", "preset.json", "--out", "out"], &TINY[..]].concat(), parts);
    };
    let k_wta = |k: usize| json!({ "kind": "k_wta_binary", "k": k });
    wrong("/blocks", json!([]), &["0", "block"]);
    wrong("/blocks/0/layer/channels", json!(0), &["block 0", "0 units"]);
    wrong("/blocks/0/layer/kernel", json!(0), &["block 0", "[8, 1, 0, 0]", "at least 1"]);
    wrong("/blocks/0/layer/kernel", json!(12), &["block 0", "image too small"]);
    wrong("/blocks/0/layer/padding", json!(8), &["block 0", "reflection padding of 8"]);
    let conv = json!({ "kind": "conv2d", "channels": 9, "kernel": 3, "groups": 3 });
    wrong("/blocks/0/layer", conv, &["block 0", "3 groups"]);
    wrong("/blocks/0/pool/stride", json!(0), &["block 0", "stride"]);
    wrong("/blocks/0/pool/kernel", json!(9), &["block 0"]);
    wrong("/blocks/0/learning/competition", k_wta(0), &["k is 0", "1 to 8"]);
    wrong("/blocks/0/learning/competition", k_wta(9), &["k is 9", "1 to 8"]);
    let rate = |speed: f64, divisor: f64| {
        let kind = "exponential_decay";
        json!({ "kind": kind, "learning_rate": 0.1, "speed": speed, "divisor": divisor })
    };
    wrong("/blocks/0/learning/rate", rate(0.0, 9.0), &["block 0", "the speed is 0"]);
    wrong("/blocks/0/learning/rate", rate(7.0, 0.0), &["block 0", "the divisor is 0"]);
    let radius = ["preset.json", "block 0 of preset 'tiny'", "the radius is -5"];
    wrong("/blocks/0/learning/radius", json!(-5.0), &radius);
    let training = json!({ "head_learning_rate": -0.001 });
    wrong("/training", training, &["the head's learning_rate is -0.001"]);
    wrong("/head/dropout", json!(1.0), &["dropout"]);
    wrong("/blocks/0/layer", json!({ "kind": "dense", "units": 8 }), &["block 0", "pool"]);
}

/// Batch norm needs two values per channel; the last batch may have fewer images than the others.
#[test]
fn a_last_batch_of_one_image_is_refused_where_it_has_no_variance() {
    let place = PROGRAM.place();
    place.preset(|preset| {
        let second = json!({
            "layer": { "kind": "dense", "units": 8 },
            "batch_norm": true,
            "learning": preset["blocks"][0]["learning"],
            "activation": { "kind": "triangle", "power": 1.0 }
        });
        let first = &mut preset["blocks"][0];
        first["layer"] = json!({ "kind": "dense", "units": 20 });
        first["activation"] = json!({ "kind": "triangle", "power": 1.0 });
        first.as_object_mut().unwrap().remove("pool");
        preset["blocks"].as_array_mut().unwrap().push(second);
    });
    let args = ["--preset", "preset.json", "--out", "out", "--limit-train"];
    place.refused(
        &[&args[..], &["201"]].concat(),
        &["'tiny'", "a batch of 1 image", "expected at least 2"],
    );
    place.run(&[&args[..], &["200"]].concat()).ok();
}

#[test]
fn images_too_small_for_the_network_are_refused() {
    let place = PROGRAM.place();
    let args = ["--preset", "softhebb-cnn4-stl", "--dataset", "digits", "--out", "out"];
    place.refused(&args, &["softhebb-cnn4-stl", "1x8x8", "block"]);
}

#[test]
fn checkpoints_that_do_not_fit_are_refused() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    place.tiny("out", &["--preset", "preset.json"]).ok();
    let whole = place.bytes("out/model.safetensors");
    let refused = |load: &str, parts: &[&str]| {
        for mode in [&["--eval-only"][..], &["--out", "new"]] {
            let args = [&["--preset", "preset.json", "--load", load], mode, &TINY[..]].concat();
            place.refused(&args, parts);
        }
    };
    for length in [0, 7, 100, whole.len() - 1] {
        place.write("cut.safetensors", &whole[..length]);
        refused("cut.safetensors", &["cut.safetensors", "cut short"]);
    }
    place.write("page.safetensors", "<html>Bad gateway, and some more text</html>");
    refused("page.safetensors", &["page.safetensors", "not a complete safetensors file"]);
    place.write("empty/readme", "no checkpoint here");
    refused("empty", &["the folder empty", "model.safetensors"]);

    // A file of no run is of the default architecture: the tensor and both shapes.
    place.write("alone.safetensors", &whole);
    let other = ["--eval-only", "--load", "alone.safetensors"];
    place.refused(&other, &["layers.0.weight", "[8, 1, 3, 3]", "needs [100, 64]"]);
    place.preset(|preset| {
        let block = preset["blocks"][0].clone();
        preset["blocks"].as_array_mut().unwrap().push(block);
    });
    refused("out", &["layers.1.weight"]);
}

#[test]
fn folders_that_cannot_be_written_are_refused_before_the_training() {
    let place = PROGRAM.place();
    place.write("file", "in the way");
    let tiny = |args: &[&'static str]| [args, &TINY].concat();
    place.refused(&tiny(&["--out", "file"]), &["file"]);
    place.refused(&tiny(&["--out", "file/out"]), &["file/out"]);
    let save = tiny(&["--save", "missing/model.safetensors", "--out", "out"]);
    place.refused(&save, &["--save", "missing"]);
    std::fs::create_dir(place.path("folder")).unwrap();
    place.refused(&tiny(&["--save", "folder", "--out", "out"]), &["--save", "folder"]);
    // A user's own model, which no run wrote.
    place.write("model/model.safetensors", "precious");
    place.refused(&tiny(&["--out", "model"]), &["model", "does not belong to an earlier run"]);
    assert_eq!(place.bytes("model/model.safetensors"), b"precious");
}

#[test]
fn weights_that_explode_stop_the_run_and_keep_the_last_good_ones() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    std::fs::rename(place.path("preset.json"), place.path("sane.json")).unwrap();
    place.preset(|preset| preset["blocks"][0]["learning"]["rate"]["learning_rate"] = json!(1e38));
    let run = place.tiny("out", &["--preset", "preset.json"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    for part in ["layers.0.weight is not finite at step", "layer 1", "out/state.safetensors"] {
        assert!(run.stderr.contains(part), "no '{part}' in: {}", run.stderr);
    }
    assert!(!place.path("out/results.json").exists());
    assert!(!place.path("out/model.safetensors").exists());
    place.shapes("out/state.safetensors");
    place.tiny("new", &["--preset", "sane.json", "--load", "out"]).ok();
}

#[test]
fn a_head_that_explodes_stops_the_run_and_keeps_the_network() {
    let place = PROGRAM.place();
    place.preset(|preset| preset["training"]["head_learning_rate"] = json!(1e38));
    let run = place.tiny("out", &["--preset", "preset.json"]);
    assert_eq!(run.status, Some(1), "{}{}", run.stdout, run.stderr);
    for part in ["head.weight is not finite", "the read-out 'head'", "out/state.safetensors"] {
        assert!(run.stderr.contains(part), "no '{part}' in: {}", run.stderr);
    }
    assert!(!place.path("out/results.json").exists());
    assert!(!place.path("out/model.safetensors").exists());
    place.shapes("out/state.safetensors");
}

#[test]
fn back_propagation_that_explodes_stops_the_run() {
    let place = PROGRAM.place();
    place.preset(|preset| {
        preset["blocks"][0]["learning"] = json!({ "kind": "backprop" });
        preset["blocks"][0]["activation"] = json!({ "kind": "relu" });
        preset["training"]["head_learning_rate"] = json!(1e38);
    });
    // There are no unsupervised epochs.
    let few = ["--limit-train", "200", "--limit-test", "100"];
    let run = place.run(&[&few[..], &["--preset", "preset.json", "--out", "out"]].concat());
    assert_eq!(run.status, Some(1), "{}{}", run.stdout, run.stderr);
    for part in ["is not finite at step", "by back-propagation"] {
        assert!(run.stderr.contains(part), "no '{part}' in: {}", run.stderr);
    }
    assert!(!place.path("out/results.json").exists());
    assert!(!place.path("out/model.safetensors").exists());
    place.shapes("out/state.safetensors");
}

#[test]
fn counts_that_cannot_be_counted_are_refused() {
    let place = PROGRAM.place();
    for flag in ["--epochs", "--head-epochs"] {
        for epochs in ["9223372036854775808", "1000000000000000"] {
            let args = ["--preset", "softhebb-cnn-digits", flag, epochs, "--out", "out"];
            place.refused(&args, &[epochs, "epochs of 1442 are too many to count: give fewer"]);
        }
    }
}
