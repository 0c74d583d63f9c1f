//! MNIST and CIFAR-10 from a Hugging Face folder beside the workspace, where there is one.

use std::path::Path;

use super::PROGRAM;
use crate::common::binary::outcome;

#[test]
fn cached_data_sets_load_offline() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/hf");
    if !home.is_dir() {
        println!("skipped: there is no {}", home.display());
        return;
    }
    let place = PROGRAM.place();
    place.preset(|_| ());
    for dataset in ["mnist", "cifar10"] {
        let args = ["--offline", "--dataset", dataset, "--preset", "preset.json"];
        let limits = ["--limit-train", "20", "--limit-test", "20", "--out", dataset];
        let mut command = place.command(&[&args[..], &limits].concat());
        command.env("HF_HOME", &home);
        outcome(command).ok();
        assert_eq!(place.json(&format!("{dataset}/results.json"))["dataset"], dataset);
    }
}
