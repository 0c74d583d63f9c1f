//! The write-your-own-rule example, run as a user would.

use crate::common::binary::binary;
use std::process::Command;

#[test]
fn units_become_principal_components_in_both_geometries() {
    for seed in ["0", "1"] {
        let run = Command::new(binary("own_rule")).args(["--seed", seed]).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let report = String::from_utf8(run.stdout).unwrap();
        for name in ["dense, 8x8 images", "conv2d, 3x3 patches"] {
            let line = report.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
            let cosines: Vec<f64> =
                line.split_whitespace().map(|cosine| cosine.parse().unwrap()).collect();
            assert_eq!(cosines.len(), 6, "{report}");
            // A random direction has a cosine of about 1/3 in 9 dimensions, and of about 1/8 in 64.
            assert!(cosines.iter().all(|&cosine| cosine > 0.99 && cosine < 1.0001), "{report}");
        }
    }
}
