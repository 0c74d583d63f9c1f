//! A test on every device.

use crate::ops;
use candle::Device;
use std::fmt::Display;
use std::io::Write;

/// Where a check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The CPU, with this crate's kernels.
    Cpu,
    /// The CPU, with the compositions that GPUs get: see [`ops::composed`].
    Composed,
    /// The first NVIDIA GPU.
    Cuda,
    /// The first Apple GPU.
    Metal,
}

/// Runs `check` there. Without such a device it says on stderr that it was skipped.
///
/// # Panics
/// When the check fails.
pub fn run<E: Display>(target: Target, name: &str, check: impl FnOnce(&Device) -> Result<(), E>) {
    let device = match target {
        Target::Cpu | Target::Composed => Ok(Device::Cpu),
        Target::Cuda => Device::new_cuda(0),
        Target::Metal => Device::new_metal(0),
    };
    let result = match (device, target) {
        (Ok(device), Target::Composed) => ops::composed(|| check(&device)),
        (Ok(device), _) => check(&device),
        (Err(error), _) => {
            // Not `eprintln!`, which is silent in tests that pass.
            let reason = error.to_string();
            let reason = reason.lines().next().unwrap_or_default();
            let line = format!("skipped {name} on {target:?}: {reason}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            return;
        }
    };
    if let Err(error) = result {
        panic!("{name} on {target:?}: {error}");
    }
}

/// Makes tests of checks `fn(&Device) -> Result<(), E>`, one for each device: `NAME::cpu`,
/// `NAME::composed` (the CPU with what GPUs are asked for, see [`ops::composed`](crate::ops::composed)),
/// `NAME::cuda` and `NAME::metal`. A device that is not there is skipped with a message.
///
/// ```
/// use candle::{Device, Tensor};
///
/// fn ramp_saturates(device: &Device) -> candle::Result<()> {
///     let h = Tensor::new(&[3f32], device)?;
///     assert_eq!(candle_hebbian::ops::ramp(&h, 0.5)?.to_vec1::<f32>()?, [1.0]);
///     Ok(())
/// }
///
/// candle_hebbian::test_device!(ramp_saturates);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! test_device {
    ($($check:ident),+ $(,)?) => {$(
        mod $check {
            use $crate::testing::{Target, run};

            #[test]
            fn cpu() {
                run(Target::Cpu, stringify!($check), super::$check)
            }

            #[test]
            fn composed() {
                run(Target::Composed, stringify!($check), super::$check)
            }

            #[test]
            fn cuda() {
                run(Target::Cuda, stringify!($check), super::$check)
            }

            #[test]
            fn metal() {
                run(Target::Metal, stringify!($check), super::$check)
            }
        }
    )+};
}
