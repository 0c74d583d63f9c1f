//! What experiments write.

use super::{PROGRAM, TINY};

#[test]
fn without_flags_the_interventions_are_compared() {
    let place = PROGRAM.place();
    let run = place.run(&[&TINY[..], &["--seeds", "2"]].concat()).ok();
    let out = "runs/miconi/study-interventions/digits-seed-0";
    let rows: Vec<&str> =
        run.stdout.lines().skip(4).take(4).filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(rows, ["plain", "triangle", "pruning", "both"], "{}", run.stdout);
    let results = place.json(&format!("{out}/results.json"));
    let runs = results["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 8);
    for run in runs {
        let layers = run["decoding"]["layers"].as_array().unwrap();
        assert!(layers.iter().all(|layer| (0.0..=1.0).contains(&layer.as_f64().unwrap())));
    }
    // The mean of the two seeds of `plain`, as printed.
    let accuracy = |at: usize| runs[at]["decoding"]["layers"][0].as_f64().unwrap();
    let mean = format!("{:.2} ± ", 50.0 * (accuracy(0) + accuracy(1)));
    assert!(run.stdout.contains(&mean), "no '{mean}' in {}", run.stdout);
    let csv = String::from_utf8(place.bytes(&format!("{out}/table.csv"))).unwrap();
    assert_eq!(csv.lines().next(), Some("arm,seed,layer_1,layer_2,layer_3,output,seconds"));
    assert_eq!(csv.lines().count(), 9);
    let picture = place.bytes(&format!("{out}/figure.png"));
    assert!(image::load_from_memory(&picture).unwrap().width() > 100);
    assert!(place.path(&format!("{out}/both/seed-1/receptive_fields_3.png")).exists());
    assert!(run.stderr.contains("8/8 both seed 1"), "{}", run.stderr);
}

#[test]
fn every_experiment_has_its_arms() {
    let place = PROGRAM.place();
    for (name, arms) in [
        (
            "pruning",
            &["p = 0", "p = 0.5", "p = 0.9", "p = 0.95", "p = 0.98", "p = 0.99", "p = 0.999"][..],
        ),
        ("controls", &["learned", "triangle for read-outs", "random, thresholds", "random"]),
        (
            "rules",
            &[
                "hebb binary",
                "hebb graded",
                "instar binary",
                "instar graded",
                "oja binary",
                "oja graded",
            ],
        ),
    ] {
        let args = ["--experiment", name, "--limit-train", "200", "--limit-test", "50"];
        let args =
            [&args[..], &["--epochs", "1", "--seeds", "1", "--out", name, "--quiet"]].concat();
        place.run(&args).ok();
        let results = place.json(&format!("{name}/results.json"));
        let runs = results["runs"].as_array().unwrap();
        let found: Vec<&str> = runs.iter().map(|run| run["arm"].as_str().unwrap()).collect();
        assert_eq!(found, arms);
    }
}

/// The author's version of an experiment whitens by 9,000 images, which the digits do not have.
#[test]
fn experiments_are_the_author_s_on_request() {
    let place = PROGRAM.place();
    let run = place.run(&["--experiment", "interventions", "--author", "--epochs", "1"]);
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("9000"), "{}", run.stderr);
}
