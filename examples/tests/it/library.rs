//! The examples of a user's own programs, run as a user would.

use crate::common::binary::binary;
use std::process::Command;

/// The number that the example prints after each of `keys`.
fn numbers(example: &str, keys: [&str; 2]) -> [f64; 2] {
    let run = Command::new(binary(example)).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let report = String::from_utf8(run.stdout).unwrap();
    keys.map(|key| {
        let line = report.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_matches([':', ' ', '%']).parse().unwrap()
    })
}

#[test]
fn a_hebbian_layer_learns_in_a_candle_program() {
    let [trained, loaded] = numbers("hebbian_in_candle", ["trained", "loaded"]);
    assert!(trained > 95.0, "{trained}");
    assert_eq!(trained, loaded);
}

/// Class means of pixels say little, as every phase is as likely; chance is 25 %.
#[test]
fn a_stack_learns_own_tensors() {
    let [pixels, features] = numbers("own_tensors", ["pixels", "features"]);
    assert!(pixels < 60.0, "{pixels}");
    assert!(features > 95.0, "{features}");
}

/// ResNet-20 has 269,722 parameters with three channels (its first convolution 3·16·9 of them), so 288 fewer with one.
#[test]
fn a_residual_network_learns_with_asymmetric_feedback() {
    let [parameters, test] = numbers("residual_network", ["parameters", "test"]);
    assert_eq!(parameters, 269_434.0);
    assert!(test > 90.0, "{test}");
    let run =
        Command::new(binary("residual_network")).args(["--feedback", "dfa"]).output().unwrap();
    assert!(!run.status.success());
    let message = String::from_utf8(run.stderr).unwrap();
    assert!(message.contains("expected bp, urfb, frfb"), "{message}");
}
