//! Names on the hub, its address, and the content of its cache, without the network.
#![no_main]

use hebbian_data::{DatasetName, Hub, LoadOptions, RepoKind, load_from_hub, printable};
use hebbian_fuzz::{empty_folder, put, quiet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(5, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (name, address, revision, commit, files) = (line(), line(), line(), line(), line());

    let shown = printable(&text);
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
    let _ = name.parse::<DatasetName>();

    let cache = empty_folder();
    let hub = Hub::new(address, cache).offline();
    let debug = format!("{hub:?}");
    let shown = debug.rsplit_once(", cache_dir: ").map_or(&*debug, |(endpoint, _)| endpoint);
    let shown = shown.strip_prefix("Hub { endpoint: ").unwrap_or(shown);
    // A password that also occurs elsewhere in what is shown of the address is no leak.
    let secret = address.rsplit_once('@').and_then(|(user, host)| {
        let (name, secret) = user.rsplit_once(':')?;
        let elsewhere = format!("{name}***@{host}").contains(secret);
        (secret.len() > 8 && !elsewhere).then_some(secret)
    });
    assert!(secret.is_none_or(|secret| !shown.contains(secret)), "{debug}");

    let folder = "datasets--a--b";
    put(&format!("{folder}/refs/refs/convert/parquet"), commit.as_bytes());
    let commit = "c".repeat(40);
    put(&format!("{folder}/refs/main"), commit.as_bytes());
    put(&format!("{folder}/.files/{commit}"), files.as_bytes());
    put(&format!("{folder}/snapshots/{commit}/train.parquet"), b"PAR1");
    put("outside", b"of another");
    for name in [name, "a/b", "mnist"] {
        let _ = load_from_hub(name, &hub, &LoadOptions::default(), quiet());
    }
    for kind in [RepoKind::Dataset, RepoKind::Model] {
        let _ = hub.fetch(kind, name, revision, "config.json", &quiet());
        let _ =
            hub.fetch(kind, "a/b", revision, files.lines().next().unwrap_or_default(), &quiet());
    }
    assert_eq!(std::fs::read(cache.join("outside")).expect("it is left alone"), b"of another");
});
