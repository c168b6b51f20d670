//! Kernel families that have no CUDA kernels yet: their checks stop at the first operation without one. Each row goes when
//! its family arrives; a test of `tests/cuda.rs` fails while a row is here that need not be.

use warpsmith::{Device, Result};

/// A family without CUDA kernels.
pub struct Family {
    pub name: &'static str,
    /// What its errors call its operations.
    pub ops: &'static [&'static str],
    /// One operation of the family, on that device.
    pub probe: fn(&Device) -> Result<()>,
}

pub const WITHOUT_KERNELS: &[Family] = &[];
