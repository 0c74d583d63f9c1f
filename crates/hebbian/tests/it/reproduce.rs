//! The record: its tables are in the texts, and its commands reproduce its numbers.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn reproduce(folder: &Path, args: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_hebbian"));
    let args = [&["reproduce", "--cpu"], args].concat();
    Command::new(program).args(args).current_dir(folder).output().expect("the program starts")
}

/// The root of this project.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files of a project that hold its record, without results.
fn copy_of_the_record(to: &Path) {
    for method in std::fs::read_dir(project().join("models")).unwrap() {
        let record = method.unwrap().path().join("record");
        let Ok(files) = std::fs::read_dir(&record) else { continue };
        let name = record.parent().unwrap().file_name().unwrap();
        let folder = to.join("models").join(name).join("record");
        std::fs::create_dir_all(&folder).unwrap();
        for file in files.map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
            std::fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
        }
    }
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Changes a file of JSON.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = json_of(path);
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn tables_are_as_the_record_says() {
    let project = project();
    let output = reproduce(&project, &["--check-tables"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "hebbian reproduce --write-tables has to be run: {errors}");
}

#[test]
fn every_job_is_listed_with_its_command() {
    let folder = tempfile::tempdir().unwrap();
    let output = reproduce(folder.path(), &["--list", "--only", "patches/digits"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let command = "hebbian train patches --preset patches-digits --dataset digits --frame pixel\n";
    assert!(text.contains("patches/digits/code") && text.contains(command), "{text}");
    // With the time, the class of the method and the read-out.
    let (_, after) = text.split_once(command).unwrap();
    let price = after.lines().next().unwrap();
    assert!(price.contains("cpu: ") && price.contains("each --seed; no learning, "), "{price}");
    assert!(!text.contains("softhebb"), "{text}");
    // Each name has to be that of a job, or in one.
    let no_job = "--only nothing like it: no job has that in its name";
    for (args, says) in [
        (&["--only", "nothing like it"][..], no_job),
        (&["--list", "--only", "patches/digits", "--only", "nothing like it"], no_job),
        (&["--list", "--budget", "0"], "--budget is 0, expected minutes above 0"),
        (&["--list", "--budget", "NaN"], "--budget is NaN, expected minutes above 0"),
        (&["--list", "--budget", "0.000001"], "no job with a known time on cpu is as short"),
    ] {
        let output = reproduce(folder.path(), args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
}

/// A run does not outlive the program that waits for it, even if that one is killed: it saves and ends.
#[test]
fn runs_end_with_the_program_that_started_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    copy_of_the_record(at);
    let file = at.join("models/krotov_hopfield/record/digits.json");
    edit(&file, |record| {
        record["jobs"][0]["flags"] = json!(["--epochs", "100000"]);
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_hebbian"));
    command.args(["reproduce", "--cpu", "--only", "krotov-hopfield/digits/learned", "--keep"]);
    let mut program = command.current_dir(at).stderr(Stdio::piped()).spawn().unwrap();
    let run = at.join("runs/record/krotov-hopfield/digits/learned/seed-0");
    let begun = Instant::now();
    // The state is first saved before the first step, when the run already stops if it is asked to.
    while !run.join("state.safetensors").exists() {
        if begun.elapsed() > Duration::from_secs(60) {
            program.kill().unwrap();
            panic!("no run begins");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    program.kill().unwrap();
    // The run has the same stderr, which is closed when both have ended.
    let said = program.wait_with_output().unwrap().stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("continue with --resume"), "{said}");
    assert!(!run.join("results.json").exists());
}

/// A number in its interval holds; one outside does not, and is not kept; a complete run is read instead of repeated.
#[test]
fn numbers_hold_or_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    copy_of_the_record(at);
    let file = at.join("models/patches/record/digits.json");
    let kept = at.join("models/patches/record/results/digits/code/seed-0.json");
    let results = at.join("runs/record/patches/digits/code/seed-0/results.json");
    let written = || std::fs::metadata(&results).unwrap().modified().unwrap();
    // One seed. Another job, whose name begins like this one's, is not meant.
    let run = |interval: Value| {
        edit(&file, |record| {
            let job = &mut record["jobs"][0];
            (job["seeds"], job["minutes"]) = (json!([0]), json!({"cpu": 0.05}));
            let claim = &mut job["claims"][0];
            (claim["interval"], claim["ours"]) = (interval, Value::Null);
        });
        let output = reproduce(at, &["--only", "patches/digits/code", "--quiet", "--keep"]);
        let both = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(both).unwrap())
    };
    let (status, said) = run(json!([0.1, 0.2]));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("does not hold") && !said.contains("all of them hold"), "{said}");
    assert!(said.contains("do not hold: 1; jobs that did not run: 0"), "{said}");
    assert!(!said.contains("code-soft"), "{said}");
    assert!(!kept.exists() && json_of(&file)["jobs"][0]["claims"][0]["ours"].is_null());
    let first = written();

    let (status, said) = run(json!([0.5, 1.0]));
    assert!(status == Some(0) && said.contains("all of them hold"), "{said}");
    assert_eq!(written(), first);

    // A run of another version is no proof for this one.
    let config = results.with_file_name("config.json");
    edit(&config, |config| config["version"] = json!("0.0.1"));
    assert_eq!(run(json!([0.5, 1.0])).0, Some(0));
    assert_ne!(written(), first);
    assert_ne!(json_of(&config)["version"], "0.0.1");

    // In five minutes there is time for three seconds, but not for five minutes more, and none for a job whose time is
    // not known.
    edit(&file, |record| {
        let jobs = record["jobs"].as_array_mut().unwrap();
        for (job, minutes) in jobs.iter_mut().zip([json!({"cpu": 0.05}), json!({"cpu": 5})]) {
            job["minutes"] = minutes;
        }
        jobs[2]["minutes"] = json!({});
    });
    let list = ["--list", "--only", "patches/digits/", "--budget", "5", "--keep"];
    let list = String::from_utf8(reproduce(at, &list).stdout).unwrap();
    let listed = |job: &str| list.contains(&format!("patches/digits/{job} "));
    assert!(listed("code") && !listed("pixel") && !listed("code-soft"), "{list}");

    // Kept are the number, its interval if there was none, and the results.
    assert_eq!(run(Value::Null).0, Some(0));
    let accuracy = json_of(&results)["test_accuracy"].as_f64().unwrap();
    let claim = json_of(&file)["jobs"][0]["claims"][0].clone();
    assert_eq!(
        claim["ours"],
        json!({"mean": accuracy, "sd": null, "median": accuracy, "count": 1})
    );
    // A share of one seed has to be met within a percentage point.
    assert!((claim["interval"][0].as_f64().unwrap() - (accuracy - 0.01)).abs() < 1e-9);
    assert_eq!(json_of(&kept)["results"]["test_accuracy"], json!(accuracy));
    // They name the program that computed the run, with its commit.
    assert_eq!(json_of(&kept)["version"], json_of(&config)["version"]);
    let version = json_of(&config)["version"].as_str().unwrap().to_string();
    assert!(version.starts_with(env!("CARGO_PKG_VERSION")), "{version}");

    // A further seed alone: the first is taken from what is kept, and the interval is that of both.
    edit(&kept, |known| {
        let values = known["values"].as_object_mut().unwrap();
        values["frame `code`"] = json!([0.75]);
    });
    edit(&file, |record| {
        record["jobs"][0]["seeds"] = json!([0, 1]);
        for claim in record["jobs"][0]["claims"].as_array_mut().unwrap() {
            claim["interval"] = json!([0.5, 1.0]);
        }
    });
    std::fs::remove_dir_all(results.parent().unwrap()).unwrap();
    let only = ["--only", "patches/digits/code", "--quiet", "--missing"];
    let output = reproduce(at, &only);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--keep"), "{said}");
    let output = reproduce(at, &[&only[..], &["--keep"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!results.exists());
    let second = json_of(&at.join("runs/record/patches/digits/code/seed-1/results.json"));
    let second = second["test_accuracy"].as_f64().unwrap();
    let claim = &json_of(&file)["jobs"][0]["claims"][0];
    let mean = claim["ours"]["mean"].as_f64().unwrap();
    assert!((mean - (0.75 + second) / 2.0).abs() < 1e-9, "{claim}");
    assert_eq!(claim["ours"]["count"], 2);
    assert_ne!(claim["interval"], json!([0.5, 1.0]));
}

/// What a person changes in the record while a job runs is not lost when its numbers are put there.
#[test]
fn the_record_may_change_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    copy_of_the_record(at);
    let file = at.join("models/patches/record/digits.json");
    edit(&file, |record| {
        let job = &mut record["jobs"][0];
        job["seeds"] = json!([0]);
        for claim in job["claims"].as_array_mut().unwrap() {
            (claim["interval"], claim["ours"]) = (Value::Null, Value::Null);
        }
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_hebbian"));
    command.args(["reproduce", "--cpu", "--only", "patches/digits/code", "--quiet", "--keep"]);
    let mut program = command.current_dir(at).stdout(Stdio::null()).spawn().unwrap();
    // The program has read the record when its run makes a folder.
    let run = at.join("runs/record/patches/digits/code/seed-0");
    let begun = Instant::now();
    while !run.exists() {
        if begun.elapsed() > Duration::from_secs(60) {
            program.kill().unwrap();
            panic!("no run begins");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    edit(&file, |record| record["jobs"][1]["note"] = json!("by a person"));
    assert!(program.wait().unwrap().success());
    let jobs = json_of(&file)["jobs"].clone();
    assert_eq!(jobs[1]["note"], "by a person");
    assert_eq!(jobs[0]["claims"][0]["ours"]["count"], 1);
}

/// A number may be that of an analysis of the trained network.
#[test]
fn analyses_are_reproduced() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    copy_of_the_record(at);
    let file = at.join("models/patches/record/digits.json");
    let few = ["--only", "layers", "--train-images", "200", "--test-images", "100"];
    edit(&file, |record| {
        let job = &mut record["jobs"][0];
        (job["seeds"], job["analysis"]) = (json!([0]), json!(few));
        let claim = &mut job["claims"][0];
        (claim["interval"], claim["ours"]) = (Value::Null, Value::Null);
        (claim["from"], claim["where"]) =
            (json!("/analysis/layers/layers"), json!({"/name": "raw pixels"}));
        claim["take"] = json!("/ridge");
        job["claims"] = json!([claim]);
    });

    let only = ["--only", "patches/digits/code", "--keep"];
    let list = reproduce(at, &[&only[..], &["--list"]].concat());
    let train = "hebbian train patches --preset patches-digits --dataset digits --out runs/code";
    let command = format!("{train} && hebbian analyse runs/code {}", few.join(" "));
    let listed = String::from_utf8(list.stdout).unwrap();
    assert!(listed.contains(&command), "{listed}");

    let output = reproduce(at, &[&only[..], &["--quiet"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = at.join("runs/record/patches/digits/code/seed-0");
    let table = std::fs::read_to_string(run.join("analysis-layers.csv")).unwrap();
    let pixels = table.lines().find(|line| line.contains("raw pixels")).unwrap();
    let percent: f64 = pixels.split(',').nth(3).unwrap().parse().unwrap();
    let ours = json_of(&file)["jobs"][0]["claims"][0]["ours"]["mean"].as_f64().unwrap();
    assert!(percent > 50.0 && (100.0 * ours - percent).abs() < 1e-6, "{ours} in {table}");
    let kept = json_of(&at.join("models/patches/record/results/digits/code/seed-0.json"));
    assert_eq!(kept["command"], command);
    assert!(kept["results"]["analysis"]["seconds"].as_f64() > Some(0.0));
    assert_eq!(kept["results"]["analysis"]["layers"]["layers"][0]["ridge"], json!(ours));
}
