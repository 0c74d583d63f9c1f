//! `hebbian report`: the results of runs, as one page.
//!
//! The contents of a run's folder are read, the outputs of its model for images are computed through
//! [`hebbian_models::Model`], in the same way for every method, and everything goes as JSON into a template that has
//! its style, its script and its chart library embedded.

mod classes;
mod content;
mod curves;
mod glossary;
mod images;
mod layers;
mod page;
mod run;
mod sheet;
#[cfg(feature = "terminal")]
mod terminal;
mod watch;

pub(crate) use content::grouped;
pub(crate) use curves::{Chart, Series, charts};
pub(crate) use glossary::legend;
pub(crate) use run::Folder;

use self::content::Content;
use crate::paths::{is_of_run, is_of_study, writable};
use crate::tell;
use anyhow::{Context, Result, bail};
use candle::Device;
use hebbian_data::Dataset;
use hebbian_train::{RunFolder, StudyFolder, save_text};
use std::path::{Path, PathBuf};

/// The name of the page in the folder of a run or study, or here if there is no one folder and no other file is named.
const PAGE: &str = "report.html";

/// Show what runs have learned, as one page for a browser: curves, units, mistakes, settings
///
/// For one run, the page is written to its folder; for several, to ./report.html. A folder of runs, as a study leaves
/// one, stands for all runs in it. The page needs no network. Images are taken from the cache or --data-dir; parts that
/// need images which are missing are left out.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Folders of runs, or of studies
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The file to write
    #[arg(long, visible_alias = "out", value_name = "FILE.html")]
    to: Option<PathBuf>,
    /// Serve the page of a run in progress on 127.0.0.1, until Ctrl-C: curves and units are updated; nothing is written
    #[arg(long, conflicts_with = "to")]
    watch: bool,
    /// Show the curves of a run in progress in this terminal, full-screen: arrows turn the page, q ends it. If the
    /// output is not a terminal, the latest numbers are printed once
    #[arg(long, conflicts_with_all = ["to", "watch"])]
    terminal: bool,
    /// The port to serve at; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 7878, requires = "watch")]
    port: u16,
    /// The folder of images that the runs were given with --data-dir
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
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
        if let Some(file) = &to {
            writable("--to", file)?;
        }
        let study = match &runs[..] {
            [run] => StudyFolder::read(run)?,
            _ => None,
        };
        let mut folders = Vec::new();
        for run in &runs {
            folders.extend(runs_of(run, &study)?);
        }
        let own = |folder: &&Folder| to.as_ref().is_some_and(|file| is_of_run(file, &folder.path));
        if let (Some(file), Some(run)) = (&to, folders.iter().find(own))
            && !file.ends_with(PAGE)
        {
            bail!(
                "--to {} is a file of the run in {}: choose another name",
                file.display(),
                run.path.display()
            );
        }
        let own = |folder: &&PathBuf| to.as_ref().is_some_and(|file| is_of_study(file, folder));
        if let (Some(file), Some(study)) = (&to, runs.iter().find(own))
            && !file.ends_with(PAGE)
        {
            bail!(
                "--to {} is a file of the experiment in {}: choose another name",
                file.display(),
                study.display()
            );
        }
        let is_run = matches!(&runs[..], [run] if run.join("run.json").exists());
        let in_folder = is_run || study.is_some();
        let here = Path::new(PAGE);
        if to.is_none() && !in_folder && here.exists() && !RunFolder::is_report(here) {
            bail!(
                "{PAGE} is there already, and is no page of this program: choose a file with --to"
            );
        }
        let content = Content::new(&folders, None, data_dir.as_deref(), &Device::Cpu);
        for (folder, run) in folders.iter().zip(&content.runs) {
            run.notes.iter().for_each(|note| tell(&format!("{}: {note}", folder.path.display())));
        }
        let html = page::html(&content.of_study(study))?;
        let file = match (to, &runs[..]) {
            (None, [folder]) if in_folder => {
                let written = match is_run {
                    true => RunFolder::write_report(folder, &html),
                    false => StudyFolder::write_report(folder, &html),
                };
                written.with_context(|| elsewhere(folder))?
            }
            (file, _) => {
                let file = file.unwrap_or_else(|| here.to_path_buf());
                save_text(&file, &html).with_context(|| format!("{}", file.display()))?;
                file
            }
        };
        Ok(format!("open {}\n", file.display()))
    }
}

/// What to do if the page cannot be written into a folder.
fn elsewhere(folder: &Path) -> String {
    format!(
        "the page cannot be written into {}: choose a file with --to, or look at a run in progress with --watch",
        folder.display()
    )
}

#[cfg(feature = "terminal")]
fn in_terminal(run: &Path) -> Result<String> {
    terminal::show(run)
}

#[cfg(not(feature = "terminal"))]
fn in_terminal(_: &Path) -> Result<String> {
    bail!("this program was built without --features terminal: use --watch")
}

/// Writes the report of a run that has just ended, computed on the images that it had, and returns its path. If the run
/// was complete before and has its report already, nothing is written.
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

/// Returns the runs in a folder; a study may have kept none.
fn runs_of(path: &Path, study: &Option<StudyFolder>) -> Result<Vec<Folder>> {
    match Folder::all(path) {
        Err(_) if study.is_some() => Ok(Vec::new()),
        found => found,
    }
}

/// Writes the report of a study that has just ended, and returns its path.
///
/// # Errors
/// Those of [`write`], and a study that is not complete.
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
