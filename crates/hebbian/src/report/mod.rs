//! `hebbian report`: what runs have to show, as one page.
//!
//! What a folder says is read, what its model makes of images is computed through [`hebbian_models::Model`], the same for every
//! method, and all of it goes as JSON into a template that has its style, its script and its charts inside.

mod classes;
mod curves;
mod glossary;
mod images;
mod layers;
mod options;
mod page;
mod run;
mod sheet;
#[cfg(feature = "terminal")]
mod terminal;
mod watch;

pub(crate) use curves::{Chart, Series, charts};
pub(crate) use glossary::legend;
pub(crate) use images::evenly;
pub(crate) use run::Folder;

use self::options::{Difference, Group, groups};
use self::run::{Details, Run};
use self::sheet::png_address;
use anyhow::{Context, Result, bail};
use candle::Device;
use hebbian_data::Dataset;
use hebbian_train::{RunFolder, Spread, StudyFolder, save_text};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs whose layers and mistakes are shown, one of each group first.
const DETAILED: usize = 4;

/// Show what runs have learned, as one page for a browser: curves, units, mistakes, settings
///
/// For one run, the page is written to its folder; for several, to ./report.html. A folder of runs, as a study leaves one,
/// stands for all runs in it. The page needs no network. Images are taken from the cache or --data-dir; what needs images that
/// are not there is left out.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Folders of runs, or of studies
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The file to write
    #[arg(long, visible_alias = "out", value_name = "FILE.html")]
    to: Option<PathBuf>,
    /// Serve the page of a run on 127.0.0.1 while it goes on, until Ctrl-C: curves and units move; nothing is written
    #[arg(long, conflicts_with = "to")]
    watch: bool,
    /// Show the curves of a run in this terminal, full-screen, while it goes on: arrows turn the page, q ends it. Where the
    /// output is no terminal, the latest numbers are printed once
    #[arg(long, conflicts_with_all = ["to", "watch"])]
    terminal: bool,
    /// The port to serve at; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 7878, requires = "watch")]
    port: u16,
    /// The folder of images that the runs were given with --data-dir
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

/// All that a page shows.
#[derive(Debug, Serialize)]
pub(crate) struct Content {
    title: String,
    version: &'static str,
    /// Seconds since 1970.
    written: u64,
    /// Whether it goes on: a page that asks for more.
    live: bool,
    runs: Vec<Run>,
    groups: Vec<Group>,
    /// Of the accuracies of each group.
    accuracies: Vec<Option<Accuracy>>,
    differences: Vec<Difference>,
    charts: Vec<Chart>,
    /// The study that the runs are of, if it is one and complete.
    study: Option<Outcome>,
}

/// What a study has come to.
#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    /// What the terminal showed.
    text: String,
    /// A `data:` address.
    figure: Option<String>,
}

impl Outcome {
    fn of(folder: StudyFolder) -> Self {
        let StudyFolder { name, report, figure } = folder;
        Self { name, text: report, figure: std::fs::read(figure).ok().map(|png| png_address(&png)) }
    }
}

#[derive(Debug, Serialize)]
struct Accuracy {
    mean: f64,
    sd: Option<f64>,
    runs: usize,
}

impl ReportArgs {
    pub(crate) fn run(self) -> Result<String> {
        let Self { runs, to, watch, terminal, port, data_dir } = self;
        match (&runs[..], watch, terminal) {
            ([run], true, _) => return watch::serve(run, data_dir.as_deref(), port),
            ([run], _, true) => return in_terminal(run),
            (_, false, false) => {}
            _ => bail!(
                "--watch and --terminal take one run, not {}: leave out the others",
                runs.len()
            ),
        }
        let study = match &runs[..] {
            [run] => StudyFolder::read(run)?,
            _ => None,
        };
        let mut folders = Vec::new();
        for run in &runs {
            folders.extend(runs_of(run, &study)?);
        }
        let is_study = study.is_some();
        let content = Content::new(&folders, None, data_dir.as_deref(), &Device::Cpu);
        let html = page::html(&content.of_study(study))?;
        let file = match (to, &runs[..]) {
            (Some(file), _) if file.is_dir() => {
                bail!("--to {} is a folder, expected the name of a file", file.display())
            }
            (None, [run]) if run.join("run.json").exists() => RunFolder::write_report(run, &html)?,
            (None, [study]) if is_study => StudyFolder::write_report(study, &html)?,
            (file, _) => {
                let file = file.unwrap_or_else(|| PathBuf::from("report.html"));
                save_text(&file, &html).with_context(|| format!("{}", file.display()))?;
                file
            }
        };
        Ok(format!("open {}\n", file.display()))
    }
}

#[cfg(feature = "terminal")]
fn in_terminal(run: &Path) -> Result<String> {
    terminal::show(run)
}

#[cfg(not(feature = "terminal"))]
fn in_terminal(_: &Path) -> Result<String> {
    bail!("this program was built without --features terminal: use --watch")
}

/// Writes the report of a run that has just ended, on the images that it had; returns where it is. A run that was only
/// read back has its report already.
///
/// # Errors
/// A folder that cannot be read or written.
pub(crate) fn write(run: &Path, data: &Dataset, device: &Device) -> Result<PathBuf> {
    let there = run.join("report.html");
    if there.exists() {
        return Ok(there);
    }
    let content = Content::new(&[Folder::read(run)?], Some(data), None, device);
    Ok(RunFolder::write_report(run, &page::html(&content)?)?)
}

/// The runs in a folder; a study may keep none.
fn runs_of(path: &Path, study: &Option<StudyFolder>) -> Result<Vec<Folder>> {
    match Folder::all(path) {
        Err(_) if study.is_some() => Ok(Vec::new()),
        found => found,
    }
}

/// Writes the report of a study that has just ended, and returns where it is.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_study(
    study: &Path,
    data: Option<&Dataset>,
    device: &Device,
) -> Result<PathBuf> {
    let there = study.join("report.html");
    if there.exists() {
        return Ok(there);
    }
    let found = StudyFolder::read(study)?;
    if found.is_none() {
        bail!("it is not complete");
    }
    let content = Content::new(&runs_of(study, &found)?, data, None, device).of_study(found);
    Ok(StudyFolder::write_report(study, &page::html(&content)?)?)
}

impl Content {
    /// Of runs with the images `data`, or those that each says it had.
    fn new(
        folders: &[Folder],
        data: Option<&Dataset>,
        data_dir: Option<&Path>,
        device: &Device,
    ) -> Self {
        let (groups, differences) = grouped(folders);
        // The first of each group, then the second.
        let longest = groups.iter().map(|group| group.runs.len()).max().unwrap_or_default();
        let order = (0..longest).flat_map(|nth| groups.iter().filter_map(move |g| g.runs.get(nth)));
        let detailed: Vec<usize> = order.copied().take(DETAILED).collect();
        let details =
            folders.iter().enumerate().map(|(at, folder)| match (detailed.contains(&at), data) {
                (false, _) => Details::default(),
                (true, Some(data)) => Details::of(folder, Ok(data), device),
                (true, None) => {
                    let loaded = folder.images(data_dir).map_err(|error| format!("{error:#}"));
                    Details::of(folder, loaded.as_ref().map_err(Clone::clone), device)
                }
            });
        let runs = folders.iter().zip(details).map(|(folder, details)| Run::new(folder, details));
        Self::of(folders, runs.collect(), groups, differences)
    }

    /// The same with the study that the runs are of, if they are of one.
    fn of_study(self, study: Option<StudyFolder>) -> Self {
        let Some(study) = study else { return self };
        let title = match self.runs.len() {
            0 => study.name.clone(),
            runs => format!("{}: {runs} runs", study.name),
        };
        Self { title, study: Some(Outcome::of(study)), ..self }
    }

    /// Of a run that goes on.
    fn live(folder: Folder, details: Details) -> Self {
        let runs = vec![Run::new(&folder, details)];
        let folders = [folder];
        let (groups, differences) = grouped(&folders);
        Self { live: true, ..Self::of(&folders, runs, groups, differences) }
    }

    fn of(
        folders: &[Folder],
        runs: Vec<Run>,
        groups: Vec<Group>,
        differences: Vec<Difference>,
    ) -> Self {
        let of_group =
            |group: &Group| group.runs.iter().map(|&run| &folders[run]).collect::<Vec<_>>();
        let histories: Vec<Vec<_>> = groups
            .iter()
            .map(|group| of_group(group).into_iter().map(|folder| &folder.history).collect())
            .collect();
        let accuracies = groups.iter().map(|group| {
            let results = of_group(group).into_iter().filter_map(|folder| folder.results.as_ref());
            let all: Vec<f64> = results.map(|results| results.test_accuracy).collect();
            let Spread { mean, sd } = Spread::of(&all)?;
            Some(Accuracy { mean, sd, runs: all.len() })
        });
        let title = match &groups[..] {
            [group] => group.name.clone(),
            groups => format!("{} runs in {} groups", folders.len(), groups.len()),
        };
        let written = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            title,
            version: env!("CARGO_PKG_VERSION"),
            written,
            live: false,
            study: None,
            accuracies: accuracies.collect(),
            charts: charts(&histories).into_iter().filter(Chart::is_drawn).collect(),
            runs,
            groups,
            differences,
        }
    }
}

/// Groups of runs, called as a study calls the network where they are the runs of one.
pub(crate) fn grouped<'f>(
    folders: impl IntoIterator<Item = &'f Folder>,
) -> (Vec<Group>, Vec<Difference>) {
    let folders: Vec<&Folder> = folders.into_iter().collect();
    let (mut groups, differences) =
        groups(&folders.iter().map(|folder| &folder.config).collect::<Vec<_>>());
    for group in &mut groups {
        let mut arms = group.runs.iter().map(|&run| folders[run].arm.as_ref());
        if let Some(Some(arm)) = arms.next()
            && arms.all(|other| other == Some(arm))
        {
            group.name.clone_from(arm);
        }
    }
    (groups, differences)
}
