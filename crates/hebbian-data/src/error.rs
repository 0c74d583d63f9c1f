use std::path::{Path, PathBuf};

use candle_hebbian::without_backtrace;

/// What can go wrong between a data set's name and its batches. The message includes the cause, so
/// `source()` returns `None` and does not repeat it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Pixels, labels and shape that do not belong together.
    #[error("{what}: found {found}, expected {expected}")]
    Size {
        /// What was counted.
        what: &'static str,
        /// The count.
        found: usize,
        /// What it should be.
        expected: usize,
    },
    /// An image size that no image can get.
    #[error("an image size of {found} pixels, expected 1 to {most}")]
    Side {
        /// The size.
        found: usize,
        /// The largest one.
        most: usize,
    },
    /// A share of images that is none.
    #[error("a share of {0} of the images, expected a number between 0 and 1, such as 0.2")]
    Share(f64),
    /// Too few or too many images that are to keep their labels.
    #[error(
        "{found} images are to keep their labels, expected {classes} (one of each class) to {images} (all images to \
         learn from): give another number"
    )]
    Labelled {
        /// The number asked for.
        found: usize,
        /// The number of classes of the training images.
        classes: usize,
        /// The number of training images.
        images: usize,
    },
    /// A class that is not among those that a data set was to be numbered by.
    #[error("the images have the classes {found}, expected only classes of {expected}")]
    Classes {
        /// The classes of the data set.
        found: String,
        /// The classes that it may have.
        expected: String,
    },
    /// Classes that have one name, where classes are numbered by their names.
    #[error(
        "two classes are called '{}' among {known}, expected a name of its own for each, because classes are numbered \
         by their names: rename one of them", name.escape_debug()
    )]
    SameClasses {
        /// The name.
        name: String,
        /// The classes among which it is.
        known: String,
    },
    /// A data set of `candle-datasets` that does not consist of bytes with labels.
    #[error("found {found}, expected {expected}")]
    Levels {
        /// What the data set has.
        found: String,
        /// What the data set should have.
        expected: &'static str,
    },
    /// An index beyond the end of a split.
    #[error("image {index} was asked for, but the split has {len} images, numbered from 0")]
    Index {
        /// The index.
        index: usize,
        /// The number of images.
        len: usize,
    },
    /// A batch size of zero.
    #[error("the batch size is 0, expected at least 1: pass a batch size of 1 or more")]
    BatchSizeZero,
    /// A transform that is wrong, or does not fit the images.
    #[error("the transform '{}': {problem}", transform.escape_debug())]
    Transform {
        /// The transform, as it was given.
        transform: String,
        /// What was found, and what was expected.
        problem: String,
    },
    /// Fewer images than are needed for a covariance.
    #[error(
        "found {found} image(s) to whiten by, expected at least {expected}: give more images, or \
         change how many are drawn"
    )]
    TooFewImages {
        /// The number of images.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// An ε that cannot be added to a covariance.
    #[error("the epsilon of a whitening is {0}, expected a number of 0 or more, such as 3.4e-4")]
    Epsilon(f64),
    /// NaN, infinity or huge values in rows to whiten.
    #[error(
        "column {column} of the rows to whiten has a variance of {variance}, expected a finite \
         number: look for NaN and infinity in the rows, or scale them"
    )]
    NotFinite {
        /// The first such column, from 0.
        column: usize,
        /// The mean of its squares, plus ε.
        variance: f64,
    },
    /// A covariance that has no inverse.
    #[error(
        "{singular} of the {features} eigenvalues of the covariance of {rows} rows, plus the epsilon \
         {epsilon:e}, are 0 to rounding (the smallest is {smallest:.1e}), so that it cannot be \
         inverted: use a larger epsilon, such as 3.4e-4 (images standardised one by one always have \
         an eigenvalue of 0, that of equal pixels)"
    )]
    RankDeficient {
        /// How many eigenvalues are at most F · `f64::EPSILON` times the largest.
        singular: usize,
        /// The smallest eigenvalue.
        smallest: f64,
        /// F, the number of values in a row.
        features: usize,
        /// The number of rows.
        rows: usize,
        /// What was added to each eigenvalue.
        epsilon: f64,
    },
    /// An eigensolver that did not converge.
    #[error(
        "the eigenvectors of a {0}x{0} covariance were not found, as the solver did not converge: \
         scale the rows to variances near 1, and use an epsilon such as 3.4e-4"
    )]
    Eigen(usize),
    /// More images than there is memory for.
    #[error(
        "{images} images of {channels}x{height}x{width} need {bytes} bytes of memory, more than the system \
         gives: give fewer, or make them smaller with --image-size"
    )]
    Memory {
        /// The number of images.
        images: usize,
        /// The channels of each image.
        channels: usize,
        /// The rows of each image.
        height: usize,
        /// The columns of each image.
        width: usize,
        /// The bytes that the images take.
        bytes: usize,
    },
    /// A name that belongs to no data set.
    #[error(
        "unknown data set '{}', expected one of: {known}; OWNER/NAME[/CONFIG][@REVISION] for one on the \
         Hugging Face hub; or any name with --data-dir", name.escape_debug()
    )]
    UnknownDataset {
        /// The name.
        name: String,
        /// All known names, separated by commas.
        known: String,
    },
    /// A folder without the files of the data set.
    #[error(
        "found no {dataset} files in {}, expected {expected}: give the folder that holds them with \
         --data-dir, or leave it out to use the hub",
        dir.display()
    )]
    NotInFolder {
        /// The data set.
        dataset: String,
        /// The folder.
        dir: PathBuf,
        /// The file names looked for.
        expected: String,
    },
    /// A split with missing files.
    #[error(
        "{source_name}: found {found} of the {expected} files of {split}, expected all: fetch the others, or \
         choose another split"
    )]
    Shards {
        /// Configuration and split.
        split: String,
        /// The repository or folder.
        source_name: String,
        /// How many files were found.
        found: usize,
        /// How many files there should be.
        expected: usize,
    },
    /// Two files of a split that are the same part of it by their names.
    #[error(
        "{source_name}: {} and {} are the same part of {split} by their names, expected one: give the folder of one \
         data set, or move one of the files away", one.escape_debug(), other.escape_debug()
    )]
    Twins {
        /// Configuration and split.
        split: String,
        /// The repository or folder.
        source_name: String,
        /// The first file.
        one: String,
        /// The other file.
        other: String,
    },
    /// A configuration or split that does not exist.
    #[error(
        "{source_name} has no {what} '{}', expected one of: {known}: name one {}", found.escape_debug(), how(what)
    )]
    Choice {
        /// Configuration or split.
        what: &'static str,
        /// The repository or folder.
        source_name: String,
        /// What was asked for.
        found: String,
        /// The available ones.
        known: String,
    },
    /// A file that is not what it should be.
    #[error("{}: found {found}, expected {expected}: {advice}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: String,
        /// What to do.
        advice: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}: check that it exists and may be read and written", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        r#source: std::io::Error,
    },
    /// A file that is not in the hub's cache and cannot be downloaded from the hub.
    #[error(
        "{file} of {repo} is not in the cache {}, and {reason}: {advice}, or set HF_HOME to a Hugging \
         Face folder in which it is cached",
        cache.display()
    )]
    Unavailable {
        /// The path in the repository.
        file: String,
        /// The repository, or several names of the same one, with its revision.
        repo: String,
        /// The cache folder that was searched.
        cache: PathBuf,
        /// Why it was not downloaded.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// A download that differs from what the hub announced. It has been deleted.
    #[error(
        "{file} of {repo}: found {found}, expected {expected}: the download was deleted, try again"
    )]
    Corrupt {
        /// The path in the repository.
        file: String,
        /// The repository and revision.
        repo: String,
        /// The size or SHA-256 of the download.
        found: String,
        /// The size or SHA-256 that was announced.
        expected: String,
    },
    /// A push to the hub that failed.
    #[error("the push to {repo} failed: {reason}: {advice}")]
    NotPushed {
        /// The repository.
        repo: String,
        /// Why the push failed.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// A data set that the hub does not have, or does not have as images with labels, or a name that none of its files
    /// can have.
    #[error("{name}: {reason}: {advice}")]
    HubSet {
        /// What was asked for.
        name: String,
        /// Why it cannot be loaded.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// Something that this build cannot do.
    #[error(
        "{what}: built without the feature `{feature}`: build with --features {feature}{}",
        if *feature == "hub" { ", or name a folder that holds the data set with --data-dir" } else { "" }
    )]
    Without {
        /// The Cargo feature that is needed.
        feature: &'static str,
        /// What was asked for.
        what: String,
    },
    /// The hub's client does not start. Holds the reason, such as a malformed `HF_ENDPOINT`, and what to
    /// do.
    #[error("the Hugging Face client does not start: {0}")]
    Client(String),
    /// A tensor could not be made.
    #[error("{}", without_backtrace(.0))]
    Candle(candle::Error),
}

/// A result whose error is [`Error`] by default.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The advice for most bad files.
pub(crate) const FETCH_AGAIN: &str =
    "delete the file and fetch it again, or repair it if it is your own";

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.into(), source }
    }

    /// The error for something that needs a feature which this build lacks.
    #[allow(dead_code, reason = "with all features nothing calls it")]
    pub(crate) fn without(feature: &'static str, what: String) -> Self {
        Self::Without { feature, what }
    }

    pub(crate) fn bad_file(
        path: &Path,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::BadFile {
            path: path.into(),
            found: found.into(),
            expected: expected.into(),
            advice: FETCH_AGAIN.into(),
        }
    }
}

/// How a configuration or split is named.
fn how(what: &str) -> &'static str {
    match what {
        "split" => "with --train-split or --test-split",
        _ => "as OWNER/NAME/CONFIG, or give its own folder with --data-dir",
    }
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

    #[test]
    fn a_cause_is_said_once() {
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let inner = Box::new(candle::Error::Msg("a tensor".to_string()));
        for (error, shown) in [
            (
                Error::io(Path::new("file"))(std::io::Error::other("no disk")),
                "file: no disk: check that it exists and may be read and written",
            ),
            (candle::Error::WithBacktrace { inner, backtrace }.into(), "a tensor"),
        ] {
            assert_eq!(error.to_string(), shown);
            assert!(error.source().is_none());
        }
    }
}
