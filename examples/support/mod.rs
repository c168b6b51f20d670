//! What the examples share.
#![allow(dead_code)] // each example uses its own part

pub mod classify;
pub mod digits;

use warpsmith::{Device, Error, Result};

/// The values that [`device`] takes, for `--help`.
pub const DEVICES: &str =
    "auto (the first CUDA device, else the CPU), cpu, cuda, cuda:N, or virtual (a GPU in software)";

/// The device of that name, one of [`DEVICES`]. `virtual` installs the virtual GPU in place of NVIDIA's driver; the
/// environment variable `VIRTUAL_GPU_DEVICE` says which model it plays.
pub fn device(name: &str) -> Result<Device> {
    match name.split_once(':').unwrap_or((name, "0")) {
        ("auto", "0") => Ok(Device::best()),
        ("cpu", "0") => Ok(Device::Cpu),
        ("cuda", ordinal) => {
            let ordinal = ordinal.parse().map_err(|_| Error::argument("device", format!("{name}: no such number")))?;
            Device::cuda(ordinal)
        }
        ("virtual", "0") => {
            virtual_gpu::install().map_err(|error| Error::argument("device", error.to_string()))?;
            Device::cuda(0)
        }
        _ => Err(Error::argument("device", format!("expected {DEVICES}; got {name}"))),
    }
}
