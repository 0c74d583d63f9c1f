use super::Kind;
use candle_hebbian::without_backtrace;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file that could not be checked.
#[derive(Debug)]
pub struct Error {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Box<Problem>,
}

impl Error {
    pub(super) fn at(path: &Path) -> impl Fn(Problem) -> Self {
        move |problem| Self { path: path.to_path_buf(), problem: Box::new(problem) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl std::error::Error for Error {}

/// The reason why reference vectors could not be checked. The message includes the cause, so there is no `source()`
/// that would repeat it.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Io(std::io::Error),
    /// A folder without reference vectors.
    #[error("holds no .safetensors files; give files of reference vectors, or a folder of them")]
    NoFiles,
    /// Not a safetensors file.
    #[error("is not a safetensors file: {0}")]
    Format(String),
    /// `case` or `params` is not in the metadata.
    #[error("has no '{0}' in its metadata; reference vectors have 'case' and 'params' there")]
    NoMetadata(&'static str),
    /// A kind of case that does not exist.
    #[error("is of the unknown kind '{0}'; kinds are {known}", known = Kind::known())]
    UnknownKind(String),
    /// Settings that are missing, of the wrong type, or unknown.
    #[error("has params that are not those of kind {kind}: {source}")]
    Params {
        /// The kind.
        kind: Kind,
        /// What is wrong.
        r#source: serde_json::Error,
    },
    /// A setting that this library does not support.
    #[error("has {name} {found} in its params, expected {expected}")]
    Unsupported {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: String,
        /// The supported values.
        expected: String,
    },
    /// A tensor that the kind needs is not there.
    #[error("has no tensor '{name}', which kind {kind} needs")]
    MissingTensor {
        /// The tensor.
        name: String,
        /// The kind.
        kind: Kind,
    },
    /// A tensor is expected that this kind does not compute.
    #[error("expects 'expect.{name}', which kind {kind} does not compute")]
    NotComputed {
        /// The tensor.
        name: String,
        /// The kind.
        kind: Kind,
    },
    /// A tensor of the wrong type.
    #[error("has a tensor '{name}' of type {found}, expected {expected}")]
    Type {
        /// The tensor.
        name: String,
        /// Its type in the file.
        found: &'static str,
        /// The types that it may have.
        expected: &'static str,
    },
    /// A tensor without elements, whose shape can be of any size.
    #[error("has a tensor '{name}' of shape {found:?}, expected at least one number in it")]
    Empty {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor that nothing can be compared with, because its values are not all finite.
    #[error("has values in '{0}' that are not finite numbers")]
    NotFinite(String),
    /// The computed tensor has another shape.
    #[error("expects '{name}' of shape {expected:?}, but the inputs give {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the file.
        expected: Vec<usize>,
        /// The shape computed.
        found: Vec<usize>,
    },
    /// A tensor operation failed.
    #[error("does not fit together: {}", without_backtrace(.0))]
    Candle(candle::Error),
    /// The file could not be loaded for another reason.
    #[error(transparent)]
    Load(hebbian_train::Error),
    /// A network could not be built or run.
    #[error("does not fit together: {0}")]
    Model(hebbian_train::Error),
    /// Whitening failed.
    #[error("does not fit together: {0}")]
    Data(hebbian_data::Error),
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<candle::Error> for Problem {
    fn from(error: candle::Error) -> Self {
        Self::Candle(error)
    }
}

impl From<hebbian_data::Error> for Problem {
    fn from(error: hebbian_data::Error) -> Self {
        Self::Data(error)
    }
}

/// Drops the path, which the [`Error`] has.
impl From<hebbian_train::Error> for Problem {
    fn from(error: hebbian_train::Error) -> Self {
        match error {
            hebbian_train::Error::Io { source, .. } => Self::Io(source),
            hebbian_train::Error::NotSafetensors { reason, .. } => Self::Format(reason),
            error @ (hebbian_train::Error::Damaged { .. }
            | hebbian_train::Error::MissingTensor { .. }
            | hebbian_train::Error::ShapeMismatch { .. }
            | hebbian_train::Error::TypeMismatch { .. }) => Self::Load(error),
            error => Self::Model(error),
        }
    }
}
