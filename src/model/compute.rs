//! Where an encoder computes, and in what numbers.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device, DeviceLocation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels::open_gpu;

/// What activations are, and the weights as the network sees them. Sums and updates are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the range of 32, on a GPU.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// A device by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// The first GPU, if this program was built for one and there is one; else the CPU.
    #[default]
    Auto,
    Cpu,
    /// An NVIDIA GPU by its number.
    Cuda(usize),
}

/// Device and precision.
#[derive(Clone, Debug)]
pub struct Compute {
    device: Device,
    precision: Precision,
}

impl Compute {
    /// The CPU, in f32.
    #[must_use]
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, precision: Precision::F32 }
    }

    /// `key` is what the precision was named by.
    ///
    /// # Errors
    /// [`Error::Setting`] for bf16 on the CPU, which has no products of it.
    pub fn new(device: Device, precision: Precision, key: &str) -> Result<Self> {
        if device.is_cpu() && precision == Precision::Bf16 {
            return Err(Error::setting(key, "bf16 is for a GPU, and this is the CPU")
                .with_hint("say `f32`, or `--device cuda`"));
        }
        Ok(Self { device, precision })
    }

    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    #[must_use]
    pub fn dtype(&self) -> DType {
        match self.precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
        }
    }

    /// On a GPU, or one that is emulated, whose tensors are the CPU's.
    #[cfg(test)]
    pub(crate) fn on_gpu(device: Device, precision: Precision) -> Self {
        Self { device, precision }
    }
}

impl DeviceName {
    /// The device; where `auto` is the CPU although this program was built for GPUs, with the reason.
    ///
    /// # Errors
    /// [`Error::Setting`] when this program was built without the feature `cuda`, or there is no such GPU.
    pub fn open(self) -> Result<(Device, Option<String>)> {
        // Behind the first line comes the stack, if RUST_BACKTRACE asks for it.
        let reason = |e: candle_core::Error| e.to_string().lines().next().unwrap_or_default().to_owned();
        match self {
            Self::Cpu => Ok((Device::Cpu, None)),
            Self::Auto if !cfg!(feature = "cuda") => Ok((Device::Cpu, None)),
            Self::Auto => Ok(match open_gpu(0) {
                Ok(device) => (device, None),
                Err(e) => (Device::Cpu, Some(reason(e))),
            }),
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(Error::setting(
                "--device",
                format!("`{self}`: this `prep` was built without the feature `cuda`"),
            )
            .with_hint("`cargo build --release --features cuda`; tests/gpu/README.md says what that needs")),
            Self::Cuda(number) => {
                let device = open_gpu(number).map_err(|e| {
                    Error::setting("--device", format!("`{self}`: {}", reason(e)))
                        .with_hint("`nvidia-smi` lists the GPUs; the driver must be 580 or later")
                })?;
                Ok((device, None))
            }
        }
    }
}

impl From<&Device> for DeviceName {
    fn from(device: &Device) -> Self {
        match device.location() {
            DeviceLocation::Cuda { gpu_id } => Self::Cuda(gpu_id),
            _ => Self::Cpu,
        }
    }
}

impl Serialize for DeviceName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = text.strip_prefix("cuda:").map(str::parse);
        match (text, number) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(Ok(number))) => Ok(Self::Cuda(number)),
            _ => Err("say `auto`, `cpu`, `cuda` or `cuda:N`".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        for name in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        for name in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA"] {
            assert!(name.parse::<DeviceName>().is_err(), "{name}");
        }
    }

    #[test]
    fn the_cpu_has_no_bf16() {
        let e = Compute::new(Device::Cpu, Precision::Bf16, "model.precision").unwrap_err().to_string();
        assert!(e.contains("`model.precision`") && e.contains("bf16 is for a GPU"), "{e}");
    }
}
