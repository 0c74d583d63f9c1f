//! The errors of a run, each with a hint at the remedy.

use std::path::{Path, PathBuf};

use candle_hebbian::without_backtrace;

/// An error of this crate. Its message includes the cause, so there is no `source()` that would repeat
/// it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor operation failed.
    #[error("{}", without_backtrace(.0))]
    Candle(candle::Error),

    /// A file or folder could not be used.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        r#source: std::io::Error,
    },

    /// A value has no JSON form.
    #[error("cannot write {what} as JSON: {source}")]
    Json {
        /// The value.
        what: String,
        /// The error of the encoder.
        r#source: serde_json::Error,
    },

    /// A file of a run folder is not what a run writes there.
    #[error(
        "{path} is not what a run writes there: {source}; it may come from another version: choose \
         another folder, or start again",
        path = path.display()
    )]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        r#source: serde_json::Error,
    },

    /// A picture could not be encoded.
    #[error("cannot encode a picture of {width} x {height} pixels as PNG: {source}")]
    Png {
        /// Pixels across.
        width: usize,
        /// Pixels down.
        height: usize,
        /// The error of the encoder.
        r#source: image::ImageError,
    },

    /// A chart's data cannot be drawn.
    #[error("the chart {title:?} cannot be drawn: {reason}")]
    Chart {
        /// The title of the chart.
        title: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A file is not a complete safetensors file.
    #[error(
        "{path} is not a complete safetensors file: {reason}; it may be cut short or of another \
         format: fetch or save it again",
        path = path.display()
    )]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A PyTorch file holds no state dict that can be read.
    #[error(
        "{path} holds no state_dict of PyTorch that can be read: {reason}; write it with \
         torch.save(model.state_dict(), path), or as safetensors",
        path = path.display()
    )]
    NotStateDict {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A file is not a text in UTF-8.
    #[error("{path} is {found}, expected a text in UTF-8: save it as UTF-8", path = path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// What the file is instead.
        found: String,
    },

    /// A text is too long to be read as a whole.
    #[error(
        "{path} is longer than {most} bytes, the most that is read of such a text: name another \
         file, or move this one away",
        path = path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most bytes that it may have.
        most: u64,
    },

    /// The checksum of a checkpoint differs from the one that its metadata states.
    #[error(
        "{path} is damaged: its SHA-256 is not the one that it states (hebbian_sha256 in its \
         metadata): fetch or save it again; if another program wrote it with the metadata of one of \
         ours, leave that entry out",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },

    /// A folder without a checkpoint.
    #[error(
        "the folder {path} holds no checkpoint, neither {} nor {}: give the folder of a run that has \
         saved one, or a .safetensors file",
        expected[0],
        expected[1],
        path = path.display()
    )]
    NoCheckpoint {
        /// The folder.
        path: PathBuf,
        /// The names looked for.
        expected: [&'static str; 2],
    },

    /// A checkpoint lacks a tensor.
    #[error("{path} has no tensor {name:?}; it holds {held}", path = path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor asked for.
        name: String,
        /// The names of all its tensors, or that there are none.
        held: String,
    },

    /// A tensor of a checkpoint has another shape than the model.
    #[error(
        "tensor {name:?} of {path} has shape {found:?}, but the model needs {expected:?}: load it \
         with the configuration it was saved with",
        path = path.display()
    )]
    ShapeMismatch {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape asked for.
        expected: Vec<usize>,
    },

    /// A tensor of a checkpoint has a type that cannot be used for the model's tensor.
    #[error(
        "tensor {name:?} of {path} is of type {found}, but the model needs {expected}: it is of \
         another model, or damaged",
        path = path.display()
    )]
    TypeMismatch {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type in the file.
        found: String,
        /// The type asked for.
        expected: &'static str,
    },

    /// A file stands where a run writes one, and must not be removed or replaced.
    #[error(
        "{path} {reason}, and is left as it is: choose another folder, or move it away",
        path = path.display()
    )]
    InTheWay {
        /// The file.
        path: PathBuf,
        /// Why it must stay.
        reason: &'static str,
    },

    /// Another run is using a folder.
    #[error(
        "{path} is in use by another run: wait until it has ended, or choose another folder",
        path = path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },

    /// A run was asked to stop, and can be continued later.
    #[error("stopped {at}; progress is saved in {path}; {next}", path = path.display())]
    Stopped {
        /// How far the run got.
        at: String,
        /// The folder.
        path: PathBuf,
        /// How to continue.
        next: &'static str,
        /// The signal that asked for it.
        signal: usize,
    },

    /// A folder has no mark, so there is no run to continue.
    #[error(
        "there is nothing to resume: {path}, which every run writes, is missing; start again",
        path = path.display()
    )]
    NoMark {
        /// The file.
        path: PathBuf,
    },

    /// A tensor holds NaN or infinities.
    #[error(
        "{name} is not finite at step {step}: {nan} NaN and {infinite} infinite of {total} \
         values; lower the learning rate or check the input"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// The step at which it was checked.
        step: u64,
        /// How many entries are NaN.
        nan: usize,
        /// How many entries are +∞ or −∞.
        infinite: usize,
        /// How many entries there are.
        total: usize,
    },

    /// The matrix of a closed-form read-out cannot be inverted.
    #[error(
        "the ridge regression has no unique solution: pivot {pivot} of {size} is not positive; \
         raise the penalty alpha"
    )]
    NotPositiveDefinite {
        /// The pivot of the Cholesky factor that failed, counted from 0.
        pivot: usize,
        /// The number of rows of the matrix.
        size: usize,
    },

    /// The data set could not be loaded.
    #[error(transparent)]
    Data(#[from] hebbian_data::Error),

    /// No preset has that name.
    #[error(
        "there is no preset '{}'; {known}; or give a path ending in .json, or the folder of a run",
        name.escape_debug()
    )]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names that it may have meant, and how to list all.
        known: String,
    },

    /// A preset file does not hold a valid preset.
    #[error("{source_name} is not a preset of {method}: {reason}")]
    BadPreset {
        /// The file, or the embedded preset.
        source_name: String,
        /// The method.
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// A preset does not fit the data.
    #[error(
        "preset '{preset}' does not fit images of {channels}x{height}x{width}: layer {layer}: {problem}",
        channels = image.0, height = image.1, width = image.2
    )]
    Unfit {
        /// The preset.
        preset: String,
        /// Channels, height and width.
        image: (usize, usize, usize),
        /// The number of the layer, counted as elsewhere in the method.
        layer: usize,
        /// What is wrong.
        problem: String,
    },

    /// A model has no read-out, and so no scores; the text says why, and what to do.
    #[error("{0}")]
    NoReadout(&'static str),

    /// Weights became NaN or infinite in a run.
    #[error("{}", diverged(problem, stage, kept, advice.as_deref()))]
    Diverged {
        /// The error that says which tensor, at which step, and how many values.
        problem: Box<Error>,
        /// What was being trained.
        stage: String,
        /// Where the last good weights are, if any were saved.
        kept: String,
        /// The message of the method that replaces the general one, if it knows better.
        advice: Option<String>,
    },

    /// Arguments do not fit each other, the data or the files; the text says which, and what would
    /// fit.
    #[error("{0}")]
    Argument(String),
}

/// The result of a fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: makes an error that says which `action` failed on which `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }

    /// Adds to an error about NaN or infinity where it arose and which file holds the last good
    /// weights, if they were `saved`. Other errors are returned unchanged. `advice` is a message of
    /// the method that replaces the general one.
    pub fn while_training(
        self,
        stage: impl Into<String>,
        saved: Option<PathBuf>,
        advice: Option<String>,
    ) -> Self {
        if !matches!(self, Self::NotFinite { .. }) {
            return self;
        }
        let kept = match saved {
            Some(model) => format!("the last good weights are {}", model.display()),
            None => "there were no good weights to keep".to_string(),
        };
        Self::Diverged { problem: Box::new(self), stage: stage.into(), kept, advice }
    }

    /// The error for a file that must not be removed or replaced.
    pub(crate) fn in_the_way(path: &Path, reason: &'static str) -> Self {
        Self::InTheWay { path: path.to_path_buf(), reason }
    }
}

fn diverged(problem: &Error, stage: &str, kept: &str, advice: Option<&str>) -> String {
    let own = || format!("{problem}, while training {stage}. Training stopped; {kept}");
    advice.map_or_else(own, str::to_string)
}

impl From<candle::Error> for Error {
    fn from(error: candle::Error) -> Self {
        Self::Candle(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    /// Only what is not finite was made so by training. A method's own advice replaces the whole message.
    #[test]
    fn training_is_named_where_it_diverged() {
        let not_finite = || Error::NotFinite {
            name: "layers.0.weight".to_string(),
            step: 7,
            nan: 1,
            infinite: 2,
            total: 6,
        };
        let found = not_finite().while_training("epoch 3", Some("out/state".into()), None);
        let says = "layers.0.weight is not finite at step 7: 1 NaN and 2 infinite of 6 values; lower the learning \
                    rate or check the input, while training epoch 3. Training stopped; the last good weights are \
                    out/state";
        assert_eq!(found.to_string(), says);
        let found = not_finite().while_training("epoch 3", None, None).to_string();
        assert!(found.ends_with("; there were no good weights to keep"), "{found}");
        let advice = Some("take a smaller η".to_string());
        let found = not_finite().while_training("epoch 3", None, advice.clone());
        assert_eq!(found.to_string(), "take a smaller η");
        let other = Error::Argument("no images".to_string());
        let found = other.while_training("epoch 3", None, advice);
        assert!(matches!(&found, Error::Argument(text) if text == "no images"), "{found}");
    }

    #[test]
    fn a_cause_is_said_once() {
        let json = || serde_json::from_str::<u8>("{").unwrap_err();
        let picture = image::load_from_memory(b"no picture").unwrap_err();
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let inner = Box::new(candle::Error::Msg("a tensor".to_string()));
        for (error, cause) in [
            (Error::io("read", Path::new("file"))(std::io::Error::other("no disk")), "no disk"),
            (Error::Json { what: "file".to_string(), source: json() }, "invalid type: map"),
            (Error::NotJson { path: "file".into(), source: json() }, "invalid type: map"),
            (Error::Png { width: 1, height: 1, source: picture }, "image format"),
            (candle::Error::WithBacktrace { inner, backtrace }.into(), "a tensor"),
        ] {
            // As programs show it: the message, then each cause behind it.
            let mut shown = error.to_string();
            let mut next = error.source();
            while let Some(cause) = next {
                shown += &format!(": {cause}");
                next = cause.source();
            }
            assert_eq!(shown.matches(cause).count(), 1, "{shown}");
            assert!(!shown.contains("   0: "), "{shown}");
        }
    }
}
