//! Opening GPUs, and transfers between them and the host.

use candle::{DType, Device, DeviceLocation, Error, Result, Shape, Tensor, WithDType};
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

/// Returns `device` for ops of the calling thread, which run beside those of other threads. An NVIDIA GPU is opened
/// again: what the thread asks of it waits in a stream of its own, its matrix products have a workspace of their own,
/// and [layouts are kept](keep_layouts). Other devices serve all threads, and are returned as they are. candle refuses
/// ops between tensors of the result and of `device`.
///
/// ```
/// use candle::Device;
/// use candle_hebbian::device::for_this_thread;
/// assert!(for_this_thread(&Device::Cpu)?.is_cpu());
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// If the GPU does not open.
pub fn for_this_thread(device: &Device) -> Result<Device> {
    let device = match device.location() {
        DeviceLocation::Cuda { gpu_id } => Device::new_cuda(gpu_id)?,
        _ => device.clone(),
    };
    keep_layouts(&device);
    Ok(device)
}

/// Returns `tensor` on the CPU as f64, without its graph: for plots, statistics and factorisations. It is converted to
/// f64 only on the CPU, because Metal does not have f64. Memory is shared as by [`read`].
///
/// # Errors
/// As for [`read`], or if the tensor has a type that candle 0.11.1 does not convert: f4, f6e2m3, f6e3m2 or f8e8m0.
pub fn to_host(tensor: &Tensor) -> Result<Tensor> {
    read(tensor)?.to_dtype(DType::F64)
}

/// Returns `tensor` on the CPU, without its graph. On a GPU this waits for all work queued before. A tensor that is on
/// the CPU already shares its memory with the result, so that this changes when a variable does.
///
/// # Errors
/// If a GPU fails in this copy or in work queued before, or a CUDA graph is being captured, in which nothing can be
/// read back. A tensor that is on the CPU can always be read.
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
    layouts::without_keeping(|| Tensor::from_vec(values, shape.into(), device))
}

/// Copies `tensor` from the CPU to `device`.
///
/// # Errors
/// If the device has no memory for the tensor or fails in this copy; or if the tensor is on another GPU and one of the
/// two is Apple's, between which candle 0.11.1 does not copy.
pub fn send(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    count(|transfers| transfers.uploads += 1);
    layouts::without_keeping(|| tensor.to_device(device))
}

/// Keeps on an NVIDIA GPU, from now on, the sizes and strides of tensors that ops called by this thread read. Without
/// this, candle 0.11.1 uploads them again for most ops: 178 times in a step of a SoftHebb network with three layers.
/// Other devices have nothing to keep.
///
/// candle then also keeps a copy of each tensor of up to 4 KiB that is made from host memory, which would grow with
/// every batch of labels. [`upload`] and [`send`], and so [`Rng`](crate::Rng), leave no such copies.
///
/// ```
/// use candle::Device;
/// candle_hebbian::device::keep_layouts(&Device::Cpu); // the device that is trained on
/// ```
pub fn keep_layouts(device: &Device) {
    layouts::keep(device);
}

/// The switch of candle 0.11.1 for the capture of CUDA graphs: with it, layouts and small uploads stay on the GPU.
#[cfg(feature = "cuda")]
mod layouts {
    use candle::{CudaDevice, Device};
    use std::any::Any;
    use std::cell::RefCell;

    struct Kept {
        device: CudaDevice,
        /// What holds candle's switch; its type has no public name.
        _on: Box<dyn Any>,
    }

    thread_local! {
        static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
    }

    pub(super) fn keep(device: &Device) {
        if let Ok(device) = device.as_cuda_device() {
            let _on = Box::new(device.enable_cuda_graph_htod_cache());
            KEPT.set(Some(Kept { device: device.clone(), _on }));
        }
    }

    pub(super) fn without_keeping<T>(f: impl FnOnce() -> T) -> T {
        let device = KEPT.take().map(|kept| kept.device);
        let made = f();
        if let Some(device) = device {
            keep(&Device::Cuda(device));
        }
        made
    }
}

#[cfg(not(feature = "cuda"))]
mod layouts {
    pub(super) fn keep(_: &candle::Device) {}

    pub(super) fn without_keeping<T>(f: impl FnOnce() -> T) -> T {
        f()
    }
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
