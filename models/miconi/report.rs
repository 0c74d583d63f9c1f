//! Reports for the terminal.

use super::config::Preset;
use super::decoder::Decoding;
use hebbian_train::{Cell, History, Result, Results, RunFolder, Table};
use std::fmt::Write;
use std::path::Path;

/// Formats a table of how well classes are read out of each layer, for the terminal.
///
/// # Errors
/// Only if the table itself cannot be built.
pub fn decoding_table(decoding: &Decoding, preset: &Preset) -> Result<String> {
    let mut table = Table::new(["features", "number", "test accuracy %"]);
    for (at, (accuracy, layer)) in decoding.layers.iter().zip(&preset.layers).enumerate() {
        let name = format!("layer {}, quadrants", at + 1);
        table.row([name.into(), (4 * layer.units).into(), (100.0 * accuracy).into()])?;
    }
    let last = "last layer, whole output".into();
    table.row([last, Cell::Empty, (100.0 * decoding.output).into()])?;
    Ok(format!("{table:.2}"))
}

/// Formats a run for the terminal: accuracies, statistics of its layers, and the files in its folder `out`.
///
/// # Errors
/// If the results belong to another method, or the folder cannot be read.
pub fn report(results: &Results, history: &History, preset: &Preset, out: &Path) -> Result<String> {
    let mut text = format!("test accuracy {:.2} %\n\n", 100.0 * results.test_accuracy);
    text += &decoding_table(&Decoding::of(&results.readouts)?, preset)?;
    if let Some((_, last)) = history.by_epoch().last() {
        let columns = ["layer", "active share", "win rate / target, least", "most", "Σ w⁴"];
        let mut table = Table::new(columns);
        for layer in 0..preset.layers.len() {
            let value = |name: &str| last.get(&format!("layers.{layer}.{name}")).copied().into();
            let names = ["active", "least_win_rate", "largest_win_rate", "fourth_power"];
            table.row([Cell::from(layer + 1)].into_iter().chain(names.map(value)))?;
        }
        let _ = write!(text, "\n{table:.3}");
        text += "share of outputs above 0; mean of Σ w⁴ over filters, 1 for a single connection\n";
    }
    let readout_seconds: f64 = results.readouts.iter().map(|readout| readout.seconds).sum();
    let _ = writeln!(
        text,
        "\nlearning {:.1} s, {:.0} images/s; read-outs {readout_seconds:.1} s",
        results.unsupervised_seconds, results.unsupervised_images_per_second
    );
    let _ = writeln!(text, "{}", RunFolder::wrote(out)?);
    Ok(text)
}
