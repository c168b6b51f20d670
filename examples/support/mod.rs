//! What the examples share.
#![allow(dead_code)] // each example uses its own part

pub mod classify;
pub mod digits;

use warpsmith::{Device, Error, Result};

/// `cpu`, `cuda` or `cuda:N`.
pub fn device(name: &str) -> Result<Device> {
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", "0") => Ok(Device::Cpu),
        ("cuda", ordinal) => {
            let ordinal = ordinal.parse().map_err(|_| Error::argument("device", format!("{name}: no such number")))?;
            Device::cuda(ordinal)
        }
        _ => Err(Error::argument("device", format!("expected cpu, cuda or cuda:N, got {name}"))),
    }
}
