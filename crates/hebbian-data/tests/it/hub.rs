//! The hub through the real client, against a mirror on loopback.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::common::mirror::{Manner, Mirror, Served, Twist, sha256};
use crate::common::{assert_images, assert_says, files, quiet, refusing_port, split, write};
use hebbian_data::{
    Dataset, DatasetName, Error, Hub, LoadOptions, Progress, RepoKind, load_from_hub,
};

const SETS: [(DatasetName, &str, &str); 5] = [
    (DatasetName::Mnist, "ylecun/mnist", "mnist"),
    (DatasetName::FashionMnist, "zalando-datasets/fashion_mnist", "fashion_mnist"),
    (DatasetName::Cifar10, "uoft-cs/cifar10", "plain_text"),
    (DatasetName::Cifar100, "uoft-cs/cifar100", "cifar100"),
    (DatasetName::Stl10, "tanganke/stl10", "default"),
];
const TRAIN: &str = "mnist/train/0000.parquet";
const TEST: &str = "mnist/test/0000.parquet";
const REPO: &str = "ylecun/mnist";

/// A mirror with MNIST of 10 and 3 images, the training file served in this manner.
fn mnist(manner: Manner) -> Mirror {
    let mirror = Mirror::start();
    mirror.serve(REPO, TRAIN, Served::lfs(split(DatasetName::Mnist, 0, 10), manner));
    mirror.serve(REPO, TEST, Served::lfs(split(DatasetName::Mnist, 10, 3), Manner::Good));
    mirror
}

fn load(mirror: &Mirror, cache: &Path) -> Result<Dataset, Error> {
    load_known(DatasetName::Mnist, &Hub::new(&mirror.endpoint, cache))
}

fn load_known(name: DatasetName, hub: &Hub) -> Result<Dataset, Error> {
    load_from_hub(name.as_str(), hub, &LoadOptions::default(), quiet())
}

fn assert_mnist(data: &Dataset) {
    assert_images(&data.train, DatasetName::Mnist, 0, 10);
    assert_images(&data.test, DatasetName::Mnist, 10, 3);
}

/// No file of the cache may be read as the training file.
fn assert_not_cached(cache: &Path) {
    let left = files(cache);
    let bad = |file: &&String| file.contains("snapshots/") && file.contains("train");
    assert_eq!(left.iter().find(bad), None, "{left:?}");
}

#[test]
fn every_set_comes_from_the_hub_and_then_from_the_cache() {
    for (name, repo, folder) in SETS {
        let cache = tempfile::tempdir().unwrap();
        let mirror = Mirror::start();
        for (part, first, count) in [("train", 0, 10), ("test", 10, 3)] {
            let file = format!("{folder}/{part}/0000.parquet");
            mirror.serve(repo, &file, Served::lfs(split(name, first, count), Manner::Good));
        }
        let hub = Hub::new(&mirror.endpoint, cache.path());
        let check = |data: Dataset| {
            assert_eq!(data.name, name.as_str());
            assert_eq!(
                data.class_names.len(),
                if name == DatasetName::Cifar100 { 100 } else { 10 }
            );
            assert_images(&data.train, name, 0, 10);
            assert_images(&data.test, name, 10, 3);
        };
        check(load_known(name, &hub).unwrap());
        assert!(!mirror.log().is_empty());
        check(load_known(name, &hub).unwrap());
        check(load_known(name, &hub.offline()).unwrap());
        assert_eq!(mirror.log(), [""; 0], "a cached {name} must not use the network");
    }
}

#[test]
fn cifar10_is_found_under_its_old_name_too() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = Mirror::start();
    for (part, first, count) in [("train", 0, 5), ("test", 5, 2)] {
        let served = Served::lfs(split(DatasetName::Cifar10, first, count), Manner::Good);
        mirror.serve("cifar10", &format!("plain_text/{part}/0000.parquet"), served);
    }
    let hub = Hub::new(&mirror.endpoint, cache.path());
    let data = load_known(DatasetName::Cifar10, &hub).unwrap();
    assert_images(&data.train, DatasetName::Cifar10, 0, 5);
    let left = files(cache.path());
    assert!(left.iter().any(|file| file.starts_with("datasets--cifar10/")), "{left:?}");
    mirror.log();
    load_known(DatasetName::Cifar10, &hub).unwrap();
    assert_eq!(mirror.log(), [""; 0]);
}

#[test]
fn a_corrupted_body_is_an_error_and_is_not_kept() {
    for (manner, kind) in [(Manner::WrongBody, "SHA-256"), (Manner::NotFoundBody, "bytes")] {
        let cache = tempfile::tempdir().unwrap();
        let mirror = mnist(manner);
        let error = load(&mirror, cache.path()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert_says(&error.to_string(), &[TRAIN, REPO, kind, "deleted", "try again"]);
        assert_not_cached(cache.path());
        // The same cache, once the server works again.
        assert_mnist(&load(&mnist(Manner::Good), cache.path()).unwrap());
    }
}

#[test]
fn a_file_without_a_sum_is_checked_by_its_size() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = mnist(Manner::Good);
    let body = split(DatasetName::Mnist, 0, 10);
    let served = |manner| Served { body: body.clone(), etag: "b".repeat(40), manner };
    mirror.serve(REPO, TRAIN, served(Manner::NotFoundBody));
    let error = load(&mirror, cache.path()).unwrap_err();
    assert_says(&error.to_string(), &["17 bytes", &format!("expected {} bytes", body.len())]);
    assert_not_cached(cache.path());
    mirror.serve(REPO, TRAIN, served(Manner::Good));
    assert_mnist(&load(&mirror, cache.path()).unwrap());
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let error = load(&Mirror::start(), cache.path()).unwrap_err().to_string();
    let cache = cache.path().display().to_string();
    assert_says(&error, &[TRAIN, REPO, &cache, "not found", "--data-dir", "HF_HOME"]);
}

/// The error of loading from an address that contains a password.
fn refused(manner: Manner) -> String {
    let cache = tempfile::tempdir().unwrap();
    let endpoint = mnist(manner).endpoint.replace("http://", "http://me:pa55word@");
    let hub = Hub::new(&endpoint, cache.path());
    assert!(!format!("{hub:?}").contains("pa55word"), "{hub:?}");
    load_known(DatasetName::Mnist, &hub).unwrap_err().to_string()
}

#[test]
fn what_a_server_says_cannot_act_on_a_terminal() {
    let error = refused(Manner::CutThenRefused(2000));
    assert_says(&error, &["evil", "orbidden", "--data-dir"]);
    assert!(!error.chars().any(char::is_control), "{error:?}");
    assert!(error.chars().count() < 2500, "{error}");
}

#[test]
fn passwords_are_not_shown() {
    for manner in [Manner::CutThenRefused(2000), Manner::NotFoundBody, Manner::CutAll(10)] {
        let error = refused(manner);
        assert!(!error.contains("pa55word"), "{error}");
    }
    let cache = tempfile::tempdir().unwrap();
    for endpoint in ["me:pa55word@hub", "http://me:pa55word@hub:port", "http://me:pa55word@/x y"] {
        let hub = Hub::new(endpoint, cache.path());
        let error = load_known(DatasetName::Mnist, &hub).unwrap_err();
        let text = format!("{error} {error:?} {hub:?}");
        assert!(!text.contains("pa55word"), "{text}");
    }
}

/// A server redirects to an address with a signature, again and again.
#[test]
fn signatures_of_addresses_are_not_shown() {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), mnist(Manner::Good));
    mirror.twist("train/0000.parquet", Twist::Redirect("train/0000.parquet?Signature=s1gned"));
    let error = load(&mirror, cache.path()).unwrap_err().to_string();
    assert_says(&error, &["redirects", "train/0000.parquet?***"]);
    assert!(!error.contains("s1gned"), "{error}");
}

#[test]
fn without_a_network_the_error_says_where_it_looked() {
    let (port, _connection) = refusing_port();
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub::new(&format!("http://127.0.0.1:{port}"), cache.path());
    let error = load_known(DatasetName::Cifar10, &hub).unwrap_err().to_string();
    let cache = cache.path().display().to_string();
    let file = "plain_text/train/0000.parquet";
    assert_says(&error, &[file, "uoft-cs/cifar10", &cache, "refused", "--data-dir", "HF_HOME"]);
}

#[test]
fn offline_never_asks_the_network() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = mnist(Manner::Good);
    let hub = Hub::new(&mirror.endpoint, cache.path()).offline();
    let error = load_known(DatasetName::Mnist, &hub).unwrap_err().to_string();
    let path = cache.path().display().to_string();
    assert_says(&error, &[TRAIN, &path, "offline", "--data-dir", "HF_HOME"]);
    assert_eq!(mirror.log(), [""; 0]);
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = mnist(Manner::CutWhole(1000));
    assert_mnist(&load(&mirror, cache.path()).unwrap());
    let gets: Vec<String> =
        mirror.log().into_iter().filter(|request| request.starts_with("GET mnist/train")).collect();
    assert_eq!(gets.len(), 2, "{gets:?}");
    assert!(gets[0].ends_with(" -"), "{gets:?}");
    // 256 bytes come again.
    assert!(gets[1].contains(" bytes=744-"), "{gets:?}");
    assert!(!files(cache.path()).iter().any(|file| file.ends_with(".incomplete")));
}

#[test]
fn an_interrupted_download_goes_on_in_the_next_run() {
    let cache = tempfile::tempdir().unwrap();
    let error = load(&mnist(Manner::CutAll(1000)), cache.path()).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_not_cached(cache.path());
    let mirror = mnist(Manner::Good);
    assert_mnist(&load(&mirror, cache.path()).unwrap());
    let log = mirror.log();
    // Three attempts brought 1,000, 744 and 744 new bytes, and the last 256 come again.
    assert!(
        log.iter().any(|request| request.contains("train/0000.parquet bytes=2232-")),
        "{log:?}"
    );
    assert!(!log.contains(&format!("GET {TRAIN} -")), "{log:?}");
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let cache = tempfile::tempdir().unwrap();
    assert_mnist(&load(&mnist(Manner::CutOnceNoRanges(1000)), cache.path()).unwrap());
    assert!(!files(cache.path()).iter().any(|file| file.ends_with(".incomplete")));
}

#[test]
fn what_is_left_of_another_file_does_no_harm() {
    let cache = tempfile::tempdir().unwrap();
    let blobs = cache.path().join("datasets--ylecun--mnist/blobs");
    fs::create_dir_all(&blobs).unwrap();
    // One file shorter than the training file, and one longer than any range of it.
    let others = [("0", 100), ("1", 1 << 20)].map(|(name, size)| {
        (blobs.join(format!("{}.incomplete", name.repeat(64))), vec![7_u8; size])
    });
    others.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    let mirror = mnist(Manner::Good);
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let on_progress = Arc::new(move |progress: Progress<'_>| {
        if let Progress::Download { done, total, .. } = progress {
            seen.lock().unwrap().push((done, total));
        }
    });
    let hub = Hub::new(&mirror.endpoint, cache.path());
    assert_mnist(&load_from_hub("mnist", &hub, &LoadOptions::default(), on_progress).unwrap());
    // Bytes of the others are not reported: those of a file come after its size.
    let events = events.lock().unwrap();
    assert!(events.iter().all(|&(done, total)| done <= total), "{events:?}");
    for (path, bytes) in others {
        assert!(fs::read(path).unwrap() == bytes, "it is as the other download left it");
    }
}

/// The test file is half there when the training file is fetched, which comes first: its other half follows.
#[test]
fn an_interrupted_download_of_another_file_is_kept_for_that_file() {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), mnist(Manner::Good));
    let body = split(DatasetName::Mnist, 10, 3);
    let half = body.len() / 2;
    let partial = format!("datasets--ylecun--mnist/blobs/{}.incomplete", sha256(&body));
    write(&cache.path().join(partial), &body[..half]);
    assert_mnist(&load(&mirror, cache.path()).unwrap());
    let log = mirror.log();
    let rest = format!("GET {TEST} bytes={}-", half - 256);
    assert!(log.iter().any(|request| request.starts_with(&rest)), "{log:?}");
    assert!(!log.contains(&format!("GET {TEST} -")), "{log:?}");
}

/// What is damaged is deleted from the cache, but not outside of it, wherever a link leads.
#[cfg(unix)]
#[test]
fn nothing_outside_the_cache_is_deleted() {
    use std::os::unix::fs::symlink;
    // A server calls the training file as another file is called that is beside the folder of the repository.
    let (cache, mirror) = (tempfile::tempdir().unwrap(), mnist(Manner::Good));
    let outside = cache.path().join("outside");
    fs::create_dir_all(cache.path().join("datasets--ylecun--mnist/blobs")).unwrap();
    fs::write(&outside, "mine").unwrap();
    let (body, etag) = (split(DatasetName::Mnist, 0, 10), "../../outside".to_string());
    mirror.serve(REPO, TRAIN, Served { body, etag, manner: Manner::Good });
    let error = load(&mirror, cache.path()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert_eq!(fs::read(&outside).unwrap(), b"mine");
    assert_not_cached(cache.path());

    // An administrator has moved the file to storage that is shared, and linked to it: the snapshot, or the blob.
    for links_blob in [false, true] {
        let (cache, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mirror = mnist(Manner::Good);
        load(&mirror, cache.path()).unwrap();
        let folder = cache.path().join("datasets--ylecun--mnist");
        let file = folder.join("snapshots").join("a".repeat(40)).join(TRAIN);
        let blob = fs::canonicalize(&file).unwrap();
        let stored = shared.path().join(blob.file_name().unwrap());
        let mut damaged = fs::read(&blob).unwrap();
        damaged[500] ^= 1;
        fs::write(&stored, &damaged).unwrap();
        fs::remove_file(&blob).unwrap();
        if links_blob {
            symlink(&stored, &blob).unwrap();
        } else {
            fs::remove_file(&file).unwrap();
            symlink(&stored, &file).unwrap();
        }
        assert_mnist(&load(&mirror, cache.path()).unwrap());
        assert_eq!(fs::read(&stored).unwrap(), damaged);
        assert!(!blob.is_symlink() && blob.is_file(), "the file was fetched again");
    }
}

/// Names lead to files of the repository only, with the network and without it: a file beside the folder of the
/// repository, which is no JSON, is neither read nor deleted.
#[test]
fn names_do_not_lead_out_of_the_cache() {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), mnist(Manner::Good));
    load(&mirror, cache.path()).unwrap();
    mirror.log();
    let outside = cache.path().join("outside.json");
    fs::write(&outside, "mine").unwrap();
    let (commit, absolute) = ("a".repeat(40), outside.display().to_string());
    let hub = Hub::new(&mirror.endpoint, cache.path());
    for (repo, revision, file, what) in [
        (REPO, commit.as_str(), "../../../outside.json", "file"),
        (REPO, &commit, "mnist/../../../../outside.json", "file"),
        (REPO, &commit, &absolute, "file"),
        (REPO, &commit, "", "file"),
        (REPO, "../refs/convert/parquet", TEST, "revision"),
        (REPO, &absolute, TEST, "revision"),
        (REPO, "", TEST, "revision"),
        ("../ylecun/mnist", "main", TEST, "repository"),
    ] {
        for hub in [hub.clone(), hub.clone().offline()] {
            let error = hub.fetch(RepoKind::Dataset, repo, revision, file, &quiet()).unwrap_err();
            assert_says(&error.to_string(), &[&format!("found the {what} '"), "as the hub does"]);
        }
    }
    assert_eq!(fs::read(&outside).unwrap(), b"mine");
    assert_eq!(mirror.log(), [""; 0]);
}

#[test]
fn a_cached_file_that_has_changed_is_fetched_again() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = mnist(Manner::Good);
    load(&mirror, cache.path()).unwrap();
    let spoil = || {
        let snapshot = cache.path().join("datasets--ylecun--mnist/snapshots").join("a".repeat(40));
        let blob = fs::canonicalize(snapshot.join(TRAIN)).unwrap();
        let mut bytes = fs::read(&blob).unwrap();
        bytes[500] ^= 1;
        fs::write(&blob, bytes).unwrap();
    };
    spoil();
    assert_mnist(&load(&mirror, cache.path()).unwrap());
    spoil();
    let hub = Hub::new(&mirror.endpoint, cache.path()).offline();
    let error = load_known(DatasetName::Mnist, &hub).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

/// If links cannot be made, the client copies each blob to its snapshot.
#[test]
fn a_copy_in_the_cache_is_compared_with_its_blob() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = mnist(Manner::Good);
    load(&mirror, cache.path()).unwrap();
    let folder = cache.path().join("datasets--ylecun--mnist");
    let file = folder.join("snapshots").join("a".repeat(40)).join(TRAIN);
    let blob = fs::canonicalize(&file).unwrap();
    let good = fs::read(&blob).unwrap();
    let copy = |bytes: &[u8]| {
        let _ = fs::remove_file(&file);
        fs::write(&file, bytes).unwrap();
    };
    let offline = || {
        let hub = Hub::new(&mirror.endpoint, cache.path()).offline();
        load_known(DatasetName::Mnist, &hub)
    };
    let mut bad = good.clone();
    bad[500] ^= 1;

    copy(&good);
    assert_mnist(&offline().unwrap());
    copy(&bad);
    let error = offline().unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert_eq!(fs::read(&blob).unwrap(), good, "the blob was good");
    assert_not_cached(cache.path());
    copy(&bad);
    fs::write(&blob, &bad).unwrap();
    assert!(matches!(offline().unwrap_err(), Error::Corrupt { .. }));
    assert!(!blob.exists());
    assert_mnist(&load(&mirror, cache.path()).unwrap());
}

#[test]
fn a_truncated_parquet_file_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = mnist(Manner::Good);
    let mut body = split(DatasetName::Mnist, 0, 10);
    body.truncate(body.len() / 2);
    mirror.serve(REPO, TRAIN, Served::lfs(body, Manner::Good));
    let error = load(&mirror, cache.path()).unwrap_err();
    assert!(matches!(error, Error::BadFile { .. }), "{error}");
    assert_says(&error.to_string(), &[TRAIN, "parquet", "fetch it again"]);
}

#[test]
fn progress_tells_of_downloads_and_decoding() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = mnist(Manner::Good);
    let seen = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let events = seen.clone();
    let hub = Hub::new(&mirror.endpoint, cache.path());
    let on_progress = Arc::new(move |progress: Progress<'_>| match progress {
        Progress::Download { file, done, total } => {
            events.lock().unwrap().0.push((file.to_string(), done, total));
        }
        Progress::Decode { done, total, .. } => events.lock().unwrap().1.push((done, total)),
        Progress::Skipped { .. } | Progress::Upload { .. } => {
            unreachable!("a named set is read whole, and nothing is pushed")
        }
    });
    load_from_hub("mnist", &hub, &LoadOptions::default(), on_progress).unwrap();
    let (downloads, decoded) = &*seen.lock().unwrap();
    let size = split(DatasetName::Mnist, 0, 10).len() as u64;
    assert!(downloads.contains(&(TRAIN.to_string(), size, size)), "{downloads:?}");
    // Row groups of 4: ten images, then three.
    assert_eq!(*decoded, [(4, 10), (8, 10), (10, 10), (3, 3)]);
}

#[test]
fn one_file_of_any_repository() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = mnist(Manner::Good);
    let hub = Hub::new(&mirror.endpoint, cache.path());
    let revision = "refs/convert/parquet";
    let path = hub.fetch(RepoKind::Dataset, REPO, revision, TEST, &quiet()).unwrap();
    assert_eq!(fs::read(path).unwrap(), split(DatasetName::Mnist, 10, 3));
    let error = hub.fetch(RepoKind::Model, REPO, revision, TEST, &quiet()).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub::new("no address", cache.path());
    let error = hub.fetch(RepoKind::Dataset, REPO, revision, TEST, &quiet()).unwrap_err();
    assert_says(&error.to_string(), &["HF_ENDPOINT is not an address"]);
}

/// Several loads fetch the same set into one cache at the same time: each gets the whole set, and none leaves
/// unfinished files.
#[test]
fn several_fill_one_cache_at_once() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = mnist(Manner::Good);
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..6).map(|_| scope.spawn(|| load(&mirror, cache.path()))).collect();
        for load in loads {
            assert_mnist(&load.join().unwrap().unwrap());
        }
    });
    let left = files(cache.path());
    let unfinished = |file: &&String| file.contains(".incomplete") || file.contains(".part");
    assert_eq!(left.iter().find(unfinished), None, "{left:?}");
    mirror.log();
    assert_mnist(&load(&mirror, cache.path()).unwrap());
    assert_eq!(mirror.log(), [""; 0]);
}
