//! Reports for the terminal.

use super::learner::Learner;
use hebbian_train::{Result, Run, RunFolder};
use std::fmt::Write;
use std::path::Path;

/// Formats a run for the terminal: accuracy, loss, speed, and the files in its folder `out`.
///
/// # Errors
/// If the folder cannot be read.
pub fn report(run: &Run<Learner>, out: &Path) -> Result<String> {
    let results = &run.results;
    let number = |name: &str| results.extras.get(name).and_then(|value| value.as_f64());
    let mut text = format!("test accuracy {:.2} %", 100.0 * results.test_accuracy);
    if let (Some(train), Some(loss)) = (number("train_accuracy"), number("loss")) {
        let _ = write!(text, ", training accuracy {:.2} %\nloss {loss:.5}", 100.0 * train);
    }
    if let Some(optimum) = number("linear_optimum") {
        let _ = write!(text, ", optimum of a linear network {optimum:.5}");
    }
    if let (Some(alignment), Some(gap)) = (number("alignment"), number("interneuron_gap")) {
        let _ = write!(
            text,
            "\nteaching signal and back-propagation's: cosine {alignment:.3}; \
             ‖QQᵀ − W₂ᵀW₂‖/‖W₂ᵀW₂‖ {gap:.3}"
        );
    }
    let _ = write!(
        text,
        "\nlearning {:.1} s, {:.0} samples/s\n{}\n",
        results.training_seconds,
        results.training_images as f64 / results.training_seconds.max(1e-9),
        RunFolder::wrote(out)?
    );
    Ok(text)
}
