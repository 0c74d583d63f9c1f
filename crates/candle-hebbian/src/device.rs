//! Opening GPUs, and transfers between them and the host.

use candle::{DType, Device, Error, Result, Shape, Tensor, WithDType};
use std::cell::Cell;

/// Opens the first NVIDIA GPU.
///
/// # Errors
/// If the build lacks the feature `cuda`, or the machine has no such GPU.
pub fn cuda() -> Result<Device> {
    answering("CUDA", || Device::new_cuda(0))
}

/// Opens the first Apple GPU.
///
/// # Errors
/// If the build lacks the feature `metal`, or the machine has no such GPU.
pub fn metal() -> Result<Device> {
    answering("Metal", || Device::new_metal(0))
}

/// Returns `tensor` on the CPU as f64, without its graph: for plots, statistics and factorisations. It is converted to
/// f64 only on the CPU, because Metal does not have f64. Memory is shared as by [`read`].
pub fn to_host(tensor: &Tensor) -> Result<Tensor> {
    read(tensor)?.to_dtype(DType::F64)
}

/// Returns `tensor` on the CPU, without its graph. On a GPU this waits for all work queued before. A tensor that is on
/// the CPU already shares its memory with the result, so that this changes when a variable does.
pub fn read(tensor: &Tensor) -> Result<Tensor> {
    count(|transfers| transfers.reads += 1);
    tensor.detach().to_device(&Device::Cpu)
}

/// Makes a tensor with `values` on `device`.
///
/// # Errors
/// If `shape` does not have as many elements as `values`.
pub fn upload<D: WithDType>(
    values: Vec<D>,
    shape: impl Into<Shape>,
    device: &Device,
) -> Result<Tensor> {
    count(|transfers| transfers.uploads += 1);
    Tensor::from_vec(values, shape.into(), device)
}

/// Copies `tensor` from the CPU to `device`.
pub fn send(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    count(|transfers| transfers.uploads += 1);
    tensor.to_device(device)
}

/// The numbers of transfers between the host and a device by [`upload`], [`send`], [`read`] and [`to_host`]. They are
/// counted on the CPU too, where no data moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Tensors made from host memory.
    pub uploads: usize,
    /// Tensors read back. Each read waits for the device.
    pub reads: usize,
}

/// Runs `f` and returns its result with the transfers that this thread made meanwhile. Inside
/// [`composed`](crate::ops::composed) these are the transfers that a GPU would need, since this crate transfers data in
/// no other way.
///
/// ```
/// use candle::{DType, Device};
/// use candle_hebbian::{Rng, device};
/// let draw = || Rng::new(0).normal(0.0, 1.0, 3, DType::F32, &Device::Cpu);
/// let (x, transfers) = device::transfers(|| draw().and_then(|x| device::read(&x)));
/// assert_eq!((transfers.uploads, transfers.reads), (1, 1));
/// # Ok::<(), candle::Error>(())
/// ```
pub fn transfers<T>(f: impl FnOnce() -> T) -> (T, Transfers) {
    let before = TRANSFERS.get();
    let made = f();
    let after = TRANSFERS.get();
    let between =
        Transfers { uploads: after.uploads - before.uploads, reads: after.reads - before.reads };
    (made, between)
}

thread_local! {
    static TRANSFERS: Cell<Transfers> = const { Cell::new(Transfers { uploads: 0, reads: 0 }) };
}

fn count(add: impl FnOnce(&mut Transfers)) {
    let mut transfers = TRANSFERS.get();
    add(&mut transfers);
    TRANSFERS.set(transfers);
}

/// Turns the panic of candle 0.11.1 when a driver finds no device at all into an error.
fn answering(name: &str, open: fn() -> Result<Device>) -> Result<Device> {
    std::panic::catch_unwind(open)
        .unwrap_or_else(|_| Err(Error::Msg(format!("there is no {name} device"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let error = answering("Paper", || panic!("a test's panic")).unwrap_err();
        assert_eq!(error.to_string(), "there is no Paper device");
        assert!(answering("Paper", || Ok(Device::Cpu)).is_ok());
    }
}
