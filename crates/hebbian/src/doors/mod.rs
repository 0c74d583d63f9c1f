//! The flags of each method.

mod amit;
mod ghl;
mod golkar;
mod k_means;
mod krotov_hopfield;
mod miconi;
mod patches;
mod softhebb;

use hebbian_train::Results;
use std::path::Path;

/// Returns the accuracy of each read-out, one per line: the report of a method that has nothing
/// else to report.
fn read_outs(results: &Results, out: &Path) -> String {
    let lines = results.readouts.iter().map(|one| {
        let (accuracy, name) = (100.0 * one.test_accuracy, &one.name);
        format!("{accuracy:.2} % of {} features, {name} ({:.1} s)\n", one.features, one.seconds)
    });
    format!("test accuracy\n{}wrote {}\n", lines.collect::<String>(), out.display())
}
