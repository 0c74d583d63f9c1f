//! The results of the networks of an experiment, each trained with several seeds.

use super::super::decoder::Decoding;
use super::super::options::Options;
use hebbian_train::{Cell, LineChart, Result, Series, Spread, Table, Trained};
use serde_json::{Value, json};

/// The accuracy for layer `at`.
fn layer(trained: &Trained<Options>, at: usize) -> Option<Spread> {
    trained.spread(|run| Decoding::of(&run.results.readouts).ok()?.layers.get(at).copied())
}

/// The number of layers of each network.
fn layers(trained: &[Trained<Options>]) -> usize {
    trained.first().map_or(0, |one| one.arm.options.preset.layers.len())
}

/// A table for other programs, one row per run, with accuracies as shares of 1.
pub(super) fn points(trained: &[Trained<Options>]) -> Result<Table> {
    let names = (1..=layers(trained)).map(|at| format!("layer_{at}"));
    let head = ["arm", "seed"].map(String::from).into_iter().chain(names);
    let mut table = Table::new(head.chain(["output".to_string(), "seconds".to_string()]));
    for one in trained {
        for run in &one.runs {
            let decoding = Decoding::of(&run.results.readouts)?;
            let accuracies = decoding.layers.iter().chain([&decoding.output]).copied();
            let cells = accuracies.chain([run.results.total_seconds]).map(Cell::from);
            let head = [one.arm.label.as_str().into(), run.results.seed.into()];
            table.row(head.into_iter().chain(cells))?;
        }
    }
    Ok(table)
}

/// All runs for `results.json`.
pub(super) fn numbers(trained: &[Trained<Options>]) -> Result<Value> {
    let runs = trained.iter().flat_map(|one| one.runs.iter().map(move |run| (&one.arm, run)));
    let runs = runs.map(|(arm, run)| {
        Ok(json!({
            "arm": arm.label,
            "preset": arm.options.preset,
            "seed": run.results.seed,
            "decoding": Decoding::of(&run.results.readouts)?,
            "layers": run.history.by_epoch().last().map(|(_, values)| values),
            "seconds": run.results.total_seconds,
            "device": run.results.device,
        }))
    });
    Ok(json!({ "runs": runs.collect::<Result<Vec<_>>>()? }))
}

/// A table of accuracies by layer, for the terminal.
pub(super) fn summary(trained: &[Trained<Options>]) -> Result<String> {
    let layers = layers(trained);
    let names = (1..=layers).map(|at| format!("layer {at}"));
    let mut table = Table::new([String::new()].into_iter().chain(names).chain(["output".into()]));
    for one in trained {
        let output = one.spread(|run| Some(run.results.test_accuracy));
        let spreads = (0..layers).map(|at| layer(one, at)).chain([output]);
        let cells = spreads.map(|spread| spread.map(Spread::percent).into());
        table.row([Cell::from(one.arm.label.as_str())].into_iter().chain(cells))?;
    }
    Ok(format!(
        "test accuracy, %\n\n{table}\nlayers: read out of channel means over quadrants; output: of \
         the last layer's whole map\n"
    ))
}

/// A chart of accuracy against layer, one line per arm.
pub(super) fn chart(trained: &[Trained<Options>], title: &str) -> LineChart {
    let series = trained.iter().enumerate().map(|(colour, one)| {
        let layers = 0..one.arm.options.preset.layers.len();
        let points = layers.filter_map(|at| Some((at as f64 + 1.0, layer(one, at)?.times(100.0))));
        Series { colour, ..Series::of_means(&one.arm.label, points) }
    });
    LineChart {
        title: title.to_string(),
        x_label: "layer".to_string(),
        y_label: "test accuracy, %".to_string(),
        series: series.collect(),
        ..LineChart::default()
    }
}
