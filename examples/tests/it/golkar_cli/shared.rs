//! MNIST from a Hugging Face folder beside the workspace, where there is one.

use std::path::Path;

use super::PROGRAM;
use crate::common::binary::outcome;

/// The linear panel of Fig. 3: the paper's dashed line is at 0.81455, its curve ends at 0.8158 ± 0.0007.
#[test]
fn mnist_comes_near_the_optimum_of_the_paper() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/hf");
    if !home.is_dir() {
        println!("skipped: there is no {}", home.display());
        return;
    }
    let place = PROGRAM.place();
    let mut losses = Vec::new();
    for seed in ["0", "1", "2"] {
        let args = ["--offline", "--quiet", "--preset", "golkar-mnist-linear", "--out", "out"];
        let mut command = place.command(&[&args[..], &["--seed", seed]].concat());
        command.env("HF_HOME", &home);
        outcome(command).ok();
        let results = place.json("out/results.json");
        let number = |name: &str| results[name].as_f64().unwrap();
        let optimum = number("linear_optimum");
        assert!((optimum - 0.81455).abs() < 2e-5, "{optimum}");
        let spectrum = results["spectrum"][0].as_f64().unwrap();
        assert!((0.95..1.06).contains(&spectrum), "C_zz = {spectrum}");
        losses.push(number("loss"));
    }
    let mean = losses.iter().sum::<f64>() / 3.0;
    assert!(mean <= 0.8185, "{losses:?}");
}
