//! The hub as it is in the wild: servers that are silent, pages to sign in, caches that Python filled.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::mirror::{Manner, Mirror, Served, Twist, sha256};
use crate::common::tables::{FEATURES, pictures, table};
use crate::common::{self, assert_images, assert_says, files, quiet, split};
use hebbian_data::{
    Dataset, DatasetName, Error, Hub, LoadOptions, RepoKind, Result, load_from_hub,
};

const TRAIN: &str = "mnist/train/0000.parquet";
const TEST: &str = "mnist/test/0000.parquet";
const REPO: &str = "ylecun/mnist";
/// Well before the mirror closes a silent connection, and long enough for a busy machine.
const BEFORE_IT_CLOSES: Duration = Duration::from_secs(30);

/// MNIST of 10 and 3 images, the training file served in this manner.
fn mnist(manner: Manner) -> Mirror {
    let mirror = Mirror::start();
    mirror.serve(REPO, TRAIN, Served::lfs(split(DatasetName::Mnist, 0, 10), manner));
    mirror.serve(REPO, TEST, Served::lfs(split(DatasetName::Mnist, 10, 3), Manner::Good));
    mirror
}

fn load(name: &str, hub: &Hub) -> Result<Dataset> {
    load_from_hub(name, hub, &LoadOptions::default(), quiet())
}

/// A hub that is not waited for long.
fn impatient(mirror: &Mirror, cache: &Path) -> Hub {
    let patience = Duration::from_millis(400);
    Hub::new(&mirror.endpoint, cache).with_patience(patience, patience)
}

fn assert_mnist(data: &Dataset) {
    assert_images(&data.train, DatasetName::Mnist, 0, 10);
    assert_images(&data.test, DatasetName::Mnist, 10, 3);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let (mirror, cache) = (mnist(Manner::Good), tempfile::tempdir().unwrap());
    mirror.twist("", Twist::Silence);
    let hub = impatient(&mirror, cache.path());
    for name in ["mnist", "someone/insects"] {
        let start = Instant::now();
        let error = load(name, &hub).unwrap_err().to_string();
        assert_says(&error, &["did not answer for 0.4 seconds", "--data-dir"]);
        assert!(start.elapsed() < BEFORE_IT_CLOSES, "{:?}", start.elapsed());
    }
    let error = hub.fetch(RepoKind::Model, "a/b", "main", "config.json", &quiet()).unwrap_err();
    assert_says(&error.to_string(), &["config.json", "did not answer"]);
}

#[test]
fn a_download_that_stalls_is_taken_up() {
    let (mirror, cache) = (mnist(Manner::StallWhole(1000)), tempfile::tempdir().unwrap());
    assert_mnist(&load("mnist", &impatient(&mirror, cache.path())).unwrap());
    let log = mirror.log();
    assert!(log.iter().any(|line| line.contains("train/0000.parquet bytes=744-")), "{log:?}");

    let (mirror, cache) = (mnist(Manner::StallAll(1000)), tempfile::tempdir().unwrap());
    let start = Instant::now();
    let error = load("mnist", &impatient(&mirror, cache.path())).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_says(&error.to_string(), &[TRAIN, "no byte came for 0.4 seconds"]);
    assert!(start.elapsed() < BEFORE_IT_CLOSES, "{:?}", start.elapsed());
    // The bytes that came are kept, and the next run continues from them.
    let mirror = mnist(Manner::Good);
    assert_mnist(&load("mnist", &impatient(&mirror, cache.path())).unwrap());
    let log = mirror.log();
    assert!(!log.contains(&format!("GET {TRAIN} -")), "{log:?}");
}

/// The client gives up after ten seconds when another program downloads the file and therefore holds its lock; the load
/// does not, even if the next byte of an answer is to come sooner.
#[test]
fn a_download_of_another_program_is_waited_for() {
    let (mirror, cache) = (mnist(Manner::Good), tempfile::tempdir().unwrap());
    let name = sha256(&split(DatasetName::Mnist, 0, 10));
    let path = cache.path().join(format!(".locks/datasets--ylecun--mnist/{name}.lock"));
    common::write(&path, b"");
    let lock = fs::File::options().write(true).open(&path).unwrap();
    lock.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_secs(12));
            drop(lock);
        });
        let patience = Duration::from_secs(3);
        let hub = Hub::new(&mirror.endpoint, cache.path()).with_patience(patience, patience);
        assert_mnist(&load("mnist", &hub).unwrap());
    });
}

/// A network that answers every request with a page to sign in.
#[test]
fn a_page_to_sign_in_is_no_file() {
    let page = b"<!DOCTYPE html><title>Sign in</title>".to_vec();
    let served = Served { body: page, etag: "page".to_string(), manner: Manner::Good };
    let (mirror, cache) = (mnist(Manner::Good), tempfile::tempdir().unwrap());
    mirror.serve(REPO, TRAIN, served.clone());
    mirror.serve_model("a/b", "main", "config.json", served.clone());
    mirror.serve_model("a/b", "main", "model.safetensors", served);
    let hub = Hub::new(&mirror.endpoint, cache.path());
    let error = load("mnist", &hub).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert_says(&error.to_string(), &[TRAIN, "<!DOCTYPE html>", "PAR1", "deleted"]);
    for (file, expected) in [("config.json", "JSON"), ("model.safetensors", "safetensors")] {
        let error = hub.fetch(RepoKind::Model, "a/b", "main", file, &quiet()).unwrap_err();
        assert_says(&error.to_string(), &[file, "<!DOCTYPE html>", expected]);
    }
    let left = files(cache.path());
    assert!(
        !left.iter().any(|file| file.contains("/blobs/") || file.contains("/snapshots/")),
        "{left:?}"
    );
    // Such a page that another program has stored is not read either.
    let commit = "a".repeat(40);
    let set = cache.path().join("datasets--ylecun--mnist");
    common::write(&set.join("refs/refs/convert/parquet"), commit.as_bytes());
    for file in [TRAIN, TEST] {
        common::write(&set.join("snapshots").join(&commit).join(file), b"<html>");
    }
    assert_mnist(&load("mnist", &Hub::new(&mnist(Manner::Good).endpoint, cache.path())).unwrap());
}

/// Nothing of the network is set up for a cached set, under any name and from any branch.
#[test]
fn a_known_set_is_found_under_old_names_and_from_the_main_branch() {
    for (name, folder, files) in [
        (DatasetName::Mnist, "datasets--mnist", "mnist"),
        (DatasetName::FashionMnist, "datasets--fashion_mnist", "fashion_mnist"),
        (DatasetName::Cifar10, "datasets--uoft-cs--cifar10", "plain_text"),
        (DatasetName::Cifar100, "datasets--cifar100", "cifar100"),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let commit = "c".repeat(40);
        let snapshot = cache.path().join(folder).join("snapshots").join(&commit).join(files);
        for (file, first, count) in [
            ("train-00000-of-00002.parquet", 0, 4),
            ("train-00001-of-00002.parquet", 4, 2),
            ("test-00000-of-00001.parquet", 6, 3),
        ] {
            common::write(&snapshot.join(file), &split(name, first, count));
        }
        for hub in
            [Hub::new("no address", cache.path()), Hub::new("no address", cache.path()).offline()]
        {
            let data = load(name.as_str(), &hub).unwrap();
            assert_images(&data.train, name, 0, 6);
            assert_images(&data.test, name, 6, 3);
        }
        fs::remove_file(snapshot.join("train-00001-of-00002.parquet")).unwrap();
        let error = load(name.as_str(), &Hub::new("no address", cache.path())).unwrap_err();
        assert_says(&error.to_string(), &["train/0000.parquet", "HF_ENDPOINT is not an address"]);
    }
}

/// Caches that Python's `huggingface_hub` and `datasets` leave, made by these libraries if they are installed.
#[test]
fn caches_that_python_made() {
    let mirror = Mirror::start();
    for (file, range) in [("train", 0..4), ("test", 4..6)] {
        let labels: Vec<&str> = range.clone().map(|i| ["0", "1", "2"][i % 3]).collect();
        let body = table(&pictures(range), &labels, Some(FEATURES));
        let file = format!("data/{file}-00000-of-00001.parquet");
        mirror.serve_set("someone/insects", "main", &file, Served::lfs(body, Manner::Good));
    }
    let of_one_file = "from huggingface_hub import hf_hub_download as get
for split in ['train', 'test']:
    get('someone/insects', f'data/{split}-00000-of-00001.parquet', repo_type='dataset')";
    let of_a_snapshot = "from huggingface_hub import snapshot_download as get
get('someone/insects', repo_type='dataset')";
    let of_a_set = "from datasets import load_dataset as get
assert get('someone/insects')['train'].num_rows == 4";
    for program in [of_one_file, of_a_snapshot, of_a_set] {
        let home = tempfile::tempdir().unwrap();
        let module = program.split(' ').nth(1).unwrap();
        let python = |program: &str| {
            let mut python = Command::new("python3");
            for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HF_")) {
                python.env_remove(name);
            }
            python.env("HF_ENDPOINT", &mirror.endpoint).env("HF_HOME", home.path());
            python.env("HF_HUB_DISABLE_TELEMETRY", "1").args(["-c", program]).output()
        };
        if !python(&format!("import {module}")).is_ok_and(|output| output.status.success()) {
            println!("skipped: there is no Python with {module}");
            continue;
        }
        let output = python(program).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {errors}");
        let hub = Hub::new("no address", &home.path().join("hub"));
        for hub in [hub.clone(), hub.offline()] {
            let data = load("someone/insects", &hub).unwrap();
            assert_eq!((data.train.len(), data.test.len()), (4, 2), "{program}");
            assert_eq!(data.class_names, ["wasp", "ant", "bee"]);
        }
    }
}
