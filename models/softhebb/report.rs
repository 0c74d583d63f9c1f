//! The report of a run for the terminal.

use super::learner::Learner;
use hebbian_train::{Result, Run, RunFolder, Spread};
use serde_json::Value;
use std::path::Path;

/// Returns the accuracies and seconds of a run, and lists the files in the folder `out`.
///
/// # Errors
/// If the folder cannot be read.
pub fn report(run: &Run<Learner>, out: &Path) -> Result<String> {
    let results = &run.results;
    let mut lines = vec!["test accuracy".to_string()];
    let heads = |networks: &[f64]| format!("head on {} random networks", networks.len());
    for (name, accuracies) in results.readout_accuracies() {
        match &accuracies[..] {
            [one] => lines.push(format!("  {name:28} {:6.2} %", 100.0 * one)),
            several => lines.extend(spread(&heads(several), several)),
        }
    }
    if let Some(few) = results.extras.get("few_labels") {
        let labels = few["labels"].as_u64().unwrap_or_default();
        let [learned, pixels, random] =
            ["learned", "raw_pixels", "random_features"].map(|name| numbers(&few[name]));
        lines.push(format!("with {labels} labels, {} draws", learned.len()));
        lines.extend(spread("head", &learned));
        lines.extend(spread("head on raw pixels", &pixels));
        lines.extend(spread(&heads(&random), &random));
    }
    if let Some(left) = results.extras.get("units_that_left_their_start") {
        let left: Vec<String> =
            numbers(left).iter().map(|share| format!("{:.0} %", 100.0 * share)).collect();
        lines.push(String::new());
        lines.push(format!(
            "units that have left their random start (cosine below 0.5), by layer: {}",
            left.join(", ")
        ));
    }
    // With back-propagation, the head learns as long as the network.
    let with_labels = results.trained_with_labels;
    let head = if with_labels { results.training_seconds } else { results.head_seconds };
    let (unsupervised, speed) =
        (results.unsupervised_seconds, results.unsupervised_images_per_second);
    lines.push(String::new());
    lines.push(format!(
        "unsupervised {unsupervised:.1} s ({speed:.0} images/s), head {head:.1} s, in all {:.1} s",
        results.total_seconds
    ));
    lines.push(format!("{}\n", RunFolder::wrote(out)?));
    Ok(lines.join("\n"))
}

/// The numbers of a list.
fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// The line with mean and deviation of several accuracies; `None` without any.
fn spread(label: &str, accuracies: &[f64]) -> Option<String> {
    Some(format!("  {label:28}  {} %", Spread::of(accuracies)?.percent()))
}
