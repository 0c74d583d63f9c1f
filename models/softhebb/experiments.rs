//! The comparisons of the paper's appendix: temperatures, initial radii, and rates that depend on the radius.

use super::config::{Learning, Preset, Rate};
use super::method::Softhebb;
use super::options::Options;
use super::presets::preset;
use crate::CompetitionKind;
use hebbian_data::Dataset;
use hebbian_train::{
    Arm, ArmRun, Cell, Error, Figure, LineChart, Result, Series, Spread, Study, Table, draw_panels,
    experiments,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

experiments! {
    /// A comparison of networks.
    pub enum Experiment {
        /// Units that compete with different temperatures `T = 1/t` of the softmax `exp(u/T)`, equal in all layers:
        /// with the anti-Hebbian sign of losers (`softkrotov` in the release), without it (`soft`), and the limit of
        /// hard winners. Figs. B.1 and B.2 of Journé et al. 2023 show accuracy and R1 in this way.
        Temperature: "temperature", "soft WTA by temperature, and hard WTA: accuracy, R1 (Figs. B.1, B.2)";
        /// A first layer with different initial radii, whose rate depends on the radius or falls linearly: Fig. B.3 A.
        Radius: "radius", "norm-dependent rate or linear decay, by initial radius: accuracy, R1 (Fig. B.3 A)";
        /// The same two rates with hard winners, the initial radius 10, and steps of 50 images: R1 after each number of
        /// images, Fig. B.3 B. For CIFAR-10 they are the release's two networks for this figure, whose rates begin at
        /// 0.05 and 0.025.
        Speed: "speed", "norm-dependent rate or linear decay, hard WTA: R1 by images (Fig. B.3 B)";
    }
}

/// The release has 100, from 1.8e-5 to 7e4.
const TEMPERATURES: [f64; 15] =
    [1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 1e4];

/// The units that do not win, and whether they learn with the opposite sign.
const LOSERS: [(&str, bool); 2] = [("soft WTA, anti-Hebbian losers", true), ("soft WTA", false)];

/// The release has 27, from 0.1 to 36.
const RADII: [f64; 12] = [0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0, 20.0, 35.0];

/// The rates, and whether they fall linearly or depend on the radius.
const RATES: [(&str, bool); 2] = [("norm-dependent rate", false), ("linear decay", true)];

impl Experiment {
    /// Runs the experiment and writes the study's folder: `table.csv`, `results.json`, `figure.png`, and a run folder
    /// for each network and seed. Returns a report for the terminal.
    ///
    /// # Errors
    /// A data set for which the experiment has no network, and the errors of [`Study::run`] and
    /// [`hebbian_train::train`].
    pub fn run(self, study: &Study, data: &Dataset) -> Result<String> {
        let network = |decays| {
            let mut network = self.network(data, decays)?;
            let training = &mut network.training;
            training.epochs = study.options.epochs.unwrap_or(training.epochs);
            Ok::<_, Error>(network)
        };
        let networks = [network(false)?, network(true)?];
        study.run(self.name(), Some(data), &[], || {
            let trained = study.train::<Softhebb>(self.arms(&networks), data)?;
            let averaged = study.options.averaged();
            let title = format!("{} on {}, {averaged}", networks[0].name, data.name);
            match self {
                Self::Temperature => against("temperature", temperature, &trained, title),
                Self::Radius => against("initial_radius", initial_radius, &trained, title),
                Self::Speed => by_images(&trained, title),
            }
        })
    }

    /// The network for the data, with one layer, and with a rate that [`learn`] lets fall if it `decays`.
    fn network(self, data: &Dataset, decays: bool) -> Result<Preset> {
        preset(match (data.name.as_str(), self) {
            ("digits", _) => "softhebb-mlp-digits",
            ("mnist", _) => "softhebb-mlp-mnist",
            ("cifar10", Self::Speed) if decays => "hard-cnn1-cifar-speed-linear-decay",
            ("cifar10", Self::Speed) => "hard-cnn1-cifar-speed",
            ("cifar10", _) => "softhebb-cnn1-cifar",
            (other, _) => {
                return Err(Error::Argument(format!(
                    "{}: no network for {other}: use --dataset digits, mnist or cifar10",
                    self.name()
                )));
            }
        })
    }

    /// The arms, made of the network whose rate depends on the radius and of the one whose rate falls linearly.
    fn arms(self, [network, decaying]: &[Preset; 2]) -> Vec<Arm<Options>> {
        let arm = |base: &Preset, group: &str, label: String, change: &dyn Fn(&mut Preset)| {
            let mut preset = base.clone();
            change(&mut preset);
            let options = Options { preset, baselines: false };
            Arm { group: group.to_string(), label, options }
        };
        let of_rate = |decays: bool| if decays { decaying } else { network };
        match self {
            Self::Temperature => {
                let soft = LOSERS.into_iter().flat_map(|(group, are_anti_hebbian)| {
                    TEMPERATURES.map(|temperature| {
                        let inverse_temperature = temperature.recip();
                        let competition = match are_anti_hebbian {
                            true => CompetitionKind::SoftWtaAntiHebbian { inverse_temperature },
                            false => CompetitionKind::SoftWta { inverse_temperature },
                        };
                        arm(network, group, format!("T = {temperature}"), &|preset| {
                            compete(preset, competition);
                        })
                    })
                });
                let hard = arm(network, "hard WTA", String::new(), &|preset| {
                    compete(preset, CompetitionKind::HardWta);
                });
                soft.chain([hard]).collect()
            }
            Self::Radius => RATES
                .into_iter()
                .flat_map(|(group, decays)| {
                    RADII.map(|radius| {
                        arm(of_rate(decays), group, format!("R = {radius}"), &|preset| {
                            learn(preset, decays, radius);
                        })
                    })
                })
                .collect(),
            Self::Speed => RATES
                .map(|(group, decays)| {
                    arm(of_rate(decays), group, String::new(), &|preset| {
                        learn(preset, decays, 10.0);
                        compete(preset, CompetitionKind::HardWta);
                        preset.training.batch_size = 50;
                    })
                })
                .to_vec(),
        }
    }
}

/// Lets the units of all layers compete in this way.
fn compete(preset: &mut Preset, kind: CompetitionKind) {
    for block in &mut preset.blocks {
        if let Learning::Hebbian { competition, .. } = &mut block.learning {
            *competition = kind;
        }
    }
}

/// Sets the initial radius of the first layer and, if the rate `decays`, lets that of all layers fall linearly.
fn learn(preset: &mut Preset, decays: bool, initial_radius: f64) {
    for (at, block) in preset.blocks.iter_mut().enumerate() {
        if let Learning::Hebbian { rate, radius, .. } = &mut block.learning {
            if at == 0 {
                *radius = initial_radius;
            }
            if let (true, Rate::NormDependent { learning_rate, .. }) = (decays, *rate) {
                *rate = Rate::LinearDecay { learning_rate };
            }
        }
    }
}

/// The temperature of the first layer; `None` if its winners are hard.
fn temperature(preset: &Preset) -> Option<f64> {
    match preset.blocks.first()?.learning {
        Learning::Hebbian {
            competition:
                CompetitionKind::SoftWta { inverse_temperature }
                | CompetitionKind::SoftWtaAntiHebbian { inverse_temperature },
            ..
        } => Some(inverse_temperature.recip()),
        _ => None,
    }
}

/// The initial radius of the first layer.
fn initial_radius(preset: &Preset) -> Option<f64> {
    match preset.blocks.first()?.learning {
        Learning::Hebbian { radius, .. } => Some(radius),
        Learning::Backprop => None,
    }
}

type Trained = hebbian_train::Trained<Options>;

/// What is measured of a run.
type Measure = fn(&Preset, &ArmRun) -> Option<f64>;

const MEASURES: [(&str, Measure); 2] =
    [("test accuracy, %", |_, run| Some(run.results.test_accuracy)), ("R1, %", r1)];

/// The share of all units that have converged when their layer has learned.
fn r1(preset: &Preset, run: &ArmRun) -> Option<f64> {
    let (mut converged, mut all) = (0.0, 0);
    for (at, block) in preset.blocks.iter().enumerate() {
        let name = format!("layers.{at}.converged_units");
        let logged = run.history.by_images().filter_map(|(_, values)| values.get(&name).copied());
        converged += logged.last()?;
        all += block.layer.units();
    }
    Some(converged / all as f64)
}

/// All measures of a run, and what `results.json` lists of it.
fn measured(one: &Trained, run: &ArmRun) -> ([Option<f64>; MEASURES.len()], Value) {
    let all = MEASURES.map(|(_, measure)| measure(&one.arm.options.preset, run));
    let (group, seed, [accuracy, r1]) = (&one.arm.group, run.results.seed, all);
    (all, json!({ "group": group, "seed": seed, "accuracy": accuracy, "r1": r1 }))
}

/// A measure of an arm over its seeds, in percent.
fn percent(one: &Trained, measure: Measure) -> Option<Spread> {
    one.spread(|run| measure(&one.arm.options.preset, run)).map(|spread| spread.times(100.0))
}

/// All measures of an arm, for the terminal.
fn cells(one: &Trained) -> [Cell; MEASURES.len()] {
    MEASURES.map(|(_, measure)| percent(one, measure).map(|spread| spread.shown(1)).into())
}

/// The arms in their groups, in order.
fn groups(trained: &[Trained]) -> impl Iterator<Item = &[Trained]> {
    trained.chunk_by(|one, other| one.arm.group == other.arm.group)
}

/// Accuracy and R1 against `x`, which tables call `key`. A group without `x` is a reference line.
fn against(
    key: &str,
    x: fn(&Preset) -> Option<f64>,
    trained: &[Trained],
    title: String,
) -> Result<Figure> {
    let x_label = key.replace('_', " ");
    let of = |one: &Trained| x(&one.arm.options.preset);
    let mut table = Table::new(["group", "seed"].into_iter().chain([key, "accuracy", "r1"]));
    let mut text = Table::new(["", &*x_label].into_iter().chain(MEASURES.map(|(name, _)| name)));
    let mut runs = Vec::new();
    for one in trained {
        let group = one.arm.group.as_str();
        for run in &one.runs {
            let ([accuracy, r1], mut listed) = measured(one, run);
            let seed = run.results.seed;
            table.row([group.into(), seed.into(), of(one).into(), accuracy.into(), r1.into()])?;
            listed[key] = json!(of(one));
            runs.push(listed);
        }
        let head = [Cell::from(group), of(one).map(|x| x.to_string()).into()];
        text.row(head.into_iter().chain(cells(one)))?;
    }
    let all = || trained.iter().filter_map(of);
    let ends = [all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max)];
    let panels = MEASURES.map(|(name, measure)| {
        let series = groups(trained).enumerate().map(|(colour, group)| {
            let points = group.iter().filter_map(|one| Some((of(one)?, percent(one, measure)?)));
            let points: Vec<(f64, Spread)> = points.collect();
            let dashed = points.is_empty();
            let level = || group.first().and_then(|one| percent(one, measure));
            let points = match dashed {
                true => level().map_or(Vec::new(), |level| ends.map(|x| (x, level)).to_vec()),
                false => points,
            };
            let name = group.first().map_or("", |one| one.arm.group.as_str());
            Series { colour, dashed, ..Series::of_means(name, points) }
        });
        LineChart {
            title: title.clone(),
            x_label: x_label.clone(),
            y_label: name.to_string(),
            log_x: true,
            series: series.collect(),
            ..LineChart::default()
        }
    });
    Ok(Figure {
        table,
        more_tables: Vec::new(),
        numbers: json!({ "runs": runs }),
        text: format!("{text}\nR1: units that have converged to radius 1\n"),
        picture: draw_panels(&panels, MEASURES.len())?,
    })
}

/// R1 of the first layer against the number of images.
fn by_images(trained: &[Trained], title: String) -> Result<Figure> {
    let mut table = Table::new(["rate", "images", "r1", "r1_sd"]);
    let mut text = Table::new([""].into_iter().chain(MEASURES.map(|(name, _)| name)));
    let (mut series, mut runs) = (Vec::new(), Vec::new());
    for (colour, one) in trained.iter().enumerate() {
        let (group, preset) = (one.arm.group.as_str(), &one.arm.options.preset);
        let units = preset.blocks.first().map_or(0, |block| block.layer.units()) as f64;
        let mut shares: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for run in &one.runs {
            for (images, values) in run.history.by_images() {
                let converged = values.get("layers.0.converged_units");
                shares.entry(images).or_default().extend(converged.map(|count| count / units));
            }
            runs.push(measured(one, run).1);
        }
        let points = shares.iter().filter_map(|(&images, all)| Some((images, Spread::of(all)?)));
        let points: Vec<(u64, Spread)> = points.collect();
        for (images, spread) in &points {
            table.row([group.into(), (*images).into(), spread.mean.into(), spread.sd.into()])?;
        }
        text.row([Cell::from(group)].into_iter().chain(cells(one)))?;
        let points = points.into_iter().map(|(images, r1)| (images as f64, r1.times(100.0)));
        series.push(Series { colour, ..Series::of_means(group, points) });
    }
    let chart = LineChart {
        title,
        x_label: "images".to_string(),
        y_label: "R1, %".to_string(),
        series,
        ..LineChart::default()
    };
    Ok(Figure {
        table,
        more_tables: Vec::new(),
        numbers: json!({ "runs": runs }),
        text: format!("{text}\nR1: units that have converged to radius 1, after all images\n"),
        picture: chart.draw()?,
    })
}
