//! The reference vectors of whole networks: several steps, then weights and features.

mod golkar;
mod miconi;
mod softhebb;

use candle::{DType, Device, Tensor};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A case: its parameters, its inputs, and what is expected of it.
pub struct Case {
    path: PathBuf,
    pub params: Value,
    pub tensors: HashMap<String, Tensor>,
}

impl Case {
    /// Every case of `kind`, whose files' names begin with `prefix`, in f32 and in f64.
    pub fn all(prefix: &str, kind: &str) -> Result<Vec<(Self, DType)>> {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/candle-hebbian/tests/golden");
        let mut cases = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
                for dtype in [DType::F32, DType::F64] {
                    cases.push((Self::read(&path, kind, dtype)?, dtype));
                }
            }
        }
        Ok(cases)
    }

    fn read(path: &Path, kind: &str, dtype: DType) -> Result<Self> {
        let bytes = std::fs::read(path)?;
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        assert_eq!(metadata["case"], kind);
        let params = serde_json::from_str(&metadata["params"])?;
        let tensors = candle::safetensors::load_buffer(&bytes, &Device::Cpu)?
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.to_dtype(dtype)?)))
            .collect::<Result<_>>()?;
        Ok(Self { path: path.to_path_buf(), params, tensors })
    }

    /// Holds what was computed to every tensor that is expected.
    pub fn check(&self, got: Vec<(String, Tensor)>) -> Result<()> {
        let expected = self.tensors.keys().filter(|name| name.starts_with("expect.")).count();
        assert_eq!(got.len(), expected, "every expected tensor is compared");
        let rtol = self.params["rtol"].as_f64().ok_or("no rtol")?;
        for (name, got) in got {
            let want = &self.tensors[&format!("expect.{name}")];
            assert_eq!(got.dims(), want.dims(), "{name}");
            let largest = |t: &Tensor| t.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>();
            let (error, allowed) = (largest(&(got - want)?)?, rtol * largest(want)?);
            let path = self.path.display();
            assert!(error <= allowed, "{path} {name}: error {error:e}, allowed {allowed:e}");
        }
        Ok(())
    }
}
