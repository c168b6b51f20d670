//! Kernels that tables of tiles name.

use crate::Result;
use crate::device::cuda::kernel_table::Module;
use crate::device::cuda::{CudaDevice, Kernel, KernelSlot};
use std::borrow::Cow;

/// A kernel by its name; looked up at its first launch on each device, and kept.
pub struct NamedKernel {
    name: &'static str,
    slot: KernelSlot,
}

impl NamedKernel {
    /// The kernel of that readable name.
    pub const fn new(name: &'static str) -> Self {
        NamedKernel { name, slot: KernelSlot::new() }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The kernel on a device; it is always of the same module.
    pub(crate) fn on(&self, device: &CudaDevice, module: &'static Module) -> Result<Cow<'_, Kernel>> {
        self.slot.kernel(device, module, self.name)
    }
}

impl std::fmt::Debug for NamedKernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
