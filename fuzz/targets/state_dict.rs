//! The pickle in a PyTorch file. The archive around it has the right checksums, which a fuzzer would not find.
#![no_main]

use candle::Device;
use hebbian_fuzz::put;
use hebbian_train::Checkpoint;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../crates/hebbian-train/tests/common/pth.rs"]
mod pth;

fuzz_target!(|bytes: &[u8]| {
    let numbers: Vec<u8> = (0..64).collect();
    let parts = [("a/data.pkl", bytes), ("a/data/0", &numbers[..]), ("a/data/1", &numbers[..7])];
    let path = put("model.pth", &pth::archive(&parts, bytes.len().is_multiple_of(2)));
    let Ok(checkpoint) = Checkpoint::load(&path, &Device::Cpu) else { return };
    for name in checkpoint.names().map(str::to_string).collect::<Vec<_>>() {
        if let Ok(tensor) = checkpoint.tensor(&name) {
            assert!(tensor.elem_count() <= numbers.len());
        }
    }
});
