//! Analyses of finished runs: what they write, checked by other computations where there are any, and what they refuse.

use candle::{DType, Device};
use hebbian_models::Model;
use hebbian_train::{NearestClassMean, Readout, Ridge, Standardisation};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

fn hebbian(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hebbian"));
    command.args(args).current_dir(folder).output().expect("the program starts")
}

fn printed(folder: &Path, args: &[&str]) -> String {
    let output = hebbian(folder, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Makes a run on some digits in the folder `out`.
fn run(folder: &Path, out: &str, args: &[&str]) {
    let some = ["--quiet", "--limit-train", "300", "--limit-test", "100", "--out", out];
    printed(folder, &[&["train"], args, &some[..]].concat());
}

/// More than there can be of anything.
const MANY: &str = "18446744073709551615";

/// A tiny run of SoftHebb.
const TINY: [&str; 7] =
    ["softhebb", "--preset", "softhebb-cnn-digits", "--epochs", "1", "--head-epochs", "5"];

/// The numbers of an analysis, from its JSON file.
fn figures(folder: &Path, name: &str) -> Value {
    let file = folder.join(format!("analysis-{name}.json"));
    let text = std::fs::read_to_string(&file);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// The analysis of one run is in the run's folder, as files of the run: a new run removes them.
#[test]
fn a_tiny_run_is_analysed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(at, "out", &TINY);
    let few = ["--draws", "3", "--random-networks", "2", "--queries", "100", "--mirrored"];
    let said = printed(at, &[&["analyse", "out", "--quiet"], &few[..]].concat());
    let out = at.join("out");
    let own: Value = serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    let own = own["files"].as_array().unwrap();
    for name in ["layers", "few-labels", "robustness", "speed", "radii", "correlations"] {
        assert!(said.contains(&format!("open out/analysis-{name}.png")), "{name}: {said}");
        for extension in ["png", "csv", "json"] {
            let file = format!("analysis-{name}.{extension}");
            assert!(own.contains(&json!(file)) && out.join(&file).is_file(), "{file}");
        }
        assert_eq!(figures(&out, name)["analysis"], name);
    }
    // The run has no feedback weights, and the analysis says so.
    assert!(said.contains("feedback is left out: no run logged feedback weights"), "{said}");
    assert!(!out.join("analysis-feedback.json").exists());

    let data = hebbian_data::digits();
    let (train, test) = (data.train.take(300), data.test.take(100));
    let all = |set: &hebbian_data::ImageSet| {
        set.batch(&(0..set.len()).collect::<Vec<_>>(), DType::F32, &Device::Cpu).unwrap().0
    };
    let (images, seen) = (all(&train), all(&test));
    let model = Model::load(&out).unwrap();
    let layers = &figures(&out, "layers")["runs"][0];
    assert_eq!((&layers["train_images"], &layers["test_images"]), (&json!(300), &json!(100)));
    let names: Vec<&str> =
        (0..3).map(|at| layers["layers"][at]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["raw pixels", "layer 1", "layer 2"]);
    for layer in 0..3 {
        let rows = |images| match layer {
            0 => images,
            layer => model.layer_features(layer - 1, &images).unwrap(),
        };
        let rows = |images| rows(images).flatten_from(1).unwrap();
        let means = NearestClassMean::fit(&rows(images.clone()), train.labels(), 10).unwrap();
        let accuracy = means.accuracy(&rows(seen.clone()), test.labels()).unwrap();
        assert_eq!(layers["layers"][layer]["nearest_class_mean"], accuracy, "{layer}");
    }
    let together = |images: &candle::Tensor| {
        let of = |layer| model.layer_features(layer, images).unwrap().flatten_from(1).unwrap();
        candle::Tensor::cat(&[of(0), of(1)], 1).unwrap()
    };
    let means = NearestClassMean::fit(&together(&images), train.labels(), 10).unwrap();
    let accuracy = means.accuracy(&together(&seen), test.labels()).unwrap();
    assert_eq!(layers["all"]["nearest_class_mean"], accuracy);
    // The mean of the features of both sides, standardised.
    assert!(said.contains("ridge, mirrored"), "{said}");
    let pixels = |images: &candle::Tensor| images.flatten_from(1).unwrap();
    let last =
        |images: &candle::Tensor| model.layer_features(1, images).unwrap().flatten_from(1).unwrap();
    type Features<'a> = &'a dyn Fn(&candle::Tensor) -> candle::Tensor;
    let all = (&layers["all"], &together as Features);
    let of = |layer: usize| &layers["layers"][layer];
    for (found, features) in [(of(0), &pixels as Features), (of(2), &last), all] {
        let mean = |images: &candle::Tensor| {
            let other = features(&images.flip(&[3]).unwrap());
            ((features(images) + other).unwrap() / 2.0).unwrap()
        };
        let (train_rows, rows) = (mean(&images), mean(&seen));
        let scale = Standardisation::of(&train_rows).unwrap();
        let alphas = [30.0, 300.0, 3000.0, 30000.0];
        let fit = Ridge::fit_best(&train_rows, &scale, train.labels(), 10, &alphas).unwrap().0;
        let accuracy = fit.accuracy(&scale.apply(&rows).unwrap(), test.labels()).unwrap();
        assert_eq!(found["ridge_mirrored"], accuracy, "{found}");
        assert_ne!(found["ridge_mirrored"], found["ridge"], "{found}");
    }
    assert_eq!(
        (&layers["all"]["name"], &layers["all"]["features"]),
        (&json!("all layers"), &json!(48 * 16 + 96 * 4))
    );
    // Random images of ten classes: a tenth, more or less.
    assert!((0.05..0.2).contains(&layers["chance"].as_f64().unwrap()));

    // The accuracy on unchanged images is the one that the run itself found.
    let robust = &figures(&out, "robustness")["runs"][0];
    let results: Value =
        serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(robust["clean"], results["test_accuracy"]);
    assert_eq!(robust["no_attack"], Value::Null);
    let last = |curve: usize| {
        let points = robust["curves"][curve]["points"].as_array().unwrap();
        points.last().unwrap()[1].as_f64().unwrap()
    };
    let names: Vec<&Value> = (0..5).map(|at| &robust["curves"][at]["change"]).collect();
    assert_eq!(names, ["noise", "occlusion", "fgsm", "pgd", "square"]);
    let clean = robust["clean"].as_f64().unwrap();
    // Following the gradient by 0.2 does more than noise of 0.1, and several steps no less than one; so do squares that
    // are searched for.
    let noise = robust["curves"][0]["points"][0][1].as_f64().unwrap();
    assert!(last(2) < clean - 0.2 && last(2) < noise && last(3) <= last(2) + 0.02, "{robust}");
    assert!(last(4) < clean - 0.2 && last(4) < noise, "{robust}");

    let few = &figures(&out, "few-labels")["runs"][0];
    let curves: Vec<&Value> = (0..3).map(|at| &few["curves"][at]["features"]).collect();
    assert_eq!(curves, ["learned", "random network", "raw pixels"]);
    for (share, labels) in [10, 10, 15, 30, 300].into_iter().enumerate() {
        let point = &few["curves"][0]["points"][share];
        assert_eq!(point["labels"], labels);
        let of_class = point["labels_of_class"].as_array().unwrap();
        assert_eq!(of_class.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), labels);
        assert!(of_class.iter().all(|count| count.as_u64() > Some(0)));
        let draws = if labels == 300 { 1 } else { 3 };
        assert_eq!(point["accuracies"].as_array().unwrap().len(), draws);
    }
    // With all labels, the accuracy is that of the analysis of layers.
    let whole = &few["curves"][2]["points"][4]["accuracies"][0];
    assert_eq!(*whole, layers["layers"][0]["ridge"]);

    // The radii are those of the weights.
    let radii = &figures(&out, "radii")["runs"][0]["layers"];
    for (layer, units) in model.network().units().unwrap().iter().enumerate() {
        let rows = units.weight.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
        let radii = radii[layer]["radii"].as_array().unwrap();
        assert_eq!(radii.len(), rows.len());
        for (row, radius) in rows.iter().zip(radii) {
            let squares: f64 = row.iter().map(|weight| f64::from(*weight).powi(2)).sum();
            assert!((radius.as_f64().unwrap() - squares.sqrt()).abs() < 1e-4);
        }
    }
    assert_eq!(radii[0]["temperature"], 1.0);

    // 8x8 pixels are halved after each layer; a unit has a correlation with every other one whose output changes.
    let correlations = &figures(&out, "correlations")["runs"][0]["layers"];
    for (layer, (units, positions)) in [(48, 16), (96, 4)].into_iter().enumerate() {
        let of = &correlations[layer];
        assert_eq!((&of["units"], &of["samples"]), (&json!(units), &json!(100 * positions)));
        let (mean, size) = (of["mean"].as_f64().unwrap(), of["mean_size"].as_f64().unwrap());
        assert!(mean.abs() <= size && 0.0 < size && size < 1.0, "{of}");
    }

    // Repeating the analysis gives the same; a new run removes all of it.
    let before = std::fs::read(out.join("analysis-few-labels.csv")).unwrap();
    printed(at, &["analyse", "out", "--quiet", "--draws", "3", "--random-networks", "2"]);
    assert_eq!(std::fs::read(out.join("analysis-few-labels.csv")).unwrap(), before);
    run(at, "out", &TINY);
    assert!(!out.join("analysis-layers.png").exists() && !out.join("analysis-radii.csv").exists());
}

/// Ridge regression also learns from augmented copies. A crop of the whole image leaves it as it is, and ridge
/// regression with penalty α on three equal copies of each image is that with penalty α/3 on one; flipped digits are
/// another matter.
#[test]
fn augmented_copies_are_read_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let measured = |more: &[&str]| -> Value {
        let args = ["analyse", "softhebb-digits", "--only", "layers", "--quiet", "--out", "o"];
        let said = printed(at, &[&args[..], more].concat());
        let augmented = more.contains(&"--augment");
        assert_eq!(said.contains("ridge, augmented"), augmented, "{said}");
        figures(&at.join("o"), "layers")["runs"][0].clone()
    };
    let copies = ["--augmented-copies", "2", "--penalty", "30"];
    let (same, third) = (
        measured(&[&["--augment", "random-crop=8"], &copies[..]].concat()),
        measured(&["--penalty", "10"]),
    );
    let flipped = measured(&[&["--augment", "flip"], &copies[..]].concat());
    let (mut names, mut changed) = (Vec::new(), 0.0f64);
    for (place, expected) in third["layers"].as_array().unwrap().iter().enumerate() {
        names.push(expected["name"].clone());
        let (same, flipped) = (&same["layers"][place], &flipped["layers"][place]);
        assert_eq!(expected["ridge_augmented"], Value::Null);
        assert_eq!(expected["ridge_mirrored"], Value::Null);
        assert_eq!(same["ridge_augmented"], expected["ridge"], "{same}");
        assert_eq!(same["ridge"], flipped["ridge"]);
        let number = |value: &Value| value.as_f64().unwrap();
        changed = changed.max(number(&same["ridge"]) - number(&flipped["ridge_augmented"]));
    }
    assert_eq!(names[0], "raw pixels");
    // A two is not the mirror image of a two, and half of the copies are mirrored.
    assert!(changed > 0.005, "{changed}");
    // Of several penalties, one that makes all weights vanish is not chosen. Copies do not change the choice.
    let few = &["--penalty", "1e12,10", "--augment", "random-crop=8", "--augmented-copies", "1"];
    let chosen = measured(few);
    let half = measured(&["--penalty", "5"]);
    for (place, expected) in third["layers"].as_array().unwrap().iter().enumerate() {
        let (chosen, half) = (&chosen["layers"][place], &half["layers"][place]);
        assert_eq!((&chosen["penalty"], &chosen["ridge"]), (&json!(10.0), &expected["ridge"]));
        assert_eq!(chosen["ridge_augmented"], half["ridge"]);
    }
    let refused = hebbian(at, &["analyse", "softhebb-digits", "--augmented-copies", "0"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("--augmented-copies is 0, expected 1 or more"), "{said}");
}

/// Several runs are overlaid; for Amit's, which log them, feedback weights and errors too.
#[test]
fn several_runs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for protocol in ["urfb", "bp"] {
        let args = ["amit", "--preset", "amit-digits", "--epochs", "300", "--protocol", protocol];
        run(at, protocol, &args);
    }
    let said =
        printed(at, &["analyse", "urfb", "bp", "--quiet", "--only", "speed,feedback,robustness"]);
    assert!(said.contains("open analysis/analysis-feedback.png"), "{said}");
    // The folder above the runs stands for all of them.
    printed(at, &["analyse", ".", "--quiet", "--only", "speed", "--out", "above"]);
    let names = |analysis: &str| -> std::collections::BTreeSet<String> {
        let runs = figures(&at.join(analysis), "speed")["runs"].clone();
        runs.as_array().unwrap().iter().map(|one| one["name"].to_string()).collect()
    };
    assert_eq!(names("above"), names("analysis"));
    // The run in whose folder an analysis is, if it is analysed there.
    let own = |runs: &[&str], out: &str| {
        let some = ["--quiet", "--only", "speed", "--out", out];
        printed(at, &[&["analyse"], runs, &some[..]].concat());
        figures(&at.join(out), "speed")["own"].clone()
    };
    assert_eq!(own(&["urfb", "./bp"], "bp"), "bp");
    assert_eq!(own(&["urfb"], "bp"), Value::Null);
    std::fs::create_dir(at.join("other")).unwrap();
    std::fs::rename(at.join("above"), at.join("other/urfb")).unwrap();
    assert_eq!(own(&["urfb"], "other/urfb"), Value::Null, "another folder of the same name");
    let speed = &figures(&at.join("analysis"), "speed")["runs"];
    let runs: Vec<&Value> = speed.as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert!(runs.contains(&&json!("urfb")) && runs.contains(&&json!("bp")), "{runs:?}");
    // The points are those that the run logged in its file.
    let log = std::fs::read_to_string(at.join("urfb/metrics.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let logged: Vec<Value> = lines.filter(|line| !line["angle/dense1"].is_null()).collect();
    let feedback = &figures(&at.join("analysis"), "feedback")["runs"];
    let feedback = feedback.as_array().unwrap();
    let angles: Vec<&Value> = feedback.iter().filter(|one| one["figure"] == "angle").collect();
    assert!(!angles.is_empty() && !logged.is_empty(), "{feedback:?}");
    for line in logged {
        let point = json!([line["images"].as_f64(), line["angle/dense1"].as_f64()]);
        let curve = angles.iter().find(|one| one["name"] == "urfb" && one["of"] == "dense1");
        assert!(
            curve.unwrap()["images_and_values"].as_array().unwrap().contains(&point),
            "{point}"
        );
    }
    // The gradient of the attack is that of back-propagation, whatever carried the errors while learning.
    let robust = &figures(&at.join("analysis"), "robustness")["runs"];
    for run in 0..2 {
        let (clean, fgsm) = (&robust[run]["clean"], &robust[run]["curves"][2]);
        assert_eq!(fgsm["change"], "fgsm");
        let strongest = fgsm["points"][3][1].as_f64().unwrap();
        assert!(strongest < clean.as_f64().unwrap() - 0.2, "{fgsm}");
    }
}

/// The report says that two seeds of one network are drawn as one, and another network is not; the table keeps each
/// run.
#[test]
fn seeds_are_drawn_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (out, seed, protocol) in [("a", "0", "urfb"), ("b", "1", "urfb"), ("c", "0", "bp")] {
        let args = ["amit", "--preset", "amit-digits", "--epochs", "5", "--protocol", protocol];
        run(at, out, &[&args[..], &["--seed", seed]].concat());
    }
    let args = ["analyse", "a", "b", "c", "--quiet", "--only", "layers,few-labels,radii"];
    let said = printed(at, &args);
    assert!(said.starts_with("a, b differ by the seed alone"), "{said}");
    assert!(!said.contains("c differ"), "{said}");
    let table = std::fs::read_to_string(at.join("analysis/analysis-layers.csv")).unwrap();
    for run in ["a,", "b,", "c,"] {
        assert!(table.lines().any(|line| line.starts_with(run)), "{table}");
    }
}

/// Models of the zoo need no run. A model without a gradient is not attacked, and the analysis says why; a model that
/// learns nothing has no random network beside it.
#[test]
fn what_a_method_cannot_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let few =
        ["--quiet", "--test-images", "50", "--train-images", "200", "--draws", "1", "--out", "o"];
    let said =
        printed(at, &[&["analyse", "patches-digits", "--only", "robustness"], &few[..]].concat());
    let robust = &figures(&at.join("o"), "robustness")["runs"][0];
    let reason = robust["no_attack"].as_str().expect("a reason");
    assert!(reason.contains("no gradient passes") && said.contains(reason), "{said}");
    assert_eq!(robust["curves"].as_array().unwrap().len(), 3);
    // A gradient passes a standardisation, but not what the network makes of it; it does not pass a crop.
    for (out, transform, at_fault) in [
        ("standardised", "standardise-image", "the features of patches"),
        ("cropped", "centre-crop=8", "the transforms"),
    ] {
        run(at, out, &["patches", "--preset", "patches-digits", "--transform", transform]);
        let few = ["--quiet", "--test-images", "50", "--queries", "1"];
        printed(at, &[&["analyse", out, "--only", "robustness"], &few[..]].concat());
        let reason = figures(&at.join(out), "robustness")["runs"][0]["no_attack"].to_string();
        assert!(reason.contains(at_fault), "{transform}: {reason}");
    }
    let said =
        printed(at, &[&["analyse", "patches-digits", "--only", "few-labels"], &few[..]].concat());
    assert!(said.contains("no random network: patches took no steps of learning"), "{said}");
    for model in ["golkar-digits", "krotov-hopfield-digits", "miconi-digits"] {
        printed(at, &[&["analyse", model, "--only", "robustness,few-labels"], &few[..]].concat());
        let robust = &figures(&at.join("o"), "robustness")["runs"][0];
        assert_eq!(robust["curves"].as_array().unwrap().len(), 4, "{model}: {robust}");
        let few = &figures(&at.join("o"), "few-labels")["runs"][0];
        assert_eq!(few["curves"].as_array().unwrap().len(), 3, "{model}: {few}");
    }
}

/// If a network has learned with all labels, it is not a network with few labels, and the analysis says so.
#[test]
fn labels_that_the_network_had_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let few = ["--only", "few-labels", "--quiet", "--test-images", "50", "--train-images", "200"];
    for (model, labels) in [("amit-digits", true), ("krotov-hopfield-digits", false)] {
        let said = printed(at, &[&["analyse", model, "--out", "o"], &few[..]].concat());
        assert_eq!(said.contains("has learned with all labels"), labels, "{model}: {said}");
        let few = &figures(&at.join("o"), "few-labels")["runs"][0];
        assert_eq!(few["trained_with_labels"], labels, "{model}");
    }
}

/// The images of a run are loaded as the run chose them: the accuracy on all of its test images is that of the run. If
/// a folder does not say how they were chosen and others would be loaded, they are not used.
#[test]
fn the_images_are_those_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // Two classes of pictures without a test split.
    let digits = hebbian_data::digits().train;
    for (class, count) in [(0, 30), (1, 60)] {
        let of_class = (0..digits.len()).filter(|&at| digits.labels()[at] == class).take(count);
        let class_folder = at.join(format!("flat/{class}"));
        std::fs::create_dir_all(&class_folder).unwrap();
        for index in of_class {
            let picture =
                image::GrayImage::from_raw(8, 8, digits.pixels(&[index]).unwrap()).unwrap();
            picture.save(class_folder.join(format!("{index}.png"))).unwrap();
        }
    }
    // Of 72 and 18 images, a third has class 0. They are sorted by class: a part of them has the same shares.
    let limits = ["--limit-train", "30", "--limit-test", "9", "--quiet"];
    let said = printed(at, &[&["data", "--data-dir", "flat"], &limits[..]].concat());
    let counts: Vec<Vec<&str>> = said.lines().map(|l| l.split_whitespace().collect()).collect();
    assert!(counts.contains(&vec!["0", "10", "3"]), "{said}");
    assert!(counts.contains(&vec!["1", "20", "6"]), "{said}");
    for (out, more) in [
        ("share", &["--test-share", "0.1"][..]),
        ("limits", &["--limit-train", "40", "--limit-test", "9"]),
        ("labels", &["--labelled", "20", "--validation", "0.25"]),
        ("size", &["--image-size", "5"]),
    ] {
        let data = ["krotov-hopfield", "--preset", "krotov-hopfield-digits", "--data-dir", "flat"];
        let short =
            ["--epochs", "1", "--head-epochs", "20", "--seed", "3", "--quiet", "--out", out];
        printed(at, &[&["train"], &data[..], &short, more].concat());
        let only = ["--data-dir", "flat", "--only", "robustness", "--quiet"];
        printed(at, &[&["analyse", out], &only[..]].concat());
        let robust = &figures(&at.join(out), "robustness")["runs"][0];
        let results = std::fs::read(at.join(out).join("results.json")).unwrap();
        let results: Value = serde_json::from_slice(&results).unwrap();
        let config = std::fs::read(at.join(out).join("config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(robust["test_images"], config["test_images"], "{out}");
        assert_eq!(robust["clean"], results["test_accuracy"], "{out}: {robust}");
        // `eval` reads and splits them in the same way, by the seed of the run, but measures on all test images.
        if ["share", "size"].contains(&out) {
            let said = printed(at, &["eval", out, "--data-dir", "flat", "--quiet"]);
            let accuracy = results["test_accuracy"].as_f64().unwrap();
            let line = format!("test accuracy {:.2} %", 100.0 * accuracy);
            assert_eq!(said.lines().next(), Some(&line[..]), "{out}");
            let again = ["--eval-only", "--load", out, "--head-epochs", "20", "--quiet"];
            let said = printed(at, &[&["train"], &data[..], &again, more].concat());
            assert!(said.contains(&line), "{out}: {line} in {said}");
        }
    }
    let output = hebbian(at, &["analyse", "size", "--only", "layers", "--quiet"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the images of flat are in a folder of their own"), "{said}");
    let config = at.join("share/config.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    assert_eq!(value["images"], json!({ "test_share": 0.1 }));
    value["images"] = Value::Null;
    std::fs::write(&config, value.to_string()).unwrap();
    let only = ["--data-dir", "flat", "--only", "robustness", "--quiet"];
    let output = hebbian(at, &[&["analyse", "share"], &only[..]].concat());
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it chose them in another way"), "{said}");
    // As many images, in classes of which the first has become the last.
    std::fs::rename(at.join("flat/0"), at.join("flat/2")).unwrap();
    let output = hebbian(at, &[&["analyse", "size"], &only[..]].concat());
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(r#"the classes ["1","2"], where the run had ["0","1"]"#), "{said}");
}

#[test]
fn what_an_analysis_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("empty")).unwrap();
    // A model without its read-out.
    let bare = at.join("bare");
    Model::from_zoo("softhebb-digits").unwrap().save(&bare).unwrap();
    let checkpoint = hebbian_train::Checkpoint::load(&bare, &Device::Cpu).unwrap();
    let tensors: Vec<_> = checkpoint
        .names()
        .filter(|name| !name.starts_with("head."))
        .map(|name| {
            let shape = checkpoint.dims(name).unwrap().to_vec();
            (name.to_string(), checkpoint.take(name, shape, DType::F32).unwrap())
        })
        .collect();
    let about = std::collections::BTreeMap::new();
    hebbian_train::save_checkpoint(bare.join("model.safetensors"), &tensors, &about).unwrap();
    for (args, words) in [
        (&["analyse"][..], &["RUN"][..]),
        (&["analyse", "empty"], &["empty", "no config.json", "hebbian train"]),
        (&["analyse", "softhebb-digit"], &["softhebb-digit", "not a run folder"]),
        (&["analyse", "bare", "--only", "robustness"], &["bare", "the read-out is not trained"]),
        (&["analyse", "bare", "--only", "speed"], &["nothing was logged"]),
        (&["analyse", "softhebb-digits", "--only", "feedback"], &["no run logged feedback"]),
        (&["analyse", "softhebb-digits", "--only", "colours"], &["colours", "few-labels"]),
        (&["analyse", "softhebb-digits", "--shares", "0"], &["--shares", "above 0"]),
        (&["analyse", "softhebb-digits", "--shares", "100.5"], &["--shares has 100.5", "at most"]),
        (&["analyse", "softhebb-digits", "--penalty=-1"], &["--penalty has -1", "from 0 up"]),
        (&["analyse", "softhebb-digits", "--occluder", "1.5"], &["--occluder is 1.5", "0 to 1"]),
        (
            &["analyse", "softhebb-digits", "--augmented-copies", "2"],
            &["nothing changes the images", "--augment"],
        ),
        (&["analyse", "softhebb-digits", "--draws", "0"], &["--draws", "1 or more"]),
        (&["analyse", "softhebb-digits", "--bins", "10001"], &["--bins", "10000 or fewer"]),
        (&["analyse", "softhebb-digits", "--draws", MANY], &["--draws", "10000 or fewer"]),
        (
            &["analyse", "softhebb-digits", "--augment", "flip", "--augmented-copies", MANY],
            &["--augmented-copies", "10000 or fewer"],
        ),
        (
            &["analyse", "softhebb-digits", "--only", "robustness", "--occlusion", "9", "--quiet"],
            &["9 pixels", "8 x 8"],
        ),
    ] {
        let output = hebbian(at, args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
        assert!(words.iter().all(|word| errors.contains(word)), "{args:?}: {words:?} in {errors}");
    }
}

/// The correlations of random patches are those of their maps: a feature of a window is of the same unit in all
/// windows.
#[test]
fn correlations_are_of_units() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let args = ["analyse", "patches-digits", "--only", "correlations", "--quiet", "--out", "o"];
    printed(at, &args);
    let found = figures(&at.join("o"), "correlations")["runs"][0]["layers"][0].clone();
    let model = Model::from_zoo("patches-digits").unwrap();
    let test = hebbian_data::digits().test;
    let all: Vec<usize> = (0..test.len()).collect();
    let (images, _) = test.batch(&all, DType::F32, &Device::Cpu).unwrap();
    let features = model.features(&images).unwrap().to_dtype(DType::F64).unwrap();
    // The features of a quadrant are adjacent.
    let units = features.dim(1).unwrap() / 4;
    let samples = features.reshape(((), units)).unwrap().t().unwrap().to_vec2::<f64>().unwrap();
    let count = samples[0].len() as f64;
    let centred = |values: &Vec<f64>| {
        let mean = values.iter().sum::<f64>() / count;
        let centred: Vec<f64> = values.iter().map(|value| value - mean).collect();
        let length = centred.iter().map(|value| value * value).sum::<f64>().sqrt();
        (length > 0.0).then(|| centred.iter().map(|value| value / length).collect::<Vec<_>>())
    };
    let samples: Vec<Vec<f64>> = samples.iter().filter_map(centred).collect();
    let (mut sum, mut size, mut pairs) = (0.0, 0.0, 0.0);
    for (k, one) in samples.iter().enumerate() {
        for other in &samples[..k] {
            let rho: f64 = one.iter().zip(other).map(|(a, b)| a * b).sum();
            (sum, size, pairs) = (sum + rho, size + rho.abs(), pairs + 1.0);
        }
    }
    let number = |name: &str| found[name].as_f64().unwrap();
    assert_eq!((number("units"), number("samples")), (units as f64, count));
    assert!((number("mean") - sum / pairs).abs() < 1e-6, "{found}");
    assert!((number("mean_size") - size / pairs).abs() < 1e-6, "{found}");
}
