//! A comparison of the rule with its controls.

use super::config::{Learning, Preset};
use super::learner::{Ghl, Options};
use hebbian_data::Dataset;
use hebbian_train::{
    Arm, Error, Figure, LineChart, Result, Series, Spread, Study, Table, Trained, experiments,
    find_preset,
};
use serde_json::json;

experiments! {
    /// A comparison of networks.
    pub enum Experiment {
        /// The rule, its direction with a constant size, back-propagation, and convolutions that keep their random
        /// weights. The paper has the first and the third.
        Rules: "rules", "GHL, sign only, back-propagation, frozen: training error by epoch, test accuracy";
    }
}

impl Experiment {
    /// Runs the experiment and writes the study's folder: `table.csv`, `results.json`, `figure.png`, and a run folder
    /// for each network and seed. Returns a report for the terminal.
    ///
    /// # Errors
    /// A data set for which the experiment has no network, and the errors of [`Study::run`] and
    /// [`hebbian_train::train`].
    pub fn run(self, study: &Study, data: &Dataset) -> Result<String> {
        let preset = match data.name.as_str() {
            "digits" => "ghl-digits",
            "cifar10" => "deephebb-cifar-eighth-width",
            other => {
                return Err(Error::Argument(format!(
                    "{}: no network for {other}: use --dataset digits or cifar10",
                    self.name()
                )));
            }
        };
        let mut preset: Preset = find_preset(preset)?;
        preset.training.epochs = study.options.epochs.unwrap_or(preset.training.epochs);
        study.run(self.name(), Some(data), &[], || {
            let arms = Learning::ALL.map(|(label, learning)| {
                let mut preset = preset.clone();
                preset.training.learning = learning;
                let options = Options { preset };
                Arm { group: String::new(), label: label.to_string(), options }
            });
            let averaged = study.options.averaged();
            let title = format!("{} on {}, {averaged}", preset.name, data.name);
            figure(&study.train::<Ghl>(arms.to_vec(), data)?, title)
        })
    }
}

fn figure(trained: &[Trained<Options>], title: String) -> Result<Figure> {
    let mut table = Table::new(["learning", "epoch", "train_error", "train_error_sd"]);
    let mut text = Table::new(["", "test accuracy %", "training error %"]);
    for one in trained {
        let label = one.arm.label.as_str();
        for (epoch, spread) in one.curve(TRAIN_ERROR) {
            table.row([label.into(), epoch.into(), spread.mean.into(), spread.sd.into()])?;
        }
        let accuracy = one.spread(|run| Some(run.results.test_accuracy)).map(Spread::percent);
        let error = one.at(TRAIN_ERROR, None).map(Spread::percent);
        text.row([label.into(), accuracy.into(), error.into()])?;
    }
    let series = trained.iter().enumerate().map(|(colour, one)| {
        let points = one.curve(TRAIN_ERROR).into_iter();
        let points = points.map(|(epoch, spread)| (epoch, spread.times(100.0)));
        Series { colour, ..Series::of_means(&one.arm.label, points) }
    });
    let chart = LineChart {
        title,
        x_label: "epoch".to_string(),
        y_label: "training error, %".to_string(),
        series: series.collect(),
        ..LineChart::default()
    };
    let runs = trained.iter().flat_map(|one| {
        one.runs.iter().map(|run| json!({ "learning": one.arm.label, "results": run.results }))
    });
    Ok(Figure {
        table,
        more_tables: Vec::new(),
        numbers: json!({ "runs": runs.collect::<Vec<_>>() }),
        text: format!(
            "{text}\ntraining error: of the last epoch, with dropout, while the network learns\n"
        ),
        picture: chart.draw()?,
    })
}

/// The name of the training error in a run's log, which has one for each epoch.
const TRAIN_ERROR: &str = "train_error";
