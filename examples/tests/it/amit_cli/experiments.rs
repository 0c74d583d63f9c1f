//! What experiments write.

use serde_json::Value;

use super::{PROGRAM, TINY};
use crate::common::binary::Outcome;
use crate::common::program::Place;

/// Runs an experiment into `out`, and checks the files that all have in common.
fn run(place: &Place, args: &[&str], out: &str) -> (Outcome, Value, Vec<String>) {
    check(place, place.run(&[args, &["--out", out]].concat()).ok(), out)
}

fn check(place: &Place, outcome: Outcome, out: &str) -> (Outcome, Value, Vec<String>) {
    let csv = String::from_utf8(place.bytes(&format!("{out}/table.csv"))).unwrap();
    // No cell in these tables has a comma or a quote in it.
    let lines: Vec<String> = csv.lines().map(str::to_string).collect();
    let columns = lines[0].split(',').count();
    assert!(lines.len() > 1 && columns > 1, "{csv}");
    assert!(lines.iter().all(|line| line.split(',').count() == columns), "{csv}");
    let picture = image::load_from_memory(&place.bytes(&format!("{out}/figure.png"))).unwrap();
    assert!(picture.width() > 100 && picture.height() > 100);
    let colours: std::collections::BTreeSet<_> = picture.to_rgb8().pixels().map(|p| p.0).collect();
    assert!(colours.len() > 5, "an empty picture");
    assert!(outcome.stdout.contains(&format!("wrote {out}: table.csv")), "{}", outcome.stdout);
    (outcome, place.json(&format!("{out}/results.json")), lines)
}

/// An experiment on the digits: (network, arm) of each run.
fn arms(name: &str, seeds: &str) -> (Vec<(String, String)>, Outcome) {
    let place = PROGRAM.place();
    let args = ["--experiment", name, "--seeds", seeds];
    let tiny = &TINY[..4];
    let (outcome, results, _) = run(&place, &[&args, tiny, &["--epochs", "1"]].concat(), "out");
    assert_eq!((&results["experiment"], &results["dataset"]), (&name.into(), &"digits".into()));
    let text = |run: &Value, key: &str| run[key].as_str().unwrap().to_string();
    let runs = results["runs"].as_array().unwrap();
    for run in runs {
        let error = run["test_error"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&error) && run["seconds"].as_f64().unwrap() > 0.0);
        let points = run["curves"]["epoch"].as_array().unwrap().len();
        assert_eq!(run["curves"]["validation_error"].as_array().unwrap().len(), points);
        assert_eq!(points as f64, run["epochs"].as_f64().unwrap() + 1.0);
    }
    (runs.iter().map(|run| (text(run, "network"), text(run, "arm"))).collect(), outcome)
}

fn of(network: &str, arms: &[&str]) -> Vec<(String, String)> {
    arms.iter().map(|arm| (network.to_string(), arm.to_string())).collect()
}

#[test]
fn without_flags_the_protocols_are_compared() {
    let place = PROGRAM.place();
    let quick = [&TINY[..], &["--seeds", "2"]].concat();
    let out = "runs/amit/study-protocols/digits-seed-0";
    let (outcome, results, lines) = check(&place, place.run(&quick).ok(), out);
    assert_eq!(lines.len(), 1 + 3 * 3, "three protocols, epochs 0 to 2");
    assert_eq!(results["runs"].as_array().unwrap().len(), 6);
    let rows: Vec<&str> =
        outcome.stdout.lines().skip(2).take(3).map(|l| &l[..5]).map(str::trim).collect();
    assert_eq!(rows, ["BP-H", "URFB", "FRFB"], "{}", outcome.stdout);
    assert!(
        outcome.stderr.contains("6/6 digits FRFB seed 1: 180/180 images"),
        "{}",
        outcome.stderr
    );
    // The mean of the two seeds, as printed.
    let errors: Vec<f64> =
        (0..2).map(|i| results["runs"][i]["test_error"].as_f64().unwrap()).collect();
    let mean = format!("{:.2} ± ", 50.0 * (errors[0] + errors[1]));
    assert!(outcome.stdout.contains(&mean), "no '{mean}' in {}", outcome.stdout);
    // `--experiment protocols` asks for the same.
    let (_, named, _) =
        run(&place, &[&quick[..], &["--experiment", "protocols"]].concat(), "named");
    assert_eq!(named["runs"][5]["test_error"], results["runs"][5]["test_error"]);
}

#[test]
fn curves_have_three_protocols() {
    for (name, network) in [("fig4", "simpnet"), ("fig7", "deepernet")] {
        assert_eq!(arms(name, "1").0, of(network, &["BP", "URFB", "FRFB"]), "{name}");
    }
}

#[test]
fn bars_have_six_protocols() {
    let all = ["BP", "BP-H", "URFB", "FRFB", "URFB 50 %", "FRFB 50 %"];
    assert_eq!(arms("fig5", "1").0, of("simpnet", &all));
    assert_eq!(arms("fig6", "1").0, [of("deepnet", &all), of("deepernet", &all)].concat());
}

#[test]
fn untied_networks_stand_beside_tied_ones() {
    let expected = ["simpnet", "deepernet-s"].map(|network| {
        ["BP", "BP-H", "URFB", "FRFB", "URFB 50 %", "FRFB 50 %"].map(|arm| {
            [network.to_string(), format!("{network}-untied")].map(|n| (n, arm.to_string()))
        })
    });
    assert_eq!(arms("fig9", "1").0, expected.concat().concat());
}

#[test]
fn filters_are_drawn_and_compared() {
    let (runs, outcome) = arms("fig8", "2");
    assert_eq!(runs, vec![("simpnet-untied".to_string(), "URFB".to_string()); 2]);
    // 32 filters of each seed.
    assert!(outcome.stdout.lines().filter(|line| line.contains(" 32 ")).count() == 2);
}

#[test]
fn correlations_have_a_line_for_each_layer_that_learns() {
    let (runs, outcome) = arms("fig10", "1");
    assert_eq!(runs, of("simpnet", &["URFB", "FRFB"]));
    let heading = |outcome: &Outcome| {
        let first = outcome.stdout.lines().next().unwrap().split_whitespace();
        first.collect::<Vec<_>>().join(" ")
    };
    assert!(heading(&outcome).ends_with("W and R conv1 dense1 classes"), "{}", outcome.stdout);
    let (runs, outcome) = arms("fig11", "1");
    assert_eq!(runs, of("deepernet-s-untied", &["URFB", "FRFB"]));
    let layers = "W and R conv2 conv3 conv4 conv5 conv6 dense1 classes";
    assert!(heading(&outcome).ends_with(layers), "{}", outcome.stdout);
}

#[test]
fn the_linear_case_is_simulated() {
    let place = PROGRAM.place();
    let (outcome, results, lines) = run(&place, &["--experiment", "fig12", "--seeds", "2"], "out");
    assert_eq!(lines[0], "run,feedback,iteration,relative_error,correlation_2");
    // There are five curves per run; back-propagation's weights agree with themselves.
    assert_eq!((lines.len() - 1) % 10, 0);
    let bp = lines.iter().find(|line| line.starts_with("0,BP,")).unwrap();
    let own: f64 = bp.rsplit(',').next().unwrap().parse().unwrap();
    assert!((own - 1.0).abs() < 1e-12, "{bp}");
    let times = String::from_utf8(place.bytes("out/hitting_times.csv")).unwrap();
    let means: Vec<f64> = times
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(2).unwrap().parse().unwrap())
        .collect();
    assert_eq!(means.len(), 4);
    assert!(means.is_sorted_by(|slow, fast| slow > fast), "learning feedback is faster: {means:?}");
    assert_eq!(results["hitting_times"]["config"]["runs"], 20);
    assert!(outcome.stdout.contains("hitting_times.csv"));
}

#[test]
fn feedback_has_ten_arms() {
    let place = PROGRAM.place();
    let args = ["--experiment", "feedback", "--seeds", "1", "--epochs", "1"];
    let (outcome, results, lines) = run(&place, &args, "out");
    assert_eq!(lines.len(), 1 + 10);
    let runs = results["runs"].as_array().unwrap();
    let protocols: Vec<&str> = runs.iter().map(|run| run["protocol"].as_str().unwrap()).collect();
    assert_eq!(protocols, ["bp", "bp", "wm", "usf", "frsf", "brsf", "kp", "urfb", "dfa", "frfb"]);
    for run in runs {
        // Decay is for Kolen–Pollack, and for the back-propagation beside it.
        let label = run["arm"].as_str().unwrap();
        let decay = if label.contains("λ = 0.001") { 0.001 } else { 0.0 };
        assert_eq!(run["weight_decay"], decay, "{label}");
        // The angle to back-propagation is that of back-propagation only for itself.
        let angle = run["curves"]["angle/dense1"][1].as_f64().unwrap();
        assert_eq!(angle < 1e-3, label.starts_with("BP-H"), "{label}: {angle}");
    }
    assert!(outcome.stdout.contains("W-K correlation"), "{}", outcome.stdout);
}

#[test]
fn depth_has_fourteen_arms() {
    let place = PROGRAM.place();
    let args = ["--experiment", "depth", "--seeds", "1", "--epochs", "1"];
    let (_, results, lines) = run(&place, &args, "out");
    assert_eq!(lines.len(), 1 + 14);
    let runs = results["runs"].as_array().unwrap();
    assert_eq!(runs.iter().filter(|run| run["network"] == "4").count(), 5);
    // The test set is the validation set.
    for run in runs {
        let last = run["curves"]["validation_error"][1].as_f64().unwrap();
        assert!((last - run["test_error"].as_f64().unwrap()).abs() < 1e-12, "{run}");
    }
}
