//! Histograms of several runs over each other.

use anyhow::Result;
use hebbian_train::{Histogram, LineChart, Series};

/// Values of a run: its number, what its histogram is called, and the values.
pub(super) struct Values<'a> {
    pub run: usize,
    pub name: String,
    pub values: &'a [f64],
}

/// A panel of a layer in which the histograms of all runs have the same intervals.
///
/// # Errors
/// Those of [`Histogram::of_each`].
pub(super) fn panel(
    all: Vec<Values<'_>>,
    bins: usize,
    title: String,
    (x_label, y_label): (&str, &str),
) -> Result<LineChart> {
    let values: Vec<&[f64]> = all.iter().map(|one| one.values).collect();
    let histograms = Histogram::of_each(&values, bins)?;
    let series = all.into_iter().zip(&histograms).map(|(Values { run, name, .. }, histogram)| {
        Series { name, colour: run, ..histogram.series(0.0) }
    });
    Ok(LineChart {
        title,
        x_label: x_label.to_string(),
        y_label: y_label.to_string(),
        series: series.collect(),
        ..LineChart::default()
    })
}
