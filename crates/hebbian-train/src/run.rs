//! The folder of a run.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::own_folder::PROGRAM;
use crate::{
    Error, EventFile, FolderKind, OwnFolder, Picture, Result, Results, atomic, checkpoint,
    tensorboard,
};

const CONFIG: &str = "config.json";
const METRICS: &str = "metrics.jsonl";
const RESULTS: &str = "results.json";
pub(crate) const MODEL: &str = "model.safetensors";
const STATE: &str = "state.safetensors";

/// What folders of runs hold.
static RUN: FolderKind = FolderKind {
    mark: "run.json",
    files: &[CONFIG, METRICS, RESULTS, MODEL, STATE],
    writes: |name| {
        RUN.files.contains(&name) || name.ends_with(".png") || name.starts_with(tensorboard::PREFIX)
    },
    is_own,
};

/// A folder with all that a run leaves behind.
///
/// | file | content |
/// |---|---|
/// | `run.json` | the names of the others; a folder with this file is the folder of a run |
/// | `config.json` | the fully resolved configuration |
/// | `metrics.jsonl` | one line per log step: `step`, `seconds` since the start, and the values |
/// | `events.out.tfevents.*` | the same for TensorBoard, with the pictures |
/// | `results.json` | the final figures; there only once the run is complete |
/// | `model.safetensors`, `state.safetensors` | what the recipe saves at [`model`](Self::model) and [`state`](Self::state), with [`save_checkpoint`](crate::save_checkpoint) |
/// | `*.png` | pictures |
#[derive(Debug)]
pub struct RunFolder {
    folder: OwnFolder,
    metrics: File,
    events: EventFile,
    started: Instant,
    /// Seconds that the run took before it was interrupted.
    earlier: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    step: u64,
    seconds: f64,
    #[serde(flatten)]
    values: BTreeMap<&'a str, f64>,
}

impl RunFolder {
    /// Makes the folder of a new run, with all folders above it, and opens its logs.
    ///
    /// An earlier run in the folder makes way, with every file that its `run.json` lists, so that none
    /// of it can pass for the new run's. Read a checkpoint to start from before this call. Other files
    /// stay. A program that is killed in between leaves the earlier run, which the next call in the
    /// folder or [`recover`](Self::recover) puts back, or the new one.
    ///
    /// # Errors
    /// When the folder cannot be made or written to; when a file of the earlier run is
    /// write-protected, a link, or was replaced by what no run writes; or when the folder holds a file
    /// that a run would replace but that `run.json` does not list (a downloaded model, say). The
    /// earlier run is then as it was.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let (folder, (metrics, events)) =
            OwnFolder::replace(path, &RUN, serde_json::Map::new(), |folder| {
                let metrics = folder.claim(METRICS)?;
                let metrics = File::create_new(&metrics).map_err(Error::io("write", &metrics))?;
                Ok((metrics, EventFile::create_as(|name| folder.claim(name))?))
            })?;
        Ok(Self { folder, metrics, events, started: Instant::now(), earlier: 0.0 })
    }

    /// Opens the folder of an interrupted run to go on with it after `step`: metrics and events are
    /// appended, and the clock goes on from the last line that is kept. Lines of later steps, which
    /// the interrupted run logged but whose weights it did not save, are removed, and so are
    /// results: the run is not complete.
    ///
    /// # Errors
    /// When it cannot be read or written to, is not the folder of a run, or holds in a run's place what
    /// [`create`](Self::create) would refuse to remove.
    pub fn resume(path: impl AsRef<Path>, step: u64) -> Result<Self> {
        let mut folder = OwnFolder::open(path, &RUN)?;
        let metrics = folder.path().join(METRICS);
        let (mut kept, mut earlier) = (String::new(), 0.0);
        for (line, text) in read_lines(&metrics)?.into_iter().filter(|(line, _)| line.step <= step)
        {
            kept += &(text + "\n");
            earlier = line.seconds;
        }
        let results = folder.path().join(RESULTS);
        match std::fs::remove_file(&results) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &results)(error));
            }
            _ => {}
        }
        atomic::write_bytes(&metrics, kept.as_bytes())?;
        let opened = OpenOptions::new().append(true).open(&metrics);
        let metrics = opened.map_err(Error::io("write", &metrics))?;
        let events = EventFile::create_as(|name| folder.claim(name))?;
        Ok(Self { folder, metrics, events, started: Instant::now(), earlier })
    }

    /// Puts an earlier run back that a killed program was about to replace; writes nothing where there
    /// is none.
    ///
    /// # Errors
    /// When it cannot be put back.
    pub fn recover(path: impl AsRef<Path>) -> Result<()> {
        OwnFolder::recover(path, &RUN)
    }

    /// The values logged in the run folder `path`, by step.
    ///
    /// # Errors
    /// When there is no such log, or it cannot be read.
    pub fn logged(path: impl AsRef<Path>) -> Result<BTreeMap<u64, BTreeMap<String, f64>>> {
        let lines = read_lines(&path.as_ref().join(METRICS))?.into_iter();
        let finite = |(name, value): (String, Option<f64>)| Some((name, value?));
        Ok(lines
            .map(|(line, _)| (line.step, line.values.into_iter().filter_map(finite).collect()))
            .collect())
    }

    /// The `config.json` of the run folder `path`; none where there is none.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn config(path: impl AsRef<Path>) -> Result<Option<serde_json::Value>> {
        read_json(&path.as_ref().join(CONFIG))
    }

    /// The `results.json` of the run folder `path`; none where the run is not complete.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn results(path: impl AsRef<Path>) -> Result<Option<Results>> {
        read_json(&path.as_ref().join(RESULTS))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the trained model belongs.
    pub fn model(&self) -> PathBuf {
        self.path().join(MODEL)
    }

    /// Where all that resuming needs belongs.
    pub fn state(&self) -> PathBuf {
        self.path().join(STATE)
    }

    /// Seconds since the folder was opened; of a resumed run, with those before.
    pub fn seconds(&self) -> f64 {
        self.earlier + self.started.elapsed().as_secs_f64()
    }

    /// Writes `config.json`, in which `program` says that it is of this one.
    ///
    /// # Errors
    /// When the configuration has no JSON form of names and values, or cannot be written.
    pub fn write_config(&self, config: &impl Serialize) -> Result<()> {
        let config = Config { program: PROGRAM, config };
        atomic::save_json(self.path().join(CONFIG), &config)
    }

    /// Logs the named values of one step, to disk at once. A NaN becomes `null` in the metrics.
    pub fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let path = self.path().join(METRICS);
        let seconds = self.seconds();
        let line = Line { step, seconds, values: values.iter().copied().collect() };
        let mut line = serde_json::to_vec(&line)
            .map_err(|source| Error::Json { what: path.display().to_string(), source })?;
        line.push(b'\n');
        // Weights that are saved after it shall not outlive it.
        let written = self.metrics.write_all(&line).and_then(|()| self.metrics.sync_data());
        written.map_err(Error::io("write", &path))?;
        self.events.scalars(step, values)
    }

    /// Saves a picture as `NAME.png` (replacing the one of an earlier step) and shows it in
    /// TensorBoard at that step.
    ///
    /// # Errors
    /// When there is a file of that name that the run did not write, or it cannot be written.
    pub fn picture(&mut self, name: &str, step: u64, picture: &Picture) -> Result<()> {
        picture.save_png(self.folder.claim(&format!("{name}.png"))?)?;
        self.events.picture(step, name, picture)
    }

    /// Writes `results.json`: the run is complete.
    pub fn finish(&self, results: &Results) -> Result<()> {
        atomic::save_json(self.path().join(RESULTS), results)
    }
}

/// The file of a configuration.
#[derive(Serialize)]
struct Config<'a, T> {
    program: &'static str,
    #[serde(flatten)]
    config: &'a T,
}

/// Whether the file is what a run writes under its name, and not what another program has put there.
fn is_own(path: &Path) -> bool {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(CONFIG) => matches!(
            read_json::<serde_json::Value>(path),
            Ok(Some(config)) if config["program"] == PROGRAM
        ),
        Some(METRICS) => read_lines(path).is_ok(),
        Some(RESULTS) => matches!(read_json::<Results>(path), Ok(Some(_))),
        Some(MODEL | STATE) => checkpoint::is_own(path),
        _ => true,
    }
}

/// A line as read back; a NaN was written as `null`.
#[derive(Deserialize)]
struct LoggedLine {
    step: u64,
    seconds: f64,
    #[serde(flatten)]
    values: BTreeMap<String, Option<f64>>,
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::NotJson { path: path.to_path_buf(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// The whole lines of a log. The last is left out when the program was killed while writing it.
fn read_lines(path: &Path) -> Result<Vec<(LoggedLine, String)>> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line: &str| match serde_json::from_str(line) {
        Ok(parsed) => Ok((parsed, line.to_string())),
        Err(source) => Err(Error::NotJson { path: path.to_path_buf(), source }),
    };
    whole.lines().map(parse).collect()
}
