//! The folder of a run.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::{Error, EventFile, Picture, Result, Results, atomic};

const CONFIG: &str = "config.json";
const METRICS: &str = "metrics.jsonl";
const RESULTS: &str = "results.json";
pub(crate) const MODEL: &str = "model.safetensors";
const STATE: &str = "state.safetensors";

/// A folder with all that a run leaves behind.
///
/// | file | content |
/// |---|---|
/// | `config.json` | the fully resolved configuration |
/// | `metrics.jsonl` | one line per log step: `step`, `seconds` since the start, and the values |
/// | `events.out.tfevents.*` | the same for TensorBoard, with the pictures |
/// | `results.json` | the final figures; there only once the run is complete |
/// | `model.safetensors`, `state.safetensors` | what the recipe saves at [`model`](Self::model) and [`state`](Self::state) |
/// | `*.png` | pictures |
#[derive(Debug)]
pub struct RunFolder {
    folder: PathBuf,
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
    /// An earlier run in the folder makes way: its configuration, metrics, events, results and
    /// checkpoints are removed, so that no file of it can pass for the new run's. Read a checkpoint
    /// to start from before this call. Other files stay.
    ///
    /// # Errors
    /// When the folder cannot be made or written to, or holds a file that a run would remove but
    /// that no run wrote (a downloaded model, say).
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let folder = path.as_ref();
        std::fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
        let own = [CONFIG, RESULTS, MODEL, STATE];
        if !folder.join(METRICS).exists()
            && let Some(file) = own.into_iter().find(|file| folder.join(file).exists())
        {
            return Err(Error::NotARunFolder { folder: folder.to_path_buf(), file });
        }
        // First, because it also finds out whether the folder can be written to.
        let metrics = open(&folder.join(METRICS), OpenOptions::new().write(true).truncate(true))?;
        for file in own {
            remove(&folder.join(file))?;
        }
        atomic::remove_unfinished(folder)?;
        EventFile::remove_all(folder)?;
        Self::with_metrics(folder, metrics, 0.0)
    }

    /// Opens the folder of an interrupted run to go on with it after `step`: metrics and events are
    /// appended, and the clock goes on from the last line that is kept. Lines of later steps, which
    /// the interrupted run logged but whose weights it did not save, are removed, and so are
    /// results: the run is not complete.
    ///
    /// # Errors
    /// When it cannot be read or written to.
    pub fn resume(path: impl AsRef<Path>, step: u64) -> Result<Self> {
        let folder = path.as_ref();
        let metrics = folder.join(METRICS);
        let (mut kept, mut earlier) = (String::new(), 0.0);
        for (line, text) in read_lines(&metrics)?.into_iter().filter(|(line, _)| line.step <= step)
        {
            kept += &(text + "\n");
            earlier = line.seconds;
        }
        atomic::write_bytes(&metrics, kept.as_bytes())?;
        remove(&folder.join(RESULTS))?;
        let metrics = open(&metrics, OpenOptions::new().append(true))?;
        Self::with_metrics(folder, metrics, earlier)
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

    fn with_metrics(folder: &Path, metrics: File, earlier: f64) -> Result<Self> {
        let (folder, events) = (folder.to_path_buf(), EventFile::create(folder)?);
        Ok(Self { folder, metrics, events, started: Instant::now(), earlier })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Where the trained model belongs.
    pub fn model(&self) -> PathBuf {
        self.folder.join(MODEL)
    }

    /// Where all that resuming needs belongs.
    pub fn state(&self) -> PathBuf {
        self.folder.join(STATE)
    }

    /// Seconds since the folder was opened; of a resumed run, with those before.
    pub fn seconds(&self) -> f64 {
        self.earlier + self.started.elapsed().as_secs_f64()
    }

    /// Writes `config.json`.
    pub fn write_config(&self, config: &impl Serialize) -> Result<()> {
        atomic::save_json(self.folder.join(CONFIG), config)
    }

    /// Logs the named values of one step, to disk at once. A NaN becomes `null` in the metrics.
    pub fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let path = self.folder.join(METRICS);
        let seconds = self.seconds();
        let line = Line { step, seconds, values: values.iter().copied().collect() };
        let mut line = serde_json::to_vec(&line)
            .map_err(|source| Error::Json { what: path.display().to_string(), source })?;
        line.push(b'\n');
        self.metrics.write_all(&line).map_err(Error::io("write", &path))?;
        self.events.scalars(step, values)
    }

    /// Saves a picture as `NAME.png` (replacing the one of an earlier step) and shows it in
    /// TensorBoard at that step.
    pub fn picture(&mut self, name: &str, step: u64, picture: &Picture) -> Result<()> {
        picture.save_png(self.folder.join(format!("{name}.png")))?;
        self.events.picture(step, name, picture)
    }

    /// Writes `results.json`: the run is complete.
    pub fn finish(&self, results: &Results) -> Result<()> {
        atomic::save_json(self.folder.join(RESULTS), results)
    }
}

/// Removes a file, if it is there.
fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", file)(error))
        }
        _ => Ok(()),
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

fn open(path: &Path, options: &mut OpenOptions) -> Result<File> {
    options.create(true).open(path).map_err(Error::io("write", path))
}
