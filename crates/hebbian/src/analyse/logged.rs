//! What runs logged while they learned, as curves over the images seen.

use super::lines::{self, Line};
use super::opened::Opened;
use crate::report::{self, Chart, charts};
use hebbian_train::{LineChart, Series};
use serde_json::{Value, json};

/// A quantity that runs logged.
pub(super) struct Logged {
    /// Its name in the glossary.
    pub term: String,
    pub title: String,
    /// Whether its values are shares.
    percent: bool,
    pub curves: Vec<Curve>,
}

/// The curve of one run.
pub(super) struct Curve {
    /// The index of the run.
    pub run: usize,
    /// What it is of: `layer 1`, `training`; may be empty.
    pub of: String,
    /// Images seen, and the value at that time.
    pub points: Vec<(f64, f64)>,
    /// The range of the values whose mean is drawn, if it was logged.
    band: Vec<(f64, f64, f64)>,
}

/// Returns all quantities that the runs logged, except those of read-outs.
pub(super) fn logged(runs: &[Opened]) -> Vec<Logged> {
    let histories: Vec<Vec<_>> = runs.iter().map(|run| vec![&run.folder.history]).collect();
    let charts = charts(&histories, usize::MAX).into_iter().filter(|chart| !chart.of_readout);
    let of_chart = |chart: Chart| {
        let xs = chart.clocks.into_iter().next().map_or(Vec::new(), |clock| clock.values);
        let curve = |series: report::Series| {
            let finite = |value: &Option<f64>| value.filter(|value| value.is_finite());
            let points = xs.iter().zip(&series.mean);
            let points = points.filter_map(|(&x, mean)| Some((x, finite(mean)?))).collect();
            let ends = xs.iter().zip(series.low.iter().zip(&series.high));
            let band = ends.filter_map(|(&x, (low, high))| Some((x, finite(low)?, finite(high)?)));
            let band = band.collect();
            Curve { run: series.group, of: series.name, points, band }
        };
        let curves = chart.series.into_iter().map(curve).collect();
        Logged { term: chart.term, title: chart.title, percent: chart.percent, curves }
    };
    charts.map(of_chart).collect()
}

impl Logged {
    /// Returns its curves as a chart, overlaid.
    pub(super) fn chart(&self, runs: &[Opened]) -> LineChart {
        let factor = if self.percent { 100.0 } else { 1.0 };
        let drawn = self.curves.iter().map(|curve| Line {
            run: Some(curve.run),
            series: Series {
                name: curve.of.clone(),
                points: curve.points.iter().map(|&(x, y)| (x, factor * y)).collect(),
                band: curve
                    .band
                    .iter()
                    .map(|&(x, low, high)| (x, factor * low, factor * high))
                    .collect(),
                ..Series::default()
            },
        });
        LineChart {
            title: self.title.clone(),
            x_label: "images seen".to_string(),
            y_label: if self.percent { "%".to_string() } else { String::new() },
            series: lines::series(runs, drawn.collect()),
            ..LineChart::default()
        }
    }

    /// Returns its curves as JSON, run by run.
    pub(super) fn figures(&self, runs: &[Opened]) -> Vec<Value> {
        let one = |curve: &Curve| {
            json!({
                "name": runs[curve.run].name, "figure": self.term, "of": curve.of,
                "images_and_values": curve.points,
            })
        };
        self.curves.iter().map(one).collect()
    }
}
