//! The program itself, as a user runs it: every command, on the embedded digits.

use candle::Device;
use hebbian_train::{Checkpoint, Results, RunFolder};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Runs `hebbian` in a folder.
fn hebbian(folder: &Path, args: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_hebbian"));
    Command::new(program).args(args).current_dir(folder).output().expect("the program starts")
}

/// The output of `hebbian`, which must succeed.
pub(super) fn printed(folder: &Path, args: &[&str]) -> String {
    let output = hebbian(folder, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs `hebbian`, which must fail with these words in its message.
pub(super) fn refused(folder: &Path, args: &[&str], words: &[&str]) {
    let output = hebbian(folder, args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
    assert!(words.iter().all(|word| errors.contains(word)), "{args:?}: {words:?} in {errors}");
}

/// Every method is listed and trained for an epoch, and its model is evaluated and read out.
#[test]
fn every_method_from_the_list_to_features() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let all = printed(at, &["list"]);
    for (method, preset) in [
        ("amit", "amit-digits"),
        ("ghl", "ghl-digits"),
        ("golkar", "golkar-digits"),
        ("k-means", "k-means-digits"),
        ("krotov-hopfield", "krotov-hopfield-digits"),
        ("miconi", "miconi-digits"),
        ("patches", "patches-digits"),
        ("softhebb", "softhebb-cnn-digits"),
    ] {
        let one = printed(at, &["list", method]);
        assert!(all.contains(&one) && one.contains(preset), "{method}: {one}");
        let mut train = vec!["train", method, "--preset", preset, "--quiet"];
        if !["k-means", "patches"].contains(&method) {
            train.extend(["--epochs", "1"]);
        }
        printed(at, &train);
        let model = at.join(format!("runs/{method}/{preset}/digits-seed-0"));
        let Results { test_accuracy, .. } = RunFolder::results(&model).unwrap().unwrap();
        let model = model.to_str().unwrap();
        let evaluated = printed(at, &["eval", model, "--quiet"]);
        let line = format!("test accuracy {:.2} %\n", 100.0 * test_accuracy);
        assert!(evaluated.starts_with(&line), "{method}: {line} in {evaluated}");

        printed(at, &["features", model, "--quiet", "--limit-train", "7", "--to", "f.safetensors"]);
        let features = Checkpoint::load(at.join("f.safetensors"), &Device::Cpu).unwrap();
        let (train, test) = (features.dims("train.features"), features.dims("test.features"));
        assert_eq!((train.unwrap()[0], test.unwrap()[0]), (7, 355), "{method}");
        assert_eq!(features.dims("train.labels"), Some(&[7][..]), "{method}");
        let about = |name: &str| features.metadata[name].clone();
        let digits = r#"["0","1","2","3","4","5","6","7","8","9"]"#;
        assert_eq!([about("dataset"), about("class_names")], ["digits", digits], "{method}");
        assert_eq!(about("layer"), "read-out", "{method}");
        printed(at, &["features", model, "--quiet", "--layer", "1", "--to", "f.safetensors"]);
        let first = Checkpoint::load(at.join("f.safetensors"), &Device::Cpu).unwrap();
        assert_eq!(first.metadata["layer"], "1", "{method}");
        refused(at, &["features", model, "--quiet", "--layer", "99"], &["--layer 99", "from 1"]);
        refused(at, &["features", model, "--quiet", "--layer", "0"], &["--layer"]);
    }
}

/// Images of other people: a class is recognised by its name, wherever it stands, and images that do not fit the model
/// are refused with both sizes.
#[test]
fn a_model_sees_images_of_other_data_sets() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // In the folder's order, 3 is class 0 and 7 is class 1.
    let digits = hebbian_data::digits().test;
    let model = hebbian_models::Model::from_zoo("softhebb-digits").unwrap();
    let (mut all, mut right) = (0_u32, 0_u32);
    for index in (0..digits.len()).filter(|&at| [3, 7].contains(&digits.labels()[at])) {
        let class = digits.labels()[index];
        let (image, _) = digits.batch(&[index], candle::DType::F32, &Device::Cpu).unwrap();
        all += 1;
        right += u32::from(model.predict(&image).unwrap().to_vec1::<u32>().unwrap() == [class]);
        let picture = image::GrayImage::from_raw(8, 8, digits.image(index).unwrap()).unwrap();
        for split in ["train", "test"] {
            let class_folder = at.join(format!("some/{split}/{class}"));
            std::fs::create_dir_all(&class_folder).unwrap();
            picture.save(class_folder.join(format!("{index}.png"))).unwrap();
        }
    }
    assert!(right > all / 2, "{right} of {all}");
    let eval = ["eval", "softhebb-digits", "--quiet"];
    let said = printed(at, &[&eval[..], &["--data-dir", "some"]].concat());
    let line = format!("test accuracy {:.2} %\n", 100.0 * f64::from(right) / f64::from(all));
    assert!(said.starts_with(&line), "{line} in {said}");
    // The other eight classes have no images, and so no line.
    assert_eq!(said.lines().filter(|line| line.starts_with("  ")).count(), 2, "{said}");

    for class in ["test/cat", "train/cat"] {
        let from = at.join("some").join(class.replace("cat", "3"));
        std::fs::rename(from, at.join("some").join(class)).unwrap();
    }
    let other = [&eval[..], &["--data-dir", "some"]].concat();
    refused(at, &other, &["classes 7, cat", "classes of 0, 1, 2"]);
    // The same for a run that a program evaluates.
    let run = ["train", "krotov-hopfield", "--epochs", "1", "--head-epochs", "5", "--quiet"];
    printed(at, &[&run[..], &["--out", "run"]].concat());
    let evaluate = ["train", "krotov-hopfield", "--quiet", "--eval-only", "--load", "run"];
    refused(at, &[&evaluate[..], &["--data-dir", "some"]].concat(), &["classes 7, cat"]);
    let resized = ["--data-dir", "some", "--image-size", "12", "--quiet"];
    for command in ["eval", "features"] {
        let words = ["1x12x12", "1x8x8", "--dataset", "--image-size"];
        refused(at, &[&[command, "softhebb-digits"], &resized[..]].concat(), &words);
    }
    assert!(!at.join("features.safetensors").exists());
}

/// Pictures without labels are classified as the same images are with their labels, and tables say which file is which.
#[test]
fn pictures_without_labels_are_classified() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let digits = hebbian_data::digits().test;
    let of_classes = |class: u32| digits.labels().iter().position(|&label| label == class).unwrap();
    let images: Vec<usize> = (0..10).map(of_classes).collect();
    for (class, &index) in images.iter().enumerate() {
        let picture = image::GrayImage::from_raw(8, 8, digits.image(index).unwrap()).unwrap();
        for split in ["train", "test"] {
            let class_folder = at.join(format!("some/{split}/{class}"));
            std::fs::create_dir_all(&class_folder).unwrap();
            picture.save(class_folder.join("it.png")).unwrap();
        }
    }
    let model = hebbian_models::Model::from_zoo("softhebb-digits").unwrap();
    let (batch, _) = digits.batch(&images, candle::DType::F32, &Device::Cpu).unwrap();
    let classes: Vec<u32> = model.predict(&batch).unwrap().to_vec1().unwrap();
    let scores: Vec<Vec<f32>> = model.scores(&batch).unwrap().to_vec2().unwrap();
    let rows = |file: &str| -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(at.join(file)).unwrap();
        text.lines().map(|line| line.split(',').map(str::to_string).collect()).collect()
    };
    let name = |split: &str, class: usize| format!("some/{split}/{class}/it.png");

    let predict = ["predict", "softhebb-digits", "some/test", "--quiet", "--table", "p.csv"];
    let said = printed(at, &predict);
    let table = rows("p.csv");
    assert_eq!((table.len(), table[0].len()), (11, 12), "{table:?}");
    assert_eq!(table[0][..3], ["file", "predicted", "score of 0"]);
    for (class, row) in table[1..].iter().enumerate() {
        assert_eq!((row.len(), scores[class].len()), (12, 10));
        assert_eq!(row[..2], [name("test", class), classes[class].to_string()]);
        let line = said.lines().find(|line| line.starts_with(&row[0])).expect(&said);
        assert_eq!(line.split_whitespace().last(), Some(row[1].as_str()), "{said}");
        for (written, score) in row[2..].iter().zip(&scores[class]) {
            let written: f32 = written.parse().unwrap();
            assert!((written - score).abs() < 1e-5, "{written} {score}");
        }
    }
    let eval = ["eval", "softhebb-digits", "--data-dir", "some", "--quiet", "--table", "e.csv"];
    printed(at, &eval);
    let table = rows("e.csv");
    assert_eq!(table[0], ["image", "file", "row", "class", "predicted"]);
    for (class, row) in table[1..].iter().enumerate() {
        let of = [class.to_string(), name("test", class), String::new(), class.to_string()];
        assert_eq!(row[..], [&of[..], &[classes[class].to_string()]].concat());
    }
    let features = ["features", "softhebb-digits", "--data-dir", "some", "--quiet"];
    printed(at, &[&features[..], &["--table", "f.csv"]].concat());
    let table = rows("f.csv");
    assert_eq!((table.len(), &table[0][..2]), (21, &["split", "image"].map(str::to_string)[..]));
    assert_eq!(table[4][..3], ["train".to_string(), "3".to_string(), name("train", 3)]);
    assert_eq!(table[20], ["test", "9", &name("test", 9), "", "9"].map(str::to_string));

    let colour = image::RgbImage::new(8, 8);
    colour.save(at.join("colour.png")).unwrap();
    let of_colour = ["predict", "softhebb-digits", "some", "colour.png"];
    refused(at, &of_colour, &["colour.png", "found colour", "expected grey"]);
    refused(at, &["predict", "softhebb-digits", "none.png"], &["none.png"]);
    let table = [&predict[..4], &["--table", "nowhere/p.csv"]].concat();
    refused(at, &table, &["--table", "no folder nowhere"]);
    // No picture that is read is replaced.
    let picture = name("test", 3);
    for (command, flag) in
        [(&predict[..4], "--table"), (&eval[..5], "--table"), (&features[..], "--to")]
    {
        let args = [command, &[flag, picture.as_str()]].concat();
        refused(at, &args, &[flag, picture.as_str(), "is one of the pictures"]);
    }
}

/// Networks whose images cannot be had by name alone are marked in the list: of SoftHebb's, the 3 for ImageNet are, the
/// 12 for ImageNette are not.
#[test]
fn the_list_says_what_needs_images() {
    let folder = tempfile::tempdir().unwrap();
    let list = printed(folder.path(), &["list", "softhebb"]);
    let (without, with): (Vec<&str>, Vec<&str>) =
        list.lines().partition(|line| line.contains("HF_TOKEN; or --data-dir FOLDER)"));
    assert_eq!(without.len(), 3, "{list}");
    assert!(without.iter().all(|line| line.contains("  imagenet: ")), "{list}");
    assert_eq!(with.iter().filter(|line| line.contains("  imagenette: ")).count(), 12, "{list}");
    assert_eq!(with.iter().filter(|line| line.contains("  stl10: ")).count(), 4, "{list}");
    let at = with.iter().position(|line| line.starts_with("  softhebb-cnn3-cifar ")).expect(&list);
    // Below the network stands what the record has of it.
    let known = with[at + 1];
    let record =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/softhebb/record/cifar10.json");
    let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    let mut jobs = record["jobs"].as_array().unwrap().iter();
    let job = jobs.find(|job| job["name"] == "softhebb-3").unwrap();
    let ours = |of| 100.0 * job["claims"][0]["ours"][of].as_f64().unwrap();
    let numbers = format!(" {:.2} ± {:.2} %; ", ours("mean"), ours("sd"));
    assert!(known.contains("cifar10: ") && known.contains(&numbers), "{known}");
    let minutes =
        known.rsplit_once("; ").and_then(|(_, time)| time.strip_suffix(" min on two cores"));
    let minutes: f64 = minutes.expect(known).parse().unwrap();
    assert!((minutes - job["minutes"]["cpu"].as_f64().unwrap()).abs() <= 0.5, "{known}");
}

/// A run without steps says which weights are read out.
#[test]
fn weights_that_were_loaded_are_not_called_random() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let train = ["train", "krotov-hopfield", "--epochs", "0", "--head-epochs", "1", "--quiet"];
    let fresh = printed(at, &[&train[..], &["--out", "fresh"]].concat());
    assert!(fresh.contains("nothing was learned: the weights are random\n"), "{fresh}");
    let loaded = printed(at, &[&train[..], &["--load", "fresh", "--out", "loaded"]].concat());
    assert!(loaded.contains("nothing was learned: the weights are those of --load\n"), "{loaded}");
    // K-means never takes steps: its centroids are not random.
    let k_means = printed(at, &["train", "k-means", "--quiet", "--out", "k-means"]);
    assert!(!k_means.contains("nothing was learned"), "{k_means}");
}

/// A run that starts from another one keeps its seed, which drew the test images that the weights have not learned, and
/// does not replace it.
#[test]
fn a_run_starts_from_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let train = ["train", "krotov-hopfield", "--epochs", "1", "--head-epochs", "1", "--quiet"];
    printed(at, &[&train[..], &["--seed", "3"]].concat());
    let first = "runs/krotov-hopfield/krotov-hopfield-digits/digits-seed-3";
    let seed = |run: &str| {
        let config = std::fs::read(at.join(run).join("config.json")).unwrap();
        serde_json::from_slice::<Value>(&config).unwrap()["seed"].clone()
    };
    assert_eq!(seed(first), 3);

    let before = std::fs::read(at.join(first).join("model.safetensors")).unwrap();
    for load in [first.to_string(), format!("{first}/model.safetensors")] {
        let again = [&train[..], &["--load", &load, "--seed", "3"]].concat();
        refused(at, &again, &["digits-seed-3", "replace", "--out"]);
    }
    refused(at, &[&train[..], &["--load", first]].concat(), &["digits-seed-3", "--out"]);
    assert!(std::fs::read(at.join(first).join("model.safetensors")).unwrap() == before);

    printed(at, &[&train[..], &["--load", first, "--out", "own"]].concat());
    assert_eq!(seed("own"), 3);
    printed(at, &[&train[..], &["--load", first, "--out", "other", "--seed", "4"]].concat());
    assert_eq!(seed("other"), 4);
}

#[test]
fn completions_and_reference_vectors() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(folder.path(), &["completions", shell]);
        assert!(script.contains("hebbian") && script.contains("features"), "{shell}");
    }
    assert!(printed(folder.path(), &["verify"]).contains("cases passed on device cpu"));
}

#[test]
fn what_it_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    refused(at, &["eval", "nowhere"], &["no folder nowhere", "softhebb-digits"]);
    refused(at, &["train", "perceptron"], &["perceptron", "hebbian train"]);
    refused(at, &["train", "golkar", "--mode", "successive"], &["--mode"]);
    refused(
        at,
        &["train", "softhebb", "--preset", "softhebb-cnn1-imagenet", "--offline"],
        &["imagenet", "--data-dir FOLDER", "offline"],
    );
    refused(at, &["study", "golkar", "--units", "3"], &["hebbian train golkar", "--experiment"]);
    refused(at, &["study", "softhebb"], &["hebbian train softhebb", "--experiment"]);
    refused(at, &["study", "k-means"], &["no experiments", "hebbian train k-means"]);
    refused(at, &["pull", "someone/nothing", "--offline"], &["someone/nothing", "offline"]);
    let whole = "expected a whole number, 0 or more";
    refused(at, &["train", "softhebb", "--epochs", "-1"], &["'-1'", "--epochs", whole]);
    refused(at, &["train", "softhebb", "--seed", "1e3"], &["'1e3'", "--seed", whole]);
    refused(at, &["features", "softhebb-digits", "--layer", "0"], &["--layer", "1 or more"]);
    refused(at, &["analyse", "softhebb-digits", "--noise", "x"], &["--noise", "expected a number"]);
    refused(at, &["analyse", "softhebb-digits", "--near", "-1"], &["--near has -1"]);
    refused(at, &["reproduce", "--budget", "-1"], &["--budget is -1", "above 0"]);
    refused(at, &["reproduce", "--check-tables"], &[". is not the folder of the project"]);
    refused(at, &["data", "--test-share", "0.5"], &["--test-share", "images of one's own"]);
    refused(at, &["data", "--image-size", "0"], &["error: the images of digits: an image size"]);
    assert_eq!(std::fs::read_dir(at).unwrap().count(), 0);
}

/// Messages are the same where a library would add a stack trace to its own.
#[test]
fn messages_have_no_stack_trace() {
    let program = Path::new(env!("CARGO_BIN_EXE_hebbian"));
    for (protocol, says) in [("x", "unknown protocol \"x\""), ("partial:2", "2")] {
        let mut command = Command::new(program);
        command.args(["train", "amit", "--protocol", protocol]).env("RUST_BACKTRACE", "1");
        let output = command.output().expect("the program starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(says) && !errors.contains("   0: "), "{errors}");
    }
}

#[test]
fn a_number_of_threads_is_a_number() {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_hebbian")));
    command.args(["eval", "softhebb-digits"]).env("RAYON_NUM_THREADS", "two");
    let output = command.output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("RAYON_NUM_THREADS is \"two\", expected a number"), "{errors}");
}

/// GHL's rule beside its controls: an arm for each, all seeds, and means that are those of the runs.
#[test]
fn a_study_of_ghl_s_rule_and_its_controls() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let study = ["study", "ghl", "--experiment", "rules", "--quiet", "--out", "out"];
    let tiny = ["--seeds", "2", "--epochs", "2", "--limit-train", "100", "--limit-test", "50"];
    let said = printed(at, &[&study[..], &tiny[..]].concat());
    let table = std::fs::read_to_string(at.join("out/table.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 4 * 2, "{table}");
    let mut weights = Vec::new();
    for arm in ["ghl", "sign-only", "bp", "frozen"] {
        let runs = [0, 1].map(|seed| at.join(format!("out/{arm}/seed-{seed}")));
        let [a, b] = runs
            .each_ref()
            .map(|run| 100.0 * RunFolder::results(run).unwrap().unwrap().test_accuracy);
        // The standard deviation of two values is their distance over √2.
        let spread = format!("{:.2} ± {:.2}", (a + b) / 2.0, (a - b).abs() / 2f64.sqrt());
        let line = said.lines().find(|line| line.starts_with(&format!("{arm} ")));
        assert!(line.is_some_and(|line| line.contains(&spread)), "{arm}, {spread}: {said}");
        weights.push(std::fs::read(runs[0].join("model.safetensors")).unwrap());
    }
    assert!((0..4).all(|a| (0..a).all(|b| weights[a] != weights[b])), "arms that are the same");
    assert!(at.join("out/figure.png").exists() && at.join("out/report.html").exists());

    // Training several networks at a time gives the same networks.
    let three = ["--parallel", "3", "--out", "three"];
    printed(at, &[&study[..5], &tiny[..], &three[..]].concat());
    let same = |file: &str| {
        let [one, three] = ["out", "three"].map(|out| std::fs::read(at.join(out).join(file)));
        assert!(one.unwrap() == three.unwrap(), "{file}");
    };
    same("table.csv");
    ["ghl", "sign-only", "bp", "frozen"].iter().for_each(|arm| {
        [0, 1].iter().for_each(|s| same(&format!("{arm}/seed-{s}/model.safetensors")))
    });

    refused(at, &["train", "ghl", "--parallel", "2"], &["--parallel", "one network"]);
    refused(at, &["study", "ghl"], &["hebbian train ghl", "--experiment"]);
    refused(at, &["study", "ghl", "--experiment", "rules", "--size", "1"], &["--size"]);
    refused(at, &["train", "ghl", "--seeds", "2"], &["--experiment"]);
    refused(at, &["study", "ghl", "--experiment", "rules", "--seeds", "0"], &["rules", "0 seeds"]);
}

/// Ten thousand steps need no more memory than a tenth of them. A layer's activity for one batch is 2.5 kB (Golkar,
/// where each sample counts as a step) to 60 kB; kept from every step, it would take 90 MB or more.
#[test]
fn memory_does_not_grow_with_the_steps() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (method, preset, few, many) in [
        ("softhebb", "softhebb-cnn-digits", "4", "35"),
        ("amit", "amit-digits", "16", "155"),
        ("golkar", "golkar-digits", "30", "300"),
    ] {
        let trained = |epochs: &str| {
            let out = format!("{method}-{epochs}");
            let train = ["train", method, "--preset", preset, "--quiet", "--device", "cpu"];
            printed(at, &[&train[..], &["--epochs", epochs, "--out", &out]].concat());
            RunFolder::results(at.join(out)).unwrap().unwrap()
        };
        let (few, many) = (trained(few), trained(many));
        assert!(many.training_steps >= 10_000, "{method}: {}", many.training_steps);
        // Only Linux reports it.
        if let (Some(few), Some(many)) = (few.peak_memory_bytes, many.peak_memory_bytes) {
            assert!(many < few + (64 << 20), "{method}: {few} bytes, then {many}");
        }
    }
}

/// The numbers fit each other: images per second follow from the time of a step.
#[test]
fn a_benchmark_of_one_op_and_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let names = printed(at, &["bench", "--list"]);
    assert!(names.lines().any(|name| name == "softhebb-cnn3-cifar/step/10"), "{names}");
    printed(
        at,
        &[
            "bench",
            "golkar-mnist/predict",
            "dropout",
            "--seconds",
            "0.01",
            "--threads",
            "1",
            "--quiet",
            "--json",
            "b.json",
        ],
    );
    let text = std::fs::read_to_string(at.join("b.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let number = |row: usize, name: &str| rows[row][name].as_f64().unwrap();
    assert_eq!([&rows[0]["name"], &rows[1]["name"]], ["golkar-mnist/predict/100", "op/dropout/64"]);
    for (row, images) in [(0, 100.0), (1, 64.0)] {
        assert_eq!(rows[row]["threads"], 1);
        assert!(number(row, "rounds") >= 5.0 && number(row, "milliseconds") > 0.0);
        let speed = images * 1e3 / number(row, "milliseconds");
        assert!((number(row, "images_per_second") - speed).abs() < 1e-6 * speed);
    }
    // 100 images: 784 inputs for 64 units, 64 for 10 classes.
    let operations = 2.0 * 100.0 * (784.0 * 64.0 + 64.0 * 10.0);
    let speed = operations / (number(0, "milliseconds") * 1e6);
    assert!((number(0, "gflops_per_second") - speed).abs() < 1e-6 * speed);
    assert!(rows[0]["products_milliseconds"]["gemm"].as_f64().unwrap() > 0.0);
    assert!(number(0, "share_of_best") > 0.0);
    // An op without products has no share of their speed.
    assert!(rows[1]["share_of_best"].is_null() && rows[1]["gflops_per_second"].is_null());
    refused(at, &["bench", "no-such-thing"], &["no-such-thing", "--list"]);
    refused(at, &["bench", "dropout", "no-such-thing", "--list"], &["contains no-such-thing:"]);
    refused(at, &["bench", "dropout", "--threads", "0"], &["--threads is 0"]);
    refused(at, &["bench", "dropout", "--seconds", "0"], &["--seconds is 0", "above 0"]);
}

/// The digits have 1,442 and 355 images, and a mean of 4.88 of 16 levels of ink.
#[test]
fn a_data_set_is_told_of_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let plain = printed(at, &["data"]);
    for says in
        ["digits: 10 classes, 1442 training images and 355 test images of 1 x 8 x 8", "mean 0.30"]
    {
        assert!(plain.contains(says), "{says}: {plain}");
    }
    let held_out = printed(at, &["data", "--validation", "0.5"]);
    assert!(held_out.contains(" validation images of 1 x 8 x 8"), "{held_out}");
    assert!(!held_out.contains("test"), "{held_out}");
    assert!(!at.join("preview.png").exists());
    let seen = ["--transform", "resize=12,zca=0.1", "--augment", "random-crop:padding=2,flip"];
    let drawn = printed(at, &[&["data", "--quiet", "--preview"], &seen[..]].concat());
    for says in
        ["1 x 12 x 12", "resize=12,zca=0.1", "random-crop:padding=2,flip", "wrote preview.png"]
    {
        assert!(drawn.contains(says), "{says}: {drawn}");
    }
    let one = image::open(at.join("preview.png")).unwrap().to_rgb8();
    let colours: std::collections::BTreeSet<_> = one.pixels().map(|pixel| pixel.0).collect();
    assert!(colours.len() > 50 && one.width() > 300 && one.height() > 500);
    let again = ["data", "--quiet", "--preview", "again.png"];
    printed(at, &[&again, &seen[..]].concat());
    assert_eq!(image::open(at.join("again.png")).unwrap().to_rgb8(), one, "the seed decides");
    refused(at, &["data", "--transform", "gray"], &["gray", "expected one of resize"]);
    refused(at, &["data", "--augment", "zca"], &["zca", "fitted"]);
    refused(at, &["data", "--preview", "."], &["--preview .", "folder"]);
    for size in ["0", "4294967296"] {
        refused(at, &["data", "--image-size", size], &["an image size of", size, "1 to 16384"]);
    }
    let many = "18446744073709551615";
    let study = ["study", "amit", "--experiment", "protocols", "--seeds", many];
    refused(at, &study, &[many, "seeds", "100000 or fewer"]);
    // What is written at the end is found out at the beginning.
    let nowhere = "nowhere/file";
    for args in [
        &["data", "--preview", nowhere][..],
        &["features", "softhebb-digits", "--to", nowhere],
        &["report", "softhebb-digits", "--to", nowhere],
        &["train", "krotov-hopfield", "--save", nowhere],
    ] {
        refused(at, args, &[nowhere, "there is no folder nowhere"]);
    }
    #[cfg(target_os = "linux")]
    refused(at, &["train", "krotov-hopfield", "--save", "/proc/file"], &["no file can be made"]);
    assert!(!at.join("runs").exists());
}

/// In the folder that is the default, a complete run with other settings is not replaced unless the folder is named.
#[test]
fn a_complete_run_with_other_settings_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let short = |more: &[&str]| {
        let own = ["train", "krotov-hopfield", "--epochs", "1", "--head-epochs", "1", "--quiet"];
        [&own[..], more].concat().into_iter().map(String::from).collect::<Vec<_>>()
    };
    let run = |more: &[&str]| {
        let args = short(more);
        hebbian(at, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(run(&[]).status.success());
    let out = "runs/krotov-hopfield/krotov-hopfield-digits/digits-seed-0";
    let model = || std::fs::read(at.join(out).join("model.safetensors")).unwrap();
    let first = model();
    // The same run again, and another seed, are no loss.
    assert!(run(&[]).status.success() && run(&["--seed", "1"]).status.success());
    assert_eq!(model(), first);
    for (more, says) in [
        (&["--units", "7"][..], "preset.units"),
        (&["--rank", "7"], "preset.competition.k: 2 there, 7 here"),
        (&["--labelled", "50"], "labelled: none there, 50 here"),
        (&["--limit-train", "500"], "images.limit_train"),
    ] {
        let output = run(more);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("--out") && errors.contains(says), "{says} in {errors}");
        assert_eq!(model(), first);
    }
    assert!(run(&["--units", "7", "--out", out]).status.success());
    assert_ne!(model(), first);
    // Two folders of one name, with as many images.
    let mut noise = candle_hebbian::Rng::new(1);
    for (parent, refused) in [("here", false), ("there", true), ("here", false)] {
        let images = format!("{parent}/images");
        if !at.join(&images).exists() {
            noises(&mut noise, &at.join(&images), 5);
        }
        let output = run(&["--data-dir", &images]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), !refused, "{images}: {errors}");
        assert_eq!(errors.contains("on other images"), refused, "{images}: {errors}");
    }
}

/// Writes `count` pictures of noise for each of three classes.
fn noises(noise: &mut candle_hebbian::Rng, to: &Path, count: usize) {
    for class in ["a", "b", "c"] {
        let of_class = to.join(class);
        std::fs::create_dir_all(&of_class).unwrap();
        for index in 0..count {
            let picture =
                image::GrayImage::from_fn(8, 8, |_, _| image::Luma([noise.below(256) as u8]));
            picture.save(of_class.join(format!("{index}.png"))).unwrap();
        }
    }
}

/// A run is evaluated as it was trained, also by `train --load RUN --eval-only` without its flags.
#[test]
fn a_run_is_evaluated_with_its_own_settings() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let train = ["train", "krotov-hopfield", "--epochs", "1", "--head-epochs", "5", "--quiet"];
    let own = ["--transform", "standardise-image", "--units", "30", "--out", "a"];
    printed(at, &[&train[..], &own].concat());
    let Results { test_accuracy, .. } = RunFolder::results(at.join("a")).unwrap().unwrap();
    let line = format!("test accuracy {:.2} %\n", 100.0 * test_accuracy);
    let again = ["train", "krotov-hopfield", "--load", "a", "--eval-only", "--quiet"];
    assert_eq!(printed(at, &again), line);
    let evaluated = printed(at, &["eval", "a", "--quiet"]);
    assert!(evaluated.starts_with(&format!("{line}355 test images\n")), "{evaluated}");
    // A preset that is named sees the images as the run saw them.
    let named = [&again[..], &["--preset", "krotov-hopfield-digits", "--units", "30"]].concat();
    assert_eq!(printed(at, &named), line);

    // Flags change what the run has: another read-out is fitted to the same layers.
    let train = ["train", "miconi", "--preset", "miconi-digits", "--epochs", "1", "--quiet"];
    let accuracy = |out: &str, flags: &[&str]| {
        printed(at, &[&train[..], flags, &["--out", out]].concat());
        RunFolder::results(at.join(out)).unwrap().unwrap().test_accuracy
    };
    let (ridge, knn) = (accuracy("ridge", &[]), accuracy("knn", &["--readout", "knn"]));
    assert_ne!(ridge, knn);
    let evaluate = ["train", "miconi", "--eval-only", "--quiet"];
    for (load, flags, accuracy) in [
        ("ridge", &[][..], ridge),
        ("knn", &[], knn),
        ("ridge", &["--readout", "knn"], knn),
        ("knn", &["--readout", "ridge"], ridge),
    ] {
        let said = printed(at, &[&evaluate[..], &["--load", load], flags].concat());
        let line = format!("test accuracy {:.2} %\n", 100.0 * accuracy);
        assert!(said.starts_with(&line), "{load} {flags:?}: {line} in {said}");
    }
    // Networks that were whitened differently can be read out in the same way.
    let author = ["--preset", "miconi-digits", "--author", "--load", "ridge"];
    assert!(printed(at, &[&evaluate[..], &author].concat()).starts_with("test accuracy "));
}

/// Another seed than that of the run which is loaded draws other images to be tested, some of which the run has
/// learned.
#[test]
fn another_seed_draws_other_images() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    noises(&mut candle_hebbian::Rng::new(1), &at.join("noise"), 10);
    let train = ["train", "krotov-hopfield", "--epochs", "1", "--head-epochs", "1"];
    let noise = ["--preset", "krotov-hopfield-digits", "--data-dir", "noise"];
    let told = |flags: &[&str]| {
        let output = hebbian(at, &[&train[..], flags].concat());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{errors}");
        errors.contains("the run of --load has the seed 3")
    };
    assert!(!told(&[&noise[..], &["--seed", "3", "--out", "a"]].concat()));
    let loads = ["--load", "a", "--out"];
    assert!(!told(&[&noise[..], &loads, &["b"]].concat()));
    assert!(!told(&[&noise[..], &loads, &["c", "--seed", "3"]].concat()));
    assert!(told(&[&noise[..], &loads, &["d", "--seed", "4"]].concat()));
    // The digits have test images of their own.
    assert!(!told(&["--seed", "3", "--out", "e"]));
    assert!(!told(&["--load", "e", "--seed", "4", "--out", "f"]));
}

/// What a run would lose, or could not write, is found out before it begins; and a model of a run that was stopped says
/// so.
#[test]
fn a_run_does_not_harm_itself() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let train = ["train", "krotov-hopfield", "--epochs", "1", "--head-epochs", "1", "--quiet"];
    let with = |more: &[&'static str]| [&train[..], more].concat();
    printed(at, &with(&["--out", "a"]));
    for load in ["a", "a/model.safetensors"] {
        let words = ["replace the one that it starts from", "another folder with --out"];
        refused(at, &with(&["--load", load, "--out", "a"]), &words);
    }
    refused(at, &with(&["--load", "a", "--out", "a", "--resume"]), &["leave out --load"]);
    for out in ["a", "new"] {
        let save = format!("{out}/config.json");
        let own = [&train[..], &["--out", out, "--save", &save]].concat();
        std::fs::create_dir_all(at.join("new")).unwrap();
        refused(at, &own, &["--save", "the run writes itself"]);
    }
    let loads = with(&["--load", "a", "--out", "new", "--save", "a/model.safetensors"]);
    refused(at, &loads, &["a file of the run that this one starts from"]);
    refused(at, &["report", "a", "--to", "a/config.json"], &["a file of the run in a"]);
    let here = [&train[..], &["--out", ".", "--save", "config.json"]].concat();
    refused(&at.join("new"), &here, &["--save config.json", "the run writes itself"]);
    // What no run writes is not in the way, and neither is a run in a folder below.
    printed(at, &with(&["--out", "b", "--load", "a", "--save", "a/final.safetensors"]));
    printed(&at.join("new"), &with(&["--out", ".", "--load", "../a"]));
    printed(at, &with(&["--out", "c", "--load", "a/final.safetensors"]));
    printed(at, &with(&["--out", "a", "--load", "b"]));
    std::fs::write(at.join("file"), "").unwrap();
    refused(at, &with(&["--out", "file"]), &["--out file", "is a file"]);
    refused(at, &["features", "a", "--to", "a/results.json", "--quiet"], &["a file of the model"]);
    let run = at.join("a");
    refused(&run, &["features", ".", "--to", "model.safetensors"], &["a file of the model"]);
    for command in ["features", "eval"] {
        refused(
            at,
            &[command, "a", "--table", "a/config.json"],
            &["--table", "a file of the model"],
        );
    }
    for table in ["f.csv", "./f.csv", "b/../f.csv"] {
        let twice = ["features", "a", "--to", "f.csv", "--table", table];
        refused(at, &twice, &["--to and --table are both f.csv"]);
    }
    for _ in 0..2 {
        printed(at, &["features", "a", "--to", "a/features.safetensors", "--quiet"]);
    }

    let told = || String::from_utf8(hebbian(at, &["eval", "a"]).stderr).unwrap();
    assert!(!told().contains("has not ended"));
    std::fs::remove_file(at.join("a/results.json")).unwrap();
    assert!(told().contains("the run in a has not ended"), "{}", told());
}

/// Flags that would have no effect are refused.
#[test]
fn flags_without_effect_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copies = ["analyse", "softhebb-digits", "--augmented-copies", "2"];
    refused(folder.path(), &copies, &["--augmented-copies 2", "--augment"]);
    for (command, says) in [
        ("softhebb --augmented-copies 2", ["--augmented-copies 2", "--augment"]),
        ("softhebb --preset backprop-cnn1-cifar --epochs 2", ["--epochs 2", "--head-epochs"]),
        (
            "softhebb --preset backprop-cnn1-cifar --batch-size 5",
            ["--batch-size 5", "--head-epochs"],
        ),
        (
            "softhebb --preset backprop-cnn1-cifar --mode successive",
            ["--mode", "back-propagation, all layers at once"],
        ),
        (
            "softhebb --preset backprop-cnn1-cifar --augment flip --augmented-copies 2",
            ["--augmented-copies 2", "back-propagation"],
        ),
        ("golkar --backprop --level 2", ["--level", "without one"]),
        ("golkar --backprop --way energy", ["--way", "without one"]),
        ("golkar --backprop --decoupled", ["--decoupled", "without one"]),
        ("miconi --freeze --learning-rate-factor 2", ["--learning-rate-factor 2", "--freeze"]),
        ("miconi --freeze --rule oja", ["--rule oja", "--freeze"]),
    ] {
        let words: Vec<&str> = ["train"].into_iter().chain(command.split(' ')).collect();
        refused(folder.path(), &words, &says);
        assert!(!folder.path().join("runs").exists(), "{command}");
    }
    for study in ["amit --experiment fig12", "golkar --experiment spectrum"] {
        let words = ["study"].into_iter().chain(study.split(' ')).chain(["--parallel", "2"]);
        let words: Vec<&str> = words.collect();
        refused(folder.path(), &words, &["one after the other", "--parallel 2"]);
    }
}

/// Images that were drawn for testing are drawn again when a checkpoint is evaluated, whether its folder is named or a
/// file in it: the pictures are noise, of which nothing can be recognised but what was learned.
#[test]
fn learned_images_are_not_tested() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    noises(&mut candle_hebbian::Rng::new(1), &at.join("noise"), 40);
    let of = ["krotov-hopfield", "--preset", "krotov-hopfield-digits", "--data-dir", "noise"];
    let train = [&["train"], &of[..], &["--quiet"]].concat();
    let own = ["--epochs", "1", "--head-epochs", "200", "--test-share", "0.3", "--seed", "3"];
    printed(at, &[&train[..], &own, &["--out", "run"]].concat());
    let Results { test_accuracy, .. } = RunFolder::results(at.join("run")).unwrap().unwrap();
    assert!(test_accuracy < 0.6, "{test_accuracy}");
    let line = format!("test accuracy {:.2} %\n", 100.0 * test_accuracy);
    for load in ["run", "run/model.safetensors"] {
        let again = printed(at, &[&train[..], &["--load", load, "--eval-only"]].concat());
        assert_eq!(again, line, "{load}");
    }
    let eval = ["eval", "run", "--data-dir", "noise", "--quiet"];
    assert!(printed(at, &eval).starts_with(&(line + "36 test images\n")));
    // What is given counts, also if it is the default.
    let usual = printed(at, &[&eval[..], &["--test-share", "0.2"]].concat());
    assert!(usual.contains("\n24 test images\n"), "{usual}");
    let file = ["eval", "run/model.safetensors", "--data-dir", "noise"];
    refused(at, &file, &["run/model.safetensors is a file", "the folder of a run"]);
}

/// A run that held images out is evaluated on them, unless the test images are asked for; and a set without test images
/// has no accuracy.
#[test]
fn images_that_were_held_out_are_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let train = ["train", "krotov-hopfield", "--epochs", "1", "--head-epochs", "5", "--quiet"];
    printed(at, &[&train[..], &["--validation", "0.1", "--out", "a"]].concat());
    let results = RunFolder::results(at.join("a")).unwrap().unwrap();
    let line = format!("validation accuracy {:.2} %\n", 100.0 * results.test_accuracy);
    let config = RunFolder::config(at.join("a")).unwrap().unwrap();
    let images = format!("{} validation images\n", config["test_images"]);
    let said = printed(at, &["eval", "a", "--quiet"]);
    assert!(said.starts_with(&(line + &images)), "{said}");
    let said = printed(at, &["eval", "a", "--quiet", "--validation", "0"]);
    assert!(said.starts_with("test accuracy") && said.contains("\n355 test images\n"), "{said}");
    refused(at, &["eval", "a", "--limit-train", "5"], &["--limit-train", "eval learns from none"]);
    // Of a larger share, the run has learned some images.
    let load = [&train[..6], &["--load", "a", "--out", "b"]].concat();
    for (share, is_told) in [("0.1", false), ("0.05", false), ("0.2", true)] {
        for command in [&["eval", "a"][..], &load] {
            let output = hebbian(at, &[command, &["--validation", share]].concat());
            let errors = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{errors}");
            let note =
                format!("that --validation {share} holds out: its run held out a share of 0.1");
            assert_eq!(errors.contains(&note), is_told, "{command:?} {share}: {errors}");
        }
    }

    std::fs::create_dir_all(at.join("one/3")).unwrap();
    image::GrayImage::new(8, 8).save(at.join("one/3/0.png")).unwrap();
    refused(at, &["eval", "a", "--data-dir", "one", "--quiet"], &["one", "no test images"]);
    let model = ["features", "a", "--to", "a/model.safetensors", "--quiet"];
    refused(at, &model, &["a/model.safetensors", "a file of the model"]);
}

/// Folders of images that are of no use, or that have the name of a known set.
#[test]
fn folders_that_are_not_what_they_seem() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    noises(&mut candle_hebbian::Rng::new(1), &at.join("mnist"), 2);
    let says = ["the name of the set mnist", "another name with --dataset"];
    refused(at, &["data", "--data-dir", "mnist"], &says);
    let depth = ["study", "amit", "--experiment", "depth", "--data-dir", "mnist"];
    refused(at, &depth, &["depth makes its own data", "--data-dir"]);
    let size = ["study", "amit", "--experiment", "depth", "--image-size", "12"];
    refused(at, &size, &["depth makes its own data", "--image-size"]);
}

/// What is written at the end is found out at the beginning.
#[test]
fn files_that_cannot_be_written_are_found_out_first() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let no_folder = ["--json", "nowhere/b.json"];
    refused(
        at,
        &[&["bench", "op/tied-layer"], &no_folder[..]].concat(),
        &["--json", "no folder nowhere"],
    );
    refused(at, &[&["verify"], &no_folder[..]].concat(), &["--json", "no folder nowhere"]);
    std::fs::write(at.join("taken"), "").unwrap();
    let analyse = ["analyse", "softhebb-digits", "--only", "radii", "--out"];
    refused(at, &[&analyse[..], &["taken"]].concat(), &["--out taken", "is a file"]);
    refused(
        at,
        &[&analyse[..], &["taken/more"]].concat(),
        &["--out taken/more", "taken is a file"],
    );
}
