//! `hebbian analyse`: what networks have learned, measured in the same ways for every method.
//!
//! A run is opened from its folder, as for a report. An analysis accesses a network only through
//! [`hebbian_models::Model`], so there is no code for a particular method. Each analysis is a file in this folder and
//! returns [`Findings`]: a picture, a table, and all values as JSON. The guide's page on analyses has the equations.

mod attack;
mod change;
mod correlations;
mod feedback;
mod few_labels;
mod findings;
mod histograms;
mod layers;
mod lines;
mod logged;
mod opened;
mod radii;
mod robustness;
mod settings;
mod speed;

use self::findings::{Findings, How};
use self::opened::Opened;
use self::settings::Settings;
use crate::DeviceArgs;
use crate::paths::{same_path, writable_folder};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use hebbian_train::{RunFolder, read_text, save_json};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Analyse what runs have learned: decoding by layer, few labels, robustness, learning speed, radii, correlations,
/// feedback
///
/// It opens finished runs of any method, and models of the zoo. Each analysis has a picture (analysis-NAME.png), a
/// table (.csv) and all its figures (.json), in the folder of the run. If several runs are compared, the files go to
/// --out. Nothing is downloaded. The guide's page on analyses defines what is measured.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct AnalyseArgs {
    /// Folders of runs, folders above runs such as those of studies, or names from `hebbian list`
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Only these analyses, separated by commas [default: all that the runs have data for]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    only: Vec<Analysis>,
    /// Where the files go [default: the folder of a single run, else the folder analysis]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The folder of images that the runs were given with --data-dir
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    device: DeviceArgs,
    /// Show no progress, only the result
    #[arg(long)]
    quiet: bool,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Analysis {
    /// What ridge regression and the nearest class mean read out of each layer, beside raw pixels and chance
    Layers,
    /// Accuracy against the share of labels, beside a random network of the same preset and raw pixels
    FewLabels,
    /// Accuracy of the trained read-out against noise, occlusion, FGSM, PGD and Square Attack
    Robustness,
    /// What was logged while the network learned, against images seen
    Speed,
    /// Radii of the units, the fraction near 1 (R1), and R1 against temperature
    Radii,
    /// Correlation of the outputs of each pair of units of a layer
    Correlations,
    /// Correlation of forward and feedback weights, and angle of the error to back-propagation
    Feedback,
}

impl Analysis {
    fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_string())
    }

    fn title(self) -> &'static str {
        match self {
            Self::Layers => "what is read out of each layer, test accuracy in %",
            Self::FewLabels => "test accuracy in % against the share of labels",
            Self::Robustness => "test accuracy in % of the trained read-out on changed images",
            Self::Speed => "images seen until 90, 95 and 99 % of the last accuracy",
            Self::Radii => "radii of the units, and the fraction near 1",
            Self::Correlations => "correlation ρ of the outputs of two units, over pairs",
            Self::Feedback => "feedback weights and errors beside back-propagation's",
        }
    }

    fn findings(self, runs: &[Opened], how: &How) -> Result<Findings> {
        match self {
            Self::Layers => layers::analyse(runs, how),
            Self::FewLabels => few_labels::analyse(runs, how),
            Self::Robustness => robustness::analyse(runs, how),
            Self::Speed => speed::analyse(runs),
            Self::Radii => radii::analyse(runs, how),
            Self::Correlations => correlations::analyse(runs, how),
            Self::Feedback => feedback::analyse(runs),
        }
    }
}

impl AnalyseArgs {
    pub(crate) fn run(self) -> Result<String> {
        let Self { runs, only, out, data_dir, settings, device, quiet } = self;
        settings.check()?;
        let device = device.choose()?.device;
        let opened = Opened::all(&runs, data_dir.as_deref(), &device)?;
        let how = How { settings, device, quiet };
        let to = match (out, &opened[..]) {
            (Some(out), _) => out,
            (None, [run]) if run.folder.path.join("run.json").exists() => run.folder.path.clone(),
            _ => PathBuf::from("analysis"),
        };
        writable_folder("--out", &to)?;
        let asked = if only.is_empty() { Analysis::value_variants() } else { &only };
        let (mut report, mut left_out, mut found) = (over_seeds(&opened), String::new(), false);
        for analysis in asked {
            let name = analysis.name();
            let findings = match analysis.findings(&opened, &how) {
                Ok(findings) => findings,
                Err(error) if only.is_empty() => {
                    writeln!(left_out, "{name} is left out: {error:#}")?;
                    continue;
                }
                Err(error) => return Err(error.context(name)),
            };
            found = true;
            let picture = save(&to, &name, &findings, &opened, &how.settings)
                .with_context(|| format!("{} in {}", name, to.display()))?;
            writeln!(report, "{name}: {}\n\n{:.2}", analysis.title(), findings.table)?;
            findings.notes.iter().try_for_each(|note| writeln!(report, "{note}"))?;
            writeln!(report, "open {}\n", picture.display())?;
        }
        if !found {
            bail!("there is nothing to analyse\n{}", left_out.trim_end());
        }
        Ok(format!("{}\n{left_out}", report.trim_end()))
    }
}

/// Returns a line for each group of runs that are drawn as one.
fn over_seeds(runs: &[Opened]) -> String {
    let mut said = String::new();
    for (at, run) in runs.iter().enumerate() {
        let same = runs.iter().filter(|other| other.group == run.group);
        let names: Vec<&str> = same.map(|run| &*run.name).collect();
        let first = runs[..at].iter().all(|other| other.group != run.group);
        if names.len() > 1 && first {
            said += &format!(
                "{} differ by the seed alone: pictures have their mean, and a band of one standard deviation\n\n",
                names.join(", ")
            );
        }
    }
    said
}

/// Writes the picture, the table and the values of an analysis into a folder, and returns the path of the picture. The
/// values have the name of the run whose folder that is, if it is one of `runs`.
fn save(
    to: &Path,
    name: &str,
    findings: &Findings,
    runs: &[Opened],
    settings: &Settings,
) -> Result<PathBuf> {
    let Findings { picture, table, figures, notes } = findings;
    let place = |extension: &str| -> Result<PathBuf> {
        let file = format!("{name}.{extension}");
        if to.join("run.json").exists() {
            return Ok(RunFolder::analysis(to, &file)?);
        }
        std::fs::create_dir_all(to).context("it cannot be made")?;
        Ok(to.join(format!("analysis-{file}")))
    };
    let own = runs.iter().find(|run| same_path(&run.folder.path, to)).map(|run| &run.name);
    let all = json!({
        "analysis": name, "settings": settings, "own": own, "runs": figures, "notes": notes,
    });
    save_json(place("json")?, &all)?;
    table.save_csv(place("csv")?)?;
    let file = place("png")?;
    picture.save_png(&file)?;
    Ok(file)
}

/// Reads what the analyses in the folder of a run have found of it, by the names of the analyses. Those of other runs
/// alone, for which the folder was chosen with `--out`, are left out.
///
/// # Errors
/// Files that cannot be read.
pub(crate) fn found(folder: &Path) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    for analysis in Analysis::value_variants() {
        let name = analysis.name();
        let file = folder.join(format!("analysis-{name}.json"));
        if file.exists() {
            let text = read_text(&file)?;
            let mut value: Value =
                serde_json::from_str(&text).with_context(|| file.display().to_string())?;
            let own = value["own"].clone();
            let runs = value.get_mut("runs").and_then(Value::as_array_mut);
            let is_own = |run: &&mut Value| own.is_string() && run["name"] == own;
            if let Some(own) = runs.into_iter().flatten().find(is_own) {
                all.insert(name, own.take());
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names tell the runs of an analysis apart, but runs of other folders may have the same.
    #[test]
    fn what_is_found_is_of_the_run_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("b").join("seed-0");
        std::fs::create_dir_all(&run).unwrap();
        for (names, own, expected) in [
            (&["seed-0"][..], Some("seed-0"), Some(0)),
            (&["a/seed-0", "b/seed-0"], Some("b/seed-0"), Some(1)),
            // Several curves of each run.
            (&["seed-1", "seed-1", "seed-0", "seed-0"], Some("seed-0"), Some(2)),
            // Runs of other folders.
            (&["seed-0"], None, None),
            (&["a/seed-0", "c/seed-0"], None, None),
            // It could not be analysed, unlike another run.
            (&["a/seed-0"], Some("b/seed-0"), None),
            (&[], None, None),
        ] {
            let runs = names.iter().enumerate();
            let runs: Vec<Value> =
                runs.map(|(at, name)| json!({ "name": name, "at": at })).collect();
            let all = json!({ "own": own, "runs": runs });
            save_json(run.join("analysis-layers.json"), &all).unwrap();
            let found = found(&run).unwrap();
            let at = found.get("layers").map(|layers| layers["at"].clone());
            assert_eq!(at, expected.map(|at| json!(at)), "{names:?}");
        }
    }
}
