//! What is refused: exit status 1, a message that names the thing, and nothing left behind.

use serde_json::json;

use super::{PROGRAM, TINY};

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let place = PROGRAM.place();
    let nearest = "the nearest are: amit-simpnet, ";
    place.refused(&["--preset", "amit-simpnt"], &["'amit-simpnt'", nearest, "--list", ".json"]);
    place.refused(&["--dataset", "nonsense"], &["'nonsense'", "digits, mnist", "cifar100"]);
    place.refused(&["--experiment", "fig44"], &["'fig44'", "the nearest are: fig4, ", "--list"]);
    place.refused(&["--protocol", "nonsense"], &["'nonsense'", "urfb", "partial:", "dfa"]);
    place.refused(&["--loss", "nonsense"], &["'nonsense'", "hinge, softmax"]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let place = PROGRAM.place();
    place.refused(&["--protocol", "partial:1.5"], &["1.5", "0 (fixed) to 1"]);
    place.refused(&["--protocol", "partial:x"], &["partial:x"]);
    for p in ["0", "2", "NaN"] {
        let args = ["--preset", "amit-digits", "--connection-probability", p];
        place.refused(&args, &["connection_probability", "above 0 and at most 1"]);
    }
    place.refused(&["--batch-size", "0"], &["batch_size 0", "1 or more"]);
    place.refused(&["--learning-rate", "0"], &["learning_rate 0", "above 0"]);
    place.refused(&["--seeds", "0"], &["0 seeds", "1 or more"]);
    place.refused(&["--epochs", "0"], &["0 epochs", "1 or more"]);
    place.refused(&["--limit-train", "0"], &["--limit-train is 0"]);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let place = PROGRAM.place();
    for flag in [
        ["--protocol", "bp"],
        ["--preset", "amit-simpnet"],
        ["--loss", "hinge"],
        ["--connection-probability", "0.5"],
        ["--batch-size", "5"],
        ["--learning-rate", "0.5"],
        ["--weight-decay", "0.5"],
        ["--load", "model.safetensors"],
        ["--save", "model.safetensors"],
    ] {
        place.refused(&[&["--experiment", "fig4"], &flag[..]].concat(), &["--experiment", flag[0]]);
        place.refused(&[&["--seeds", "2"], &flag[..]].concat(), &["--seeds", flag[0]]);
    }
    for own in ["fig12", "depth", "feedback"] {
        let args = ["--experiment", own, "--dataset", "digits"];
        place.refused(&args, &[own, "makes its own data", "--dataset"]);
        place.refused(&["--experiment", own, "--limit-train", "5"], &["--limit"]);
    }
    place.refused(&["--experiment", "fig12", "--epochs", "5"], &["fig12", "no epochs"]);
}

#[test]
fn presets_that_make_no_sense_are_refused() {
    let place = PROGRAM.place();
    let refused = |parts: &[&str]| {
        place.refused(&[&["--preset", "preset.json", "--out", "out"], &TINY[..]].concat(), parts);
    };
    refused(&["preset.json", "os error 2"]);
    place.write("preset.json", "{ \"name\": ");
    refused(&["preset.json", "line 1"]);
    let wrong = |pointer: &str, value: serde_json::Value, parts: &[&str]| {
        place.preset(|preset| match preset.pointer_mut(pointer) {
            Some(found) => *found = value.clone(),
            None => panic!("{pointer}"),
        });
        refused(parts);
    };
    place.preset(|preset| preset["momentum"] = json!(0.9));
    refused(&["preset.json", "unknown field `momentum`", "`layers`"]);
    place.preset(|preset| preset["layers"][0]["stride"] = json!(2));
    refused(&["preset.json", "unknown field `stride`"]);
    for mu in [0.0, -1.0] {
        let loss = json!({ "kind": "hinge", "mu": mu });
        wrong("/training/loss", loss, &["preset.json", "μ above 0", "finite"]);
    }
    wrong("/training/loss", json!({ "kind": "square" }), &["`square`", "`hinge`", "`softmax`"]);
    wrong("/training/protocol", json!("partial:2"), &["preset.json", "2"]);
    wrong("/training/protocol", json!("nonsense"), &["\"nonsense\"", "urfb"]);
    let direct = json!({ "kind": "classes", "protocol": "dfa" });
    wrong("/layers/4", direct, &["'tiny'", "layer 4", "dfa on the class layer"]);
    wrong("/layers/4", json!({ "kind": "dense", "units": 10 }), &["last layer", "'classes'"]);
    wrong("/layers/3/units", json!(0), &["layer 3", "0 units"]);
    wrong("/layers/0/kernel", json!(0), &["layer 0", "kernel"]);
    wrong("/layers/2/probability", json!(1.0), &["layer 2", "drop"]);
    wrong("/training/ramp_slope", json!(0.0), &["ramp_slope 0", "above 0"]);
    let residual =
        json!({ "kind": "conv", "units": 4, "kernel": 3, "untied": true, "residual": true });
    wrong("/layers/0", residual, &["layer 0", "residual", "4", "1"]);
}

#[test]
fn checkpoints_that_do_not_fit_are_refused() {
    let place = PROGRAM.place();
    place.tiny("out", &["--preset", "amit-digits", "--protocol", "bp"]).ok();
    let with = |load: &str, parts: &[&str]| {
        let args = ["--preset", "amit-digits", "--load", load];
        for mode in [&["--eval-only"][..], &["--out", "new"]] {
            place.refused(&[&args[..], mode].concat(), parts);
        }
    };
    // Back-propagation has no feedback weights, the preset's protocol has.
    with("out", &["out/model.safetensors", "layers.0.feedback"]);
    let whole = place.bytes("out/model.safetensors");
    place.write("cut.safetensors", &whole[..whole.len() - 1]);
    with("cut.safetensors", &["cut.safetensors", "cut short"]);
    let args = ["--preset", "amit-simpnet", "--dataset", "digits", "--protocol", "bp"];
    place.refused(&[&args[..], &["--eval-only", "--load", "out"]].concat(), &["layers.0.weight"]);
}

#[test]
fn folders_that_cannot_be_written_are_refused_before_the_training() {
    let place = PROGRAM.place();
    place.write("file", "in the way");
    place.refused(&["--preset", "amit-digits", "--out", "file"], &["file"]);
    place.refused(&["--out", "file/out"], &["file/out"]);
    place
        .refused(&["--preset", "amit-digits", "--save", "no/x", "--out", "out"], &["--save", "no"]);
    // A user's own files, which no experiment wrote.
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
    let run = place.tiny("out", &["--preset", "amit-digits", "--learning-rate", "1e38"]);
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
