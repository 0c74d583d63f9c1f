use super::Kind;
use super::error::Problem;
use candle::{DType, Device, Tensor};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// The inputs of a case, on the device.
pub(super) struct Inputs<'a> {
    kind: Kind,
    params: &'a serde_json::Value,
    tensors: BTreeMap<&'a str, Tensor>,
    pub dtype: DType,
    pub device: &'a Device,
}

/// A tensor to be compared with `expect.NAME`.
pub(super) struct Got {
    pub name: String,
    pub way: &'static str,
    pub tensor: Tensor,
}

impl Got {
    pub fn new(name: impl Into<String>, tensor: Tensor) -> Self {
        Self { name: name.into(), way: "", tensor }
    }

    pub fn by(way: &'static str, name: impl Into<String>, tensor: Tensor) -> Self {
        Self { name: name.into(), way, tensor }
    }
}

impl<'a> Inputs<'a> {
    pub fn new(
        kind: Kind,
        params: &'a serde_json::Value,
        tensors: &'a BTreeMap<String, Tensor>,
        dtype: DType,
        device: &'a Device,
    ) -> Result<Self, Problem> {
        let mut moved = BTreeMap::new();
        for (name, tensor) in tensors.iter().filter(|(name, _)| !name.starts_with("expect.")) {
            // Cast on the host: not every device has every type.
            let dtype = if tensor.dtype().is_float() { dtype } else { tensor.dtype() };
            moved.insert(name.as_str(), tensor.to_dtype(dtype)?.to_device(device)?);
        }
        Ok(Self { kind, params, tensors: moved, dtype, device })
    }

    /// Reads the settings. Those that `P` does not have are ignored: if they matter, the result shows it.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P, Problem> {
        P::deserialize(self.params).map_err(|source| Problem::Params { kind: self.kind, source })
    }

    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Refuses settings with which the weights called `name` would have another shape than in the file, before a
    /// network with these settings takes memory.
    pub fn weights_of(&self, name: &str, found: &[usize]) -> Result<(), Problem> {
        let expected = self.get(name)?.dims().to_vec();
        if expected == found {
            return Ok(());
        }
        Err(Problem::Shape { name: name.to_string(), expected, found: found.to_vec() })
    }

    pub fn get(&self, name: &str) -> Result<&Tensor, Problem> {
        let missing = || Problem::MissingTensor { name: name.to_string(), kind: self.kind };
        self.find(name).ok_or_else(missing)
    }
}
