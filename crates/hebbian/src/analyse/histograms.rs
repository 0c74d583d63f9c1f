//! Histograms of several runs, overlaid. Those of runs that differ only in the seed share one colour and one name.

use anyhow::Result;
use hebbian_train::{Histogram, LineChart, Series};

/// The values of a run, with the number of its group and the name of the group's histograms.
pub(super) struct Values<'a> {
    pub group: usize,
    pub name: String,
    pub values: &'a [f64],
}

/// Returns the panel of a layer, in which the histograms of all runs have the same intervals.
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
    let mut named = Vec::new();
    let series = all.into_iter().zip(&histograms).map(|(Values { group, name, .. }, histogram)| {
        let name = if named.contains(&group) { String::new() } else { name };
        named.push(group);
        Series { name, colour: group, ..histogram.series(0.0) }
    });
    Ok(LineChart {
        title,
        x_label: x_label.to_string(),
        y_label: y_label.to_string(),
        series: series.collect(),
        ..LineChart::default()
    })
}
