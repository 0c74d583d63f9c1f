//! Experiments: networks trained side by side, a table, a picture, in one folder.

use crate::error::Result;
use crate::run_options::RunOptions;
use hebbian_train::{Picture, Table, save_json};
use serde_json::{Value, json};
use std::fmt::Write;
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

/// Draws the figure of the experiment `name` and writes the folder `out`: `table.csv`,
/// `results.json`, `figure.png`, beside what `draw` leaves there. Returns a report for the terminal.
///
/// # Errors
/// Options that fit no experiment, a folder that holds another's files, what `draw` says.
pub(crate) fn run(
    name: &str,
    options: &ExperimentOptions,
    dataset: Option<&str>,
    out: &Path,
    draw: impl FnOnce() -> Result<Figure>,
) -> Result<String> {
    let started = Instant::now();
    prepare(name, options, dataset, out)?;
    let figure = draw()?;
    let mut files = vec!["table.csv".to_string(), "results.json".into(), "figure.png".into()];
    figure.table.save_csv(out.join("table.csv"))?;
    for (name, table) in &figure.more_tables {
        table.save_csv(out.join(name))?;
        files.insert(1, name.to_string());
    }
    figure.picture.save_png(out.join("figure.png"))?;
    let mut results = json!({
        "experiment": name,
        "dataset": dataset,
        "seconds": started.elapsed().as_secs_f64(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    if let (Some(results), Value::Object(numbers)) = (results.as_object_mut(), figure.numbers) {
        results.extend(numbers);
    }
    save_json(out.join("results.json"), &results)?;
    let mut text = figure.text;
    let _ = write!(
        text,
        "\n{:.0} s; wrote {}: {}\n",
        started.elapsed().as_secs_f64(),
        out.display(),
        files.join(", ")
    );
    Ok(text)
}

/// Makes the folder and removes what an earlier experiment left at the top of it, so that none
/// of it can pass for this one's.
fn prepare(
    name: &str,
    options: &ExperimentOptions,
    dataset: Option<&str>,
    out: &Path,
) -> Result<()> {
    let mark = out.join("experiment.json");
    let own = ["results.json", "table.csv", "figure.png"];
    if !mark.exists()
        && let Some(file) = own.into_iter().find(|file| out.join(file).exists())
    {
        return Err(hebbian_train::Error::NotARunFolder { folder: out.into(), file }.into());
    }
    let io = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| hebbian_train::Error::Io { action, path, source }
    };
    std::fs::create_dir_all(out).map_err(io("make the folder", out))?;
    save_json(
        &mark,
        &json!({
            "experiment": name,
            "dataset": dataset,
            "epochs": options.epochs,
            "seeds": options.seeds,
            "first_seed": options.seed,
            "version": env!("CARGO_PKG_VERSION"),
        }),
    )?;
    for path in own.map(|file| out.join(file)).into_iter().filter(|path| path.exists()) {
        std::fs::remove_file(&path).map_err(io("remove", &path))?;
    }
    Ok(())
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
