//! `--dataset OWNER/NAME`.

use super::World;
use crate::common::mirror::{Manner, Served, Twist};
use crate::common::tables::{FEATURES, pictures, table};
use hebbian_train::RunFolder;

const SET: &str = "someone/insects";

/// Serves pictures with their labels.
fn serve(world: &World, file: &str, range: std::ops::Range<usize>) {
    let labels: Vec<&str> = range.clone().map(|i| ["0", "1", "2"][i % 3]).collect();
    let body = table(&pictures(range), &labels, Some(FEATURES));
    world.mirror.serve(SET, file, Served::lfs(body, Manner::Good));
}

/// A model is trained on the hub's set and then evaluated on it without the network.
#[test]
fn a_set_of_the_hub_is_trained_on() {
    let world = World::new();
    serve(&world, "default/train/0000.parquet", 0..20);
    serve(&world, "default/train/0001.parquet", 20..30);
    serve(&world, "default/test/0000.parquet", 30..39);
    let train = ["train", "krotov-hopfield", "--preset", "krotov-hopfield-digits", "--epochs", "1"];
    world.printed(&[&train[..], &["--dataset", SET, "--quiet"]].concat());
    let run = world.path("runs/krotov-hopfield/krotov-hopfield-digits/someone-insects-seed-0");
    let results = RunFolder::results(&run).unwrap().unwrap();
    assert_eq!((results.dataset.as_str(), results.train_images), (SET, 30));

    world.mirror.twist("", Twist::Refuse("503 Service Unavailable", String::new()));
    let run = run.to_str().unwrap();
    let evaluated = world.printed(&["eval", run, "--quiet", "--offline"]);
    let line = format!("test accuracy {:.2} %\n", 100.0 * results.test_accuracy);
    assert!(evaluated.starts_with(&line), "{line} in {evaluated}");
    // Nothing of the network is set up for cached files, so a machine without certificates suffices.
    let without_certificates = |args: &[&str], endpoint: &str| {
        let mut program = world.program(args);
        program.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/nowhere");
        program.env("HF_ENDPOINT", endpoint);
        program
    };
    for endpoint in ["no address", "https://hub.example"] {
        let output = without_certificates(&["eval", run, "--quiet"], endpoint).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), evaluated);
    }
    let other = [&train[..], &["--dataset", "someone/else"]].concat();
    world.refused(
        &mut without_certificates(&other, "no address"),
        &["someone/else", "HF_ENDPOINT is not an address"],
    );
    if cfg!(target_os = "linux") {
        world.refused(
            &mut without_certificates(&other, "https://hub.example"),
            &["someone/else", "install certificates", "SSL_CERT_FILE"],
        );
    }
    let unknown = [&train[..], &["--dataset", "someone/nothing", "--offline"]].concat();
    world.refused(&mut world.program(&unknown), &["someone/nothing", "offline", "--data-dir"]);
}
