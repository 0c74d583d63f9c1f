//! Files of tensors, as from `--load`, a model's folder or another program.
#![no_main]

use candle::{DType, Device};
use hebbian_fuzz::put;
use hebbian_train::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = put("model.safetensors", bytes);
    let Ok(mut checkpoint) = Checkpoint::load(&path, &Device::Cpu) else { return };
    checkpoint.rename(|name| Some(name.to_uppercase()));
    for name in checkpoint.names().map(str::to_string).collect::<Vec<_>>() {
        let shape = checkpoint.dims(&name).unwrap_or_default().to_vec();
        let _ = checkpoint.tensor(&name);
        if let Ok(taken) = checkpoint.take(&name, shape.as_slice(), DType::F32) {
            assert_eq!(taken.dims(), shape);
        }
    }
});
