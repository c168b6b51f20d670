//! Kernels that are looked up once.

use super::{CudaDevice, Kernel};
use crate::Result;
use std::sync::OnceLock;

/// Devices whose kernels are kept; those beyond look theirs up by name at every launch.
const DEVICES: usize = 8;

/// A kernel that is looked up at its first launch on each device, and kept. Goes into a `static`.
pub struct LazyKernel {
    found: [OnceLock<Kernel>; DEVICES],
}

impl LazyKernel {
    /// Nothing found yet.
    pub const fn new() -> Self {
        LazyKernel { found: [const { OnceLock::new() }; DEVICES] }
    }

    /// The kernel on a device; `find` looks it up (with [`CudaDevice::kernel`]) where it is not known yet.
    pub fn get(&self, device: &CudaDevice, find: impl FnOnce() -> Result<Kernel>) -> Result<Kernel> {
        let Some(slot) = self.found.get(device.ordinal()) else { return find() };
        if let Some(kernel) = slot.get() {
            return Ok(kernel.clone());
        }
        let kernel = find()?;
        Ok(slot.get_or_init(|| kernel).clone())
    }
}

impl Default for LazyKernel {
    fn default() -> Self {
        Self::new()
    }
}
