//! Tests that run on every device.

use crate::{device, ops};
use candle::Device;
use std::fmt::Display;
use std::io::Write;

/// The device on which a check runs.
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

impl Target {
    /// Whether this build supports the device: always for the CPU, by feature for the others.
    fn is_built(self) -> bool {
        match self {
            Self::Cpu | Self::Composed => true,
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
        }
    }

    fn open(self) -> candle::Result<Device> {
        match self {
            Self::Cpu | Self::Composed => Ok(Device::Cpu),
            Self::Cuda => device::cuda(),
            Self::Metal => device::metal(),
        }
    }
}

/// What is to be done with a check.
#[derive(Debug)]
enum Plan {
    Run(Device),
    /// The build does not support the device.
    Skip(String),
    /// The build supports the device, but there is none. The check fails, so that nobody thinks
    /// that it passed.
    Fail(String),
}

impl Plan {
    fn of(device: candle::Result<Device>, is_built: bool) -> Self {
        let reason = match device {
            Ok(device) => return Self::Run(device),
            Err(error) => error.to_string(),
        };
        let reason = reason.lines().next().unwrap_or_default().to_string();
        if is_built { Self::Fail(reason) } else { Self::Skip(reason) }
    }
}

/// Runs `check` on `target`. If the build lacks the feature of the device (`cuda`, `metal`), the
/// check is skipped with a message on stderr.
///
/// # Panics
/// If the check fails, or if the build has the feature but the machine has no such device.
pub fn run<E: Display>(target: Target, name: &str, check: impl FnOnce(&Device) -> Result<(), E>) {
    let device = match Plan::of(target.open(), target.is_built()) {
        Plan::Run(device) => device,
        Plan::Skip(reason) => {
            // Not `eprintln!`, which is silent in tests that pass.
            let line = format!("skipped {name} on {target:?}: {reason}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            return;
        }
        Plan::Fail(reason) => panic!(
            "{name} on {target:?}: this build is for such a device, and none answers: {reason}"
        ),
    };
    let result = match target {
        Target::Composed => ops::composed(|| check(&device)),
        _ => check(&device),
    };
    if let Err(error) = result {
        panic!("{name} on {target:?}: {error}");
    }
}

/// Makes tests from checks `fn(&Device) -> Result<(), E>`, one for each device: `NAME::cpu`,
/// `NAME::composed` (the CPU with the ops that GPUs get, see
/// [`ops::composed`](crate::ops::composed)), `NAME::cuda` and `NAME::metal`. Without the feature
/// `cuda` or `metal`, the test of that device is skipped with a message; with it, the test fails on
/// a machine without the device.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_device_only_a_build_for_it_fails() {
        let missing = || Err(candle::Error::Msg("no device\nand a backtrace".to_string()));
        for is_built in [true, false] {
            assert!(matches!(Plan::of(Ok(Device::Cpu), is_built), Plan::Run(Device::Cpu)));
        }
        assert!(matches!(Plan::of(missing(), false), Plan::Skip(reason) if reason == "no device"));
        assert!(matches!(Plan::of(missing(), true), Plan::Fail(reason) if reason == "no device"));
        assert!(Target::Cpu.is_built() && Target::Composed.is_built());
        assert_eq!(Target::Cuda.is_built(), cfg!(feature = "cuda"));
        assert_eq!(Target::Metal.is_built(), cfg!(feature = "metal"));
    }

    #[test]
    #[should_panic(expected = "broken on Cpu: as expected")]
    fn a_check_that_fails_panics() {
        run(Target::Cpu, "broken", |_| Err("as expected"));
    }
}
