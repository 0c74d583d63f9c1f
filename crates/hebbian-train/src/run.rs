//! The folder of a run.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle::{Device, Tensor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, MODEL, STATE};
use crate::engine::CARD_START;
use crate::own_folder::{PROGRAM, Prepared};
use crate::text::read_own_text;
use crate::{
    Checkpoint, Error, EventFile, FolderKind, OwnFolder, Picture, Result, Results, atomic,
    save_checkpoint, save_text, tensorboard,
};

pub(crate) const CONFIG: &str = "config.json";
const METRICS: &str = "metrics.jsonl";
const RESULTS: &str = "results.json";
const CARD: &str = "README.md";
const REPORT: &str = "report.html";
/// What finished read-outs gave, until the run is complete.
const KEPT: &str = "readouts.safetensors";
/// Begins the name of a read-out in the metadata of this file.
const READOUT: &str = "readout: ";
/// In these metadata, the seconds that the run had taken when the last read-out was kept.
const SECONDS: &str = "total_seconds";
const ANALYSIS: &str = "analysis-";
/// How long to wait for a folder that another analysis writes into.
const WAIT: Duration = Duration::from_millis(100);

/// Opens the folder of a run, also if another analysis or report has it for a moment.
fn open_soon(path: &Path) -> Result<OwnFolder> {
    let mut tries = 20;
    loop {
        match OwnFolder::open(path, &RUN) {
            Err(Error::InUse { .. }) if tries > 0 => std::thread::sleep(WAIT),
            folder => return folder,
        }
        tries -= 1;
    }
}

/// The kind of folder that a run writes.
static RUN: FolderKind = FolderKind {
    mark: "run.json",
    files: &[CONFIG, METRICS, RESULTS, MODEL, STATE, CARD, REPORT],
    writes: |name| {
        RUN.files.contains(&name)
            || name == KEPT
            || name.ends_with(".png")
            || name.starts_with(tensorboard::PREFIX)
            || name.starts_with(ANALYSIS) && (name.ends_with(".csv") || name.ends_with(".json"))
    },
    is_own,
};

/// A folder with everything that a run writes.
///
/// | file | content |
/// |---|---|
/// | `run.json` | the names of the other files; a folder with this file is the folder of a run |
/// | `config.json` | the fully resolved configuration |
/// | `metrics.jsonl` | one [`LogLine`] each time something was measured |
/// | `events.out.tfevents.*` | the same for TensorBoard, with the pictures |
/// | `results.json` | the final figures; written only once the run is complete |
/// | `README.md` | the model card |
/// | `report.html` | the report, if the program writes one: a page to open in a browser |
/// | `model.safetensors` | the trained model, with its read-out |
/// | `state.safetensors` | what is needed to continue the run |
/// | `readouts.safetensors` | what the finished read-outs gave, until the run is complete |
/// | `*.png` | pictures |
/// | `analysis-*` | pictures, tables and figures of a later [analysis](Self::analysis) |
///
/// While a `RunFolder` lives, no other run can use the folder.
#[derive(Debug)]
pub struct RunFolder {
    folder: OwnFolder,
    metrics: File,
    /// Events of learning, by step.
    events: EventFile,
    /// Events of read-outs, by their own epochs: in a separate file, because an unfinished read-out begins again when a
    /// run continues. Created with the first read-out.
    readout_events: Option<EventFile>,
    started: Instant,
    /// Seconds that the run took before it was interrupted.
    earlier: f64,
}

/// When something was measured: while learning, or while a read-out was trained, each on its own clock.
#[derive(Debug, Clone, PartialEq)]
pub enum Moment {
    /// While a read-out was trained.
    Readout {
        /// The name of the read-out.
        readout: String,
        /// The number of epochs that it has finished.
        epoch: u64,
    },
    /// While learning.
    Learning {
        /// The number of batches learned from.
        step: u64,
        /// The number of images shown.
        images: u64,
        /// How often each image was shown, on average.
        epoch: f64,
    },
}

/// A line of `metrics.jsonl`: `step`, `images` and `epoch` while learning, or `readout` and its `epoch`; then `seconds`
/// and the values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Line", into = "Line")]
pub struct LogLine {
    /// When the values were measured.
    pub moment: Moment,
    /// Seconds since the start of the run.
    pub seconds: f64,
    /// What was measured, by name. A NaN is written as `null`.
    pub values: BTreeMap<String, Option<f64>>,
}

/// A [`LogLine`] as it is written in the file.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    readout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<u64>,
    #[serde(default)]
    epoch: f64,
    seconds: f64,
    #[serde(flatten)]
    values: BTreeMap<String, Option<f64>>,
}

impl From<LogLine> for Line {
    fn from(LogLine { moment, seconds, values }: LogLine) -> Self {
        match moment {
            Moment::Readout { readout, epoch } => {
                let (readout, epoch) = (Some(readout), epoch as f64);
                Self { readout, step: None, images: None, epoch, seconds, values }
            }
            Moment::Learning { step, images, epoch } => {
                let (step, images) = (Some(step), Some(images));
                Self { readout: None, step, images, epoch, seconds, values }
            }
        }
    }
}

impl From<Line> for LogLine {
    fn from(Line { readout, step, images, epoch, seconds, values }: Line) -> Self {
        let moment = match readout {
            Some(readout) => Moment::Readout { readout, epoch: epoch as u64 },
            None => Moment::Learning {
                step: step.unwrap_or_default(),
                images: images.unwrap_or_default(),
                epoch,
            },
        };
        Self { moment, seconds, values }
    }
}

/// What a run has logged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History(
    /// The lines, in the order of time.
    pub Vec<LogLine>,
);

impl History {
    /// Returns an iterator over what was measured while learning, by epoch. What was not finite is NaN, so that no mean
    /// leaves it out.
    pub fn by_epoch(&self) -> impl Iterator<Item = (f64, BTreeMap<String, f64>)> {
        self.learning(|_, epoch| epoch)
    }

    /// Returns an iterator over the same, by the number of images shown.
    pub fn by_images(&self) -> impl Iterator<Item = (u64, BTreeMap<String, f64>)> {
        self.learning(|images, _| images)
    }

    fn learning<T>(
        &self,
        clock: impl Fn(u64, f64) -> T,
    ) -> impl Iterator<Item = (T, BTreeMap<String, f64>)> {
        self.0.iter().filter_map(move |line| match line.moment {
            Moment::Learning { images, epoch, .. } => {
                let values = line.values.iter();
                let values = values.map(|(name, value)| (name.clone(), value.unwrap_or(f64::NAN)));
                Some((clock(images, epoch), values.collect()))
            }
            Moment::Readout { .. } => None,
        })
    }
}

impl RunFolder {
    /// Makes the folder of a new run, with all folders above it, and opens its logs.
    ///
    /// An earlier run in the folder is replaced, with every file that its `run.json` lists, so that none of them can be
    /// mistaken for the new run's. Read a checkpoint to start from before this call. Other files stay. If the program
    /// is killed in between, the folder holds the new run, or the earlier one, which the next call in the folder or
    /// [`recover`](Self::recover) puts back.
    ///
    /// # Errors
    /// When another run is in the folder, or it cannot be made or written to; when a file of the earlier run is
    /// write-protected, a link, or has been overwritten with something that no run writes; or when the folder holds a
    /// file that a run would replace but that `run.json` does not list (a downloaded model, say). The earlier run is
    /// then as it was.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Self::create_in(Self::prepare(path)?)
    }

    /// Locks the folder of a new run, and refuses what [`create`](Self::create) refuses, before it replaces anything.
    pub(crate) fn prepare(path: impl AsRef<Path>) -> Result<Prepared> {
        OwnFolder::prepare(path, &RUN)
    }

    /// As [`create`](Self::create), in a folder that was locked by [`prepare`](Self::prepare).
    pub(crate) fn create_in(folder: Prepared) -> Result<Self> {
        let (folder, (metrics, events)) = folder.replace(serde_json::Map::new(), |folder| {
            let metrics = folder.claim(METRICS)?;
            let metrics = File::create_new(&metrics).map_err(Error::io("write", &metrics))?;
            Ok((metrics, EventFile::create_as(|name| folder.claim(name))?))
        })?;
        Ok(Self::of(folder, metrics, events, 0.0))
    }

    /// Counts the seconds from this moment instead of from when the folder was opened.
    pub(crate) fn since(self, started: Instant) -> Self {
        Self { started, ..self }
    }

    /// Counts the seconds from this number on, if the log ends before.
    pub(crate) fn after(self, seconds: f64) -> Self {
        Self { earlier: self.earlier.max(seconds), ..self }
    }

    fn of(folder: OwnFolder, metrics: File, events: EventFile, earlier: f64) -> Self {
        let started = Instant::now();
        Self { folder, metrics, events, readout_events: None, started, earlier }
    }

    /// Opens the folder of an interrupted run to continue it after `step`: metrics and events are appended, and the
    /// clock continues from the last line that is kept. Lines of later steps, which the interrupted run logged but
    /// whose weights it did not save, and lines of read-outs that had not finished are removed, as are the model, its
    /// card, the results, the report and the analyses of a run that was complete, because it no longer is.
    ///
    /// # Errors
    /// When another run is in the folder, or it cannot be read or written to, is not the folder of a run, or holds a
    /// file that [`create`](Self::create) would refuse to replace.
    pub fn resume(path: impl AsRef<Path>, step: u64) -> Result<Self> {
        let mut folder = OwnFolder::open(path, &RUN)?;
        let metrics = folder.path().join(METRICS);
        let finished = match kept_in(folder.path(), &Device::Cpu)? {
            Some(checkpoint) => checkpoint.metadata,
            None => BTreeMap::new(),
        };
        let (mut kept, mut earlier, mut readouts) = (String::new(), 0.0, Vec::new());
        for (line, text) in read_lines(&metrics)? {
            let stays = match &line.moment {
                Moment::Learning { step: at, .. } => *at <= step,
                Moment::Readout { readout, .. } => finished.contains_key(&entry(readout)),
            };
            if stays {
                kept += &(text + "\n");
                earlier = line.seconds;
                if matches!(line.moment, Moment::Readout { .. }) {
                    readouts.push(line);
                }
            }
        }
        let of_the_end = [RESULTS, REPORT, MODEL, CARD];
        folder.clear(|name| of_the_end.contains(&name) || name.starts_with(ANALYSIS))?;
        atomic::save_bytes(&metrics, kept.as_bytes())?;
        let opened = OpenOptions::new().append(true).open(&metrics);
        let metrics = opened.map_err(Error::io("write", &metrics))?;
        let old: Vec<String> =
            folder.files().iter().filter(|name| is_events(name)).cloned().collect();
        let mut events = EventFile::create_as(|name| folder.claim(name))?;
        let of_learning = old.iter().filter(|name| !name.ends_with(READOUTS));
        let paths = of_learning.map(|name| folder.path().join(name)).filter(|path| path.exists());
        events.append(&paths.collect::<Vec<_>>(), step)?;
        folder.remove(old.iter())?;
        let seconds = finished.get(SECONDS).and_then(|seconds| seconds.parse().ok());
        let mut run = Self::of(folder, metrics, events, earlier).after(seconds.unwrap_or(0.0));
        for LogLine { moment, values, .. } in readouts {
            let values = values.iter().map(|(name, value)| (&name[..], value.unwrap_or(f64::NAN)));
            run.show(moment, &values.collect::<Vec<_>>())?;
        }
        Ok(run)
    }

    /// Removes what the finished read-outs of an interrupted run gave, so that it trains them again.
    pub(crate) fn forget_readouts(path: &Path) -> Result<()> {
        OwnFolder::open(path, &RUN)?.clear(|name| name == KEPT)
    }

    /// See [`Recorder::keep`](crate::Recorder::keep).
    pub(crate) fn keep(
        &mut self,
        readout: &str,
        result: &impl Serialize,
        tensors: &[(String, Tensor)],
    ) -> Result<()> {
        let path = self.folder.claim(KEPT)?;
        let result = serde_json::to_string(result)
            .map_err(|source| Error::Json { what: path.display().to_string(), source })?;
        let (mut tensors, mut metadata) = (tensors.to_vec(), BTreeMap::new());
        // Closed before the file is replaced.
        if let Some(earlier) = kept_in(self.path(), &Device::Cpu)? {
            for name in earlier.names() {
                tensors.push((name.to_string(), earlier.tensor(name)?));
            }
            metadata = earlier.metadata;
        }
        metadata.insert(entry(readout), result);
        metadata.insert(SECONDS.to_string(), self.seconds().to_string());
        self.sync_log()?;
        save_checkpoint(path, &tensors, &metadata)
    }

    /// See [`Recorder::kept`](crate::Recorder::kept).
    pub(crate) fn kept<T: DeserializeOwned>(
        &self,
        readout: &str,
        device: &Device,
    ) -> Result<Option<(T, Checkpoint)>> {
        let Some(file) = kept_in(self.path(), device)? else { return Ok(None) };
        let Some(text) = file.metadata.get(&entry(readout)) else { return Ok(None) };
        let result = serde_json::from_str(text)
            .map_err(|source| Error::NotJson { path: file.path().to_path_buf(), source })?;
        Ok(Some((result, file)))
    }

    /// Whether a run writes a file of this name into its folder.
    pub fn writes(name: &str) -> bool {
        name == RUN.mark || (RUN.writes)(name)
    }

    /// Puts back an earlier run that a killed program was about to replace; writes nothing if there is none.
    ///
    /// # Errors
    /// When it cannot be put back, or another run is in the folder.
    pub fn recover(path: impl AsRef<Path>) -> Result<()> {
        OwnFolder::recover(path, &RUN)
    }

    /// Reads what was logged in the run folder `path`.
    ///
    /// # Errors
    /// When there is no such log, or it cannot be read.
    pub fn history(path: impl AsRef<Path>) -> Result<History> {
        let lines = read_lines(&path.as_ref().join(METRICS))?;
        Ok(History(lines.into_iter().map(|(line, _)| line).collect()))
    }

    /// Reads the `config.json` of the run folder `path`; `None` if there is no such file.
    ///
    /// # Errors
    /// When the file exists but cannot be read, or `path` is a file.
    pub fn config(path: impl AsRef<Path>) -> Result<Option<serde_json::Value>> {
        let path = path.as_ref();
        if path.is_file() {
            let problem = format!("{} is a file, expected the folder of a run", path.display());
            return Err(Error::Argument(problem));
        }
        read_json(&path.join(CONFIG))
    }

    /// Reads the `results.json` of the run folder `path`; `None` if the run is not complete.
    ///
    /// # Errors
    /// When the file exists but cannot be read.
    pub fn results(path: impl AsRef<Path>) -> Result<Option<Results>> {
        read_json(&path.as_ref().join(RESULTS))
    }

    /// Returns the line for the terminal that says what the run in the folder `path` has written: `wrote PATH:
    /// model.safetensors, results.json, metrics.jsonl`, and its pictures.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn wrote(path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        let own = OwnFolder::names(path, &RUN)?;
        let picture = |name: &&str| name.ends_with(".png") && !name.starts_with(ANALYSIS);
        let pictures = own.iter().map(String::as_str).filter(picture);
        let all = [MODEL, RESULTS, METRICS].into_iter().chain(pictures);
        let there: Vec<&str> = all.filter(|name| path.join(name).exists()).collect();
        Ok(format!("wrote {}: {}", path.display(), there.join(", ")))
    }

    /// Writes `html`, which begins with [`REPORT_START`](Self::REPORT_START), as `report.html` into the run folder
    /// `path` and returns the path of the file.
    ///
    /// # Errors
    /// When `path` is not a run folder, another run is in it, or it has a `report.html` that no run wrote.
    pub fn write_report(path: impl AsRef<Path>, html: &str) -> Result<PathBuf> {
        let file = open_soon(path.as_ref())?.claim(REPORT)?;
        save_text(&file, html)?;
        Ok(file)
    }

    /// Returns the path of the file `analysis-NAME` of an analysis in the run folder `path`; `name` ends in `.png`,
    /// `.csv` or `.json`. The file belongs to the run from now on, so that the next run in the folder replaces it.
    ///
    /// # Errors
    /// When `path` is not a run folder, another run is in it, it has such a file that is not the run's, or the name has
    /// another ending.
    pub fn analysis(path: impl AsRef<Path>, name: &str) -> Result<PathBuf> {
        open_soon(path.as_ref())?.claim(&format!("{ANALYSIS}{name}"))
    }

    /// Removes the files that a run has written into the folder `path`, and the folder unless it holds files of others;
    /// nothing if no run has written there.
    ///
    /// # Errors
    /// When another run is in the folder, or a file cannot be removed.
    pub(crate) fn remove(path: &Path) -> Result<()> {
        match OwnFolder::open(path, &RUN) {
            Err(Error::NoMark { .. }) => Ok(()),
            folder => folder?.discard(),
        }
    }

    /// The start of every report, by which a file is recognised as a report of this program.
    pub const REPORT_START: &str = "<!doctype html>\n<!-- report of candle-hebbian -->\n";

    /// Whether a file is a report of this program.
    pub fn is_report(path: &Path) -> bool {
        read_own_text(path).is_ok_and(|text| text.starts_with(Self::REPORT_START))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of the trained model.
    pub fn model(&self) -> PathBuf {
        self.path().join(MODEL)
    }

    /// The path of the state that is needed to continue.
    pub fn state(&self) -> PathBuf {
        self.path().join(STATE)
    }

    /// Seconds since the folder was opened; for a resumed run, including those before the interruption.
    pub fn seconds(&self) -> f64 {
        self.earlier + self.started.elapsed().as_secs_f64()
    }

    /// Writes `config.json`, in which the field `program` names this program.
    ///
    /// # Errors
    /// When the JSON form of the configuration is not an object, or it cannot be written.
    pub fn write_config(&self, config: &impl Serialize) -> Result<()> {
        let config = Config { program: PROGRAM, config };
        atomic::save_json(self.path().join(CONFIG), &config)
    }

    /// Logs named values. TensorBoard shows the values of a read-out under its name, against its epochs.
    ///
    /// # Errors
    /// When a value has the name of what a line says of the moment (`readout`, `step`, `images`, `epoch`, `seconds`);
    /// when `metrics.jsonl` or the event file cannot be written; for the first values of a read-out, also when their
    /// event file cannot be made.
    pub fn log(&mut self, moment: Moment, values: &[(&str, f64)]) -> Result<()> {
        const TAKEN: [&str; 5] = ["readout", "step", "images", "epoch", "seconds"];
        if let Some((name, _)) = values.iter().find(|(name, _)| TAKEN.contains(name)) {
            return Err(Error::Argument(format!(
                "a value named {name:?}: the log has its own {name}, choose another name"
            )));
        }
        let path = self.path().join(METRICS);
        let values_by_name = values.iter().map(|&(name, value)| (name.to_string(), Some(value)));
        let line = LogLine { moment, seconds: self.seconds(), values: values_by_name.collect() };
        let mut text = serde_json::to_vec(&line)
            .map_err(|source| Error::Json { what: path.display().to_string(), source })?;
        text.push(b'\n');
        self.metrics.write_all(&text).map_err(Error::io("write", &path))?;
        self.show(line.moment, values)
    }

    /// Shows values in TensorBoard.
    fn show(&mut self, moment: Moment, values: &[(&str, f64)]) -> Result<()> {
        match moment {
            Moment::Learning { step, .. } => {
                let tags = values.iter().map(|(name, _)| tag(name)).collect::<Vec<_>>();
                let values = tags.iter().map(String::as_str).zip(values.iter().map(|v| v.1));
                self.events.scalars(step, &values.collect::<Vec<_>>())
            }
            Moment::Readout { readout, epoch } => {
                let events = match &mut self.readout_events {
                    Some(events) => events,
                    none => none.insert(EventFile::create_as(|name| {
                        self.folder.claim(&format!("{name}{READOUTS}"))
                    })?),
                };
                let tags: Vec<String> =
                    values.iter().map(|(name, _)| format!("{readout}/{name}")).collect();
                let values = tags.iter().map(String::as_str).zip(values.iter().map(|v| v.1));
                events.scalars(epoch, &values.collect::<Vec<_>>())
            }
        }
    }

    /// Waits until the log is on the disk, so that nothing that is saved afterwards can survive a power cut without it.
    pub(crate) fn sync_log(&self) -> Result<()> {
        self.metrics.sync_data().map_err(Error::io("write", &self.path().join(METRICS)))
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

    /// Writes `README.md`, the model card.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_card(&self, text: &str) -> Result<()> {
        save_text(self.path().join(CARD), text)
    }

    /// Writes `results.json`: the run is complete. What was kept of its read-outs is removed.
    ///
    /// # Errors
    /// When the log cannot be brought to the disk, or the file cannot be written.
    pub fn finish(&self, results: &Results) -> Result<()> {
        self.sync_log()?;
        atomic::save_json(self.path().join(RESULTS), results)?;
        self.folder.clear(|name| name == KEPT)
    }
}

/// The file of the finished read-outs in a folder; `None` if there is none.
fn kept_in(folder: &Path, device: &Device) -> Result<Option<Checkpoint>> {
    let path = folder.join(KEPT);
    path.exists().then(|| Checkpoint::load(path, device)).transpose()
}

/// The metadata entry of a read-out in this file.
fn entry(readout: &str) -> String {
    format!("{READOUT}{readout}")
}

/// The TensorBoard tag of a value. `layers.0.mean_radius`, named after the layer's tensors, becomes
/// `mean_radius/layer 1`, numbered as in the terminal, so that the values of all layers are side by side.
fn tag(name: &str) -> String {
    let of_layer = || {
        let (layer, value) = name.strip_prefix("layers.")?.split_once('.')?;
        Some(format!("{value}/layer {}", layer.parse::<usize>().ok()?.checked_add(1)?))
    };
    of_layer().unwrap_or_else(|| name.to_string())
}

/// The suffix of the names of event files of read-outs.
const READOUTS: &str = ".readouts";

fn is_events(name: &str) -> bool {
    name.starts_with(tensorboard::PREFIX)
}

/// The content of `config.json`.
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
        Some(MODEL | STATE | KEPT) => checkpoint::is_own(path),
        Some(REPORT) => RunFolder::is_report(path),
        Some(CARD) => read_own_text(path).is_ok_and(|text| text.starts_with(CARD_START)),
        _ => true,
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match read_own_text(path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|source| Error::NotJson { path: path.to_path_buf(), source }),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the complete lines of a log. The last line is left out if the program was killed while writing it.
fn read_lines(path: &Path) -> Result<Vec<(LogLine, String)>> {
    let mut bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    // The last line may end within a character.
    bytes.truncate(bytes.iter().rposition(|&byte| byte == b'\n').unwrap_or(0));
    let whole = String::from_utf8(bytes).map_err(|error| {
        Error::io("read", path)(std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    })?;
    let parse = |line: &str| match serde_json::from_str(line) {
        Ok(parsed) => Ok((parsed, line.to_string())),
        Err(source) => Err(Error::NotJson { path: path.to_path_buf(), source }),
    };
    whole.lines().map(parse).collect()
}
