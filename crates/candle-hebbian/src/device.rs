//! GPUs, if they are there, and the way to them and back.

use candle::{DType, Device, Error, Result, Shape, Tensor, WithDType};
use std::cell::Cell;

/// The first NVIDIA GPU.
///
/// # Errors
/// A build without the feature `cuda`, a machine without such a GPU.
pub fn cuda() -> Result<Device> {
    answering("CUDA", || Device::new_cuda(0))
}

/// The first Apple GPU.
///
/// # Errors
/// A build without the feature `metal`, a machine without such a GPU.
pub fn metal() -> Result<Device> {
    answering("Metal", || Device::new_metal(0))
}

/// `tensor` as f64 on the CPU, without its graph: for figures and factorisations. It leaves the device
/// before it becomes f64, which Metal does not have.
pub fn to_host(tensor: &Tensor) -> Result<Tensor> {
    read(tensor)?.to_dtype(DType::F64)
}

/// `tensor` on the CPU, without its graph. On a GPU this waits for everything that was asked of it before.
pub fn read(tensor: &Tensor) -> Result<Tensor> {
    count(|transfers| transfers.reads += 1);
    tensor.detach().to_device(&Device::Cpu)
}

/// `values` as a tensor on `device`.
///
/// # Errors
/// A shape of another size.
pub fn upload<D: WithDType>(
    values: Vec<D>,
    shape: impl Into<Shape>,
    device: &Device,
) -> Result<Tensor> {
    count(|transfers| transfers.uploads += 1);
    Tensor::from_vec(values, shape.into(), device)
}

/// `tensor`, which is on the CPU, on `device`.
pub fn send(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    count(|transfers| transfers.uploads += 1);
    tensor.to_device(device)
}

/// What went between the host and its device, by [`upload`], [`send`], [`read`] and [`to_host`]. On the CPU they count too,
/// where nothing has to go anywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Tensors made of host memory.
    pub uploads: usize,
    /// Tensors read back: each waits for the device.
    pub reads: usize,
}

/// What `f` makes, and what this thread transferred meanwhile. Inside [`composed`](crate::ops::composed) that is what
/// a GPU would be asked for: this crate transfers by no other way.
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

/// An error where candle 0.11.1 panics: it does where a driver finds no device at all.
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
