//! Shared by several tests.

use candle::{DType, Tensor};
use hebbian_data::{Dataset, Hub, LoadOptions, load_from_hub};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The result of a test.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Asserts that the entries of `found`, in order, are those of `want` to within `tolerance`.
pub fn near(name: &str, found: &Tensor, want: &[f64], tolerance: f64) -> Result {
    let found = found.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    assert_eq!(found.len(), want.len(), "{name}: {found:?}");
    for (at, (found, want)) in found.iter().zip(want).enumerate() {
        assert!((found - want).abs() <= tolerance, "{name}[{at}]: {found}, expected {want}");
    }
    Ok(())
}

/// The data set of this name in a Hugging Face folder beside the workspace; `None`, with a message, if there is no such
/// folder. It is read once for all tests.
pub fn shared(name: &str) -> Result<Option<Dataset>> {
    static READ: Mutex<BTreeMap<String, Dataset>> = Mutex::new(BTreeMap::new());
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/hf/hub");
    if !cache.is_dir() {
        println!("skipped: there is no {}", cache.display());
        return Ok(None);
    }
    let mut read = READ.lock().map_err(|_| "another test failed to read its data set")?;
    if let Some(data) = read.get(name) {
        return Ok(Some(data.clone()));
    }
    let hub = Hub::new("http://127.0.0.1:1", &cache).offline();
    let data = load_from_hub(name, &hub, &LoadOptions::default(), Arc::new(|_| ()))?;
    read.insert(name.to_string(), data.clone());
    Ok(Some(data))
}
