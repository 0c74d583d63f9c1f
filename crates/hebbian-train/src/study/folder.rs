//! The folder of an experiment.

use crate::engine::{RESUME, told};
use crate::own_folder::Prepared;
use crate::text::read_own_text;
use crate::{Error, FolderKind, MadeBy, OwnFolder, Result, RunFolder, save_text};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The place of an experiment in its folder.
#[derive(Debug)]
pub(super) enum Place {
    /// It is still to begin, with this mark: the folder is locked, and what is in it is as it was.
    Ahead(Prepared, Map<String, Value>),
    /// It has begun, and nothing is left of the one that it replaces.
    Begun(OwnFolder),
}

impl Place {
    /// Returns the folder of the experiment, which begins if it has not yet begun.
    pub(super) fn begun(self) -> Result<OwnFolder> {
        let (prepared, about) = match self {
            Self::Ahead(prepared, about) => (prepared, about),
            Self::Begun(folder) => return Ok(folder),
        };
        let replaced = prepared.has_earlier();
        let clear = |new: &mut OwnFolder| if replaced { remove_runs(new.path()) } else { Ok(()) };
        Ok(prepared.replace(about, clear)?.0)
    }
}

/// The files that an experiment's folder holds besides the folders of its runs.
pub(super) static EXPERIMENT: FolderKind = FolderKind {
    mark: "experiment.json",
    files: &["figure.png", REPORT, RESULTS, "table.csv"],
    writes: |name| {
        [REPORT, RESULTS, PAGE].contains(&name)
            || [".csv", ".png"].iter().any(|end| name.ends_with(end))
    },
    is_own: |path| {
        if path.ends_with(PAGE) {
            return RunFolder::is_report(path);
        }
        !path.ends_with(RESULTS)
            || read_own_text(path).is_ok_and(|text| {
                serde_json::from_str(&text)
                    .is_ok_and(|results: Value| results.get("experiment").is_some())
            })
    },
};
/// Written last: with it, the experiment is complete.
pub(super) const RESULTS: &str = "results.json";
/// What the terminal showed.
pub(super) const REPORT: &str = "report.txt";
/// The report with all runs, if the program writes one: a page to open in a browser.
const PAGE: &str = "report.html";

/// The key of an experiment's mark and results under which its [`MadeBy`] is. It does not distinguish experiments.
pub(super) const MADE_BY: &str = "made_by";

/// The content of the folder of a complete experiment.
#[derive(Debug, Clone)]
pub struct StudyFolder {
    /// The name of the experiment.
    pub name: String,
    /// What the terminal showed.
    pub report: String,
    /// The path of the figure.
    pub figure: PathBuf,
}

impl StudyFolder {
    /// Whether an experiment writes a file of this name into its folder.
    pub fn writes(name: &str) -> bool {
        name == EXPERIMENT.mark || (EXPERIMENT.writes)(name)
    }

    /// Reads what computed the experiment in the folder `path`, complete or not; `None` if there is no experiment, or
    /// one of a program that did not say it.
    ///
    /// # Errors
    /// If the experiment's mark cannot be read.
    pub fn made_by(path: impl AsRef<Path>) -> Result<Option<MadeBy>> {
        Ok(OwnFolder::about(path, &EXPERIMENT)?.as_ref().and_then(made_by))
    }

    /// Reads the folder at `path`; `None` if it has no experiment, or an incomplete one.
    ///
    /// # Errors
    /// If a file is not what an experiment writes.
    pub fn read(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        let complete = path.join(RESULTS).exists();
        let Some(about) = OwnFolder::about(path, &EXPERIMENT)?.filter(|_| complete) else {
            return Ok(None);
        };
        let name = about.get("experiment").and_then(Value::as_str).unwrap_or_default().to_string();
        Ok(Some(Self { name, report: read_report(path)?, figure: path.join("figure.png") }))
    }

    /// Writes `html`, which begins with [`REPORT_START`](RunFolder::REPORT_START), as `report.html` into the folder of
    /// an experiment at `path` and returns the path of the file.
    ///
    /// # Errors
    /// When there is no experiment, or a `report.html` that no experiment wrote.
    pub fn write_report(path: impl AsRef<Path>, html: &str) -> Result<PathBuf> {
        let file = OwnFolder::open(path, &EXPERIMENT)?.claim(PAGE)?;
        save_text(&file, html)?;
        Ok(file)
    }
}

/// What computed the experiment that its mark or results are `about`.
pub(super) fn made_by(about: &Map<String, Value>) -> Option<MadeBy> {
    serde_json::from_value(about.get(MADE_BY)?.clone()).ok()
}

/// Removes the runs of the experiment in the folder `out`: the one that replaces it computes its own, also if it is
/// interrupted and resumed.
fn remove_runs(out: &Path) -> Result<()> {
    let folders = |path: &Path| -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(path).map_err(Error::io("read", path))?;
        let paths = entries.map(|entry| Ok(entry.map_err(Error::io("read", path))?.path()));
        let paths: Vec<PathBuf> = paths.collect::<Result<_>>()?;
        Ok(paths.into_iter().filter(|path| path.is_dir() && !path.is_symlink()).collect())
    };
    for arm in folders(out)? {
        let runs = folders(&arm)?.into_iter().filter(|run| {
            run.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-"))
        });
        for run in runs {
            RunFolder::remove(&run)?;
        }
        // It stays if it holds anything else.
        let _ = std::fs::remove_dir(arm);
    }
    Ok(())
}

/// Refuses to resume if the experiment found is not the one wanted.
pub(super) fn same(
    found: &Map<String, Value>,
    wanted: &Map<String, Value>,
    out: &Path,
) -> Result<()> {
    match difference(found, wanted) {
        Some(told) => Err(Error::Argument(format!(
            "{} belongs to another experiment: {told}; {RESUME}",
            out.join(EXPERIMENT.mark).display(),
        ))),
        None => Ok(()),
    }
}

/// What distinguishes an experiment from the one wanted; `None` if they are the same.
fn difference(found: &Map<String, Value>, wanted: &Map<String, Value>) -> Option<String> {
    let [found, wanted] = [found, wanted].map(|about| {
        let mut about = about.clone();
        about.remove(MADE_BY);
        Value::Object(about)
    });
    told(&found, &wanted)
}

/// Refuses to replace a complete experiment with other settings.
pub(super) fn check_other(out: &Path, wanted: &Map<String, Value>) -> Result<()> {
    if !out.join(RESULTS).exists() {
        return Ok(());
    }
    let Some(found) = OwnFolder::about(out, &EXPERIMENT)? else { return Ok(()) };
    match difference(&found, wanted) {
        Some(told) => Err(Error::Argument(format!(
            "{out} has a complete experiment with other settings ({told}): give this one another folder with --out, \
             or --out {out} to replace that one",
            out = out.display(),
        ))),
        None => Ok(()),
    }
}

pub(super) fn read_report(out: &Path) -> Result<String> {
    read_own_text(&out.join(REPORT))
}
