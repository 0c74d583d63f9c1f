//! Which of the two ways an op takes: a kernel of this crate, or a composition of candle's ops.

use candle::Device;
use std::cell::Cell;

thread_local! {
    static COMPOSED: Cell<bool> = const { Cell::new(false) };
}

/// Whether tensors on `device` are given to this crate's own kernels. Those are for the CPU; every
/// other device, and a thread inside [`composed`], has compositions of candle's ops instead.
pub fn has_kernels(device: &Device) -> bool {
    device.is_cpu() && !COMPOSED.get()
}

/// Runs `f` as CUDA and Metal do, on whatever device its tensors are: without this crate's CPU
/// kernels, by compositions of candle's ops. A check of what a GPU will be asked for; slow on a CPU.
///
/// It holds for the calling thread, backward passes within `f` included, until `f` returns or panics.
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
