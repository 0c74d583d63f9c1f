use super::error::{Error, Problem};
use super::inputs::Inputs;
use super::outcome::{Comparison, Outcome};
use super::{Kind, Result};
use candle::{DType, Device, Tensor};
use candle_hebbian::device::to_host;
use hebbian_train::Checkpoint;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The reference vectors of one file.
#[derive(Debug)]
pub struct Case {
    path: PathBuf,
    kind: Kind,
    params: serde_json::Value,
    rtol: f64,
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Deserialize)]
struct Tolerance {
    rtol: f64,
}

impl Case {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that is not a safetensors file, lacks `case`, `params` or `rtol`, is of an unknown kind, or expects
    /// nothing or values that are not finite.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_file(path).map_err(Error::at(path))
    }

    fn read_file(path: &Path) -> std::result::Result<Self, Problem> {
        let mut file = Checkpoint::load(path, &Device::Cpu)?;
        let mut take = |key| file.metadata.remove(key).ok_or(Problem::NoMetadata(key));
        let (kind, params) = (take("case")?, take("params")?);
        let kind = Kind::from_name(&kind).ok_or(Problem::UnknownKind(kind))?;
        let wrong = |source| Problem::Params { kind, source };
        let params: serde_json::Value = serde_json::from_str(&params).map_err(wrong)?;
        let Tolerance { rtol } = Deserialize::deserialize(&params).map_err(wrong)?;
        if !(0.0..1.0).contains(&rtol) {
            let expected = "a number from 0 to below 1".to_string();
            return Err(Problem::Unsupported { name: "rtol", found: rtol.to_string(), expected });
        }
        let load = |name: &str| Ok((name.to_string(), numbers(name, file.tensor(name)?)?));
        let tensors = file.names().map(load).collect::<std::result::Result<_, Problem>>()?;
        let case = Self { path: path.to_path_buf(), kind, params, rtol, tensors };
        if case.expected().is_empty() {
            return Err(Problem::MissingTensor { name: "expect.*".to_string(), kind });
        }
        for name in case.expected() {
            if !host_values(case.expectation(name))?.iter().all(|value| value.is_finite()) {
                return Err(Problem::NotFinite(format!("expect.{name}")));
            }
        }
        Ok(case)
    }

    /// The file's name without its extension.
    pub fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The kind of the case, which says what is checked.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The names of the expected tensors, in order.
    fn expected(&self) -> BTreeSet<&str> {
        self.tensors.keys().filter_map(|name| name.strip_prefix("expect.")).collect()
    }

    fn expectation(&self, name: &str) -> &Tensor {
        &self.tensors[&format!("expect.{name}")]
    }

    /// Computes the expected tensors in `dtype` on `device`, and compares them with the file's.
    ///
    /// # Errors
    /// Inputs or settings that are missing or do not fit together; an expected tensor that was not computed. A wrong
    /// result is not an error but an [`Outcome`] that has not passed.
    pub fn run(&self, dtype: DType, device: &Device) -> Result<Outcome> {
        self.comparisons(dtype, device)
            .map(|comparisons| Outcome { comparisons })
            .map_err(Error::at(&self.path))
    }

    fn comparisons(
        &self,
        dtype: DType,
        device: &Device,
    ) -> std::result::Result<Vec<Comparison>, Problem> {
        let inputs = Inputs::new(self.kind, &self.params, &self.tensors, dtype, device)?;
        let expected = self.expected();
        let mut unseen = expected.clone();
        let mut comparisons = Vec::new();
        for got in self.kind.compute(&inputs)? {
            unseen.remove(got.name.as_str());
            if !expected.contains(got.name.as_str()) {
                let name = format!("expect.{}", got.name);
                return Err(Problem::MissingTensor { name, kind: self.kind });
            }
            let want = self.expectation(&got.name);
            if got.tensor.dims() != want.dims() {
                let (expected, found) = (want.dims().to_vec(), got.tensor.dims().to_vec());
                return Err(Problem::Shape { name: got.name, expected, found });
            }
            let (got_values, want) = (host_values(&got.tensor)?, host_values(want)?);
            comparisons.push(Comparison::of(got.name, got.way, &got_values, &want, self.rtol));
        }
        match unseen.pop_first() {
            Some(name) => Err(Problem::NotComputed { name: name.to_string(), kind: self.kind }),
            None => Ok(comparisons),
        }
    }
}

/// Returns the tensor if it has elements, so that its shape is limited by the memory that it takes, and if its type is
/// the one for its name: candle panics at integers where floats belong.
fn numbers(name: &str, tensor: Tensor) -> std::result::Result<Tensor, Problem> {
    if tensor.elem_count() == 0 {
        return Err(Problem::Empty { name: name.to_string(), found: tensor.dims().to_vec() });
    }
    let whole = name == "labels";
    if tensor.dtype().is_float() != whole {
        return Ok(tensor);
    }
    Err(Problem::Type {
        name: name.to_string(),
        found: tensor.dtype().as_str(),
        expected: if whole {
            "whole numbers, such as i64"
        } else {
            "f32, or another with a fraction"
        },
    })
}

fn host_values(tensor: &Tensor) -> candle::Result<Vec<f64>> {
    to_host(tensor)?.flatten_all()?.to_vec1()
}

/// Returns the files of reference vectors that `paths` name: the paths are files, or folders of `.safetensors` files.
/// The files of a folder are sorted by name.
///
/// # Errors
/// A path that does not exist, a folder without such files.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut found = in_folder(path).map_err(|source| Error::at(path)(source.into()))?;
            if found.is_empty() {
                return Err(Error::at(path)(Problem::NoFiles));
            }
            found.sort();
            files.extend(found);
        } else {
            path.metadata().map_err(|source| Error::at(path)(source.into()))?;
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn in_folder(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Returns the files of the reference vectors in this repository.
///
/// # Errors
/// A program that runs where its sources do not exist.
pub fn shipped() -> Result<Vec<PathBuf>> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/candle-hebbian/tests/golden");
    files(&[folder])
}
