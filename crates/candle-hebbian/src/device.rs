//! GPUs, if they are there, and the way back from them.

use candle::{DType, Device, Error, Result, Tensor};

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
    tensor.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)
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
