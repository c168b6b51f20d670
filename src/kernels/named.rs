//! Kernels by name, in tables by dtype.

use crate::device::cuda::kernel_table::Module;
use crate::device::cuda::{CudaDevice, Kernel, KernelSlot};
use crate::{DType, Element, Result};
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

/// A kernel whose name is put together from parts.
macro_rules! named {
    ($($part:expr),+ $(,)?) => {
        $crate::kernels::named::NamedKernel::new(concat!($($part),+))
    };
}
pub(crate) use named;

/// A table for each of the float dtypes that kernels have.
pub(crate) struct ByFloat<T> {
    pub f32: T,
    pub f16: T,
    pub bf16: T,
}

impl<T> ByFloat<T> {
    /// That of an element's dtype; the families admit f32, f16 and bf16 only.
    pub fn of<E: Element>(&self) -> &T {
        match E::DTYPE {
            DType::F16 => &self.f16,
            DType::BF16 => &self.bf16,
            _ => &self.f32,
        }
    }
}

/// [`ByFloat`] of a macro that is given the dtype as the kernels name it, and the elements of a 16-byte access.
macro_rules! by_float {
    ($table:ident) => {
        $crate::kernels::named::ByFloat { f32: $table!("f32", 4), f16: $table!("f16", 8), bf16: $table!("bf16", 8) }
    };
}
pub(crate) use by_float;
