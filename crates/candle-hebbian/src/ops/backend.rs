//! The two ways to run an op: a kernel of this crate, or a composition of candle's ops.

use candle::Device;
use std::cell::Cell;

thread_local! {
    static COMPOSED: Cell<bool> = const { Cell::new(false) };
}

/// Whether ops on `device` use this crate's own kernels. The kernels are for the CPU; every other
/// device, and a thread inside [`composed`], uses compositions of candle's ops instead.
pub fn has_kernels(device: &Device) -> bool {
    device.is_cpu() && !COMPOSED.get()
}

/// Runs `f` as CUDA and Metal do, whatever the device of its tensors: with compositions of candle's
/// ops instead of this crate's CPU kernels. This checks what a GPU would run; it is slow on a CPU.
///
/// It applies to the calling thread, including backward passes within `f`, until `f` returns or
/// panics.
///
/// ```
/// use candle::Device;
/// use candle_hebbian::ops;
/// assert!(ops::has_kernels(&Device::Cpu));
/// assert!(!ops::composed(|| ops::has_kernels(&Device::Cpu)));
/// ```
pub fn composed<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            COMPOSED.set(self.0);
        }
    }
    let _restore = Restore(COMPOSED.replace(true));
    f()
}
