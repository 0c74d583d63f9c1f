//! Experiments: networks trained side by side, a table, a picture, in one folder.

use crate::resume::difference;
use crate::run_options::RunOptions;
use hebbian_data::Dataset;
use hebbian_train::{Error, Result};
use hebbian_train::{FolderKind, OwnFolder, Picture, Table, save_json, save_text};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// Makes the enum of a paper's experiments, each with its name and a line for lists, and reads it by
/// name.
macro_rules! experiments {
    (
        $(#[$about:meta])*
        pub enum Experiment {
            $($(#[$doc:meta])* $variant:ident: $name:literal, $line:literal;)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Experiment {
            $($(#[$doc])* $variant,)+
        }

        impl Experiment {
            /// All of them.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name that [`FromStr`](std::str::FromStr) reads.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// One line for lists.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $line,)+
                }
            }
        }

        impl std::str::FromStr for Experiment {
            type Err = $crate::Error;

            fn from_str(name: &str) -> $crate::Result<Self> {
                let all = Self::ALL.map(|experiment| (experiment.name(), experiment));
                $crate::names::choose("experiment", name, &all)
            }
        }
    };
}
pub(crate) use experiments;

/// What an experiment needs beside its data.
#[derive(Debug, Clone)]
pub struct ExperimentOptions {
    /// Epochs of each network; none for those of the preset, or on the digits a number that takes
    /// minutes.
    pub epochs: Option<usize>,
    /// How many seeds each network is trained with.
    pub seeds: usize,
    /// The first of them.
    pub seed: u64,
    /// The device, as `cpu`, `cuda` or `metal`.
    pub device: String,
    /// Read back the networks whose training is complete, and go on with the one interrupted.
    pub resume: bool,
    /// No progress.
    pub quiet: bool,
}

impl ExperimentOptions {
    /// The seeds of its runs.
    pub(crate) fn seeds(&self) -> impl Iterator<Item = u64> {
        (0..self.seeds as u64).map(|i| self.seed.wrapping_add(i))
    }

    /// A run with one of its seeds, which goes on where one is in `folder`.
    pub(crate) fn run(&self, seed: u64, folder: &Path) -> RunOptions {
        RunOptions {
            seed,
            device: self.device.clone(),
            load: None,
            resume: self.resume && folder.join("config.json").exists(),
            save: None,
            quiet: self.quiet,
        }
    }
}

/// What an experiment ends with.
pub(crate) struct Figure {
    /// For other programs.
    pub table: Table,
    /// Further ones, with the names of their files.
    pub more_tables: Vec<(&'static str, Table)>,
    /// For `results.json`.
    pub numbers: Value,
    /// For the terminal.
    pub text: String,
    pub picture: Picture,
}

/// What an experiment's folder holds beside the folders of its runs.
static EXPERIMENT: FolderKind = FolderKind {
    mark: "experiment.json",
    files: &["figure.png", REPORT, RESULTS, "table.csv"],
    writes: |name| {
        [REPORT, RESULTS].contains(&name) || [".csv", ".png"].iter().any(|end| name.ends_with(end))
    },
    is_own: |path| {
        !path.ends_with(RESULTS)
            || std::fs::read(path).is_ok_and(|bytes| {
                serde_json::from_slice(&bytes)
                    .is_ok_and(|results: Value| results.get("experiment").is_some())
            })
    },
};
/// Written last: with it, the experiment is complete.
const RESULTS: &str = "results.json";
/// What the terminal showed.
const REPORT: &str = "report.txt";

/// Draws the figure of the experiment `name` and writes the folder `out`: `table.csv`, `figure.png`,
/// `report.txt`, `results.json`, beside what `draw` leaves there. Returns a report for the terminal. To
/// resume an experiment that is complete is to read its report.
///
/// # Errors
/// A folder that holds another's files, or another experiment than the one to resume, what `draw` says.
pub(crate) fn run(
    name: &str,
    options: &ExperimentOptions,
    data: Option<&Dataset>,
    out: &Path,
    draw: impl FnOnce() -> Result<Figure>,
) -> Result<String> {
    let started = Instant::now();
    let mut about = Map::new();
    for (key, value) in [
        ("experiment", json!(name)),
        ("dataset", json!(data.map(|data| data.name.as_str()))),
        ("train_images", json!(data.map(|data| data.train.len()))),
        ("test_images", json!(data.map(|data| data.test.len()))),
        ("epochs", json!(options.epochs)),
        ("seeds", json!(options.seeds)),
        ("first_seed", json!(options.seed)),
    ] {
        about.insert(key.to_string(), value);
    }
    if options.resume {
        OwnFolder::recover(out, &EXPERIMENT)?;
    }
    let earlier = match options.resume {
        true => OwnFolder::about(out, &EXPERIMENT)?,
        false => None,
    };
    let mut folder = match earlier {
        Some(found) => {
            same(&found, &about, out)?;
            if out.join(RESULTS).exists() {
                return read_report(out);
            }
            OwnFolder::open(out, &EXPERIMENT)?
        }
        None => OwnFolder::replace(out, &EXPERIMENT, about.clone(), |_| Ok(()))?.0,
    };
    let figure = draw()?;
    let mut files = vec!["table.csv"];
    figure.table.save_csv(folder.claim("table.csv")?)?;
    for (name, table) in &figure.more_tables {
        table.save_csv(folder.claim(name)?)?;
        files.push(name);
    }
    figure.picture.save_png(folder.claim("figure.png")?)?;
    files.extend([RESULTS, "figure.png", REPORT]);
    let seconds = started.elapsed().as_secs_f64();
    let mut text = figure.text;
    let _ = write!(text, "\n{seconds:.0} s; wrote {}: {}\n", out.display(), files.join(", "));
    save_text(folder.claim(REPORT)?, &text)?;
    about.insert("seconds".to_string(), seconds.into());
    about.insert("version".to_string(), env!("CARGO_PKG_VERSION").into());
    if let Value::Object(numbers) = figure.numbers {
        about.extend(numbers);
    }
    save_json(folder.claim(RESULTS)?, &about)?;
    Ok(text)
}

/// Refuses to resume what is another experiment.
fn same(found: &Map<String, Value>, wanted: &Map<String, Value>, out: &Path) -> Result<()> {
    let [found, wanted] = [found, wanted].map(|about| Value::Object(about.clone()));
    match difference(String::new(), &found, &wanted) {
        Some((at, found, wanted)) => Err(Error::Argument(format!(
            "{} is of another experiment: {} is {found} there, {wanted} here; resume with the flags it \
             was started with, or start anew without --resume",
            out.join(EXPERIMENT.mark).display(),
            at.trim_start_matches('/'),
        ))),
        None => Ok(()),
    }
}

fn read_report(out: &Path) -> Result<String> {
    let path = out.join(REPORT);
    std::fs::read_to_string(&path).map_err(|source| hebbian_train::Error::Io {
        action: "read",
        path,
        source,
    })
}

/// Says that an experiment without run folders, which was interrupted, has nothing to go on with.
pub(crate) fn starts_anew(name: &str, options: &ExperimentOptions) {
    if options.resume && !options.quiet {
        let _ = writeln!(std::io::stderr(), "{name} keeps no weights: it starts anew");
    }
}

/// `name` as the name of a folder: lower-case letters, digits and hyphens.
pub(crate) fn slug(name: &str) -> String {
    let name = name.to_lowercase();
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

/// Mean and spread of a number over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub mean: f64,
    /// The standard deviation of the population that the seeds are a sample of; none for one seed.
    pub sd: Option<f64>,
}

impl Spread {
    /// None of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        (!values.is_empty()).then_some(Self { mean, sd })
    }

    /// In percent with two decimals: `12.34 ± 0.56`.
    pub fn percent(self) -> String {
        match self.sd {
            Some(sd) => format!("{:.2} ± {:.2}", 100.0 * self.mean, 100.0 * sd),
            None => format!("{:.2}", 100.0 * self.mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_spread_of_hand_worked_values() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[0.25]), Some(Spread { mean: 0.25, sd: None }));
        // Deviations −1, 0, 1 of a sample of three: variance 2 / 2.
        let spread = Spread::of(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!(spread, Spread { mean: 2.0, sd: Some(1.0) });
        assert_eq!(spread.percent(), "200.00 ± 100.00");
    }
}
