//! The choice of a device.

use anyhow::{Context, Result};
use candle::Device;
use candle_hebbian::device;
use candle_hebbian::{MatmulPrecision, set_matmul_precision};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

/// Flags that choose the device and how exactly it computes.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Device")]
pub struct DeviceArgs {
    /// Run on the CPU; short for --device cpu
    #[arg(long)]
    pub cpu: bool,
    /// Run on this device [default: the best available device]
    #[arg(long, value_enum, conflicts_with = "cpu")]
    pub device: Option<DeviceKind>,
    /// Precision of large products of f32 matrices, as PyTorch names them: f32 (highest), about 16 bits (high), or bf16
    /// (medium), on processors with AMX and, for medium, AVX-512-BF16; TF32 for both on NVIDIA GPUs
    #[arg(long, value_name = "PRECISION", default_value = "highest", value_parser = precisions())]
    pub matmul_precision: MatmulPrecision,
}

fn precisions() -> impl TypedValueParser<Value = MatmulPrecision> {
    PossibleValuesParser::new(MatmulPrecision::ALL.map(MatmulPrecision::name)).map(|name| {
        let named = MatmulPrecision::ALL.into_iter().find(|precision| precision.name() == name);
        named.expect("one of the possible values")
    })
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU; needs `--features cuda`.
    Cuda,
    /// An Apple GPU; needs `--features metal`.
    Metal,
}

/// An available device.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The device.
    pub device: Device,
    /// `cpu`, `cuda` or `metal`.
    pub name: &'static str,
    /// A GPU that this build supports but that did not respond, with the reason.
    pub missing: Option<String>,
}

impl DeviceKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }

    fn open(self) -> candle::Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda => device::cuda(),
            Self::Metal => device::metal(),
        }
    }

    fn is_built_in(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda => candle::utils::cuda_is_available(),
            Self::Metal => candle::utils::metal_is_available(),
        }
    }
}

impl DeviceArgs {
    /// Returns the device asked for, or the best available one. Sets the precision of matrix products from now on, and
    /// keeps layouts on the device for this thread ([`device::keep_layouts`]).
    ///
    /// # Errors
    /// A device that this build or machine does not have.
    pub fn choose(&self) -> Result<Chosen> {
        set_matmul_precision(self.matmul_precision);
        let chosen = self.open()?;
        device::keep_layouts(&chosen.device);
        Ok(chosen)
    }

    fn open(&self) -> Result<Chosen> {
        if let Some(kind) = self.asked() {
            let name = kind.name();
            let device = kind.open().with_context(|| {
                format!(
                    "--device {name} is not available: build with --features {name} on a machine \
                     that has it, or use --device cpu"
                )
            })?;
            return Ok(Chosen { device, name, missing: None });
        }
        let mut missing = None;
        for kind in
            [DeviceKind::Cuda, DeviceKind::Metal].into_iter().filter(|gpu| gpu.is_built_in())
        {
            match kind.open() {
                Ok(device) => return Ok(Chosen { device, name: kind.name(), missing: None }),
                Err(error) => missing = Some(format!("{} does not respond: {error}", kind.name())),
            }
        }
        Ok(Chosen { device: Device::Cpu, name: DeviceKind::Cpu.name(), missing })
    }

    fn asked(&self) -> Option<DeviceKind> {
        if self.cpu { Some(DeviceKind::Cpu) } else { self.device }
    }

    /// Returns the flags with which another process chooses the same device and the same precision.
    pub(crate) fn again(&self) -> Vec<&'static str> {
        let device = self.asked().map(|kind| ["--device", kind.name()]);
        device.into_iter().flatten().chain(self.exactness()).collect()
    }

    /// Returns the flags with which another process computes with the same precision.
    pub(crate) fn exactness(&self) -> [&'static str; 2] {
        ["--matmul-precision", self.matmul_precision.name()]
    }
}

/// `device cuda`, or `device cpu (cuda does not respond: …)`.
impl std::fmt::Display for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "device {}", self.name)?;
        match &self.missing {
            Some(reason) => write!(f, " ({})", reason.lines().next().unwrap_or_default()),
            None => Ok(()),
        }
    }
}
