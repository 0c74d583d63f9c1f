//! The paper's experiments, a command each.

use super::config::Preset;
use super::diagnostics::diagnose;
use super::presets::preset;
use super::run::{Options, Outcome, train_on};
use super::task::Task;
use super::trainer::{Learner, Trainer};
use crate::experiment::{self, ExperimentOptions, Figure, Spread, experiments, slug};
use crate::run_options::shown;
use candle::Device;
use candle_hebbian::Rng;
use hebbian_data::{Dataset, DatasetName};
use hebbian_train::{Error, Result};
use hebbian_train::{LineChart, Progress, Series, Table, draw_panels};
use serde_json::{Value, json};
use std::path::Path;

experiments! {
    /// An experiment of the paper, or a look at a circuit.
    pub enum Experiment {
        /// The digits: a linear and a rectified circuit beside back-propagation and the optimum. Not in
        /// the paper.
        Digits: "digits", "BMVR beside back-propagation and the optimum, digits";
        /// Fig. 3: loss of a linear circuit against samples, beside back-propagation and the optimum.
        Fig3: "fig3", "linear: loss against samples, with the optimum as a line";
        /// Tab. 1: accuracy with 64 and 256 hidden units, beside back-propagation.
        Table1: "table1", "ReLU: accuracy with 64 and 256 hidden units";
        /// How the teaching signal aligns with that of back-propagation, by epoch.
        Alignment: "alignment", "ReLU: teaching signal and back-propagation's";
        /// The spectrum of the activity's second moments, which the circuit keeps at 1 or below.
        Spectrum: "spectrum", "ReLU: eigenvalues of the activity's moments";
    }
}

/// What was trained, how, and what came of it.
struct Trained {
    preset: Preset,
    backprop: bool,
    runs: Vec<Outcome>,
}

impl Experiment {
    /// Runs it and writes the folder `out`: `table.csv`, `results.json`, `figure.png`, and a run
    /// folder for each network and seed. Returns a report for the terminal.
    ///
    /// # Errors
    /// A data set that the experiment has no preset for, a folder that holds another's files, and what
    /// [`train`](super::train) refuses.
    pub fn run(
        self,
        options: &ExperimentOptions,
        data: &Dataset,
        device: &Device,
        out: &Path,
    ) -> Result<String> {
        let presets = self.presets(data.name)?;
        let mut presets: Vec<Preset> = presets.into_iter().map(preset).collect::<Result<_>>()?;
        for preset in &mut presets {
            preset.training.epochs = options.epochs.unwrap_or(preset.training.epochs);
        }
        if options.seeds == 0 || presets.iter().any(|preset| preset.training.epochs == 0) {
            let name = self.name();
            return Err(Error::Argument(format!("{name}: expected 1 seed and 1 epoch or more")));
        }
        experiment::run(self.name(), options, Some(data), out, || match self {
            Self::Digits | Self::Fig3 | Self::Table1 => {
                let mut trained = Vec::new();
                for preset in presets {
                    let task = (&Task::of(&preset, data, device)?, data.name.as_str());
                    for backprop in [false, true] {
                        trained.push(train(&preset, backprop, options, task, device, out)?);
                    }
                }
                curves(&trained, data)
            }
            Self::Alignment | Self::Spectrum => self.look(&presets[0], options, data, device),
        })
    }

    /// The presets for a data set.
    fn presets(self, data: DatasetName) -> Result<Vec<&'static str>> {
        let linear = match data {
            DatasetName::Digits => "golkar-digits-linear",
            DatasetName::Mnist => "golkar-mnist-linear",
            DatasetName::FashionMnist => "golkar-fashion-linear",
            DatasetName::Cifar10 => "golkar-cifar10-linear",
            DatasetName::Cifar100 => "golkar-cifar100-linear",
        };
        Ok(match (self, data) {
            (Self::Fig3, _) => vec![linear],
            (Self::Digits, DatasetName::Digits) => vec![linear, "golkar-digits"],
            (Self::Table1, DatasetName::Mnist) => vec!["golkar-mnist", "golkar-mnist-256"],
            (_, DatasetName::Digits) => vec!["golkar-digits"],
            (Self::Alignment | Self::Spectrum, DatasetName::Mnist) => vec!["golkar-mnist"],
            _ => {
                let name = self.name();
                return Err(Error::Argument(format!(
                    "{name} has no preset for {data}: use --dataset digits or mnist"
                )));
            }
        })
    }

    /// Follows one circuit, epoch by epoch.
    fn look(
        self,
        preset: &Preset,
        options: &ExperimentOptions,
        data: &Dataset,
        device: &Device,
    ) -> Result<Figure> {
        experiment::starts_anew(self.name(), options);
        let task = Task::of(preset, data, device)?;
        let mut trainer = Trainer::new(preset, &task, false, &Rng::new(options.seed), device)?;
        let (count, epochs) = (task.train.count(), preset.training.epochs);
        let total = shown(count, epochs)? as u64;
        let mut progress = Progress::of(total, "samples", self.name(), options.quiet);
        let mut found = Vec::new();
        for epoch in 0..=epochs {
            trainer.learn(&task, epoch * count, |count| progress.advance(count as u64))?;
            let point = trainer.measure(&task)?;
            if let Learner::Local { circuit, .. } = trainer.learner() {
                found.push((epoch as f64, point, diagnose(circuit, &task.train)?));
            }
        }
        progress.finish();
        let columns = ["epoch", "train_accuracy", "test_accuracy", "alignment", "interneuron_gap"];
        let modes = if self == Self::Spectrum { preset.units } else { 0 };
        let modes_names = (1..=modes).map(|at| format!("eigenvalue_{at}"));
        let mut table = Table::new(columns.map(String::from).into_iter().chain(modes_names));
        for (epoch, point, diagnostics) in &found {
            let cells = [
                *epoch,
                point.train_accuracy,
                point.test_accuracy,
                diagnostics.alignment,
                diagnostics.interneuron_gap,
            ];
            let spectrum = diagnostics.spectrum.iter().take(modes).copied();
            table.row(cells.into_iter().chain(spectrum).map(Into::into))?;
        }
        let line = |name: &str, value: &dyn Fn(usize) -> f64, colour| Series {
            name: name.to_string(),
            points: (0..found.len()).map(|at| (found[at].0, value(at))).collect(),
            colour,
            ..Default::default()
        };
        let Some((_, point, last)) = found.last() else {
            return Err(Error::Argument("there was nothing to look at".to_string()));
        };
        let (y_label, series, text) = if self == Self::Alignment {
            let series = vec![
                line("cosine of c and W₂ᵀ(y − ŷ)", &|at| found[at].2.alignment, 0),
                line("‖QQᵀ − W₂ᵀW₂‖ / ‖W₂ᵀW₂‖", &|at| found[at].2.interneuron_gap, 1),
            ];
            let text = format!(
                "after {epochs} epochs: cosine of the teaching signal and back-propagation's {:.3}, \
                 ‖QQᵀ − W₂ᵀW₂‖/‖W₂ᵀW₂‖ {:.3}, test accuracy {:.2} %\n",
                last.alignment,
                last.interneuron_gap,
                100.0 * point.test_accuracy
            );
            ("", series, text)
        } else {
            let shown = last.spectrum.len().min(16);
            let series = (0..shown).map(|mode| line("", &|at| found[at].2.spectrum[mode], mode));
            let values: Vec<String> =
                last.spectrum.iter().take(shown).map(|value| format!("{value:.3}")).collect();
            let text = format!(
                "largest eigenvalues of C_zz after {epochs} epochs:\n{}\n",
                values.join(" ")
            );
            ("eigenvalues of C_zz", series.collect(), text)
        };
        let chart = LineChart {
            title: format!("{}, {} hidden units", data.name, preset.units),
            x_label: "epoch".to_string(),
            y_label: y_label.to_string(),
            log_y: false,
            series,
        };
        let numbers = json!({
            "preset": preset,
            "seed": options.seed,
            "alignment": last.alignment,
            "interneuron_gap": last.interneuron_gap,
            "spectrum": last.spectrum,
            "test_accuracy": point.test_accuracy,
        });
        Ok(Figure { table, more_tables: Vec::new(), numbers, text, picture: chart.draw()? })
    }
}

/// Trains a preset with every seed, on the samples of a data set of that name.
fn train(
    preset: &Preset,
    backprop: bool,
    options: &ExperimentOptions,
    (task, dataset): (&Task, &str),
    device: &Device,
    out: &Path,
) -> Result<Trained> {
    let rule = if backprop { "backprop" } else { "bmvr" };
    let mut runs = Vec::new();
    for seed in options.seeds() {
        let folder =
            out.join(slug(&format!("{} {rule}", preset.name))).join(format!("seed-{seed}"));
        let label = format!("{} {rule} seed {seed}", preset.name);
        let run = options.run(seed, &folder);
        let options = Options { preset: preset.clone(), backprop, run };
        runs.push(train_on(&options, task, dataset, &label, device, &folder)?);
    }
    Ok(Trained { preset: preset.clone(), backprop, runs })
}

impl Trained {
    fn rule(&self) -> &'static str {
        if self.backprop { "backprop" } else { "BMVR" }
    }

    fn spread(&self, value: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
        Spread::of(&self.runs.iter().filter_map(value).collect::<Vec<_>>())
    }

    fn extra(&self, name: &str) -> Option<Spread> {
        self.spread(|run| run.results.extras.get(name)?.as_f64())
    }

    fn optimum(&self) -> Option<f64> {
        self.extra("linear_optimum").map(|spread| spread.mean)
    }
}

/// Loss against samples, and final figures.
fn curves(trained: &[Trained], data: &Dataset) -> Result<Figure> {
    let names = ["preset", "rule", "seed", "samples", "loss", "train_accuracy", "test_accuracy"];
    let mut table = Table::new(names);
    let columns = ["", "loss", "linear optimum", "train %", "test %", "samples/s"];
    let mut text = Table::new(columns);
    for one in trained {
        for run in &one.runs {
            for point in &run.points {
                table.row([
                    one.preset.name.as_str().into(),
                    one.rule().into(),
                    run.results.seed.into(),
                    point.seen.into(),
                    point.loss.into(),
                    point.train_accuracy.into(),
                    point.test_accuracy.into(),
                ])?;
            }
        }
        let loss = one.extra("loss").map(|loss| match loss.sd {
            Some(sd) => format!("{:.4} ± {sd:.4}", loss.mean),
            None => format!("{:.4}", loss.mean),
        });
        let speed = one.spread(|run| Some(run.results.unsupervised_images_per_second));
        text.row([
            format!("{}, {}", one.preset.name, one.rule()).into(),
            loss.into(),
            one.optimum().map(|optimum| format!("{optimum:.4}")).into(),
            one.extra("train_accuracy").map(Spread::percent).into(),
            one.spread(|run| Some(run.results.test_accuracy)).map(Spread::percent).into(),
            speed.map(|speed| format!("{:.0}", speed.mean)).into(),
        ])?;
    }
    let panels: Vec<LineChart> = trained
        .chunks(2)
        .map(|pair| {
            let mut series: Vec<Series> = pair.iter().enumerate().map(curve).collect();
            let ends = |end: fn(f64, f64) -> f64| {
                series.iter().flat_map(|one| &one.points).map(|point| point.0).reduce(end)
            };
            if let (Some(optimum), Some(from), Some(to)) =
                (pair[0].optimum(), ends(f64::min), ends(f64::max))
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
                title: format!("{} on {}", pair[0].preset.name, data.name),
                x_label: "samples, powers of ten".to_string(),
                y_label: "loss".to_string(),
                log_y: false,
                series,
            }
        })
        .collect();
    let runs = trained.iter().flat_map(|one| {
        one.runs
            .iter()
            .map(|run| json!({ "preset": one.preset, "rule": one.rule(), "results": run.results }))
    });
    Ok(Figure {
        table,
        more_tables: Vec::new(),
        numbers: json!({ "runs": runs.collect::<Vec<Value>>() }),
        text: format!(
            "{text}\nloss: mean squared error of the samples that are learned; the optimum is that of any \
             linear network of as many hidden units\n"
        ),
        picture: draw_panels(&panels, panels.len())?,
    })
}

/// Mean loss over seeds against the power of ten of samples.
fn curve((colour, one): (usize, &Trained)) -> Series {
    let points = one.runs.first().map_or(0, |run| run.points.len());
    let point = |at: usize| {
        let seen = one.runs[0].points[at].seen.max(1) as f64;
        let loss = one.spread(|run| Some(run.points.get(at)?.loss))?;
        Some((seen.log10(), loss.mean))
    };
    Series {
        name: one.rule().to_string(),
        points: (1..points).filter_map(point).collect(),
        colour,
        ..Default::default()
    }
}
