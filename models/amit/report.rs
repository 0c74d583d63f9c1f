//! Reports for the terminal.

use super::diagnostics::LayerDiagnostics;
use super::learner::Learner;
use hebbian_train::{Result, Run, RunFolder, Table};
use std::fmt::Write;
use std::path::Path;

/// Formats a run for the terminal: errors, a table of its layers, and the files in its folder `out`.
///
/// # Errors
/// If the folder cannot be read.
pub fn report(run: &Run<Learner>, out: &Path) -> Result<String> {
    let (results, preset) = (&run.results, hebbian_train::Learner::model(&run.learner).preset());
    let mut text = format!("test accuracy {:.2} %\n", 100.0 * results.test_accuracy);
    let Some((epoch, last)) = run.history.by_epoch().last() else { return Ok(text) };
    for (name, label) in [("train_error", "training"), ("validation_error", "validation")] {
        if let Some(error) = last.get(name) {
            let _ = writeln!(text, "{label} error after epoch {epoch} {:.2} %", 100.0 * error);
        }
    }
    let shown = LayerDiagnostics::MEASURES;
    let mut table =
        Table::new(["layer"].into_iter().chain(shown.into_iter().map(|(_, heading)| heading)));
    for layer in preset.weight_layers() {
        let value = |(name, _)| last.get(&format!("{name}/{layer}")).copied().into();
        table.row([layer.as_str().into()].into_iter().chain(shown.map(value)))?;
    }
    let _ = writeln!(
        text,
        "\n{table:.3}error angle and norm ratio, update angle: against back-propagation; ‖δ‖: mean length of the error"
    );
    let _ = writeln!(text, "\ntraining {:.1} s", results.training_seconds);
    let _ = writeln!(text, "{}", RunFolder::wrote(out)?);
    Ok(text)
}
