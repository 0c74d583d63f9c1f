//! What can go wrong in a run of any paper, each with the way out.

use std::path::PathBuf;

/// An error of a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle::Error),
    /// The data set could not be loaded.
    #[error(transparent)]
    Data(#[from] hebbian_data::Error),
    /// The training toolkit refused something.
    #[error(transparent)]
    Train(#[from] hebbian_train::Error),
    /// No preset has that name.
    #[error(
        "there is no preset '{}'; presets are:\n  {known}\nor give a path ending in .json",
        name.escape_debug()
    )]
    UnknownPreset {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A preset file is not what it should be.
    #[error("{source_name} is not a preset of {method}: {reason}")]
    BadPreset {
        /// The file, or the embedded preset.
        source_name: String,
        /// The paper.
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The preset does not fit the data.
    #[error(
        "preset '{preset}' does not fit images of {channels}x{height}x{width}: layer {layer}: {problem}",
        channels = image.0, height = image.1, width = image.2
    )]
    Unfit {
        /// The preset.
        preset: String,
        /// Channels, height and width.
        image: (usize, usize, usize),
        /// Which layer, numbered as elsewhere in the method.
        layer: usize,
        /// What is wrong.
        problem: String,
    },
    /// Weights became NaN or infinite.
    #[error("{problem}, while training {stage}. Training stopped; {kept}")]
    Diverged {
        /// Which tensor, which step, how many values.
        problem: Box<hebbian_train::Error>,
        /// What was being trained.
        stage: String,
        /// Where the last good weights are.
        kept: String,
    },
    /// The options contradict each other or the preset.
    #[error("{0}")]
    Options(String),
}

impl Error {
    /// Says of an error about NaN or infinity where it arose and what is left: the file of the last
    /// good weights, if they were saved. Other errors stay as they are.
    pub(crate) fn while_training(self, stage: impl Into<String>, saved: Option<PathBuf>) -> Self {
        let Self::Train(problem @ hebbian_train::Error::NotFinite { .. }) = self else {
            return self;
        };
        let kept = match saved {
            Some(model) => format!("the last good weights are {}", model.display()),
            None => "there were no good weights to keep".to_string(),
        };
        Self::Diverged { problem: Box::new(problem), stage: stage.into(), kept }
    }
}

/// The result of a fallible function of this module.
pub type Result<T> = std::result::Result<T, Error>;
