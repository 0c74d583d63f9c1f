//! Sets of the hub that the library does not know, through the real client, against a mirror on loopback.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::common::mirror::{Manner, Mirror, Served, Twist, commit};
use crate::common::tables::{COLOUR, FEATURES, pictures, table};
use crate::common::{assert_says, contents, planes, quiet};
use hebbian_data::{Dataset, Hub, ImageSet, LoadOptions, Result, load_from_hub};

const SET: &str = "someone/insects";

fn load(name: &str, hub: &Hub) -> Result<Dataset> {
    load_from_hub(name, hub, &LoadOptions::default(), quiet())
}

fn refused(name: &str, hub: &Hub, texts: &[&str]) {
    assert_says(&load(name, hub).unwrap_err().to_string(), texts);
}

/// Serves pictures `range` with the labels `i mod 3`, described as the hub's library describes them.
fn serve(mirror: &Mirror, revision: &str, file: &str, range: std::ops::Range<usize>) {
    let labels: Vec<String> = range.clone().map(|i| (i % 3).to_string()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let body = table(&pictures(range), &labels, Some(FEATURES));
    mirror.serve_set(SET, revision, file, Served::lfs(body, Manner::Good));
}

const CONVERTED: &str = "refs/convert/parquet";

/// A mirror with two shards for training and one for testing.
fn insects() -> Mirror {
    let mirror = Mirror::start();
    serve(&mirror, CONVERTED, "default/train/0001.parquet", 3..5);
    serve(&mirror, CONVERTED, "default/train/0000.parquet", 0..3);
    serve(&mirror, CONVERTED, "default/test/0000.parquet", 5..7);
    mirror
}

/// Checks that a split holds pictures `range` with their labels.
fn assert_pictures(set: &ImageSet, range: std::ops::Range<usize>) {
    assert_eq!((set.len(), set.shape()), (range.len(), COLOUR));
    for (at, i) in range.enumerate() {
        assert_eq!(set.image(at).unwrap(), planes(i, COLOUR), "{i}");
        assert_eq!(set.labels()[at], (i % 3) as u32, "{i}");
    }
}

/// The files of the mirror that were requested since the last call, without other requests.
fn asked(mirror: &Mirror) -> Vec<String> {
    let gets =
        mirror.log().into_iter().filter(|line| line.starts_with("GET") && line.contains("resolve"));
    gets.map(|line| line.split(' ').nth(1).unwrap().rsplit_once("resolve/").unwrap().1.to_string())
        .collect()
}

#[test]
fn all_shards_come_from_the_hub_and_then_from_the_cache() {
    let (mirror, cache) = (insects(), tempfile::tempdir().unwrap());
    let hub = Hub::new(&mirror.endpoint, cache.path());
    let check = |data: Dataset| {
        assert_eq!(data.name, SET);
        assert_eq!(data.class_names, ["wasp", "ant", "bee"]);
        assert_pictures(&data.train, 0..5);
        assert_pictures(&data.test, 5..7);
    };
    check(load(SET, &hub).unwrap());
    assert_eq!(asked(&mirror).len(), 3);
    check(load(SET, &hub).unwrap());
    check(load(SET, &hub.clone().offline()).unwrap());
    check(load(SET, &Hub::new("no address", cache.path())).unwrap());
    assert_eq!(mirror.log(), [""; 0], "a cached set must not use the network");
    // The set is also found by its commit and by the branch, and other programs find both.
    let branch = format!("{SET}@{CONVERTED}");
    assert_eq!(load(&branch, &hub).unwrap().name, branch);
    load(&format!("{SET}@{}", "a".repeat(40)), &hub.clone().offline()).unwrap();
    assert_eq!(mirror.log(), [""; 0]);
    let written = cache.path().join("datasets--someone--insects/refs/refs/convert/parquet");
    assert_eq!(fs::read_to_string(written).unwrap(), "a".repeat(40));
}

#[test]
fn an_unfinished_set_is_not_taken_for_the_whole() {
    let (mirror, cache) = (insects(), tempfile::tempdir().unwrap());
    mirror.twist("train/0001.parquet", Twist::Refuse("403 Forbidden", String::new()));
    let hub = Hub::new(&mirror.endpoint, cache.path());
    refused(SET, &hub, &["default/train/0001.parquet", SET, "orbidden"]);
    // Two of three files are cached, and the list says which others there should be.
    refused(SET, &hub.clone().offline(), &["whole set", SET, "offline", "--data-dir", "HF_HOME"]);
    mirror.log();
    let again = insects();
    assert_pictures(&load(SET, &Hub::new(&again.endpoint, cache.path())).unwrap().train, 0..5);
    assert_eq!(asked(&again), [format!("{}/default/train/0001.parquet", "a".repeat(40))]);
}

#[test]
fn configurations_are_chosen() {
    let (mirror, cache) = (Mirror::start(), tempfile::tempdir().unwrap());
    for (config, first) in [("160px", 0), ("320px", 3)] {
        serve(&mirror, CONVERTED, &format!("{config}/train/0000.parquet"), first..first + 2);
        serve(
            &mirror,
            CONVERTED,
            &format!("{config}/validation/0000.parquet"),
            first + 2..first + 3,
        );
    }
    let hub = Hub::new(&mirror.endpoint, cache.path());
    refused(SET, &hub, &["configuration", "160px, 320px", SET]);
    let data = load(&format!("{SET}/320px"), &hub).unwrap();
    assert_pictures(&data.train, 3..5);
    assert_pictures(&data.test, 5..6);
    assert_eq!(asked(&mirror).len(), 2);
    // A configuration that is not cached is not replaced by one that is.
    refused(SET, &hub.clone().offline(), &["configuration", "160px, 320px"]);
    refused(&format!("{SET}/160px"), &hub.offline(), &["whole set", "160px", "offline"]);
}

/// A split whose labels are all -1 is not tested with. The next one is fetched in its place, and nothing but the first
/// file of the other.
#[test]
fn splits_without_labels_are_not_tested_with() {
    let (mirror, cache) = (Mirror::start(), tempfile::tempdir().unwrap());
    serve(&mirror, CONVERTED, "default/train/0000.parquet", 0..5);
    serve(&mirror, CONVERTED, "default/validation/0000.parquet", 5..7);
    for shard in 0..3 {
        let body = table(&pictures(7..9), &["-1", "-1"], Some(FEATURES));
        let served = Served::lfs(body, Manner::Good);
        mirror.serve_set(SET, CONVERTED, &format!("default/test/000{shard}.parquet"), served);
    }
    let hub = Hub::new(&mirror.endpoint, cache.path());
    for hub in [hub.clone(), hub.offline()] {
        let data = load(SET, &hub).unwrap();
        assert_pictures(&data.train, 0..5);
        assert_pictures(&data.test, 5..7);
    }
    let commit = "a".repeat(40);
    let fetched = ["test", "validation", "train"];
    let fetched = fetched.map(|split| format!("{commit}/default/{split}/0000.parquet"));
    assert_eq!(asked(&mirror), fetched, "each file is fetched once");
}

/// One split is not both to learn from and to test with, whether it is named twice or the default of the other.
#[test]
fn one_split_is_not_both() {
    let (mirror, cache) = (insects(), tempfile::tempdir().unwrap());
    let hub = Hub::new(&mirror.endpoint, cache.path());
    let photographs = |split: &str| {
        let body = table(&pictures(0..3), &["0", "1", "2"], Some(FEATURES));
        let file = format!("160px/{split}/0000.parquet");
        let served = Served::lfs(body, Manner::Good);
        mirror.serve_set("frgfm/imagenette", CONVERTED, &file, served);
    };
    ["train", "validation"].into_iter().for_each(photographs);
    let named = |name: &str, train: Option<&str>, test: Option<&str>| {
        let options = LoadOptions {
            train_split: train.map(String::from),
            test_split: test.map(String::from),
            ..LoadOptions::default()
        };
        load_from_hub(name, &hub, &options, quiet())
    };
    for (name, train, test) in [
        (SET, Some("test"), Some("test")),
        (SET, None, Some("train")),
        ("imagenette", Some("validation"), None),
        ("imagenette", None, Some("train")),
    ] {
        let error = named(name, train, test).unwrap_err().to_string();
        assert_says(&error, &["both to learn from and to test with", "--train-split"]);
    }
    assert_eq!(named("imagenette", None, None).unwrap().test.len(), 3);
    let turned = named("imagenette", Some("validation"), Some("train")).unwrap();
    assert_eq!((turned.train.len(), turned.test.len()), (3, 3));
}

#[test]
fn revisions_are_as_their_owners_laid_them_out() {
    let (mirror, cache) = (insects(), tempfile::tempdir().unwrap());
    for (revision, first) in [("main", 10), ("v1", 20), ("refs/pr/7", 30)] {
        serve(&mirror, revision, "data/train-00000-of-00002-a1.parquet", first..first + 2);
        serve(&mirror, revision, "data/train-00001-of-00002-b2.parquet", first + 2..first + 3);
        serve(&mirror, revision, "data/test-00000-of-00001.parquet", first + 3..first + 4);
    }
    let hub = Hub::new(&mirror.endpoint, cache.path());
    for (revision, first) in [("v1", 20), ("refs/pr/7", 30)] {
        for hub in [hub.clone(), hub.clone().offline()] {
            let data = load(&format!("{SET}@{revision}"), &hub).unwrap();
            assert_pictures(&data.train, first..first + 3);
            assert_pictures(&data.test, first + 3..first + 4);
        }
    }
    // A set that was fetched as one revision is not taken for another.
    refused(SET, &hub.clone().offline(), &["whole set", "offline"]);
    let main = load(&format!("{SET}@main"), &hub).unwrap();
    assert_pictures(&main.train, 10..13);
    let again = load(SET, &hub.clone().offline()).unwrap().train;
    assert_eq!(contents(&again), contents(&main.train));
    let by_commit = format!("{SET}@{}", commit("v1"));
    assert_pictures(&load(&by_commit, &hub.clone().offline()).unwrap().train, 20..23);
    refused(&format!("{SET}@v2"), &hub, &["no revision 'v2'", SET]);
    refused(&format!("{SET}@v2"), &hub.offline(), &["v2", "offline"]);
}

#[test]
fn main_is_read_where_the_hub_has_not_converted_all() {
    for converted in [&[][..], &["default/partial-train/0000.parquet"]] {
        let (mirror, cache) = (Mirror::start(), tempfile::tempdir().unwrap());
        converted.iter().for_each(|file| serve(&mirror, CONVERTED, file, 0..3));
        serve(&mirror, "main", "data/train-00000-of-00001.parquet", 0..5);
        let hub = Hub::new(&mirror.endpoint, cache.path());
        let data = load(SET, &hub).unwrap();
        assert_eq!(
            (data.train.len(), data.test.len()),
            (3, 2),
            "a fifth of each class, one at least"
        );
        let again = load(SET, &hub.offline()).unwrap().test;
        assert_eq!(contents(&again), contents(&data.test));
    }
    let (mirror, cache) = (Mirror::start(), tempfile::tempdir().unwrap());
    serve(&mirror, CONVERTED, "default/partial-train/0000.parquet", 0..6);
    mirror.serve_set(SET, "main", "data.zip", Served::lfs(vec![0; 9], Manner::Good));
    let hub = Hub::new(&mirror.endpoint, cache.path());
    refused(SET, &hub, &[SET, "first gigabytes only", "@refs/convert/parquet"]);
    let part = load(&format!("{SET}@{CONVERTED}"), &hub).unwrap();
    assert_eq!(part.train.len() + part.test.len(), 6);
}

/// The hub tells everyone which files a gated set has, but gives them only to those who have accepted its terms.
#[test]
fn a_set_that_is_gated_says_what_to_do() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let (mirror, cache) = (insects(), tempfile::tempdir().unwrap());
        mirror.twist("/resolve/", Twist::Refuse(status, String::new()));
        let hub = Hub::new(&mirror.endpoint, cache.path());
        refused(SET, &hub, &[SET, "accept the terms", "HF_TOKEN", "--data-dir"]);
    }
}

#[test]
fn what_the_hub_does_not_have_is_said() {
    let (mirror, cache) = (Mirror::start(), tempfile::tempdir().unwrap());
    let hub = Hub::new(&mirror.endpoint, cache.path());
    refused("someone/nothing", &hub, &["someone/nothing", "check the name", "HF_TOKEN"]);
    let seeing = hub.clone().with_token("hf_aTokenThatMaySeeEverything");
    refused("someone/nothing", &seeing, &["no data set of this name", "check the name"]);
    mirror.serve_set(SET, "main", "README.md", Served::lfs(b"none".to_vec(), Manner::Good));
    refused(SET, &hub, &[SET, "no parquet files among its 1 files (main)", "--data-dir"]);
    for name in ["some one/insects", "a/b/c/d", "../b", "insects"] {
        refused(name, &hub, &["unknown data set", "OWNER/NAME", "--data-dir"]);
    }
    mirror.serve_set(SET, "odd", "../../up.parquet", Served::lfs(b"PAR1".to_vec(), Manner::Good));
    refused(&format!("{SET}@odd"), &hub, &["../../up.parquet", "leads out"]);
    // If the server cannot be asked and nothing is cached, the error gives the reason.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = Hub::new(&format!("http://127.0.0.1:{port}"), cache.path());
    refused(SET, &gone, &[SET, "refused", "HF_HOME", "--data-dir"]);
    refused(SET, &Hub::new("no address", cache.path()), &["HF_ENDPOINT is not an address"]);
    mirror.twist("/revision/", Twist::Refuse("500 Internal Server Error", String::new()));
    refused(SET, &hub, &["could not be queried", "500"]);
}

/// A cache as Python's libraries leave it: without a list of the files that belong to it, sometimes without a branch.
#[test]
fn what_python_cached_is_found() {
    let whole = insects();
    serve(&whole, "main", "data/train-00000-of-00001.parquet", 0..4);
    serve(&whole, "main", "data/test-00000-of-00001.parquet", 4..6);
    for forgotten in [&[".files"][..], &[".files", "refs"]] {
        let cache = tempfile::tempdir().unwrap();
        let hub = Hub::new(&whole.endpoint, cache.path());
        load(&format!("{SET}@main"), &hub).unwrap();
        let folder = cache.path().join("datasets--someone--insects");
        forgotten.iter().for_each(|name| fs::remove_dir_all(folder.join(name)).unwrap());
        whole.log();
        for hub in [hub.clone(), hub.clone().offline()] {
            assert_pictures(&load(SET, &hub).unwrap().train, 0..4);
        }
        assert_eq!(whole.log(), [""; 0]);
        // A part of the set is enough only if no server can be asked.
        fs::remove_file(snapshot(&folder, "data/test-00000-of-00001.parquet")).unwrap();
        let part = load(SET, &hub.clone().offline()).unwrap();
        assert_eq!((part.train.len(), part.test.len()), (3, 1), "labels 0 1 2 0");
        assert_pictures(&load(SET, &hub).unwrap().train, 0..5);
    }
}

/// The path of a file in the only snapshot.
fn snapshot(folder: &Path, file: &str) -> std::path::PathBuf {
    let mut commits = fs::read_dir(folder.join("snapshots")).unwrap();
    let commit = commits.next().unwrap().unwrap().path();
    assert!(commits.next().is_none());
    commit.join(file)
}
