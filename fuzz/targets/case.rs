//! Reference vectors, with the kernels whose results they state.
#![no_main]

use candle::{DType, Device};
use hebbian_fuzz::put;
use hebbian_models::verify::Case;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = put("case.safetensors", bytes);
    let Ok(case) = Case::read(&path) else { return };
    for dtype in [DType::F32, DType::F64] {
        let _ = case.run(dtype, &Device::Cpu);
    }
});
