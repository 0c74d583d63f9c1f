//! Networks trained side by side, each with several seeds.

use super::super::config::Preset;
use super::super::decode::Decoder;
use super::super::run::{Options, Outcome, train_as};
use crate::experiment::{ExperimentOptions, Spread, slug};
use candle::Device;
use hebbian_data::Dataset;
use hebbian_train::Result;
use hebbian_train::{Cell, LineChart, Series, Table};
use serde_json::{Value, json};
use std::path::Path;

/// A network with one way of learning.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    pub label: String,
    pub preset: Preset,
}

/// An arm with its runs, a seed each.
pub(super) struct Trained {
    arm: Arm,
    runs: Vec<Outcome>,
}

/// Trains arms.
pub(super) struct Runner<'a> {
    pub options: &'a ExperimentOptions,
    pub decoder: Decoder,
    pub data: &'a Dataset,
    pub device: &'a Device,
    pub out: &'a Path,
}

impl Runner<'_> {
    /// Trains the arms, one after the other, with every seed.
    pub fn train(&self, arms: Vec<Arm>) -> Result<Vec<Trained>> {
        let seeds = self.options.seeds;
        let all = arms.len() * seeds;
        let mut trained: Vec<Trained> = Vec::new();
        for arm in arms {
            let mut runs = Vec::new();
            for seed in self.options.seeds() {
                let number = trained.len() * seeds + runs.len() + 1;
                let folder = self.out.join(slug(&arm.label)).join(format!("seed-{seed}"));
                let options = Options {
                    preset: arm.preset.clone(),
                    decoder: self.decoder,
                    standardise_last: false,
                    run: self.options.run(seed, &folder),
                };
                let label = format!("{number}/{all} {} seed {seed}", arm.label);
                runs.push(train_as(&options, self.data, &label, self.device, &folder)?);
            }
            trained.push(Trained { arm, runs });
        }
        Ok(trained)
    }
}

impl Trained {
    /// The accuracy of layer `at`.
    fn layer(&self, at: usize) -> Option<Spread> {
        let values = self.runs.iter().filter_map(|run| run.decoding.layers.get(at).copied());
        Spread::of(&values.collect::<Vec<_>>())
    }

    /// The accuracy of the last layer's whole output.
    fn output(&self) -> Option<Spread> {
        Spread::of(&self.runs.iter().map(|run| run.decoding.output).collect::<Vec<_>>())
    }

    fn layers(&self) -> usize {
        self.arm.preset.layers.len()
    }
}

/// A row per run for other programs: accuracies as shares of 1.
pub(super) fn points(trained: &[Trained]) -> Result<Table> {
    let layers = trained.first().map_or(0, Trained::layers);
    let names = (1..=layers).map(|at| format!("layer_{at}"));
    let head = ["arm", "seed"].map(String::from).into_iter().chain(names);
    let mut table = Table::new(head.chain(["output".to_string(), "seconds".to_string()]));
    for one in trained {
        for run in &one.runs {
            let decoding = &run.decoding;
            let accuracies = decoding.layers.iter().chain([&decoding.output]).copied();
            let cells = accuracies.chain([run.results.total_seconds]).map(Cell::from);
            let head = [one.arm.label.as_str().into(), run.results.seed.into()];
            table.row(head.into_iter().chain(cells))?;
        }
    }
    Ok(table)
}

/// All runs for `results.json`.
pub(super) fn numbers(trained: &[Trained]) -> Value {
    let runs = trained.iter().flat_map(|one| {
        one.runs.iter().map(|run| {
            let last = run.history.last_key_value().map(|(_, values)| values);
            json!({
                "arm": one.arm.label,
                "preset": one.arm.preset,
                "seed": run.results.seed,
                "decoding": run.decoding,
                "layers": last,
                "seconds": run.results.total_seconds,
                "device": run.results.device,
            })
        })
    });
    json!({ "runs": runs.collect::<Vec<_>>() })
}

/// Accuracies by layer, for the terminal.
pub(super) fn summary(trained: &[Trained]) -> Result<String> {
    let layers = trained.first().map_or(0, Trained::layers);
    let names = (1..=layers).map(|at| format!("layer {at}"));
    let mut table = Table::new([String::new()].into_iter().chain(names).chain(["output".into()]));
    for one in trained {
        let spreads = (0..layers).map(|at| one.layer(at)).chain([one.output()]);
        let cells = spreads.map(|spread| spread.map(Spread::percent).into());
        table.row([Cell::from(one.arm.label.as_str())].into_iter().chain(cells))?;
    }
    Ok(format!(
        "test accuracy, %\n\n{table}\nlayers: read out of channel means over quadrants; output: of \
         the last layer's whole map\n"
    ))
}

/// Accuracy against layer, a line for each arm.
pub(super) fn chart(trained: &[Trained], title: &str) -> LineChart {
    let series = trained.iter().enumerate().map(|(colour, one)| Series {
        name: one.arm.label.clone(),
        points: (0..one.layers())
            .filter_map(|at| Some((at as f64 + 1.0, 100.0 * one.layer(at)?.mean)))
            .collect(),
        colour,
        ..Default::default()
    });
    LineChart {
        title: title.to_string(),
        x_label: "layer".to_string(),
        y_label: "test accuracy, %".to_string(),
        log_y: false,
        series: series.collect(),
    }
}
