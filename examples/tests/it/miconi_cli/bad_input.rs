//! What is refused: exit status 1, a message that names the thing, and nothing left behind.

use serde_json::json;

use super::{PROGRAM, TINY};

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let place = PROGRAM.place();
    place.refused(&["--preset", "nonsense"], &["'nonsense'", "miconi-cifar", ".json"]);
    place.refused(&["--experiment", "nonsense"], &["'nonsense'", "interventions, pruning"]);
    place.refused(&["--rule", "nonsense"], &["'nonsense'", "hebb, instar, oja"]);
    place.refused(&["--triangle", "nonsense"], &["'nonsense'", "always, never, features"]);
    place.refused(&["--plasticity", "nonsense"], &["'nonsense'", "binary, graded"]);
    place.refused(&["--readout", "nonsense"], &["'nonsense'", "ridge, svm, logistic, knn"]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let place = PROGRAM.place();
    let digits = |flag: &str, value: &str, parts: &[&str]| {
        place.refused(&["--preset", "miconi-digits", flag, value], parts);
    };
    digits("--winners", "33", &["layer 1", "k is 33", "1 to 32", "filters"]);
    digits("--winners", "0", &["layer 1", "k is 0"]);
    for p in ["1", "1.5", "NaN"] {
        digits("--pruning", p, &["layer 2", "pruning probability", "below 1"]);
    }
    place.preset(|preset| preset["layers"].as_array_mut().unwrap().truncate(1));
    place.refused(&["--preset", "preset.json", "--pruning", "0.5"], &["--pruning 0.5", "first"]);
    digits("--batch-size", "0", &["batch size is 0"]);
    digits("--learning-rate-factor", "NaN", &["learning rate is NaN"]);
    place.refused(&["--seeds", "0"], &["0 seeds", "1 or more"]);
    place.refused(&["--limit-train", "0"], &["--limit-train is 0"]);
}

#[test]
fn data_that_do_not_fit_are_refused() {
    let place = PROGRAM.place();
    let args = ["--preset", "miconi-cifar", "--dataset", "digits"];
    place.refused(&args, &["miconi-cifar", "1x8x8", "layer 2", "receptive field of 10x10"]);
    // A covariance without an inverse: standardised images have no variance along equal pixels.
    place.preset(|preset| preset["input"]["transforms"][0]["epsilon"] = json!(0.0));
    let args = [&["--preset", "preset.json", "--out", "out"], &TINY[..]].concat();
    place.refused(&args, &["epsilon", "64", "3.4e-4"]);
    place.preset(|preset| preset["input"]["transforms"][0]["images"] = json!(5000));
    place.refused(&args, &["5000", "200"]);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let place = PROGRAM.place();
    for flag in [
        &["--preset", "miconi-digits"][..],
        &["--rule", "oja"],
        &["--triangle", "never"],
        &["--pruning", "0.5"],
        &["--winners", "2"],
        &["--freeze"],
        &["--load", "model.safetensors"],
        &["--save", "model.safetensors"],
    ] {
        let args = [&["--experiment", "pruning"], flag].concat();
        place.refused(&args, &["--experiment", flag[0]]);
    }
}

#[test]
fn presets_that_make_no_sense_are_refused() {
    let place = PROGRAM.place();
    let refused = |parts: &[&str]| {
        place.refused(&[&["--preset", "preset.json", "--out", "out"], &TINY[..]].concat(), parts);
    };
    place.preset(|preset| preset["momentum"] = json!(0.9));
    refused(&["preset.json", "Miconi 2021", "unknown field `momentum`", "`layers`"]);
    place.preset(|preset| preset["layers"][0]["padding"] = json!(2));
    refused(&["preset.json", "unknown field `padding`"]);
    place.preset(|preset| preset["training"]["rule"] = json!("softhebb"));
    refused(&["preset.json", "softhebb", "hebb, instar or oja"]);
    place.preset(|preset| {
        preset["layers"][1]["patches"] = json!({ "kind": "whiten", "epsilon": 1 })
    });
    refused(&["preset.json", "layer 2", "first layer only"]);
    place.preset(|preset| preset["quirks"] = json!({ "flips": true }));
    refused(&["preset.json", "unknown field `flips`"]);
}

#[test]
fn checkpoints_that_do_not_fit_are_refused() {
    let place = PROGRAM.place();
    place.tiny("out", &["--preset", "miconi-digits", "--pruning", "0"]).ok();
    let with = |load: &str, parts: &[&str]| {
        let args = ["--preset", "miconi-digits", "--load", load];
        for mode in [&["--eval-only"][..], &["--out", "new"]] {
            place.refused(&[&args[..], mode].concat(), parts);
        }
    };
    // The preset has masks, the checkpoint none.
    with("out", &["out/model.safetensors", "layers.1.mask"]);
    let whole = place.bytes("out/model.safetensors");
    place.write("cut.safetensors", &whole[..whole.len() - 1]);
    with("cut.safetensors", &["cut.safetensors", "cut short"]);
}

#[test]
fn folders_that_cannot_be_written_are_refused() {
    let place = PROGRAM.place();
    place.write("file", "in the way");
    place.write("cache/x", "the whitening's folder is there");
    place.refused(&["--out", "file/out"], &["file/out"]);
    place.refused(&["--preset", "miconi-digits", "--save", "no/x"], &["--save", "no"]);
    for name in ["results.json", "figure.png", "table.csv"] {
        place.write(&format!("{name}-folder/{name}"), "precious");
        place.refused(
            &["--out", &format!("{name}-folder")],
            &[name, "does not belong to an earlier run"],
        );
    }
}

#[test]
fn weights_that_explode_stop_the_run() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    let run = place.tiny("out", &["--preset", "preset.json", "--learning-rate-factor", "1e40"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    for part in ["not finite", "epoch", "learning rate"] {
        assert!(run.stderr.contains(part), "no '{part}' in: {}", run.stderr);
    }
    assert!(!place.path("out/results.json").exists());
}

#[test]
fn counts_that_cannot_be_counted_are_refused() {
    let place = PROGRAM.place();
    place.preset(|_| ());
    for epochs in ["9223372036854775808", "1000000000000000"] {
        let args = ["--preset", "preset.json", "--epochs", epochs, "--out", "out"];
        place.refused(&args, &["epochs of", "are too many to count: give fewer"]);
    }
}
