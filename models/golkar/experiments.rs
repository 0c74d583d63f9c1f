//! The paper's experiments, one command each.

use super::circuit::Rates;
use super::config::Preset;
use super::diagnostics::{Diagnostics, diagnose};
use super::learner::{Golkar, Learner, Options, Point, points};
use super::network::Rule;
use super::presets::preset;
use super::task::Task;
use candle_hebbian::Rng;
use hebbian_data::Dataset;
use hebbian_train::{
    Arm, ArmRun, Cell, Error, Figure, Learner as _, LineChart, Method as _, Progress, Result,
    Series, Spread, Study, Table, Trained, draw_panels, experiments, shown,
};
use serde_json::{Value, json};

experiments! {
    /// An experiment of the paper, or a measurement of a circuit.
    pub enum Experiment {
        /// The digits: a linear and a rectified circuit compared with back-propagation and the optimum. Not
        /// in the paper.
        Digits: "digits", "BMVR beside back-propagation and the optimum, digits";
        /// Fig. 3: loss of a linear circuit against samples, with back-propagation and the optimum.
        Fig3: "fig3", "linear: loss against samples, with the optimum as a line";
        /// Tab. 1: accuracy with 64 and 256 hidden units, with back-propagation for comparison.
        Table1: "table1", "ReLU: accuracy with 64 and 256 hidden units";
        /// How the teaching signal aligns with that of back-propagation, by epoch.
        Alignment: "alignment", "ReLU: teaching signal and back-propagation's";
        /// The spectrum of the activity's second moments, which the circuit keeps at 1 or below.
        Spectrum: "spectrum", "ReLU: eigenvalues of the activity's moments";
    }
}

impl Experiment {
    /// Runs the experiment and writes the study's folder: `table.csv`, `results.json`, `figure.png`, and a
    /// run folder for each network and seed. Returns a report for the terminal.
    ///
    /// # Errors
    /// If the experiment has no preset for the data set, or if [`Study::run`] or [`hebbian_train::train`] fails.
    pub fn run(self, study: &Study, data: &Dataset) -> Result<String> {
        let presets = self.presets(&data.name)?;
        let mut presets: Vec<Preset> = presets.into_iter().map(preset).collect::<Result<_>>()?;
        for preset in &mut presets {
            preset.training.epochs = study.options.epochs.unwrap_or(preset.training.epochs);
        }
        study.run(self.name(), Some(data), &[], || match self {
            Self::Digits | Self::Fig3 | Self::Table1 => {
                let arms = presets.iter().flat_map(|preset| self.arms(preset)).collect();
                let trained = study.train::<Golkar>(arms, data)?;
                curves(&trained, data, &study.options.averaged())
            }
            Self::Alignment | Self::Spectrum => self.look(&presets[0], study, data),
        })
    }

    /// The number of training images with which its networks are tested, if they learn the test images of the data set
    /// of this name.
    pub fn swapped(self, data: &str) -> Option<usize> {
        let swapped = |name: &str| preset(name).ok()?.swapped;
        self.presets(data).ok()?.into_iter().find_map(swapped)
    }

    /// The names of the presets for a data set.
    fn presets(self, data: &str) -> Result<Vec<&'static str>> {
        let linear = match data {
            "digits" => Some("golkar-digits-linear"),
            "mnist" => Some("golkar-mnist-linear"),
            "fashion-mnist" => Some("golkar-fashion-linear"),
            "cifar10" => Some("golkar-cifar10-linear"),
            "cifar100" => Some("golkar-cifar100-linear"),
            _ => None,
        };
        Ok(match (self, data, linear) {
            (Self::Fig3, _, Some(linear)) => vec![linear],
            (Self::Digits, "digits", Some(linear)) => vec![linear, "golkar-digits"],
            (Self::Table1, "mnist", _) => vec!["golkar-mnist", "golkar-mnist-256"],
            (_, "digits", _) => vec!["golkar-digits"],
            (Self::Alignment | Self::Spectrum, "mnist", _) => vec!["golkar-mnist"],
            _ => {
                let name = self.name();
                let known = match self {
                    Self::Digits => "digits",
                    Self::Fig3 => "digits, mnist, fashion-mnist, cifar10 or cifar100",
                    _ => "digits or mnist",
                };
                return Err(Error::Argument(format!(
                    "the experiment '{name}' has no preset for {data}: use --dataset {known}"
                )));
            }
        })
    }

    /// The networks of a comparison: the circuit and back-propagation; except in Fig. 3, also a circuit whose hidden
    /// neurons keep their random weights, and the same with a read-out that learns by the delta rule.
    fn arms(self, preset: &Preset) -> Vec<Arm<Options>> {
        let mut random = preset.clone();
        random.training.rates = Rates { w1: 0.0, q: 0.0, ..preset.training.rates };
        let mut delta_rule = random.clone();
        delta_rule.training.readout = Some(preset.backprop.rate);
        let mut arms = vec![("BMVR", preset, false), ("backprop", preset, true)];
        if self != Self::Fig3 {
            arms.push(("random hidden weights", &random, false));
            arms.push(("random hidden weights, delta rule", &delta_rule, false));
        }
        let arm = |(label, preset, backprop): (&str, &Preset, bool)| Arm {
            group: preset.name.clone(),
            label: label.to_string(),
            options: Options { preset: preset.clone(), backprop },
        };
        arms.into_iter().map(arm).collect()
    }

    /// Trains a circuit for each seed and measures it epoch by epoch.
    fn look(self, preset: &Preset, study: &Study, data: &Dataset) -> Result<Figure> {
        study.without_runs(self.name())?;
        let Study { options, device, .. } = *study;
        let learned = Options { preset: preset.clone(), backprop: false };
        let task = Task::of(preset, &Golkar::splits(&learned, data.clone()), device)?;
        let epochs = preset.training.epochs;
        let total = shown(task.train.count(), epochs)? as u64 * options.seeds as u64;
        study.begin()?;
        let mut progress = Progress::of(total, "samples", self.name(), options.quiet);
        let followed = options.seeds().map(|seed| {
            let learner = Learner::new(&learned, task.clone(), &Rng::new(seed), device)?;
            Ok(Followed { seed, epochs: follow(learner, epochs, &mut progress)? })
        });
        let followed = followed.collect::<Result<Vec<_>>>()?;
        progress.finish();

        let modes = if self == Self::Spectrum { preset.units } else { 0 };
        let columns =
            ["seed", "epoch", "train_accuracy", "test_accuracy", "alignment", "interneuron_gap"];
        let modes_names = (1..=modes).map(|at| format!("eigenvalue_{at}"));
        let mut table = Table::new(columns.map(String::from).into_iter().chain(modes_names));
        for Followed { seed, epochs } in &followed {
            for (epoch, (point, found)) in epochs.iter().enumerate() {
                let numbers = [
                    point.train_accuracy,
                    point.test_accuracy,
                    found.alignment,
                    found.interneuron_gap,
                ];
                let spectrum = found.spectrum.iter().take(modes).copied();
                let numbers = numbers.into_iter().chain(spectrum).map(Cell::from);
                table.row([(*seed).into(), epoch.into()].into_iter().chain(numbers))?;
            }
        }
        type Of<'a> = &'a dyn Fn(&(Point, Diagnostics)) -> f64;
        let at = |epoch: usize, value: Of| {
            let values = followed.iter().filter_map(|one| Some(value(one.epochs.get(epoch)?)));
            Spread::of(&values.collect::<Vec<_>>())
        };
        let line = |name: &str, value: Of, colour| {
            let means = (0..=epochs).filter_map(|epoch| Some((epoch as f64, at(epoch, value)?)));
            Series { colour, ..Series::of_means(name, means) }
        };
        let last = |value: Of, decimals| {
            at(epochs, value).map_or_else(String::new, |spread| spread.shown(decimals))
        };
        let (y_label, series, text) = if self == Self::Alignment {
            let alignment: Of = &|(_, found)| found.alignment;
            let gap: Of = &|(_, found)| found.interneuron_gap;
            let series = vec![
                line("teaching signal, cosine to BP's", alignment, 0),
                line("interneuron gap, relative", gap, 1),
            ];
            let text = format!(
                "after {epochs} epochs: cosine of the teaching signal and back-propagation's {}, \
                 ‖QQᵀ − W₂ᵀW₂‖/‖W₂ᵀW₂‖ {}, test accuracy {} %\n",
                last(alignment, 3),
                last(gap, 3),
                last(&|(point, _)| 100.0 * point.test_accuracy, 2)
            );
            ("cosine; relative gap", series, text)
        } else {
            let shown = preset.units.min(16);
            let series = (0..shown).map(|mode| line("", &|(_, found)| found.spectrum[mode], 0));
            let values = (0..shown).map(|mode| last(&|(_, found)| found.spectrum[mode], 3));
            let text = format!(
                "largest eigenvalues of C_zz after {epochs} epochs:\n{}\n",
                values.collect::<Vec<_>>().join(", ")
            );
            ("largest eigenvalues of C_zz", series.collect(), text)
        };
        let chart = LineChart {
            title: format!("{}, {} hidden units, {}", data.name, preset.units, options.averaged()),
            x_label: "epoch".to_string(),
            y_label: y_label.to_string(),
            series,
            ..LineChart::default()
        };
        let runs = followed.iter().filter_map(|Followed { seed, epochs }| {
            let (point, found) = epochs.last()?;
            Some(json!({
                "seed": seed,
                "alignment": found.alignment,
                "interneuron_gap": found.interneuron_gap,
                "spectrum": found.spectrum,
                "test_accuracy": point.test_accuracy,
            }))
        });
        let numbers = json!({ "preset": preset, "runs": runs.collect::<Vec<_>>() });
        Ok(Figure { table, more_tables: Vec::new(), numbers, text, picture: chart.draw()? })
    }
}

/// The measurements of a circuit in training.
struct Followed {
    seed: u64,
    /// Before the first epoch, and after each epoch.
    epochs: Vec<(Point, Diagnostics)>,
}

fn follow(
    mut learner: Learner,
    epochs: usize,
    progress: &mut Progress,
) -> Result<Vec<(Point, Diagnostics)>> {
    let count = learner.task().train.count();
    let mut found = Vec::new();
    for epoch in 0..=epochs {
        while learner.clock().images < (epoch * count) as u64 {
            let before = learner.clock().images;
            learner.step()?;
            progress.advance(learner.clock().images - before);
        }
        if let Rule::Local { circuit, .. } = &learner.model().rule {
            let diagnostics = diagnose(circuit, &learner.task().train)?;
            found.push((learner.point()?, diagnostics));
        }
    }
    Ok(found)
}

/// The loss of the best linear network.
fn optimum(one: &Trained<Options>) -> Option<f64> {
    one.extra("linear_optimum").map(|spread| spread.mean)
}

/// A chart of loss against samples, and a table of final results.
fn curves(trained: &[Trained<Options>], data: &Dataset, averaged: &str) -> Result<Figure> {
    let names = ["preset", "rule", "seed", "samples", "loss", "train_accuracy", "test_accuracy"];
    let mut table = Table::new(names);
    let columns = ["", "loss", "linear optimum", "train %", "test %", "samples/s"];
    let mut text = Table::new(columns);
    for one in trained {
        for run in &one.runs {
            for point in points(&run.history) {
                table.row([
                    one.arm.group.as_str().into(),
                    one.arm.label.as_str().into(),
                    run.results.seed.into(),
                    point.seen.into(),
                    point.loss.into(),
                    point.train_accuracy.into(),
                    point.test_accuracy.into(),
                ])?;
            }
        }
        let loss = one.extra("loss").map(|loss| loss.shown(4));
        let speed = |run: &ArmRun| {
            Some(run.results.training_images as f64 / run.results.training_seconds.max(1e-9))
        };
        let speed = one.spread(speed);
        text.row([
            format!("{}, {}", one.arm.group, one.arm.label).into(),
            loss.into(),
            optimum(one).map(|optimum| format!("{optimum:.4}")).into(),
            one.extra("train_accuracy").map(Spread::percent).into(),
            one.spread(|run| Some(run.results.test_accuracy)).map(Spread::percent).into(),
            speed.map(|speed| format!("{:.0}", speed.mean)).into(),
        ])?;
    }
    let panels: Vec<LineChart> = trained
        .chunk_by(|one, next| one.arm.group == next.arm.group)
        .map(|arms| {
            let mut series: Vec<Series> = arms.iter().enumerate().map(curve).collect();
            let ends = |end: fn(f64, f64) -> f64| {
                series.iter().flat_map(|one| &one.points).map(|point| point.0).reduce(end)
            };
            if let (Some(optimum), Some(from), Some(to)) =
                (optimum(&arms[0]), ends(f64::min), ends(f64::max))
            {
                series.push(Series {
                    name: "optimum of a linear network".to_string(),
                    points: vec![(from, optimum), (to, optimum)],
                    dashed: true,
                    colour: 6,
                    ..Default::default()
                });
            }
            LineChart {
                title: format!("{} on {}, {averaged}", arms[0].arm.group, data.name),
                x_label: "samples".to_string(),
                y_label: "loss, mean squared error".to_string(),
                log_x: true,
                series,
                ..LineChart::default()
            }
        })
        .collect();
    let runs = trained.iter().flat_map(|one| {
        one.runs
            .iter()
            .map(|run| json!({ "preset": one.arm.options.preset, "rule": one.arm.label, "results": run.results }))
    });
    Ok(Figure {
        table,
        more_tables: Vec::new(),
        numbers: json!({ "runs": runs.collect::<Vec<Value>>() }),
        text: format!(
            "{text}\nloss: mean squared error of the samples that are learned; the optimum is the smallest \
             loss of any linear network with the same number of hidden units\n"
        ),
        picture: draw_panels(&panels, 2)?,
    })
}

/// The line of loss against samples for one rule.
fn curve((colour, one): (usize, &Trained<Options>)) -> Series {
    let runs: Vec<_> = one.runs.iter().map(|run| points(&run.history)).collect();
    let point = |at: usize| {
        let seen = runs[0][at].seen as f64;
        let losses = runs.iter().filter_map(|points| Some(points.get(at)?.loss));
        Some((seen, Spread::of(&losses.collect::<Vec<_>>())?))
    };
    let points = (1..runs.first().map_or(0, Vec::len)).filter_map(point);
    Series { colour, ..Series::of_means(one.arm.label.as_str(), points) }
}
